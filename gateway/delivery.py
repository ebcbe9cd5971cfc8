"""The other half of the main path: one delivery from queued to acknowledged.

claim → decide again (a basis may have been withdrawn while it waited) → write the recipient's document from the
permitted facts only → send → settle. The claim, the decision and its journal entry commit together before anything is
sent; the settlement and its journal entry commit together after. A crash between the two leaves a claim whose lease
ends: another worker decides anew and sends again under the same idempotency key, so the recipient keeps one effect.

`Worker` (gateway/worker.py) decides when; this file says what.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import structlog
from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from connectors.contract import Acknowledgement, Outgoing
from connectors.manifest import Document
from gateway import clock, convention, decision_record, deposit, inbox, journal, outbox, recipients, tasks
from gateway.basis_states import states
from gateway.categories import Withheld
from gateway.convention_model import Flow
from gateway.corrections import of_another
from gateway.decide import question
from gateway.found_by import identifiers_for
from gateway.outbox import Claim
from gateway.policy import Decision, Question
from gateway.prefill import permitted
from gateway.problems import Problem, kind, where
from gateway.registry import Gateway
from gateway.storage import upsert
from gateway.storage.tables.delivery import held_by_recipient
from gateway.unit_of_work import UnitOfWork
from schemas.record import Current

log = structlog.get_logger(__name__)

LEFT_ALONE = "circuit-open"
"""Why a delivery to a recipient that fails was not tried: it is no attempt of that delivery's."""
OF_ANOTHER = "of-another-person"
"""Why an object does not leave, and the task about what left: a human told apart from her whom it is about."""

