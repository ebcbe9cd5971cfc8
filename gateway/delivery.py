"""The other half of the main path: one delivery from queued to acknowledged.

claim → decide again (a basis may have been withdrawn while it waited) → write the recipient's document from the
permitted facts only → send → settle. The claim, the decision and its journal entry commit together before anything is
sent; the settlement and its journal entry commit together after. A crash between the two leaves a claim whose lease
ends: another worker decides anew and sends again under the same idempotency key, so the recipient keeps one effect.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from pydantic_core import to_json
from sqlalchemy import select, update

from connectors.contract import Acknowledgement, Outgoing
from connectors.manifest import Document
from gateway import clock, inbox, journal, outbox
from gateway.categories import Withheld
from gateway.convention import Flow
from gateway.decide import identifiers_for
from gateway.outbox import Claim
from gateway.policy import Decision
from gateway.prefill import permitted
from gateway.registry import Gateway
from gateway.storage.tables.delivery import held_by_recipient, recipient_state
from gateway.unit_of_work import UnitOfWork
from schemas.record import Written

log = structlog.get_logger(__name__)

BATCH = 32
"""Deliveries claimed, and settled, in one transaction."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery that may leave: what to send, and what was decided."""

    claim: Claim
    flow: Flow
    decision: Decision
    document: Document
    outgoing: Outgoing
    digest: bytes
    withheld: list[Withheld]


class Worker:
    """Carries out deliveries until stopped. Any number of them share the outbox."""

    def __init__(
        self,
        gateway: Gateway,
        recipients: Sequence[str] = (),
        *,
        on_settled: Callable[[Claim, str], None] | None = None,
    ) -> None:
        self._gateway = gateway
        self._only = frozenset(recipients)
        self._on_settled = on_settled
        self.stopping = asyncio.Event()
        self.wake = asyncio.Event()

    async def run(self, pause: float = 0.5) -> None:
        """Work until `stopping` is set; in-flight deliveries are finished first."""
        while not self.stopping.is_set():
            if await self.round():
                continue
            self.wake.clear()
            waits = [asyncio.create_task(self.wake.wait()), asyncio.create_task(self.stopping.wait())]
            await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()

    async def drain(self, limit: int = 10_000) -> int:
        """Work until nothing is due; returns how many deliveries were settled."""
        total = 0
        while total < limit and (done := await self.round()):
            total += done
        return total

    async def round(self) -> int:
        """One batch for each recipient that has work; recipients never wait for one another."""
        with self._gateway.unit_of_work() as work:
            due = outbox.recipients_with_work(work)
        due = [one for one in due if not self._only or one in self._only]
        return sum(await asyncio.gather(*(self._serve(recipient) for recipient in due)))

    async def _serve(self, recipient: str) -> int:
        prepared, settled = await asyncio.to_thread(self._prepare, recipient)
        if prepared:
            answers = await asyncio.gather(*(self._send(one) for one in prepared))
            await asyncio.to_thread(self._settle, recipient, list(zip(prepared, answers, strict=True)))
        return settled + len(prepared)

    # --- decide and write -------------------------------------------------------------------------------------------

    def _prepare(self, recipient: str) -> tuple[list[Prepared], int]:
        """Claim a batch and decide each again. What may not leave, or needs no network, is settled here."""
        gateway, ready, settled = self._gateway, [], 0
        with gateway.unit_of_work() as work:
            for claimed in outbox.claim(work, recipient, BATCH, gateway.settings.lease):
                prepared = prepare(work, gateway, claimed)
                if prepared is None:
                    settled += 1
                elif gateway.by_mailbox(recipient, claimed.document):
                    inbox.put(work, gateway, prepared.outgoing, claimed, prepared.document)
                    conclude(work, gateway, prepared, Acknowledgement("delivered", "mailbox"))
                    settled += 1
                else:
                    ready.append(prepared)
        return ready, settled

    async def _send(self, prepared: Prepared) -> Acknowledgement:
        recipient = prepared.claim.recipient
        try:
            return await self._gateway.connector(recipient).send(prepared.outgoing, self._gateway.transport(recipient))
        except Exception as error:
            # A connector's defect must cost one delivery a retry, never the worker.
            log.error(
                "delivery.connector_failed", delivery=prepared.claim.id, recipient=recipient, kind=type(error).__name__
            )
            return Acknowledgement("retry", "connector-failed")

    def _settle(self, recipient: str, answered: list[tuple[Prepared, Acknowledgement]]) -> None:
        with self._gateway.unit_of_work() as work:
            for prepared, answer in answered:
                conclude(work, self._gateway, prepared, answer)
            _note_health(work, recipient, [answer for _, answer in answered])


