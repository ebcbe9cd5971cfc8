"""What exchanges about a person rest on: information, consent, objection, limitation, protection, validation.

Records are never altered: what happens to one is an event, and its state is the fold of its events. Nothing counts
before the gateway recorded it, so a backdated paper never makes an earlier exchange lawful. Withdrawal and its
notifications to past recipients are one transaction: after its commit, no decision sees the consent any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import rfc8785
from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, exists, insert, select

from gateway import clock, journal
from gateway.basis_record import AGAINST_LAW, JOURNAL, LIFE, Basis, against_law, fold
from gateway.basis_states import BasisStates, FlowStates, notices_in_force, states
from gateway.notification import of_record, propagate
from gateway.problems import Conflict, Invalid, Misnamed, Unknown, misread
from gateway.storage.tables.basis import basis_event, basis_record, notice
from gateway.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Change:
    """What was recorded: the record, its new state, and the notifications that left with it."""

    id: str
    kind: str
    event: str
    """As the journal names it."""
    state: str
    basis: Basis = field(repr=False)
    notifications: tuple[str, ...] = ()

    @property
    def receipt(self) -> str:
        """Id of the receipt the person is given."""
        return sha256(f"receipt\x00{self.id}".encode()).hexdigest()[:32]


# --- notices --------------------------------------------------------------------------------------------------------


def publish_notice(
    work: UnitOfWork, identifier: str, version: int, content: str, *, language: str = "fr", falc: bool = False
) -> str:
    """Publish a notice (or its easy-to-read variant) and give its SHA-256. A published version never changes."""
    digest = sha256(content.encode()).hexdigest()
    key = {"id": identifier, "version": version, "language": language, "falc": falc}
    query = select(notice.c.sha256).where(*(notice.c[name] == value for name, value in key.items()))
    known = work.connection.execute(query).scalar()
    if known not in (None, digest):
        raise Conflict("notice-published", "A published notice never changes: give the new text a new version.")
    if known is None:
        work.connection.execute(insert(notice).values(**key, content=content, sha256=digest, published_at=work.now))
        work.scratch.pop("basis.notices", None)
        work.scratch.pop("basis", None)
    return digest


def informed_collectively(work: UnitOfWork, information: str, reference: str) -> bool:
    """Is a flow covered by a published notice in force (`id:version`), where the convention says that suffices?"""
    identifier, _, version = reference.partition(":")
    return information == "collective" and version.isdigit() and notices_in_force(work).get(identifier) == int(version)


# --- writing --------------------------------------------------------------------------------------------------------

_FIRST = {
    "information": "informed", "objection": "raised", "limitation": "set", "protection": "set",
    "validation": "validated", "consent": "requested",
}  # fmt: skip


def record(
    work: UnitOfWork,
    content: Basis | Mapping[str, Any],
    *,
    decision: str = "",
    occurred_at: str | None = None,
) -> Change:
    """Make a record. For a consent, `decision` is `requested` (default), `given` or `refused`.

    `occurred_at` is when a paper was signed; the record counts from now all the same. A consent given supersedes the
    earlier ones for the same purpose and recipients, once it begins: renewed in advance, it leaves no gap. One that was
    requested is so answered, by a record that says she gave it, with its evidence, or refused it. Raises
    `Invalid`: `basis-invalid`, `notice-unknown`, or what the law refuses (`consent-not-the-basis`,
    `objection-not-available`, `expiry-too-late`, `expiry-past`…).
    """
    basis = content if isinstance(content, Basis) else _parse(content)
    first = decision or _FIRST[basis.kind]
    if first not in (_FIRST[basis.kind], *(("given", "refused") if basis.kind == "consent" else ())):
        raise Invalid("basis-invalid", "A consent starts as requested, given or refused.")
    start = basis.valid_from or work.now
    if why := against_law(basis, work.law, start):
        raise Invalid(why, AGAINST_LAW[why])
    if journal.FIELDS["article"](list(basis.article)) is None:
        raise Invalid("article-form", "Cite each text by its abbreviation and number (CASF L263-4-1).")
    if first == "given" and basis.evidence is None:
        raise Invalid("evidence-needed", "A consent must be demonstrable: say what proves it (GDPR 7(1)).")
    if first != "refused":
        _require_time_left(work, basis)
    identifier = clock.new_id()
    said = basis.model_dump(mode="json") | {"notice_hash": _notice_hash(work, basis), "record_id": identifier}
    work.connection.execute(
        insert(basis_record).values(
            id=identifier, person_id=basis.person_id, kind=basis.kind, regime=basis.regime, purpose=basis.purpose,
            content=rfc8785.dumps(said).decode(), valid_from=start, valid_until=basis.valid_until, created_at=work.now,
        )
    )  # fmt: skip
    if first in ("given", "refused"):
        _supersede(work, identifier, basis, ("given", "requested") if first == "given" else ("requested",))
    actor = basis.evidence.agent if basis.evidence and basis.evidence.agent else basis.actor_kind
    return _event(work, identifier, basis, first, actor=actor, occurred_at=occurred_at)


def reconfirm(work: UnitOfWork, identifier: str) -> Change:
    """The person was asked again and confirms what she gave; it ends on the day it said. Raises as `withdraw`."""
    basis, _ = _open(work, identifier, "consent", {"given"})
    return _event(work, identifier, basis, "reconfirmed")


def withdraw(
    work: UnitOfWork,
    identifier: str,
    *,
    past_recipients: Iterable[str] = (),
    reference: Callable[[str], str] | None = None,
    action: str = "stop",
    occurred_at: str | None = None,
    actor: str = "self",
) -> Change:
    """The person withdraws; no reason is asked. Each past recipient is told in the same transaction.

    `reference` gives her pairwise pseudonym for a recipient; `action` is `stop`, `erase` or `limit`. Withdrawing what
    is only requested counts as a refusal. Raises `Unknown`, or `Conflict` (`basis-ended`) if nothing is left.
    """
    basis, state = _open(work, identifier, "consent", {"given", "requested"})
    name = "withdrawn" if state == "given" else "refused"
    told = propagate(work, identifier, basis, past_recipients, reference=reference, action=action)
    return _event(work, identifier, basis, name, actor=actor, occurred_at=occurred_at, notifications=told)


def invalidate(
    work: UnitOfWork,
    identifier: str,
    *,
    reason_hash: str,
    past_recipients: Iterable[str] = (),
    reference: Callable[[str], str] | None = None,
) -> Change:
    """The DPO or a judge finds that a consent was never valid: each past recipient is told to erase. Raises as
    `withdraw`."""
    basis, _ = _open(work, identifier, "consent", {"given"})
    told = propagate(work, identifier, basis, past_recipients, reference=reference, action="erase")
    return _event(work, identifier, basis, "invalidated", actor="dpo", reason_hash=reason_hash, notifications=told)


def object_(
    work: UnitOfWork,
    content: Basis | Mapping[str, Any],
    *,
    occurred_at: str | None = None,
) -> Change:
    """The person objects. Raises `Invalid` (`objection-not-available`) in a regime that excludes it."""
    basis = content if isinstance(content, Basis) else _parse(content)
    if basis.kind != "objection":
        raise Invalid("basis-invalid", "This is not an objection.")
    return record(work, basis, occurred_at=occurred_at)


def resolve_objection(
    work: UnitOfWork,
    identifier: str,
    *,
    upheld: bool,
    reason_hash: str = "",
    past_recipients: Iterable[str] = (),
    reference: Callable[[str], str] | None = None,
) -> Change:
    """Accept an objection (past recipients are told to limit), or reject it, with the digest of the written reason."""
    basis, _ = _open(work, identifier, "objection", {"raised"})
    if not upheld and not reason_hash:
        raise Invalid("reason-needed", "A rejected objection is motivated in writing (GDPR 21).")
    told = propagate(work, identifier, basis, past_recipients if upheld else (), reference=reference, action="limit")
    name = "upheld" if upheld else "rejected"
    return _event(work, identifier, basis, name, reason_hash=reason_hash, notifications=told)


def close(work: UnitOfWork, identifier: str, *, reason_hash: str = "") -> Change:
    """Lift a limitation, end a protection, or retract an objection not yet answered; with the digest of what was
    written of it, if anything was."""
    row = _row(work, identifier)
    names = {"limitation": "lifted", "protection": "ended", "objection": "retracted"}
    if row.kind not in names:
        raise Conflict("basis-kind", "Only a limitation, a protection or a pending objection is closed this way.")
    basis, _ = _open(work, identifier, row.kind, {"set", "notified", "raised"})
    return _event(work, identifier, basis, names[row.kind], reason_hash=reason_hash)


def representative_notified(work: UnitOfWork, identifier: str) -> Change:
    """The legal representative of a protected adult received the notice."""
    basis, _ = _open(work, identifier, "protection", {"set"})
    return _event(work, identifier, basis, "notified")


def expire_due(work: UnitOfWork) -> list[Change]:
    """Write down the consents whose time has passed, and those that gave way to one given in advance which began (they
    stopped counting at that instant anyway)."""
    due = basis_record.c.valid_until <= work.now
    # Those that ended are more every year: looking at each of them would hold the writers back.
    given = basis_record.c.kind == "consent", _has(("given", "reconfirmed")), ~_has(LIFE["consent"][1])
    changes = []
    for row in work.connection.execute(select(basis_record.c.id).where(*given, due)).all():
        row = _row(work, row.id)
        if _state(work, row) == "given":
            changes.append(_event(work, row.id, _basis(row), "expired", actor="gateway"))
    began = basis_record.c.valid_from > basis_record.c.created_at, basis_record.c.valid_from <= work.now, ~due
    for row in work.connection.execute(select(basis_record.c.id).where(*given, *began)).all():
        row = _row(work, row.id)
        if _state(work, row) == "given":
            changes += _supersede(work, row.id, _basis(row), recorded_before=row.created_at)
    return changes


def _has(names: Collection[str]) -> ColumnElement[bool]:
    """Whether one of these events happened to the record."""
    return exists().where(basis_event.c.record_id == basis_record.c.id, basis_event.c.name.in_(names))


def _parse(content: Mapping[str, Any]) -> Basis:
    try:
        return Basis.model_validate(content)
    except ValidationError as error:
        raise Invalid("basis-invalid", misread(error)) from None


def _notice_hash(work: UnitOfWork, basis: Basis) -> str:
    if not basis.notice_id:
        return ""
    query = select(notice.c.sha256).where(
        notice.c.id == basis.notice_id, notice.c.version == basis.notice_version,
        notice.c.language == basis.language, notice.c.falc == basis.falc,
    )  # fmt: skip
    digest = work.connection.execute(query).scalar()
    if digest is None:
        raise Misnamed("notice-unknown", "Publish this version of the notice, in this language, before citing it.")
    return str(digest)


def _row(work: UnitOfWork, identifier: str) -> Row[Any]:
    row = work.connection.execute(select(basis_record).where(basis_record.c.id == identifier).with_for_update()).first()
    if row is None:
        raise Unknown("basis-unknown", "Check the id against the list of bases (`maillon basis list`).")
    return row


def _basis(row: Row[Any]) -> Basis:
    said = json.loads(row.content)
    return Basis.model_validate({name: said[name] for name in Basis.model_fields})


def _state(work: UnitOfWork, row: Row[Any]) -> str:
    query = select(basis_event.c.name, basis_event.c.recorded_at).where(basis_event.c.record_id == row.id)
    return fold(row.kind, [(one.name, one.recorded_at) for one in work.connection.execute(query)])


def _open(work: UnitOfWork, identifier: str, kind: str, expected: Collection[str]) -> tuple[Basis, str]:
    """A record that may still change, locked. Raises `Unknown` or `Conflict` (`basis-ended`, `basis-kind`)."""
    row = _row(work, identifier)
    if row.kind != kind:
        raise Conflict("basis-kind", f"This record is not a {kind}.")
    state = _state(work, row)
    if kind == "consent" and state == "given" and row.valid_until and row.valid_until <= work.now:
        state = "expired"
    if state not in expected:
        raise Conflict("basis-ended", f"This record is {state}; only a new one may change anything.")
    return _basis(row), state


def _require_time_left(work: UnitOfWork, basis: Basis) -> None:
    """A consent that is over allows nothing, and must not end the one that holds."""
    if basis.kind == "consent" and basis.valid_until and basis.valid_until <= work.now:
        raise Invalid("expiry-past", "This consent is over already: correct valid_until, or ask the person again.")


def _supersede(
    work: UnitOfWork,
    identifier: str,
    basis: Basis,
    ended: Collection[str] = ("given", "requested"),
    recorded_before: str = "",
) -> list[Change]:
    """Earlier consents for the same purpose and any of the same recipients give way to this one, unless it is yet to
    begin: they then hold until it does (`expire_due`)."""
    if basis.valid_from and basis.valid_from > work.now:
        return []
    query = select(basis_record).where(
        basis_record.c.person_id == basis.person_id, basis_record.c.kind == "consent",
        basis_record.c.regime == basis.regime, basis_record.c.purpose == basis.purpose,
        basis_record.c.id != identifier,
    )  # fmt: skip
    if recorded_before:
        query = query.where(basis_record.c.created_at < recorded_before)
    changes = []
    for row in work.connection.execute(query.with_for_update()).all():
        earlier = _basis(row)
        if set(earlier.recipients) & set(basis.recipients) and _state(work, row) in ended:
            changes.append(_event(work, row.id, earlier, "superseded", actor="gateway", link=identifier))
    return changes


def _event(
    work: UnitOfWork,
    identifier: str,
    basis: Basis,
    name: str,
    *,
    actor: str = "self",
    occurred_at: str | None = None,
    reason_hash: str = "",
    link: str = "",
    notifications: tuple[str, ...] = (),
) -> Change:
    occurred = clock.told(occurred_at) if occurred_at else work.now
    if occurred > work.now:
        raise Invalid("occurred-later", "An event cannot have happened after it is recorded.")
    work.connection.execute(
        insert(basis_event).values(
            id=clock.new_id(), record_id=identifier, name=name, occurred_at=occurred, recorded_at=work.now, actor=actor,
            reason_hash=reason_hash, reference=link,
        )
    )  # fmt: skip
    work.scratch.pop("basis", None)
    work.scratch["basis.written"] = True
    event = JOURNAL.get(name) or ("right.limit" if basis.kind == "limitation" else "basis.protect")
    reference = {"consent_ref": identifier} if basis.kind == "consent" else {"object_ref": identifier}
    journal.append(
        work, event, subject=basis.subject_ref, purpose=basis.purpose or None, regime=basis.regime or None,
        article=list(basis.article), basis=basis.legal_basis,
        notice_ref=f"{basis.notice_id}:{basis.notice_version}" if basis.notice_id else None,
        n_records=len(notifications), outcome=name, reason_h=reason_hash, **reference,
    )  # fmt: skip
    assert name in LIFE[basis.kind][0], "an event of this kind of record"
    return Change(identifier, basis.kind, event, "given" if name == "reconfirmed" else name, basis, notifications)


# --- reading --------------------------------------------------------------------------------------------------------


def read(work: UnitOfWork, identifier: str) -> dict[str, Any]:
    """The evidence of one record: itself, its events, its state and what recipients answered. Raises `Unknown`."""
    row = work.connection.execute(select(basis_record).where(basis_record.c.id == identifier)).first()
    if row is None:
        raise Unknown("basis-unknown", "Check the id against the list of bases (`maillon basis list`).")
    return _told(work, row)


def list_(work: UnitOfWork, person_id: str) -> list[dict[str, Any]]:
    """A person's records, oldest first: what she sees of them."""
    query = select(basis_record).where(basis_record.c.person_id == person_id).order_by(basis_record.c.id)
    return [_told(work, row) for row in work.connection.execute(query).all()]


def _told(work: UnitOfWork, row: Row[Any]) -> dict[str, Any]:
    names = ("name", "occurred_at", "recorded_at", "actor", "reason_hash", "reference")
    query = select(basis_event).where(basis_event.c.record_id == row.id)
    events = [{name: getattr(one, name) for name in names} for one in work.connection.execute(query)]
    answers = [
        {"recipient": one.recipient, "action": one.action, "state": one.state, "answer": one.answer}
        for one in of_record(work, row.id)
    ]
    state = fold(row.kind, [(one["name"], one["recorded_at"]) for one in events])
    if state == "given" and row.valid_until and row.valid_until <= work.now:
        state = "expired"
    said = json.loads(row.content) | {"created_at": row.created_at, "valid_from": row.valid_from}
    events.sort(key=lambda one: (one["recorded_at"], LIFE[row.kind][0].index(one["name"])))
    return {"record": said, "events": events, "state": state, "notifications": answers}


__all__ = [
    "Basis", "BasisStates", "Change", "FlowStates", "close", "expire_due", "informed_collectively", "invalidate",
    "list_", "object_", "propagate", "publish_notice", "read", "reconfirm", "record", "representative_notified",
    "resolve_objection", "states", "withdraw",
]  # fmt: skip
