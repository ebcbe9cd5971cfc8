"""A human says who a doubtful person is: what was told of her meanwhile is offered as it would have been on arrival.

Without this, a body that has nothing new to say would never see its facts leave.
"""

from __future__ import annotations

from sqlalchemy import select

from gateway import convention
from gateway.corrections import settled
from gateway.exchange import answered, offer, offer_again
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
    """Undo a merge: what one had refused withholds nothing of the other any more. Raises as `decide`."""
    _kept(work, case_id)
    apart = gateway.identity.reverse(work, case_id, decided_by)
    settled(work, gateway, *apart)
    for person in apart:
        offer_again(work, gateway, person, convention.declared(work))


def _kept(work: UnitOfWork, case_id: str) -> None:
    """Neither is erased before this transaction ends; of one who was, there is no case any more."""
    pair = select(identity_case.c.person_id, identity_case.c.candidate_id).where(identity_case.c.id == case_id)
    for both in work.connection.execute(pair):
        kept(work, both)
