"""A human says who a doubtful person is: what was told of her meanwhile is offered as it would have been on arrival.

Without this, a body that has nothing new to say would never see its facts leave.
"""

from __future__ import annotations

from gateway.corrections import settled
from gateway.exchange import offer
from gateway.receipt import Receipt
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork


def decide(work: UnitOfWork, gateway: Gateway, case_id: str, same: bool, decided_by: str) -> None:
    """Settle a case of the review queue. Raises `Unknown` for no such case, `Conflict` when it was settled already."""
    one, other, exchange_id = gateway.identity.decide(work, case_id, same, decided_by)
    for (sender, _, _), _, facts in gateway.dossiers.sets_of(work, one):
        gateway.identity.remember(work, one, gateway.identity.keys_of(facts), sender)
    if same:
        settled(work, gateway, one, other)
    person = other if same else one
    waited: dict[tuple[str, str], set[str]] = {}
    for told in gateway.dossiers.said(work, one):
        waited.setdefault((told.source, told.document), set()).update(told.facts)
    for (sender, document), changed in sorted(waited.items()):
        if not gateway.speaks(sender, document):  # her own correction, or a body that is gone: no flow starts there
            continue
        offer(work, gateway, gateway.request(work, sender, document, exchange_id), person, changed, Receipt("accepted"))


def reverse(work: UnitOfWork, gateway: Gateway, case_id: str, decided_by: str) -> None:
    """Undo a merge. Raises as `decide`."""
    settled(work, gateway, *gateway.identity.reverse(work, case_id, decided_by))
