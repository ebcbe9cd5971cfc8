"""A letter on its way out of its mailbox is decided once more.

It was written when the law let it leave; a limitation, a withdrawal or the end of a convention may have come while it
waited to be fetched.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select, update

from gateway import inbox
from gateway.convention_model import Flow
from gateway.decide import answer
from gateway.delivery import deny, ended, kept_back
from gateway.policy import Decision, Question
from gateway.problems import Forbidden, Problem
from gateway.registry import Gateway
from gateway.storage.tables.delivery import held_by_recipient, mailbox
from gateway.storage.tables.delivery import outbox as outbox_table
from gateway.unit_of_work import UnitOfWork


def hand_over(work: UnitOfWork, gateway: Gateway, row: Any) -> bytes | Problem:
    """The content of a letter (`inbox.find`).

    One that may no longer be given is refused (`letter-withheld`); if nobody read it yet, it leaves the mailbox and
    ends as any delivery that is withheld. The refusal is given back, not raised: what it settled is to be committed.
    """
    if row.document != inbox.NOTICE:
        sent = work.connection.execute(select(outbox_table).where(outbox_table.c.id == row.delivery_id)).one()
        flow, asked, decision = _decided_now(work, gateway, sent)
        gone = (set((sent.categories or "").split(",")) & asked.categories) - decision.sent
        if gone or not decision.permits:
            reason = "nothing-left" if decision.permits else decision.reason
            if row.fetched_at is None:
                _take_out(work, row, sent, decision, reason)
            deny(work, gateway, sent, flow, asked, decision, reason)
            return Forbidden(
                "letter-withheld", "This document may no longer be given; nothing is to be done.", reason=reason,
                article="; ".join(decision.articles),
            )  # fmt: skip
    return inbox.fetch(work, gateway, row)


def _decided_now(work: UnitOfWork, gateway: Gateway, sent: Any) -> tuple[Flow, Question, Decision]:
    """What the law says today of a delivery that was made (a row of `outbox`)."""
    flow = gateway.flow(work, sent.flow)
    if flow is None or not gateway.speaks(sent.recipient, sent.document):
        flow, asked = ended(work, gateway, sent)
        return flow, asked, gateway.policy.decide(asked)
    current = gateway.dossiers.current(work, sent.person_id)
    return flow, *answer(work, gateway, sent.person_id, flow, current)


def _take_out(work: UnitOfWork, letter: Any, sent: Any, decision: Decision, reason: str) -> None:
    """A letter that nobody read leaves its mailbox: its recipient holds nothing, the delivery was withheld."""
    work.connection.execute(delete(mailbox).where(mailbox.c.id == letter.id))
    work.connection.execute(
        delete(held_by_recipient).where(
            held_by_recipient.c.recipient == sent.recipient,
            held_by_recipient.c.person_id == sent.person_id,
            held_by_recipient.c.document == sent.document,
            held_by_recipient.c.item == sent.item,
        )
    )
    ending = {
        "state": "withheld", "reason": reason, "article": "; ".join(decision.articles), "categories": None,
        "withheld": kept_back(decision), "settled_at": work.now,
    }  # fmt: skip
    work.connection.execute(update(outbox_table).where(outbox_table.c.id == sent.id).values(ending))
