"""Carrying one act that agents decided about a worklist item: two validations, the law, one attempt, the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import update

from connectors.contract import Acknowledgement, Outgoing
from gateway import basis, clock, decision_record, journal
from gateway.convention_model import Flow
from gateway.decide import question
from gateway.found_by import identifiers_for
from gateway.policy import Decision
from gateway.problems import Conflict, Forbidden
from gateway.registry import Gateway
from gateway.storage.tables.worklist import worklist_item
from gateway.unit_of_work import UnitOfWork
from gateway.worklist import content_of, digest_of, item_row

_SANCTION = frozenset({"C22"})
"""Legal category of what an act says; no fact of the dossier enters its document."""
_NEEDED = 2
"""Agents who validated this very act; the decision table asks for them too (D22)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An act that may leave, claimed: nobody else sends it."""

    row_id: str
    body: str
    flow: Flow
    decision: Decision
    outgoing: Outgoing
    told: dict[str, Any]


def prepare(gateway: Gateway, row_id: str, act: Mapping[str, Any], asked_by: str) -> Prepared:
    """Check, decide and claim in one transaction. A refusal is journaled, then raised."""
    with gateway.unit_of_work() as work:
        row = item_row(work, row_id)
        item = content_of(gateway, row)
        if not item.transmits:
            raise Conflict("worklist-not-transmitted", "This item is acted on through its own document.")
        if row.state != "open" or row.person_id is None:
            raise Conflict("worklist-not-open", f"This item is {row.state}; read the worklist again.")
        flow = _flow(work, gateway, (asked_by, row.body), item.transmits)
        validations = _validations(work, row.person_id, flow, digest_of(row_id, act))
        current = gateway.dossiers.current(work, row.person_id)
        asked = question(work, gateway, row.person_id, flow, current, _SANCTION)
        asked = replace(asked, human_validations=len(validations))
        decision = gateway.policy.decide(asked)
        told = {
            "exchange_id": clock.new_id(),
            "sender_org": flow.de,
            "recipient_org": flow.vers,
            "subject": gateway.keys.pseudonym(flow.vers, row.person_id),
        } | decision_record.told(work, flow, asked, decision)
        missing = len(validations) < _NEEDED
        if decision.permits and not missing:
            written = gateway.connector(row.body).write(
                item.transmits, {}, sanction=dict(act) | dict(item.context), validations=validations
            )
            journal.append(work, "exchange.deliver", **told, outcome="sending")
            claimed = update(worklist_item).where(worklist_item.c.id == row_id)
            work.connection.execute(claimed.values(state="transmitting", reason=None))
            outgoing = Outgoing(
                delivery=row_id,
                document=item.transmits,
                written=written,
                current={},
                identifiers=identifiers_for(work, gateway, row.person_id, flow, current),
                reference=gateway.keys.pseudonym(row.body, row.person_id),
            )
            return Prepared(row_id, row.body, flow, decision, outgoing, told)
        why = "validations-missing" if missing else decision.reason
        journal.append(work, "exchange.deny", **told | {"decision": "deny"}, reason_code=why, outcome="withheld")
    if missing:
        raise Conflict("validations-missing", "Two agents validate this very act: record both (kind validation).")
    raise Forbidden(decision.reason or "withheld", "; ".join(decision.articles))


def conclude(gateway: Gateway, prepared: Prepared, answer: Acknowledgement) -> None:
    """Write down what the partner answered. Nothing is tried again by itself."""
    with gateway.unit_of_work() as work:
        row = item_row(work, prepared.row_id)
        state = "transmitted" if answer.outcome in ("delivered", "duplicate") else "open"
        if answer.code in ("unknown_outcome", "connector-failed"):
            state = "transmitting"  # a human looks before anybody sends it again
        if row.state == "transmitting":
            values = {"state": state, "reason": answer.code[:64] or None}
            work.connection.execute(update(worklist_item).where(worklist_item.c.id == row.id).values(**values))
        journal.append(work, "exchange.ack", **prepared.told, outcome=answer.outcome, reason_code=answer.code)


def _flow(work: UnitOfWork, gateway: Gateway, ends: tuple[str, str], document: str) -> Flow:
    for flow in gateway.flows(work, ends[0]):
        if flow.vers == ends[1] and flow.document == document:
            return flow
    raise Conflict("flow-missing", "No convention declares who transmits this act to whom.")


def _validations(work: UnitOfWork, person_id: str, flow: Flow, digest: str) -> list[dict[str, str]]:
    """The live validations of this very act, one per agent: another act's never count."""
    found: dict[str, str] = {}
    for told in basis.list_(work, person_id):
        one = told["record"]
        agent = (one.get("evidence") or {}).get("agent")
        of_this = (one["kind"], told["state"], one["reason_hash"]) == ("validation", "validated", digest)
        lasting = not one.get("valid_until") or one["valid_until"] > work.now
        if agent and of_this and lasting and (one["regime"], one["purpose"]) == (flow.regime, flow.purpose):
            found.setdefault(agent, one["created_at"])
    return [{"agent": agent, "le": moment} for agent, moment in sorted(found.items())]
