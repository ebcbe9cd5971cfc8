"""The stored dossier: what each body said, kept as sealed assertion sets, and the current view of a person.

An assertion set is what one body said of one subject (a person or a household) in one of its records. A newer set of
the same body, document and record supersedes it; the older one stays. A body never touches another body's sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from gateway import clock
from gateway.code_lists import CodeLists
from gateway.keys import Keyring
from gateway.lookup import rows
from gateway.merge import Assertions, Portrait
from gateway.stays import CLOSED, Right, Stays, lasting
from gateway.storage import upsert
from gateway.storage.tables.record import assertion_set, foyer, membership, person, source_record
from gateway.turns import Turn, take
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased, Vault
from schemas.fields import of_today
from schemas.record import Facts, Record

Place = tuple[str, str, bytes]
"""Where a set stands: source body, document, blind index of the record key."""

_SUPERSEDE = (
    update(assertion_set)
    .where(assertion_set.c.id == bindparam("set_id"))
    .values(superseded_at=bindparam("moment"), superseded_by=bindparam("successor"))
)
_SAY_AGAIN = (
    update(assertion_set).where(assertion_set.c.id == bindparam("set_id")).values(asserted_at=bindparam("said_again"))
)
_RESTATE = (
    update(source_record)
    .where(source_record.c.record_h == bindparam("restated"), source_record.c.asserted_at < bindparam("moment"))
    .values(asserted_at=bindparam("moment"), received_at=bindparam("heard"))
)
NO_DIGEST = bytes(32)
"""Of a record that is read whole at its next sending, unchanged or not: a part of it is no longer here."""
APART = "maillon.fse_sensible"
"""The register apart (`gateway/fse_apart.py`)."""
RESTATED = frozenset({"droit_rsa.date_reference"})
"""The date of a statement is not what it says: alone, it changes nothing."""
FILE = ("foyer.matricule", "droit_rsa.numero_demande")
"""What names one file of a caisse, in whichever of its documents."""
_TAKEN = ("digest", "asserted_at", "exchange_id", "scope", "persons", "received_at")
_LIVE = f"superseded_at IS NULL AND document <> '{APART}'"
"""What a register apart holds is no part of a dossier."""
_SET = ("id", "subject_id", "source", "document", "record_h", "asserted_at", "received_at", "payload", "origin_h")


class Seen(NamedTuple):
    """The last version of a sender's record that was taken."""

    digest: bytes
    asserted_at: str
    persons: int = 0


@dataclass(slots=True)
class _Live:
    id: str
    asserted_at: str
    received_at: str
    facts: Facts
    last_said: str = ""
    """When its sender last said it here, if that is later than `received_at`."""