def prepare(work: UnitOfWork, gateway: Gateway, claimed: Claim) -> Prepared | None:
    """Decide again and write the recipient's document; None when the delivery ends here (withheld, unchanged…)."""
    flow = gateway.flow(work, claimed.flow)
    if flow is None:
        _orphan(work, gateway, claimed)
        return None
    current = gateway.dossiers.current(work, claimed.person_id)
    facts, withheld, decision = permitted(work, gateway, claimed.person_id, flow, current)
    if not decision.permits:
        _withhold(work, gateway, claimed, flow, decision)
        return None
    document = gateway.document(claimed.recipient, claimed.document)
    written = gateway.write(claimed.recipient, claimed.document, facts, item=claimed.item, delivery=claimed.id)
    digest = bytes.fromhex(gateway.keys.keyed_digest(_bytes(written)))
    held = _held(work, claimed)
    prepared = Prepared(
        claimed,
        flow,
        decision,
        document,
        Outgoing(
            delivery=claimed.id,
            document=claimed.document,
            written=written,
            current=facts,
            identifiers=identifiers_for(work, gateway, claimed.person_id, flow, current),
            reference=gateway.keys.pseudonym(claimed.recipient, claimed.person_id),
            remote_id=_remote_id(work, gateway, claimed, held),
        ),
        digest,
        withheld,
    )
    if held is not None and held.digest == digest:
        conclude(work, gateway, prepared, Acknowledgement("duplicate", "already-held"))
        return None
    journal.append(work, "exchange.deliver", **_told(gateway, prepared), outcome="sending", payload_h=digest.hex())
    return prepared


def conclude(work: UnitOfWork, gateway: Gateway, prepared: Prepared, answer: Acknowledgement) -> None:
    """Write down what the recipient answered: state of the delivery, what it now holds, journal entry."""
    claimed = prepared.claim
    sent = ",".join(sorted(prepared.decision.sent))
    if answer.outcome == "retry":
        kept = outbox.put_back(work, claimed, answer.code, answer.retry_after)
        state = "retry"
    else:
        state = {"delivered": "delivered", "duplicate": "delivered", "refused": "dead", "waiting": "waiting"}[
            answer.outcome
        ]
        kept = outbox.settle(
            work,
            claimed,
            state,
            reason=answer.code,
            article="; ".join(prepared.decision.articles),
            categories=sent,
            withheld=json.dumps([[one.code, one.rule, one.article, one.count] for one in prepared.withheld]),
        )
    if not kept:
        return  # the lease had passed to another worker: its settlement is the one that counts
    if state == "delivered":
        _remember(work, gateway, prepared, answer, sent)
        if answer.facts:
            _take_back(work, gateway, claimed, answer.facts)
    journal.append(
        work, "exchange.ack", **_told(gateway, prepared), outcome=answer.outcome, reason_code=answer.code,
        payload_h=prepared.digest.hex(),
    )  # fmt: skip


def _orphan(work: UnitOfWork, gateway: Gateway, claimed: Claim) -> None:
    """No convention declares this flow any more: it ends as any flow without a convention does."""
    rule = gateway.policy.table.rule("D01")
    outbox.settle(work, claimed, "withheld", reason=rule.reason, article="; ".join(rule.articles))
    journal.append(
        work,
        "exchange.deny",
        exchange_id=claimed.exchange_id,
        sender_org=claimed.sender,
        recipient_org=claimed.recipient,
        subject=gateway.keys.pseudonym(claimed.recipient, claimed.person_id),
        article=list(rule.articles),
        decision="deny",
        rule_ids=[rule.id],
        policy_h=gateway.policy.version,
        reason_code=rule.reason,
        outcome="withheld",
    )


def _withhold(work: UnitOfWork, gateway: Gateway, claimed: Claim, flow: Flow, decision: Decision) -> None:
    """The law stops it now: an ordinary end, with its article, visible to the sender."""
    outbox.settle(
        work,
        claimed,
        "withheld",
        reason=decision.reason,
        article="; ".join(decision.articles),
        withheld=json.dumps([[code, rule, "", 0] for code, rule in decision.redacted.items()]),
    )
    journal.append(
        work,
        "exchange.deny",
        exchange_id=claimed.exchange_id,
        sender_org=claimed.sender,
        recipient_org=claimed.recipient,
        subject=gateway.keys.pseudonym(claimed.recipient, claimed.person_id),
        purpose=flow.purpose,
        regime=flow.regime,
        article=list(decision.articles),
        decision="deny",
        rule_ids=list(decision.rule_ids),
        policy_h=decision.policy_version,
        categories_redacted=sorted(decision.redacted),
        reason_code=decision.reason,
        outcome="withheld",
    )