Answered = Sequence[tuple["Prepared", Acknowledgement]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery that may leave: what to send, and what was decided."""

    claim: Claim
    decision: Decision
    document: Document
    outgoing: Outgoing
    digest: bytes
    withheld: list[Withheld]
    told: dict[str, Any]
    """What the journal keeps of it, before its outcome."""


def settle_all(work: UnitOfWork, gateway: Gateway, recipient: str, answered: Answered) -> list[str]:
    """Write down what one recipient answered; returns the state each delivery is left in ("" when its lease had
    passed to another worker, whose settlement is the one that counts)."""
    held = outbox.still_held(work, [prepared.claim for prepared, _ in answered])
    mine = [(prepared, answer) for prepared, answer in answered if prepared.claim in held]
    ailing = recipients.note_health(work, recipient, [(prepared.claim, answer) for prepared, answer in mine])
    left = {
        prepared.claim: conclude(work, gateway, prepared, answer, counted=not ailing and answer.code != LEFT_ALONE)
        for prepared, answer in mine
    }
    return [left.get(prepared.claim, "") for prepared, _ in answered]


def prepare_all(work: UnitOfWork, gateway: Gateway, claims: Sequence[Claim]) -> list[Prepared]:
    """Decide each claim again and write its document. What may not leave, or needs no network, is settled here."""
    ready = []
    held = _prefetch(work, gateway, claims)
    flows = {name: gateway.flow(work, name) for name in {claimed.flow for claimed in claims}}
    for claimed in claims:
        try:
            prepared = prepare(work, gateway, claimed, flows[claimed.flow], held.get(_key(claimed)))
        except (SQLAlchemyError, Problem):
            raise
        except Exception as error:  # a defect of one mapping or connector must cost one delivery, never the others
            log.error(
                "delivery.not_written",
                delivery=claimed.id,
                recipient=claimed.recipient,
                kind=kind(error),
                at=where(error),
            )
            outbox.put_back(work, claimed, "not-written")
            continue
        if prepared is None:
            continue
        if gateway.by_mailbox(claimed.recipient, claimed.document):
            inbox.put(work, gateway, prepared.outgoing, claimed, prepared.document)
            conclude(work, gateway, prepared, Acknowledgement("delivered", "mailbox"))
        else:
            ready.append(prepared)
    return ready


async def send(gateway: Gateway, prepared: Prepared) -> Acknowledgement:
    """One attempt. Never raises for what the connector does."""
    recipient = prepared.claim.recipient
    try:
        connector = gateway.connector(recipient)
        if place := gateway.drop(recipient):
            return await deposit.send(place, connector, prepared.outgoing, prepared.document)
        return await connector.send(prepared.outgoing, gateway.transport(recipient))
    except Exception as error:  # a connector's defect must cost one delivery a retry, never the worker
        log.error(
            "delivery.connector_failed",
            delivery=prepared.claim.id,
            recipient=recipient,
            kind=kind(error),
            at=where(error),
        )
        return Acknowledgement("retry", "connector-failed")


def prepare(work: UnitOfWork, gateway: Gateway, claimed: Claim, flow: Flow | None, held: Any) -> Prepared | None:
    """Decide again and write the recipient's document; None when the delivery ends here (withheld, unchanged…).

    `flow` is the claim's as it is today, if a convention still declares it; `held` what the recipient already has in
    its place, if anything (a row of `held_by_recipient`).
    """
    if flow is None or not gateway.speaks(claimed.recipient, claimed.document):
        _orphan(work, gateway, claimed)
        return None
    document = gateway.document(claimed.recipient, claimed.document)
    current = gateway.dossiers.current(work, claimed.person_id)
    attempt = _Attempt(work, gateway, claimed, flow, document, current, held)
    if of_another(work, gateway, claimed.person_id, document, claimed.item, current):
        return attempt.take_back()
    return attempt.write()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A claimed delivery on its way to being decided again."""

    work: UnitOfWork
    gateway: Gateway
    claimed: Claim
    flow: Flow
    document: Document
    current: Current
    held: Any

    def write(self) -> Prepared | None:
        """The recipient's document, from what the law lets through today."""
        work, gateway, claimed = self.work, self.gateway, self.claimed
        facts, withheld, asked, decision = permitted(work, gateway, claimed.person_id, self.flow, self.current)
        if not decision.permits:
            _withhold(work, gateway, claimed, self.flow, asked, decision, decision.reason)
            return None
        return self._prepared(asked, decision, self._outgoing(facts), withheld)

    def take_back(self) -> Prepared | None:
        """An object that is another's does not leave, and is taken back from whoever holds it under her name: as the
        recipient's format allows and the law still lets her be told of, else by a human, who is asked."""
        work, gateway, claimed, held = self.work, self.gateway, self.claimed, self.held
        codes = frozenset(held.categories.split(",")) if held is not None else None
        asked = question(work, gateway, claimed.person_id, self.flow, self.current, codes)
        decision = gateway.policy.decide(asked)
        can = self.document.withdrawn and not gateway.drop(claimed.recipient)
        if held is not None and can and decision.permits:
            return self._prepared(asked, decision, replace(self._outgoing({}), withdraw=True), [])
        if held is not None:
            ask_to_take_back(work, gateway, claimed)
        _withhold(work, gateway, claimed, self.flow, asked, decision, OF_ANOTHER)
        return None

    def _outgoing(self, facts: Current) -> Outgoing:
        work, gateway, claimed = self.work, self.gateway, self.claimed
        return Outgoing(
            delivery=claimed.id,
            document=claimed.document,
            written=gateway.write(claimed.recipient, claimed.document, facts, item=claimed.item, delivery=claimed.id),
            current=facts,
            identifiers=identifiers_for(work, gateway, claimed.person_id, self.flow, self.current),
            reference=gateway.keys.pseudonym(claimed.recipient, claimed.person_id),
            remote_id=_remote_id(work, gateway, claimed, self.held),
        )

    def _prepared(
        self, asked: Question, decision: Decision, outgoing: Outgoing, withheld: list[Withheld]
    ) -> Prepared | None:
        """What is to be sent, with its journal entry; None when its recipient holds the same already."""
        work, gateway, claimed = self.work, self.gateway, self.claimed
        digest = bytes.fromhex(gateway.keys.keyed_digest(deposit.content(outgoing.written, self.document)))
        decided = decision_record.told(work, self.flow, asked, decision)
        told = _told(decided, claimed, outgoing.reference, withheld, digest)
        prepared = Prepared(claimed, decision, self.document, outgoing, digest, withheld, told)
        if self.held is not None and self.held.digest == digest:
            conclude(work, gateway, prepared, Acknowledgement("duplicate", "already-held"))
            return None
        journal.append(work, "exchange.deliver", **prepared.told, outcome="sending")
        return prepared


def ask_to_take_back(work: UnitOfWork, gateway: Gateway, sent: Any) -> None:
    """A human tells the recipient of this delivery (a claim, or a row of `outbox`) that it holds what is another's."""
    record = gateway.dossiers.record_index(sent.recipient, sent.document, sent.item)
    tasks.open_once(
        work, OF_ANOTHER, sent.person_id, (sent.recipient, sent.document, record), sent.exchange_id, work.now
    )


def conclude(
    work: UnitOfWork, gateway: Gateway, prepared: Prepared, answer: Acknowledgement, *, counted: bool = True
) -> str:
    """Write down what the recipient answered: state of the delivery, what it now holds, journal entry.

    The caller made sure that the claim is still held. Returns the state the delivery is left in.
    """
    claimed = prepared.claim
    sent = ",".join(sorted(prepared.decision.sent))
    if answer.outcome == "retry":
        state = outbox.put_back(work, claimed, answer.code, answer.retry_after, counted=counted)
    else:
        state = _STATES[answer.outcome]
        outbox.settle(
            work,
            claimed,
            state,
            reason=answer.code,
            article="; ".join(prepared.decision.articles),
            categories=sent,
            withheld=json.dumps([[one.code, one.rule, one.article, one.count] for one in prepared.withheld]),
        )
    if state == "delivered":
        _remember(work, gateway, prepared, answer, sent)
        if answer.facts:
            _take_back(work, gateway, claimed, answer.facts)
    told = prepared.told | {"outcome": answer.outcome}
    if answer.code:
        told["reason_code"] = answer.code
    if answer.peer_idx is not None:
        told["peer_idx"] = answer.peer_idx
    journal.append(work, "exchange.ack", **told)
    return state


_STATES = {"delivered": "delivered", "duplicate": "delivered", "refused": "dead", "waiting": "waiting"}


def _orphan(work: UnitOfWork, gateway: Gateway, claimed: Claim) -> None:
    """It ends as any flow without a convention does."""
    flow, asked_of = ended(work, gateway, claimed)
    decision = gateway.policy.decide(asked_of)
    _withhold(work, gateway, claimed, flow, asked_of, decision, decision.reason)


def ended(work: UnitOfWork, gateway: Gateway, claimed: Any) -> tuple[Flow, Question]:
    """The question about a flow, or a document, that nothing declares any more: under the regime and the purpose it
    had, without a convention."""
    flow = convention.flow_as_it_was(work, claimed.flow) or _unknown_flow(claimed)
    flow = replace(flow, etat="suspendue")
    current = gateway.dossiers.current(work, claimed.person_id)
    try:
        return flow, question(work, gateway, claimed.person_id, flow, current)
    except Problem:  # one of the ends, or what the document writes, is no longer known here
        return flow, _nothing_known(gateway, flow)


def _unknown_flow(claimed: Any) -> Flow:
    return Flow(
        id=claimed.flow, convention="", de=claimed.sender, vers=claimed.recipient, document=claimed.document,
        purpose="inconnu", regime="inconnu", base_legale=(), role_de="", role_vers="", categories=None, codes=None,
        art9_gate="none", necessite="", information="individuelle", notice="", territoires=frozenset(),
        etat="suspendue",
    )  # fmt: skip


def _nothing_known(gateway: Gateway, flow: Flow) -> Question:
    """What is still known of a flow whose ends are not: no convention, no link, no category."""
    return Question(
        sender=flow.role_de or gateway.role(flow.de), recipient=flow.role_vers or gateway.role(flow.vers),
        regime=flow.regime, purpose=flow.purpose, categories=frozenset(), objection_state="none", limitation=False,
        household_link="self", age_status="adult", data_origin_regime="none", record_expired=False,
        rate_exceeded=False, clock_ok=clock.steady(),
    )  # fmt: skip


def _withhold(
    work: UnitOfWork, gateway: Gateway, claimed: Claim, flow: Flow, question: Question, decision: Decision, reason: str
) -> None:
    """The law stops it now, or it is another's: an ordinary end, with its article, visible to the sender."""
    outbox.settle(
        work,
        claimed,
        "withheld",
        reason=reason,
        article="; ".join(decision.articles),
        withheld=kept_back(decision),
    )
    deny(work, gateway, claimed, flow, question, decision, reason)


def kept_back(decision: Decision) -> str:
    """What `outbox.withheld` tells of a delivery that does not leave: JSON of (C-code, rule, article, count)."""
    return json.dumps([[code, rule, "", 0] for code, rule in decision.redacted.items()])


def deny(
    work: UnitOfWork, gateway: Gateway, claimed: Any, flow: Flow, question: Question, decision: Decision, reason: str
) -> None:
    """The refusal of a delivery (a claim, or a row of `outbox`) in the journal."""
    journal.append(
        work,
        "exchange.deny",
        exchange_id=claimed.exchange_id,
        delivery_id=claimed.id,
        sender_org=claimed.sender,
        recipient_org=claimed.recipient,
        subject=gateway.keys.pseudonym(claimed.recipient, claimed.person_id),
        **decision_record.told(work, flow, question, decision),
        reason_code=reason,
        outcome="withheld",
    )


def _told(
    decided: dict[str, Any], claimed: Claim, subject: str, withheld: Collection[Withheld], digest: bytes
) -> dict[str, Any]:
    """What the journal keeps of a delivery: tuples, and no absent field, as the journal remembers them."""
    fields = decided | {
        "exchange_id": claimed.exchange_id,
        "delivery_id": claimed.id,
        "sender_org": claimed.sender,
        "recipient_org": claimed.recipient,
        "subject": subject,
        "categories_redacted": tuple(sorted({one.code for one in withheld if one.code.startswith("C")})),
        "payload_h": digest.hex(),
    }
    return {name: value for name, value in fields.items() if value}


# --- what the recipient holds -------------------------------------------------------------------------------------

_Place = tuple[str, str, str]


_HOLDS = select(held_by_recipient).where(
    held_by_recipient.c.recipient == bindparam("body"),
    held_by_recipient.c.person_id.in_(bindparam("people", expanding=True)),
)


def _key(claimed: Claim) -> _Place:
    return claimed.person_id, claimed.document, claimed.item


def _prefetch(work: UnitOfWork, gateway: Gateway, claims: Collection[Claim]) -> dict[_Place, Any]:
    """Bring what these deliveries need into the transaction with few queries; gives what the recipient holds."""
    people = {claimed.person_id for claimed in claims}
    if not people:
        return {}
    states(work, people)
    gateway.dossiers.prefetch_people(work, people)
    recipient = next(iter(claims)).recipient
    rows = work.connection.execute(_HOLDS, {"body": recipient, "people": list(people)})
    return {(row.person_id, row.document, row.item): row for row in rows}


def _remote_id(work: UnitOfWork, gateway: Gateway, claimed: Claim, held: Any) -> str | None:
    if held is None or held.remote_id is None:
        return None
    return str(gateway.vault.open(work, claimed.person_id, held.remote_id))


def _remember(work: UnitOfWork, gateway: Gateway, prepared: Prepared, answer: Acknowledgement, sent: str) -> None:
    claimed = prepared.claim
    values: dict[str, Any] = {"digest": prepared.digest, "categories": sent, "delivered_at": work.now}
    if answer.remote_id is not None:
        values["remote_id"] = gateway.vault.seal(work, claimed.person_id, answer.remote_id)
    statement = _held(work.connection.dialect.name, answer.remote_id is not None)
    person_id, document, item = _key(claimed)
    work.change(statement, recipient=claimed.recipient, person_id=person_id, document=document, item=item, **values)


@cache
def _held(dialect: str, with_id: bool) -> Any:
    """The same statement object each time, so that rows gather on it; the recipient's own id stays when none came."""
    statement = upsert(dialect, held_by_recipient)
    changed = ("digest", "categories", "delivered_at", *(["remote_id"] if with_id else []))
    return statement.on_conflict_do_update(
        index_elements=["recipient", "person_id", "document", "item"],
        set_={name: statement.excluded[name] for name in changed},
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
        work, claimed.person_id, place, dict(facts), asserted_at=work.now, exchange_id=claimed.exchange_id,
        partial=True, coded=False,
    )  # fmt: skip
