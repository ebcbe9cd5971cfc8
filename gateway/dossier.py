"""The stored dossier: what each body said, kept as sealed assertion sets, and the current view of a person.

An assertion set is what one body said of one subject (a person or a household) in one of its records. A newer set of
the same body, document and record supersedes it; the older one stays. A body never touches another body's sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway import clock, merge
from gateway.keys import Keyring
from gateway.merge import Assertions
from gateway.storage.tables.record import assertion_set, foyer, membership, person, source_record
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased, Vault
from schemas.record import Fact, Facts, Record

Place = tuple[str, str, bytes]
"""Where a set stands: source body, document, blind index of the record key."""

_SUPERSEDE = (
    update(assertion_set)
    .where(assertion_set.c.id == bindparam("set_id"))
    .values(superseded_at=bindparam("moment"), superseded_by=bindparam("successor"))
)
_LEAVE = (
    update(membership)
    .where(membership.c.foyer_id == bindparam("left_foyer"), membership.c.person_id == bindparam("member"))
    .where(membership.c.until.is_(None))
    .values(until=bindparam("moment"))
)
_CHUNK = 400


@dataclass(slots=True)
class _Live:
    id: str
    asserted_at: str
    received_at: str
    facts: Facts


class Dossiers:
    """Reads and writes the shared record inside a unit of work."""

    def __init__(self, keys: Keyring, vault: Vault, role_of: Callable[[str], str]) -> None:
        self._keys = keys
        self._vault = vault
        self._role_of = role_of

    # --- records already seen -------------------------------------------------------------------------------------

    def record_index(self, source: str, document: str, key: str) -> bytes:
        """Blind index of a sender's record: a record key may be a file number that names a person."""
        return self._keys.blind("record", f"{source}\x00{document}\x00{key}")

    def digests(self, work: UnitOfWork, indexes: Sequence[bytes]) -> dict[bytes, tuple[bytes, str]]:
        """For the records already seen: digest of the last one taken, and when its sender said it."""
        known: dict[bytes, tuple[bytes, str]] = {}
        for start in range(0, len(indexes), _CHUNK):
            rows = work.connection.execute(
                select(source_record.c.record_h, source_record.c.digest, source_record.c.asserted_at).where(
                    source_record.c.record_h.in_(indexes[start : start + _CHUNK])
                )
            )
            known.update({index: (digest, asserted_at) for index, digest, asserted_at in rows})
        return known

    def taken(self, work: UnitOfWork, index: bytes, record: Record, asserted_at: str, exchange_id: str) -> None:
        """Remember that this version of the record was applied."""
        work.change(
            _upsert(work), record_h=index, digest=record.digest, asserted_at=asserted_at, exchange_id=exchange_id
        )

    # --- assertions -----------------------------------------------------------------------------------------------

    def prefetch(self, work: UnitOfWork, subjects: Iterable[str]) -> None:
        """Bring the live sets of many subjects into this transaction with few queries."""
        live: dict[str, dict[Place, _Live]] = work.scratch.setdefault("dossier", {})
        wanted = [one for one in dict.fromkeys(subjects) if one not in live]
        self._vault.unwrap(work, wanted)
        for one in wanted:
            live[one] = {}
        for start in range(0, len(wanted), _CHUNK):
            rows = work.connection.execute(
                select(assertion_set).where(
                    assertion_set.c.subject_id.in_(wanted[start : start + _CHUNK]),
                    assertion_set.c.superseded_at.is_(None),
                )
            )
            for row in rows:
                try:
                    facts = self._vault.open(work, row.subject_id, row.payload)
                except Erased:
                    continue
                live[row.subject_id][row.source, row.document, row.record_h] = _Live(
                    row.id, row.asserted_at, row.received_at, facts
                )

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
    ) -> set[str]:
        """Add what a body says of a subject; returns the paths whose value it changed (also those it took back).

        An older statement arriving late is kept as history and changes nothing.
        """
        live = self._live(work, subject)
        before = live.get(place)
        if before and partial:
            facts = before.facts | facts
        if before and facts == before.facts:
            return set()
        source, document, record_h = place
        new = _Live(clock.new_id(), asserted_at, work.now, facts)
        late = before is not None and asserted_at < before.asserted_at
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
        )
        if late:
            return set()
        if before:
            work.change(_SUPERSEDE, set_id=before.id, moment=work.now, successor=new.id)
        live[place] = new
        if before is None:
            return set(facts)
        old = before.facts
        return {path for path in facts.keys() | old.keys() if facts.get(path) != old.get(path)}

    def new_subject(self, work: UnitOfWork, kind: str, **columns: object) -> str:
        """A new person or household, empty."""
        subject = clock.new_id()
        self._vault.create(work, subject, kind, **columns)
        # Nothing can be known of it yet: no need to ask the database.
        for cache in ("dossier", "homes", "merged"):
            work.scratch.setdefault(cache, {})[subject] = [] if cache == "merged" else {}
        return subject

    def _live(self, work: UnitOfWork, subject: str) -> dict[Place, _Live]:
        self.prefetch(work, [subject])
        live: dict[Place, _Live] = work.scratch["dossier"][subject]
        return live

    # --- households -----------------------------------------------------------------------------------------------

    def prefetch_homes(self, work: UnitOfWork, people: Iterable[str]) -> None:
        homes: dict[str, dict[str, str]] = work.scratch.setdefault("homes", {})
        wanted = [one for one in dict.fromkeys(people) if one not in homes]
        for one in wanted:
            homes[one] = {}
        for start in range(0, len(wanted), _CHUNK):
            rows = work.connection.execute(
                select(membership.c.person_id, membership.c.foyer_id, membership.c.source).where(
                    membership.c.person_id.in_(wanted[start : start + _CHUNK]), membership.c.until.is_(None)
                )
            )
            for person_id, foyer_id, source in rows:
                homes[person_id][foyer_id] = source

    def live_in(self, work: UnitOfWork, person_id: str, foyer_id: str, source: str) -> None:
        """This person lives in this household, says `source`; she has left the one it placed her in before."""
        self.prefetch_homes(work, [person_id])
        homes: dict[str, str] = work.scratch["homes"][person_id]
        if homes.get(foyer_id) == source:
            return
        for left in [home for home, who in homes.items() if who == source]:
            work.change(_LEAVE, left_foyer=left, member=person_id, moment=work.now)
            del homes[left]
        work.change(_join(work), foyer_id=foyer_id, person_id=person_id, source=source, since=work.now, until=None)
        homes[foyer_id] = source

    def homes(self, work: UnitOfWork, person_id: str) -> list[str]:
        self.prefetch_homes(work, [person_id])
        return list(work.scratch["homes"][person_id])

    # --- the current view -----------------------------------------------------------------------------------------

    def said(self, work: UnitOfWork, person_id: str) -> list[Assertions]:
        """Every live statement about a person: her own sets, those of the persons merged into her, her household's."""
        subjects = [person_id, *self._merged(work, person_id)]
        self.prefetch_homes(work, subjects)
        subjects += dict.fromkeys(home for one in subjects for home in work.scratch["homes"][one])
        self.prefetch(work, subjects)
        return [
            Assertions(source, self._role_of(source), document, one.asserted_at, one.received_at, one.facts)
            for subject in subjects
            for (source, document, _), one in work.scratch["dossier"][subject].items()
        ]

    def current(self, work: UnitOfWork, person_id: str) -> dict[str, Fact]:
        return merge.current(self.said(work, person_id))

    def _merged(self, work: UnitOfWork, person_id: str) -> list[str]:
        merged: dict[str, list[str]] = work.scratch.setdefault("merged", {})
        if person_id not in merged:
            rows = work.connection.execute(select(person.c.id).where(person.c.merged_into == person_id))
            merged[person_id] = [row.id for row in rows]
        return merged[person_id]

    def members(self, work: UnitOfWork, foyer_id: str) -> list[str]:
        """The persons who live in a household today."""
        rows = work.connection.execute(
            select(membership.c.person_id)
            .where(membership.c.foyer_id == foyer_id, membership.c.until.is_(None))
            .distinct()
        )
        return [row.person_id for row in rows]

    def exists(self, work: UnitOfWork, subject: str) -> bool:
        return any(
            work.connection.execute(
                select(table.c.id).where(table.c.id == subject, or_(table.c.erased_at.is_(None)))
            ).first()
            for table in (person, foyer)
        )


def _dialect(work: UnitOfWork) -> object:
    return postgresql if work.connection.dialect.name == "postgresql" else sqlite


def _upsert(work: UnitOfWork):  # type: ignore[no-untyped-def]
    """Statement that inserts or replaces a source record; the same object each time, so that rows gather on it."""
    statements = work.scratch.setdefault("statements", {})
    if "taken" not in statements:
        statement = _dialect(work).insert(source_record)  # type: ignore[attr-defined]
        statements["taken"] = statement.on_conflict_do_update(
            index_elements=["record_h"],
            set_={name: statement.excluded[name] for name in ("digest", "asserted_at", "exchange_id")},
        )
    return statements["taken"]


def _join(work: UnitOfWork):  # type: ignore[no-untyped-def]
    statements = work.scratch.setdefault("statements", {})
    if "join" not in statements:
        statement = _dialect(work).insert(membership)  # type: ignore[attr-defined]
        statements["join"] = statement.on_conflict_do_update(
            index_elements=["foyer_id", "person_id", "source"],
            set_={"since": statement.excluded.since, "until": None},
        )
    return statements["join"]
