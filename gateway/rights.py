"""Requests of persons about their data, and their deadlines (GDPR 12): one month, two more when it is complex.

The month starts when the request is received and ends with the same day of the next month, or its last day, in Paris
(Regulation 1182/71, article 3; the shift past week-ends is left to the controller as a margin). It stops only while the
person's identity is checked. Two more months need her to be told within the first. A refusal cites its article.

| right | carried out by |
|---|---|
| access, portability | `person_export.py` |
| rectification | `rectification.py` |
| erasure | `erasure.py` |
| limitation, objection, withdrawal | `basis.py`, told to past recipients |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import Row, insert, select, update

from gateway import basis, clock, journal, notification
from gateway.clock import local
from gateway.past import past_recipients
from gateway.person_history import HERSELF, head_of, people_of
from gateway.problems import Conflict, Invalid, Misnamed, Unknown
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.record import person
from gateway.storage.tables.rights import rights_request as table
from gateway.unit_of_work import UnitOfWork
from schemas.normalisation import PARIS

ARTICLES = {
    "access": "RGPD 15", "rectification": "RGPD 16", "erasure": "RGPD 17", "limitation": "RGPD 18",
    "objection": "RGPD 21", "portability": "RGPD 20", "withdrawal": "RGPD 7(3)",
}  # fmt: skip
REMEDIES = "réclamation auprès de la CNIL (RGPD 77), recours devant le tribunal (RGPD 79)"
MONTHS, MORE = 1, 2
WAITING = ("open", "identity")
CARRIED_OUT = "carried-out"


@dataclass(frozen=True, slots=True)
class Demand:
    """One request, as it stands at a moment."""

    id: str
    person_id: str
    right: str
    body: str
    state: str
    """`open`, `identity` (her identity is being checked), `done` or `refused`."""
    received_at: str
    due_at: str
    extended_at: str
    answered_at: str
    reason: str
    article: str
    late: bool

    def line(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def later(moment: str, months: int) -> str:
    """The end, in Paris, of the same day some months later, or of the last day of a shorter month."""
    return clock.instant(datetime.combine(clock.same_day(local(moment).date(), months), time.max, PARIS))


def receive(
    work: UnitOfWork,
    gateway: Gateway,
    person_id: str,
    right: str,
    *,
    body: str = HERSELF,
    received_at: str = "",
    identifier: str = "",
) -> Demand:
    """Write a request down. `received_at` may be earlier than now: a letter counts from its arrival.

    `identifier` names it beforehand (a UUID): the same request of the same person, given again, is the one known.
    """
    if right not in ARTICLES:
        raise Misnamed("right-unknown", f"Rights: {', '.join(ARTICLES)}.")
    head = head_of(work, person_id)
    received = _instant(received_at) if received_at else work.now
    if received > work.now:
        raise Invalid("received-later", "A request cannot have been received after now.")
    identifier = identifier or clock.new_id()
    known = work.connection.execute(select(table.c.person_id, table.c.name).where(table.c.id == identifier)).first()
    if known is not None:
        if (known.person_id, known.name) != (head, right):
            raise Conflict("request-state", "This identifier names another request.")
        return get(work, identifier)
    work.connection.execute(
        insert(table).values(
            id=identifier, person_id=head, name=right, body=body, state="open", received_at=received,
            due_at=later(received, MONTHS),
        )
    )  # fmt: skip
    _log(work, gateway, head, identifier, "right.request", right, outcome="received")
    return get(work, identifier)


def check_identity(work: UnitOfWork, gateway: Gateway, identifier: str) -> Demand:
    """Her identity is in doubt and she was asked about it: the month stops (GDPR 12(6))."""
    row = _row(work, identifier, ("open",))
    _set(work, identifier, state="identity", paused_at=work.now)
    _log(work, gateway, row.person_id, identifier, "right.request", row.name, outcome="identity-asked")
    return get(work, identifier)


def identity_confirmed(work: UnitOfWork, gateway: Gateway, identifier: str) -> Demand:
    """The month goes on where it stopped."""
    row = _row(work, identifier, ("identity",))
    paused = datetime.fromisoformat(work.now) - datetime.fromisoformat(row.paused_at)
    _set(work, identifier, state="open", paused_at=None, due_at=clock.after(row.due_at, paused))
    _log(work, gateway, row.person_id, identifier, "right.request", row.name, outcome="identity-confirmed")
    return get(work, identifier)


def extend(work: UnitOfWork, gateway: Gateway, identifier: str, *, reason: str) -> Demand:
    """Two more months: complex, or many requests; the person is told why within the first month (GDPR 12(3))."""
    row = _row(work, identifier, WAITING)
    if row.extended_at or work.now > row.due_at:
        raise Conflict("extension-refused", "A request is extended once, and before its first deadline.")
    if reason not in ("complex", "many-requests"):
        raise Misnamed("extension-reason", "Reasons: complex, many-requests.")
    _set(work, identifier, extended_at=work.now, reason=reason, due_at=later(row.due_at, MORE))
    _log(work, gateway, row.person_id, identifier, "right.request", row.name, outcome="extended", reason_code=reason)
    return get(work, identifier)


def carried_out(work: UnitOfWork, gateway: Gateway, identifier: str) -> None:
    """Something of what she asked was done, for this request: it can be refused no more."""
    row = _row(work, identifier, ("open",))
    _log(work, gateway, row.person_id, identifier, "right.request", row.name, outcome=CARRIED_OUT)


def was_carried_out(work: UnitOfWork, gateway: Gateway, demand: Demand) -> bool:
    """Was it done, were it in part? It can be refused no more."""
    if nothing_left(work, demand):
        return True
    subject = gateway.keys.pseudonym(HERSELF, demand.person_id)
    steps = (one.fields for one in journal.about(work.connection, [subject], ["right.request"]))
    return any((step.get("object_ref"), step.get("outcome")) == (demand.id, CARRIED_OUT) for step in steps)


def nothing_left(work: UnitOfWork, demand: Demand) -> bool:
    """Was she erased, or is there no consent left after a withdrawal? Then there is only to answer."""
    people = people_of(work, head_of(work, demand.person_id))
    if demand.right == "erasure":
        return work.connection.scalar(select(person.c.erased_at).where(person.c.id == people[0])) is not None
    if demand.right != "withdrawal":
        return False
    consents = [each for one in people for each in basis.list_(work, one) if each["record"]["kind"] == "consent"]
    withdrawn = any(
        event["name"] == "withdrawn" and event["recorded_at"] >= demand.received_at
        for each in consents
        for event in each["events"]
    )
    return withdrawn and not any(each["state"] == "given" for each in consents)


def done(work: UnitOfWork, gateway: Gateway, identifier: str) -> Demand:
    """The request was carried out and the person told."""
    row = _row(work, identifier, WAITING)
    _set(work, identifier, state="done", answered_at=work.now, paused_at=None)
    _log(work, gateway, row.person_id, identifier, "right.answer", row.name, outcome="done")
    return get(work, identifier)


def refuse(
    work: UnitOfWork, gateway: Gateway, identifier: str, *, reason: str, article: str, reason_hash: str = ""
) -> Demand:
    """Refused, with its article and the digest of the written reason, which names the remedies. Raises `Conflict`
    (`request-state`) for what was carried out."""
    row = _row(work, identifier, WAITING)
    if was_carried_out(work, gateway, _of(row, work.now)):
        raise Conflict("request-state", "It was carried out: answer that it is done.")
    if not reason or not article or journal.FIELDS["article"](article) is None:
        raise Invalid("reason-needed", "A refusal says why and cites its article (GDPR 12(4)).")
    _set(work, identifier, state="refused", answered_at=work.now, paused_at=None, reason=reason, article=article,
         reason_hash=reason_hash or None)  # fmt: skip
    _log(
        work, gateway, row.person_id, identifier, "right.answer", row.name, outcome="refused", reason_code=reason,
        article=[ARTICLES[row.name], article], reason_h=reason_hash,
    )  # fmt: skip
    return get(work, identifier)


def get(work: UnitOfWork, identifier: str) -> Demand:
    return _of(_row(work, identifier), work.now)


def demands(
    work: UnitOfWork, *, person_id: str = "", waiting: bool = False, after: str = "", limit: int = 200
) -> list[Demand]:
    """Requests by their order of arrival here; `waiting` keeps those not answered."""
    query = select(table).where(table.c.id > after).order_by(table.c.id).limit(limit)
    if person_id:
        query = query.where(table.c.person_id == person_id)
    if waiting:
        query = query.where(table.c.state.in_(WAITING))
    return [_of(row, work.now) for row in work.connection.execute(query)]


# --- withdrawal, limitation and objection -----------------------------------------------------------------------------


def withdraw(work: UnitOfWork, gateway: Gateway, identifier: str) -> basis.Change:
    """She withdraws a consent (GDPR 7(3)); past recipients are told. Raises as `basis.withdraw`."""
    return _ended(work, gateway, identifier, basis.withdraw, "stop")


def invalidate(work: UnitOfWork, gateway: Gateway, identifier: str, *, reason_hash: str) -> basis.Change:
    """A DPO or a judge finds that a consent was never valid (GDPR 4(11), 7): past recipients are told to erase.
    `reason_hash`: digest of the written finding. Raises as `basis.withdraw`."""
    return _ended(work, gateway, identifier, partial(basis.invalidate, reason_hash=reason_hash), "erase")


def _ended(
    work: UnitOfWork, gateway: Gateway, identifier: str, end: Callable[..., basis.Change], action: str
) -> basis.Change:
    """A consent of hers is ended so, and whoever holds something of her told what to do."""
    row = _record(work, identifier)
    held = _held(work, gateway, row.person_id, row.purpose)
    change = end(
        work, identifier, past_recipients=held.pop(row.person_id), reference=gateway.keys.pseudonyms_of(row.person_id)
    )
    return _told_elsewhere(work, gateway, change, held, action)


def record(work: UnitOfWork, gateway: Gateway, content: Mapping[str, Any], *, decision: str = "") -> basis.Change:
    """Make a record, as `basis.record`; of a limitation, past recipients are told to limit (GDPR 18, 19)."""
    change = basis.record(work, content, decision=decision)
    if change.kind != "limitation":
        return change
    told = _tell(work, gateway, change.basis.person_id, change.id, "right.limit", "limit", change.basis.purpose)
    return replace(change, notifications=told)


def limit(work: UnitOfWork, gateway: Gateway, content: Mapping[str, Any]) -> basis.Change:
    """Set a limitation (GDPR 18): every flow it covers is refused from now on."""
    change = record(work, gateway, content)
    if change.kind != "limitation":
        raise Invalid("basis-invalid", "This is not a limitation.")
    return change


def lift(work: UnitOfWork, gateway: Gateway, identifier: str, *, reason_hash: str = "") -> basis.Change:
    """End a limitation; past recipients are told that they may use the data again. `reason_hash`: digest of the letter
    that informed her before (GDPR 18(3))."""
    change = basis.close(work, identifier, reason_hash=reason_hash)
    if change.kind == "limitation":
        told = _tell(work, gateway, change.basis.person_id, change.id, "right.unlimit", "resume", change.basis.purpose)
        return replace(change, notifications=told)
    return change


def resolve(
    work: UnitOfWork, gateway: Gateway, identifier: str, *, upheld: bool, reason_hash: str = ""
) -> basis.Change:
    """Answer an objection; upheld, past recipients are told to limit."""
    row = _record(work, identifier)
    held = _held(work, gateway, row.person_id, row.purpose) if upheld else {}
    change = basis.resolve_objection(
        work, identifier, upheld=upheld, reason_hash=reason_hash, past_recipients=held.pop(row.person_id, ()),
        reference=gateway.keys.pseudonyms_of(row.person_id),
    )  # fmt: skip
    return _told_elsewhere(work, gateway, change, held, "limit")


def _record(work: UnitOfWork, identifier: str) -> Row[Any]:
    row = work.connection.execute(select(basis_record).where(basis_record.c.id == identifier)).first()
    if row is None:
        raise Unknown("basis-unknown", "Check the id against `maillon basis list`.")
    return row


def _held(work: UnitOfWork, gateway: Gateway, person_id: str, purpose: str) -> dict[str, list[str]]:
    """She and each of those found to be her → the bodies that hold something of her under that name."""
    people = people_of(work, head_of(work, person_id))
    return {one: past_recipients(work, gateway, one, purpose) for one in people}


def _told_elsewhere(
    work: UnitOfWork, gateway: Gateway, change: basis.Change, held: Mapping[str, list[str]], action: str
) -> basis.Change:
    """Tell also those who know her under another name than the one it was recorded under."""
    told = [
        notification.propagate(
            work, change.id, change.basis, bodies, reference=gateway.keys.pseudonyms_of(one), action=action
        )
        for one, bodies in held.items()
    ]
    return replace(change, notifications=(*change.notifications, *chain.from_iterable(told)))


def _tell(
    work: UnitOfWork, gateway: Gateway, person_id: str, record_id: str, event: str, action: str, purpose: str
) -> tuple[str, ...]:
    told = [
        notification.tell(
            work, record_id, event, bodies, action=action, purpose=purpose, reference=gateway.keys.pseudonyms_of(one)
        )
        for one, bodies in _held(work, gateway, person_id, purpose).items()
    ]
    return tuple(chain.from_iterable(told))


# --- small things -----------------------------------------------------------------------------------------------------


def _log(
    work: UnitOfWork, gateway: Gateway, person_id: str, identifier: str, event: str, right: str, **fields: Any
) -> None:
    article = fields.pop("article", [ARTICLES[right]])
    journal.append(
        work, event, subject=gateway.keys.pseudonym(HERSELF, person_id), purpose="droits_personne", article=article,
        object_ref=identifier, **fields,
    )  # fmt: skip


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        return clock.instant(moment.replace(tzinfo=PARIS) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else moment)
    except ValueError:
        raise Misnamed("bad-instant", "Give a day (AAAA-MM-JJ), or an RFC 3339 instant with its time zone.") from None


def _row(work: UnitOfWork, identifier: str, states: tuple[str, ...] = ()) -> Row[Any]:
    row = work.connection.execute(select(table).where(table.c.id == identifier).with_for_update()).first()
    if row is None:
        raise Unknown("request-unknown", "List the requests with `maillon person requests`.")
    if states and row.state not in states:
        raise Conflict("request-state", f"This request is {row.state}.")
    return row


def _set(work: UnitOfWork, identifier: str, **values: Any) -> None:
    work.connection.execute(update(table).where(table.c.id == identifier).values(**values))


def _of(row: Row[Any], now: str) -> Demand:
    end = row.answered_at or row.paused_at or now
    return Demand(
        row.id, row.person_id, row.name, row.body, row.state, row.received_at, row.due_at, row.extended_at or "",
        row.answered_at or "", row.reason or "", row.article or "", late=end > row.due_at,
    )  # fmt: skip
