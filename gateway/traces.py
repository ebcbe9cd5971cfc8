"""What the database tells of past exchanges beside the journal, and for how long: no longer than the journal does.

A delivery that ended is a trace of the regime of its flow (`traces` in the decision table); what came in, what a body
answered to a notice, and what a human settled (a task, a doubt of identity) are traces of the journal's default class.
Kept for longer, as it still serves:

| row | as long as |
|---|---|
| the last delivery of each document to each body | she is known: its recipient holds it, and is told of her rights |
| a delivery that waits for somebody, or whose letter is in its mailbox | that lasts |
| an exchange | anything that came with it, or was promised of it, is here; a file, a change of code lists: always |
| a notice | its basis record is here, or its recipient has not answered |
| a doubt that made two persons one | she is known: it is what undoes the merge |
| a file that was read | always: read again, it must change nothing; it names nobody |

An idempotency key lasts as long as its exchange: a year at least.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, exists, or_

from gateway import clock, convention
from gateway.code_lists import CHANGE
from gateway.journal import DEFAULT_LOG, RETENTION_MONTHS
from gateway.policy_obligations import hours
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_notification, basis_record
from gateway.storage.tables.delivery import mailbox, outbox
from gateway.storage.tables.record import assertion_set, batch, exchange, identity_case, quarantine, task
from gateway.unit_of_work import UnitOfWork

ABOUT = {
    "deliveries": (outbox.c.person_id,),
    "tasks": (task.c.subject_id,),
    "identities": (identity_case.c.person_id, identity_case.c.candidate_id),
}
"""By kind, whom its rows are about: those of somebody on hold stay."""
_SAME = ("person_id", "recipient", "document", "item", "flow")
"""What two deliveries of one document share."""


def past(work: UnitOfWork, gateway: Gateway) -> dict[str, tuple[Table, ColumnElement[bool]]]:
    """By kind: the table, and which of its rows are past their retention."""
    default = _before(work, f"P{RETENTION_MONTHS[DEFAULT_LOG]}M")
    return {
        "deliveries": (outbox, _deliveries(_terms(work, gateway))),
        "exchanges": (exchange, _exchanges(default)),
        "notices": (basis_notification, _notices(default)),
        "tasks": (task, and_(task.c.state != "open", task.c.settled_at < default)),
        "identities": (identity_case, _identities(default)),
    }


def _before(work: UnitOfWork, length: str) -> str:
    return clock.after(work.now, -timedelta(hours=hours(length)))


def _terms(work: UnitOfWork, gateway: Gateway) -> dict[str, list[str]]:
    """Instant → flows whose traces end there; under "" when those of no regime are left, for flows nobody declares."""
    regimes, found = gateway.policy.table.regimes, dict[str, list[str]]()
    for flow in convention.declared(work):
        found.setdefault(_before(work, regimes[flow.regime].traces), []).append(flow.id)
    return found | {_before(work, max((one.traces for one in regimes.values()), key=hours)): []}


def _deliveries(terms: dict[str, list[str]]) -> ColumnElement[bool]:
    last = outbox.alias("last")

    def old(table: Any) -> ColumnElement[bool]:
        whose = ((table.c.flow.in_(flows), instant) for instant, flows in terms.items())
        return or_(*(and_(which, table.c.settled_at < instant) for which, instant in whose))

    same = (last.c[name] == outbox.c[name] for name in _SAME)
    followed = exists().where(*same, last.c.state == "delivered", last.c.id > outbox.c.id, old(last))
    letter = exists().where(mailbox.c.delivery_id == outbox.c.id)
    ended = or_(outbox.c.state == "withheld", and_(outbox.c.state == "delivered", followed))
    return and_(old(outbox), ended, ~letter)


def _exchanges(before: str) -> ColumnElement[bool]:
    served = (
        exists().where(one == exchange.c.id)
        for one in (assertion_set.c.exchange_id, outbox.c.exchange_id, quarantine.c.exchange_id, batch.c.id)
    )
    return and_(exchange.c.received_at < before, ~CHANGE, ~or_(*served))


def _notices(before: str) -> ColumnElement[bool]:
    about = exists().where(basis_record.c.id == basis_notification.c.record_id)
    return and_(basis_notification.c.answered_at < before, ~about)


def _identities(before: str) -> ColumnElement[bool]:
    return and_(identity_case.c.state.in_(("different", "reversed")), identity_case.c.decided_at < before)