def _told(gateway: Gateway, prepared: Prepared) -> dict[str, Any]:
    claimed, flow, decision = prepared.claim, prepared.flow, prepared.decision
    return {
        "exchange_id": claimed.exchange_id,
        "sender_org": claimed.sender,
        "recipient_org": claimed.recipient,
        "subject": gateway.keys.pseudonym(claimed.recipient, claimed.person_id),
        "purpose": flow.purpose,
        "regime": flow.regime,
        "article": list(decision.articles),
        "decision": "permit",
        "rule_ids": list(decision.rule_ids),
        "policy_h": decision.policy_version,
        "categories_sent": sorted(decision.sent),
        "categories_redacted": sorted({one.code for one in prepared.withheld if one.code.startswith("C")}),
    }


def _bytes(written: Written) -> bytes:
    return written.document if isinstance(written.document, bytes) else to_json(written.document)


# --- what the recipient holds -------------------------------------------------------------------------------------


def _place(claimed: Claim) -> tuple[Any, ...]:
    table = held_by_recipient.c
    return (
        table.recipient == claimed.recipient,
        table.person_id == claimed.person_id,
        table.document == claimed.document,
        table.item == claimed.item,
    )


def _held(work: UnitOfWork, claimed: Claim) -> Any:
    return work.connection.execute(select(held_by_recipient).where(*_place(claimed))).first()


def _remote_id(work: UnitOfWork, gateway: Gateway, claimed: Claim, held: Any) -> str | None:
    if held is None or held.remote_id is None:
        return None
    return str(gateway.vault.open(work, claimed.person_id, held.remote_id))


def _remember(work: UnitOfWork, gateway: Gateway, prepared: Prepared, answer: Acknowledgement, sent: str) -> None:
    claimed = prepared.claim
    values: dict[str, Any] = {"digest": prepared.digest, "categories": sent, "delivered_at": work.now}
    if answer.remote_id is not None:
        values["remote_id"] = gateway.vault.seal(work, claimed.person_id, answer.remote_id)
    changed = work.connection.execute(update(held_by_recipient).where(*_place(claimed)).values(**values))
    if changed.rowcount == 0:
        work.add(
            held_by_recipient,
            recipient=claimed.recipient,
            person_id=claimed.person_id,
            document=claimed.document,
            item=claimed.item,
            **({"remote_id": None} | values),
        )


def _take_back(work: UnitOfWork, gateway: Gateway, claimed: Claim, facts: Any) -> None:
    """Facts the recipient gave with its answer (an id it assigned): asserted in its own name."""
    key = f"{claimed.document}\x00{claimed.item}"
    place = (
        claimed.recipient,
        claimed.document,
        gateway.dossiers.record_index(claimed.recipient, claimed.document, f"{claimed.person_id}{key}"),
    )
    gateway.dossiers.put(
        work, claimed.person_id, place, dict(facts), asserted_at=work.now, exchange_id=claimed.exchange_id, partial=True
    )


def _note_health(work: UnitOfWork, recipient: str, answers: list[Acknowledgement]) -> None:
    """Leave a recipient alone when it asks for it, and longer each time it fails wholly."""
    asked = max((answer.retry_after or 0.0 for answer in answers), default=0.0)
    failed = bool(answers) and all(answer.outcome == "retry" for answer in answers)
    row = work.connection.execute(select(recipient_state).where(recipient_state.c.recipient == recipient)).first()
    failures = (row.failures if row else 0) + 1 if failed else 0
    pause = max(asked, min(300.0, 2.0 ** min(failures, 8)) if failures > 2 else 0.0)
    values = {
        "failures": failures,
        "retry_at": clock.instant(clock.now() + timedelta(seconds=pause)) if pause else None,
    }
    if row is None:
        work.add(recipient_state, recipient=recipient, paused=0, **values)
    elif failures or row.failures or row.retry_at:
        work.connection.execute(
            update(recipient_state).where(recipient_state.c.recipient == recipient).values(**values)
        )