class Dossiers:
    """Reads and writes the shared record inside a unit of work."""

    def __init__(
        self, keys: Keyring, vault: Vault, role_of: Callable[[str], str], shortest: timedelta = timedelta(0)
    ) -> None:
        """`shortest` is the shortest retention there is: what was received since is not looked at for its age."""
        self._shortest = shortest
        self._keys = keys
        self._vault = vault
        self._role_of = role_of
        self.stays = Stays(role_of, self._right)
        self.code_lists = CodeLists()

    # --- records already seen -------------------------------------------------------------------------------------

    def record_index(self, source: str, document: str, key: str) -> bytes:
        """Blind index of a sender's record: a record key may be a file number that names a person."""
        return self._keys.blind("record", f"{source}\x00{document}\x00{key}")

    def digests(self, connection: Connection, indexes: Sequence[bytes]) -> dict[bytes, Seen]:
        """For the records already seen: the last one taken."""
        columns = ("record_h", "digest", "asserted_at", "persons")
        found = rows(connection, source_record, columns, "record_h", indexes)
        return {index: Seen(digest, asserted_at, persons) for index, digest, asserted_at, persons in found}

    def taken(
        self, work: UnitOfWork, index: bytes, record: Record, asserted_at: str, exchange_id: str, scope: str = ""
    ) -> None:
        """Remember that this version of the record was applied. `scope` names what one full file of it covers."""
        work.change(
            _stated(work.connection.dialect.name),
            record_h=index,
            digest=record.digest,
            asserted_at=asserted_at,
            exchange_id=exchange_id,
            scope=scope or None,
            persons=len(record.personnes),
            received_at=work.now,
        )

    def restated(self, work: UnitOfWork, index: bytes, asserted_at: str) -> None:
        """The sender said this record again, as it is known (or unreadable this time): it was not left out."""
        work.change(_RESTATE, restated=index, moment=asserted_at, heard=work.now)

    # --- assertions -----------------------------------------------------------------------------------------------

    def prefetch(self, work: UnitOfWork, subjects: Iterable[str]) -> None:
        """Bring the live sets of many subjects into this transaction with few queries.

        What was said under a field that has left the model since stays stored, and in the person's own copy; it is no
        part of a dossier, as no rule says to whom it may go.
        """
        live: dict[str, dict[Place, _Live]] = work.scratch.setdefault("dossier", {})
        wanted = [one for one in dict.fromkeys(subjects) if one not in live]
        if not wanted:
            return
        self._vault.unwrap(work, wanted)
        for one in wanted:
            live[one] = {}
        long_ago = clock.after(work.now, -self._shortest)
        old: dict[bytes, list[_Live]] = {}
        for row in rows(work.connection, assertion_set, _SET, "subject_id", wanted, _LIVE):
            try:
                facts = of_today(self._vault.open(work, row.subject_id, row.payload))
            except Erased:
                continue
            told = _Live(row.id, row.asserted_at, row.received_at, facts)
            live[row.subject_id][row.source, row.document, row.record_h] = told
            if row.origin_h is not None and row.received_at < long_ago:
                old.setdefault(row.origin_h, []).append(told)
        for record_h, heard in rows(
            work.connection, source_record, ("record_h", "received_at"), "record_h", old, "received_at IS NOT NULL"
        ):
            for told in old[record_h]:
                told.last_said = heard

    def prefetch_people(self, work: UnitOfWork, people: Iterable[str]) -> dict[str, list[str]]:
        """Bring all that is known of many persons into this transaction with few queries; who was merged into each."""
        known: dict[str, list[str]] = work.scratch.setdefault("merged", {})
        wanted = dict.fromkeys(people)
        new: dict[str, list[str]] = {one: [] for one in wanted if one not in known}
        for row in rows(work.connection, person, ("id", "merged_into"), "merged_into", new):
            new[row.merged_into].append(row.id)
        known |= new
        everyone = {*wanted, *(one for head in wanted for one in known[head])}
        self.stays.prefetch(work, everyone)
        self.prefetch(work, everyone | {home for one in everyone for home, _ in self.stays.of(work, one)})
        return known

    def put(
        self,
        work: UnitOfWork,
        subject: str,
        place: Place,
        facts: Facts,
        *,
        asserted_at: str,
        exchange_id: str,
        partial: bool,
        late: bool = False,
        origin: bytes | None = None,
        coded: bool = True,
    ) -> set[str]:
        """Add what a body says of a subject; returns the paths whose value it changed (also those it took back).

        An older statement arriving late is kept as history and changes nothing; `late` says that a later version of
        the record it comes from is known. The same words said again later only move their date, and change what
        was contradicted since. `origin` is the index of the sender's record that this came with. Without codes of lists
        (`coded`), it is written whatever the lists of this process. Raises `Unavailable` (`referential-stale`, `busy`).
        """
        if coded:
            self.code_lists.require(work)
        if take(work, Turn.RECORD, [place[2]]):
            work.scratch.get("dossier", {}).pop(subject, None)
        live = self._live(work, subject)
        before = live.get(place)
        if before and partial:
            facts = before.facts | facts
        if before and _same(facts, before.facts):
            if late or asserted_at <= before.asserted_at:
                return set()
            return _say_again(work, live, place, asserted_at)
        source, document, record_h = place
        new = _Live(clock.new_id(), asserted_at, work.now, facts)
        late = before is not None and (late or asserted_at < before.asserted_at)
        work.add(
            assertion_set,
            id=new.id,
            subject_id=subject,
            source=source,
            document=document,
            record_h=record_h,
            exchange_id=exchange_id,
            asserted_at=asserted_at,
            received_at=work.now,
            superseded_at=work.now if late else None,
            superseded_by=before.id if late and before else None,
            payload=self._vault.seal(work, subject, facts),
            origin_h=origin,
        )
        if late:
            return set()
        if before:
            work.change(_SUPERSEDE, set_id=before.id, moment=work.now, successor=new.id)
        live[place] = new
        if before is None:
            return set(facts)
        return {path for path in facts.keys() | before.facts.keys() if facts.get(path) != before.facts.get(path)}

    def knows(self, work: UnitOfWork, subject: str) -> bool:
        """Has anything been said of this subject yet?"""
        return bool(self._live(work, subject))

    def told_in(self, work: UnitOfWork, subject: str, place: Place) -> Facts:
        """What a body says of this subject in one of its records, as it stands."""
        live = self._live(work, subject).get(place)
        return live.facts if live else {}

    def sets_of(self, work: UnitOfWork, subject: str) -> Iterator[tuple[Place, str, Facts]]:
        """Every live set about a subject: where it stands, when it was said, what it says."""
        for place, one in self._live(work, subject).items():
            yield place, one.asserted_at, one.facts

    def new_subject(self, work: UnitOfWork, kind: str, **columns: object) -> str:
        """A new person or household, empty."""
        subject = clock.new_id()
        self._vault.create(work, subject, kind, **columns)
        # Nothing can be known of it yet: no need to ask the database.
        empty: tuple[tuple[str, Any], ...] = (("dossier", {}), ("homes", {}), ("merged", []), ("members", set()))
        for cache, nothing in empty:
            work.scratch.setdefault(cache, {})[subject] = nothing
        return subject

    def _live(self, work: UnitOfWork, subject: str) -> dict[Place, _Live]:
        self.prefetch(work, [subject])
        live: dict[Place, _Live] = work.scratch["dossier"][subject]
        return live

    # --- households -----------------------------------------------------------------------------------------------

    def homes(self, work: UnitOfWork, person_id: str) -> list[str]:
        """The households that are hers today."""
        return list(dict.fromkeys(home for home, _ in self.stays.current(work, [person_id])))

    def _right(self, work: UnitOfWork, foyer_id: str) -> Right:
        self.prefetch(work, [foyer_id])
        told = [one.facts for one in work.scratch["dossier"][foyer_id].values()]
        states = {state for facts in told if (state := facts.get("droit_rsa.etat"))}
        file = [next((facts[path] for facts in told if path in facts), None) for path in FILE]
        return Right(not states & CLOSED, bool(states), tuple(file) if all(file) else ())

    # --- the current view -----------------------------------------------------------------------------------------

    def said(self, work: UnitOfWork, person_id: str) -> list[Assertions]:
        """Every live statement about a person: her own sets, those of the persons merged into her, her household's."""
        people = [person_id, *self.merged(work, person_id)]
        self.stays.prefetch(work, people)
        hers = self.stays.current(work, people)
        away = {
            stay.said_in
            for one in people
            for home, stay in self.stays.of(work, one).items()
            if stay.said_in and home not in hers
        }
        subjects = [*people, *dict.fromkeys(foyer_id for foyer_id, _ in hers)]
        self.prefetch(work, subjects)
        return [
            Assertions(
                source,
                self._role_of(source),
                document,
                one.asserted_at,
                one.received_at,
                lasting(one.facts) if record_h in away else one.facts,
                one.last_said,
            )
            for subject in subjects
            for (source, document, record_h), one in work.scratch["dossier"][subject].items()
        ]

    def current(self, work: UnitOfWork, person_id: str) -> Portrait:
        """The dossier as it stands, and every body that speaks of this person, outranked or not."""
        return Portrait(self.said(work, person_id))

    def merged(self, work: UnitOfWork, person_id: str) -> list[str]:
        """The persons merged into this one."""
        merged: dict[str, list[str]] = work.scratch.setdefault("merged", {})
        if person_id not in merged:
            found = rows(work.connection, person, ("id",), "merged_into", [person_id])
            merged[person_id] = [row.id for row in found]
        return merged[person_id]

    def members(self, work: UnitOfWork, foyer_id: str) -> list[str]:
        """The persons who live in a household today."""
        found = work.connection.execute(
            select(membership.c.person_id)
            .where(membership.c.foyer_id == foyer_id, membership.c.until.is_(None))
            .distinct()
        )
        return [row.person_id for row in found]

    def exists(self, work: UnitOfWork, subject: str) -> bool:
        """Whether this is a person or a household that was not erased."""
        return any(
            work.connection.execute(
                select(table.c.id).where(table.c.id == subject, table.c.erased_at.is_(None))
            ).first()
            for table in (person, foyer)
        )


@lru_cache
def _stated(dialect: str) -> Any:
    """Statement that inserts or replaces a source record; the same object each time, so that rows gather on it."""
    statement = upsert(dialect, source_record)
    return statement.on_conflict_do_update(
        index_elements=["record_h"],
        set_={name: statement.excluded[name] for name in _TAKEN},
    )


def _say_again(work: UnitOfWork, live: dict[Place, _Live], place: Place, asserted_at: str) -> set[str]:
    """Only the date of a set moves; the paths that another body contradicted in between are changed by it."""
    before = live[place]
    work.change(_SAY_AGAIN, set_id=before.id, said_again=asserted_at)
    live[place] = _Live(before.id, asserted_at, before.received_at, before.facts, work.now)
    since = [one.facts for one in live.values() if before.asserted_at < one.asserted_at < asserted_at]
    return {path for path, value in before.facts.items() if any(told.get(path, value) != value for told in since)}


def _same(facts: Facts, before: Facts) -> bool:
    """Nothing differs but the date of the statement itself."""
    return facts == before or {path: value for path, value in facts.items() if path not in RESTATED} == {
        path: value for path, value in before.items() if path not in RESTATED
    }
