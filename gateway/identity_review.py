"""A human says who a doubtful person is: what was told of her meanwhile is offered as it would have been on arrival.

Without this, a body that has nothing new to say would never see its facts leave.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from gateway import convention, inbox
from gateway.corrections import last_delivered, settled
from gateway.decide import decide as may
from gateway.delivery import ask_to_take_back
from gateway.offer import answered, offer, offer_again
from gateway.receipt import Receipt
from gateway.registry import Gateway
from gateway.storage.tables.record import identity_case
from gateway.turns import kept
from gateway.unit_of_work import UnitOfWork


def decide(work: UnitOfWork, gateway: Gateway, case_id: str, same: bool, decided_by: str) -> None:
    """Settle a case of the review queue. Raises `Unknown` for no such case, `Conflict` when it was settled already."""
    _kept(work, case_id)
    one, other, exchange_id = gateway.identity.decide(work, case_id, same, decided_by)
    for (sender, _, _), _, facts in gateway.dossiers.sets_of(work, one):
        gateway.identity.remember(work, one, gateway.identity.keys_of(facts), sender)
    if same:
        settled(work, gateway, one, other)
    person = other if same else one
    waited: dict[tuple[str, str], set[str]] = {}
    for each in gateway.dossiers.said(work, one):
        waited.setdefault((each.source, each.document), set()).update(each.facts)
    told: set[tuple[str, str]] = set()
    for (sender, document), changed in sorted(waited.items()):
        if not gateway.speaks(sender, document):  # her own correction, or a body that is gone: no flow starts there
            continue
        request = gateway.request(work, sender, document, exchange_id)
        offer(work, gateway, request, person, changed, Receipt("accepted"))
        told |= answered(gateway, request, changed)
    if same:  # who speaks of one speaks of the other: what others said before may reach them now
        offer_again(work, gateway, person, convention.declared(work), told)


def reverse(work: UnitOfWork, gateway: Gateway, case_id: str, decided_by: str) -> None:
    """Undo a merge: what one had refused withholds nothing of the other any more; a letter of both that nobody read is
    written anew; whoever holds of one what was written of both, and may not be told of her any more, is shown to a
    human. Raises as `decide`."""
    merged_at = _kept(work, case_id)
    apart = gateway.identity.reverse(work, case_id, decided_by)
    for person in apart:
        inbox.write_anew(work, person, merged_at)
    settled(work, gateway, *apart)
    for person in apart:
        offer_again(work, gateway, person, convention.declared(work))
    for held in last_delivered(work, apart):
        if held.item or (held.settled_at or work.now) < merged_at or _may_be_told(work, gateway, held):
            continue  # one object has its own answer when it leaves; what is written anew corrects itself
        ask_to_take_back(work, gateway, held)


def _may_be_told(work: UnitOfWork, gateway: Gateway, held: Any) -> bool:
    flow = gateway.flow(work, held.flow)
    if flow is None or not gateway.speaks(held.recipient, held.document):
        return False
    return may(work, gateway, held.person_id, flow, gateway.dossiers.current(work, held.person_id)).permits


def _kept(work: UnitOfWork, case_id: str) -> str:
    """Neither is erased before this transaction ends (of one who was, there is no case any more). When it was decided
    last, if it was."""
    case = work.connection.execute(select(identity_case).where(identity_case.c.id == case_id)).first()
    if case is None:
        return ""
    kept(work, [case.person_id, case.candidate_id])
    return case.decided_at or ""
