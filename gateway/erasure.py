"""Erasing a person (GDPR 17): her key is destroyed, her rows are deleted, past recipients are told (GDPR 19).

What remains names nobody: an empty row with her id (the tombstone), the id in two lists, entries of the journal under
pseudonyms that no longer lead to anybody, and the basis records, which hold pseudonyms only and prove what was lawful
(GDPR 17(3)(e)).

The database commits first, then the list outside the database is written. A crash between the two leaves a person
erased in the database and missing from the list: `reconcile` repairs it when a gateway opens, as it erases again whom
a restored backup brought back.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy import delete, insert, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from gateway import clock, erasure_list, journal, notification, quarantine
from gateway.decide import question
from gateway.dossier import NO_DIGEST
from gateway.identity import SHARED
from gateway.journal import Entry
from gateway.lookup import batches
from gateway.past import past_recipients
from gateway.person_history import head_of, people_of
from gateway.problems import Conflict, Invalid, Misnamed
from gateway.registry import Gateway
from gateway.storage.tables.delivery import held_by_recipient, mailbox, outbox
from gateway.storage.tables.record import (
    assertion_set,
    exchange,
    foyer,
    identifier,
    identity_case,
    membership,
    person,
    reference,
    source_record,
    task,
)
from gateway.storage.tables.rights import erasure, statement
from gateway.storage.tables.worklist import worklist_item
from gateway.turns import Turn, take
from gateway.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

GROUNDS = {
    "request": "RGPD 17(1)",
    "no-longer-needed": "RGPD 17(1)(a)",
    "withdrawn": "RGPD 17(1)(b)",
    "objection": "RGPD 17(1)(c)",
    "unlawful": "RGPD 17(1)(d)",
    "legal-obligation": "RGPD 17(1)(e)",
    "elapsed": "RGPD 5(1)(e)",
}
_REASON = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Need:
    """A flow that lawfully carries the person's data today, and so keeps them from being erased (GDPR 17(3)(b))."""

    regime: str
    purpose: str
    recipient: str
    articles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was done. `entry` has its index and origin once the transaction is committed."""

    id: str
    person: str
    ground: str
    erased_at: str
    subjects: tuple[str, ...]
    deleted: dict[str, int]
    told: tuple[str, ...]
    """Recipients that were told to erase."""
    entry: Entry

    def line(self) -> dict[str, Any]:
        """The certificate as JSON, after the commit."""
        return {
            "certificate": self.id,
            "person": self.person,
            "ground": self.ground,
            "article": GROUNDS[self.ground],
            "erased_at": self.erased_at,
            "subjects": len(self.subjects),
            "deleted": self.deleted,
            "recipients_told": list(self.told),
            "journal": {"log": self.entry.log, "index": self.entry.idx, "origin": self.entry.origin},
        }


def needs(work: UnitOfWork, gateway: Gateway, person_id: str) -> list[Need]:
    """The flows that a legal obligation or a public task lawfully opens for this person today, or would but for a
    limitation: what is limited is kept meanwhile (GDPR 18(2)), and needed again once it is lifted."""
    current = gateway.dossiers.current(work, person_id)
    found: dict[tuple[str, str, str], Need] = {}
    for sender in sorted(current.sources & gateway.bodies.keys()):
        for flow in gateway.flows(work, sender):
            if not flow.active:
                continue
            asked = question(work, gateway, person_id, flow, current)
            decision = gateway.policy.decide(replace(asked, limitation=False))
            if decision.permits and decision.basis in ("c", "e"):
                key = (flow.regime, flow.purpose, flow.vers)
                found.setdefault(key, Need(*key, tuple(decision.articles)))
    return list(found.values())


def require_ground(ground: str) -> None:
    """Raises `Misnamed` (`erasure-ground`)."""
    if ground not in GROUNDS:
        raise Misnamed("erasure-ground", f"Grounds: {', '.join(GROUNDS)}.")


def erase(
    work: UnitOfWork, gateway: Gateway, person_id: str, *, ground: str = "request", forced_by: str = ""
) -> Certificate:
    """Erase a person, with those merged into her and the households nobody else lives in.

    `forced_by` is the SHA-256 of the DPO's written decision to erase although a flow still needs her data. Raises
    `Unknown`, `Conflict("still-needed")` naming regimes and articles, `Conflict("already-erased")`, and
    `Unavailable("busy")` when exchanges about her leave it no turn.
    """
    require_ground(ground)
    if forced_by and not _REASON.fullmatch(forced_by):
        raise Invalid("reason-needed", "Name the DPO's written decision by its SHA-256.")
    work.flush()
    keep_to_herself(work, people_of(work, head_of(work, person_id)))
    head = head_of(work, person_id)
    if work.connection.execute(select(person.c.erased_at).where(person.c.id == head)).scalar():
        raise Conflict("already-erased", "This person was erased already.")
    if not forced_by and (needed := needs(work, gateway, head)):
        why = "; ".join(sorted({f"{one.regime} {one.purpose} ({', '.join(one.articles)})" for one in needed}))
        raise Conflict("still-needed", f"RGPD 17(3)(b): {why}. Only the DPO may decide otherwise, in writing.")
    people = people_of(work, head)
    subjects = (*people, *own_households(work, people))
    identifier_ = clock.new_id()
    told = _tell(work, gateway, identifier_, people)
    deleted = _destroy(work, gateway, people, subjects)
    entry = journal.append(
        work, "right.erase", subject=gateway.keys.pseudonym("personne", head), purpose="droits_personne",
        article=[GROUNDS[ground]], object_ref=identifier_, n_records=sum(deleted.values()), outcome="erased",
        reason_code=ground, reason_h=forced_by,
    )  # fmt: skip
    _write_down(work, gateway, people, subjects, ground, entry)
    return Certificate(identifier_, head, ground, work.now, subjects, deleted, told, entry)


def keep_to_herself(work: UnitOfWork, people: Collection[str]) -> None:
    """Wait until whoever speaks of these people, or promises something of them, has finished, and let nobody find them
    until this transaction ends: what would be said meanwhile would stay, under a key that is gone. Before any other row
    of theirs is locked."""
    hers = select(identifier.c.index_h).where(identifier.c.subject_id.in_(people))
    take(work, Turn.RECORD, work.connection.execute(hers.where(identifier.c.system == "place")).scalars().all())
    shared = hers.where(identifier.c.system.in_(SHARED))
    while take(work, Turn.PERSON, work.connection.execute(shared).scalars().all()):
        pass
    hers_alone = select(person.c.id).where(person.c.id.in_(people)).order_by(person.c.id).with_for_update()
    work.connection.execute(hers_alone).all()


def forget_household(work: UnitOfWork, gateway: Gateway, foyer_id: str, entry: Entry) -> dict[str, int]:
    """A household of which nothing is kept any more: its key goes, its members stay. Counts by table."""
    deleted = _destroy(work, gateway, (), (foyer_id,))
    _write_down(work, gateway, (), (foyer_id,), "elapsed", entry)
    return deleted


def reconcile(gateway: Gateway) -> int:
    """Make the two lists of erased subjects agree; erase again whom a restored backup brought back, and count them.

    Called when a gateway opens and every minute while it serves.
    """
    listed = erasure_list.read(gateway.settings.home)
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        known = set(connection.execute(select(erasure.c.subject_id)).scalars())
    for subject in known - listed:
        gateway.vault.forget(subject)
    erasure_list.append(gateway.settings.home, known - listed)
    returned = _returned(gateway, listed - known)
    if not returned:
        return 0
    with gateway.unit_of_work() as work:
        people = [one for one, table in returned.items() if table is person]
        deleted = _destroy(work, gateway, people, tuple(returned))
        entry = journal.append(
            work, "right.erase", article=["RGPD 17(1)"], n_records=sum(deleted.values()), outcome="erased-again",
            reason_code="backup-restored", purpose="droits_personne",
        )  # fmt: skip
        _write_down(work, gateway, people, tuple(returned), "restored", entry)
    log.warning("erasure.applied_again", subjects=len(returned))
    return len(returned)


def _returned(gateway: Gateway, missing: set[str]) -> dict[str, Any]:
    """The erased subjects that this database still has, with their table."""
    found: dict[str, Any] = {}
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        for table in (person, foyer):
            for batch in batches(sorted(missing)):
                rows = connection.execute(select(table.c.id).where(table.c.id.in_(batch)))
                found |= dict.fromkeys(rows.scalars(), table)
    return found


def own_households(work: UnitOfWork, people: Collection[str]) -> list[str]:
    """Households that only these people ever lived in."""
    mine = select(membership.c.foyer_id).where(membership.c.person_id.in_(people))
    shared = select(membership.c.foyer_id).where(membership.c.foyer_id.in_(mine), membership.c.person_id.not_in(people))
    rows = work.connection.execute(mine.where(membership.c.foyer_id.not_in(shared)).distinct())
    return sorted(rows.scalars())


def _tell(work: UnitOfWork, gateway: Gateway, record_id: str, people: list[str]) -> tuple[str, ...]:
    """Every body that received, or was about to receive, anything of her is told to erase, under its own reference."""
    bodies: set[str] = set()
    for one in people:
        told = _recipients(work, gateway, one)
        bodies |= told
        notification.tell(
            work, record_id, "right.erase", told, action="erase", purpose="droits_personne",
            reference=gateway.keys.pseudonyms_of(one),
        )  # fmt: skip
    return tuple(sorted(bodies))


def _recipients(work: UnitOfWork, gateway: Gateway, person_id: str) -> set[str]:
    held = select(held_by_recipient.c.recipient).where(held_by_recipient.c.person_id == person_id)
    letters = select(mailbox.c.body).where(mailbox.c.person_id == person_id)
    named = set(work.connection.execute(held.union(letters)).scalars())
    return named | set(past_recipients(work, gateway, person_id))


def _destroy(work: UnitOfWork, gateway: Gateway, people: Collection[str], subjects: tuple[str, ...]) -> dict[str, int]:
    """Delete every row that holds something of these subjects, and their keys; counts by table."""
    connection = work.connection
    overwrite(work)
    deleted = {"quarantine": quarantine.forget(work, gateway, people)}
    theirs = assertion_set.c.subject_id.in_(subjects)
    records = select(assertion_set.c.record_h).where(theirs)
    single = select(exchange.c.id).where(
        exchange.c.records == 1, exchange.c.id.in_(select(assertion_set.c.exchange_id).where(theirs))
    )
    # First what is found through the assertions. Of a record among others in a file stays when it came, under a keyed
    # index that leads nowhere; not its digest: said again as it was, it would be taken for known, and read no more.
    origins = select(assertion_set.c.origin_h).where(theirs)
    connection.execute(update(source_record).where(source_record.c.record_h.in_(origins)).values(digest=NO_DIGEST))
    gone = or_(source_record.c.record_h.in_(records), source_record.c.exchange_id.in_(single))
    conditions: list[tuple[Any, Any]] = [
        (source_record, gone),
        (assertion_set, theirs),
        (identifier, identifier.c.subject_id.in_(subjects)),
        (membership, or_(membership.c.person_id.in_(people), membership.c.foyer_id.in_(subjects))),
        (outbox, outbox.c.person_id.in_(people)),
        (held_by_recipient, held_by_recipient.c.person_id.in_(people)),
        (mailbox, mailbox.c.person_id.in_(people)),
        (reference, reference.c.person_id.in_(people)),
        (identity_case, or_(identity_case.c.person_id.in_(people), identity_case.c.candidate_id.in_(people))),
        (statement, statement.c.person_id.in_(people)),
        (task, task.c.subject_id.in_(subjects)),
        (worklist_item, worklist_item.c.person_id.in_(people)),
    ]
    for table, condition in conditions:
        deleted[table.name] = connection.execute(delete(table).where(condition)).rowcount
    for table in (person, foyer):
        blank: dict[str, Any] = {"wrapped_key": None, "erased_at": work.now}
        if table is person:
            blank["provisional"] = 0
        connection.execute(update(table).where(table.c.id.in_(subjects)).values(**blank))
    for cache in ("dossier", "homes", "merged", "identity", "heads", "nirs", "vault"):
        work.scratch.pop(cache, None)
    return {name: count for name, count in deleted.items() if count}


def overwrite(work: UnitOfWork) -> None:
    """What this transaction deletes is overwritten, so that no page of a SQLite file keeps it."""
    if work.connection.dialect.name == "sqlite":
        work.connection.execute(text("PRAGMA secure_delete = ON"))


def _write_down(
    work: UnitOfWork, gateway: Gateway, people: Collection[str], subjects: tuple[str, ...], ground: str, entry: Entry
) -> None:
    """The tombstones in the database with their place in the journal; the list outside it once that is durable."""
    rows: list[dict[str, Any]] = [
        {"subject_id": one, "kind": "personne" if one in people else "foyer", "ground": ground, "erased_at": work.now}
        for one in subjects
    ]

    def place(last: UnitOfWork) -> None:
        last.connection.execute(insert(erasure), [row | {"log": entry.log, "idx": entry.idx} for row in rows])

    def forget() -> None:
        for one in subjects:
            gateway.vault.forget(one)
        erasure_list.append(gateway.settings.home, subjects)
        _clean(gateway)

    work.before_commit(place)
    work.after_commit(forget)


def _clean(gateway: Gateway) -> None:
    """Empty the write-ahead log of what was deleted; a reader in the way leaves it to the next checkpoint."""
    if gateway.engine.dialect.name != "sqlite":
        return
    try:
        raw = gateway.engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            raw.close()
    except SQLAlchemyError as error:
        log.warning("erasure.checkpoint_failed", kind=type(error).__name__)


__all__ = ["GROUNDS", "Certificate", "Need", "erase", "keep_to_herself", "needs", "reconcile", "require_ground"]
