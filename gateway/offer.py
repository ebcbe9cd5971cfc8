"""What changed of a person, offered to each body that a flow names: a promised delivery, or a reasoned refusal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway import decision_record, journal, outbox
from gateway.categories import codes_said
from gateway.convention_model import Flow
from gateway.corrections import items_of, send_again
from gateway.decide import absent_flow, answer, refusal_of
from gateway.links import followers
from gateway.lookup import rows
from gateway.merge import by_shape
from gateway.policy import Decision, Question, in_order
from gateway.receipt import Outcome, Receipt, Request
from gateway.registry import Gateway
from gateway.storage.tables.record import assertion_set
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.record import Current


def offer(
    work: UnitOfWork, gateway: Gateway, request: Request, person: str, changed: set[str], receipt: Receipt
) -> list[Outcome]:
    """Offer what changed to each recipient that a flow names, as the law allows."""
    outcomes: list[Outcome] = []
    current = gateway.dossiers.current(work, person)
    told = by_shape(current if current.is_all_of(changed) else changed)  # of someone new, all that is known changed
    categories = paths.categories(told)
    for flow in request.flows:
        document = gateway.document(flow.vers, flow.document)
        if not gateway.categories(document) & categories:
            continue
        asked, decision = answer(work, gateway, person, flow, current)
        items = items_of(document.item, told)
        if not decision.permits:  # one answer about this person, however many objects the document would be about
            items = items[:1]
        outcomes += _answered(work, gateway, request, person, flow, items, asked, decision, receipt)
    if not gateway.vault.created(work, person):  # nobody was delivered anything of someone new
        people = [person, *gateway.dossiers.merged(work, person)]
        offered = {flow.id for flow in request.flows}
        send_again(work, gateway, people, changed, known_by=request.sender, offered=offered)
    return outcomes + _refuse_others(work, gateway, request, person, current, receipt)


def offer_again(
    work: UnitOfWork,
    gateway: Gateway,
    person: str,
    flows: Collection[Flow],
    answered: Collection[tuple[str, str]] = (),
) -> None:
    """Promise what bodies said of this person before to whom these flows reach now: what withheld it may have ended
    without a new word of theirs.

    A refusal was told when it was first answered, and is not told again. It is decided once more when it leaves, and
    what its recipient holds already is not sent. `answered` are flows, each with the object of its document (empty for
    one about the whole dossier), that this same transaction promised or refused.
    """
    current = gateway.dossiers.current(work, person)
    mine: dict[str, list[Flow]] = {}
    for flow in flows:
        heard = flow.de in current.sources and gateway.speaks(flow.vers, flow.document)
        if heard and answer(work, gateway, person, flow, current)[1].permits:
            mine.setdefault(flow.de, []).append(flow)
    if not mine:
        return
    said: dict[tuple[str, str], set[str]] = {}
    for told in current.said:
        if told.source in mine and gateway.speaks(told.source, told.document):
            said.setdefault((told.source, told.document), set()).update(told.facts)
    people = [person, *gateway.dossiers.merged(work, person)]
    columns = ("source", "document", "exchange_id")
    found = rows(work.connection, assertion_set, columns, "subject_id", people, "superseded_at IS NULL")
    came_with = {(row.source, row.document): row.exchange_id for row in found}
    done = set(answered)
    for (sender, document), facts in sorted(said.items()):
        if (sender, document) not in came_with:  # it is told in this very transaction, which offers it
            continue
        request = gateway.request(work, sender, document, came_with[sender, document])
        served, shapes = {flow.id for flow in request.flows}, by_shape(facts)
        categories = paths.categories(shapes)
        for flow in mine[sender]:
            form = gateway.document(flow.vers, flow.document)
            if flow.id not in served or not gateway.categories(form) & categories:
                continue
            items = [item for item in items_of(form.item, shapes) if (flow.id, item) not in done]
            done.update((flow.id, item) for item in items)
            asked, decision = answer(work, gateway, person, flow, current)
            _answered(work, gateway, request, person, flow, items, asked, decision, Receipt("accepted"))


def answered(gateway: Gateway, request: Request, changed: set[str]) -> set[tuple[str, str]]:
    """What `offer` answered of these changes: flows, each with the object that its document is about."""
    told = by_shape(changed)
    categories = paths.categories(told)
    found: set[tuple[str, str]] = set()
    for flow in request.flows:
        document = gateway.document(flow.vers, flow.document)
        if gateway.categories(document) & categories:
            found.update((flow.id, item) for item in items_of(document.item, told))
    return found


def _answered(
    work: UnitOfWork,
    gateway: Gateway,
    request: Request,
    person: str,
    flow: Flow,
    items: Sequence[str],
    asked: Question,
    decision: Decision,
    receipt: Receipt,
) -> list[Outcome]:
    """Promise each of these items, or refuse them; the journal says which."""
    outcomes = []
    back = _kept_back(work, gateway, request, person, decision)
    told = {
        **request.journaled,
        "recipient_org": flow.vers,
        "subject": gateway.keys.pseudonym(flow.vers, person),
        **decision_record.told(work, flow, asked, decision),
        "reason_code": decision.reason,
    }
    for item in items:
        outcomes.append(_promise(work, request, person, flow, decision, item, back))
        entry = journal.append(work, "exchange.request" if decision.permits else "exchange.deny", **told)
        receipt.entry = receipt.entry or entry
    return outcomes


def _refuse_others(
    work: UnitOfWork, gateway: Gateway, request: Request, person: str, current: Current, receipt: Receipt
) -> list[Outcome]:
    """A body that follows this person and is named by no flow gets nothing; the refusal is told with its article."""
    if not request.flows:
        return []
    named = {flow.vers for flow in gateway.flows(work, request.sender)} | {request.sender}
    outcomes = []
    for body in sorted(followers(work, gateway, current) - named):
        flow = absent_flow(gateway, request.flows[0], body)
        asked, decision = refusal_of(work, gateway, person, flow, current)
        outcomes.append(_withheld(body, flow, decision, _kept_back(work, gateway, request, person, decision)))
        entry = journal.append(
            work,
            "exchange.deny",
            **request.journaled,
            recipient_org=body,
            subject=gateway.keys.pseudonym(body, person),
            **decision_record.told(work, flow, asked, decision),
            reason_code=decision.reason,
        )
        receipt.entry = receipt.entry or entry
    return outcomes


def _kept_back(
    work: UnitOfWork, gateway: Gateway, request: Request, person: str, decision: Decision
) -> tuple[str, ...]:
    """The categories kept back, as the sender is told: of those that are sensitive or secret, its own words only. What
    the decision keeps back is all that is known of her, and whoever sends her name would learn of her health."""
    hushed = gateway.policy.table.discreet & decision.redacted.keys() if decision.redacted else frozenset()
    if hushed:
        hushed -= codes_said(request.sender, gateway.dossiers.current(work, person).said)
    return tuple(in_order(decision.redacted.keys() - hushed))


def _promise(
    work: UnitOfWork,
    request: Request,
    person: str,
    flow: Flow,
    decision: Decision,
    item: str,
    back: tuple[str, ...],
) -> Outcome:
    """Queue the delivery that the decision permits, or say why there is none."""
    if not decision.permits:
        return _withheld(flow.vers, flow, decision, back)
    delivery = outbox.enqueue(
        work,
        recipient=flow.vers,
        person_id=person,
        sender=request.sender,
        document=flow.document,
        item=item,
        flow=flow.id,
        exchange_id=request.id,
    )
    return Outcome(
        flow.vers,
        "queued",
        article=decision.articles,
        categories=tuple(in_order(decision.sent)),
        withheld_categories=back,
        delivery=delivery,
        document=flow.document,
        purpose=flow.purpose,
    )


def _withheld(recipient: str, flow: Flow, decision: Decision, back: tuple[str, ...]) -> Outcome:
    return Outcome(
        recipient,
        "withheld",
        decision.reason,
        decision.articles,
        withheld_categories=back,
        document=flow.document,
        purpose=flow.purpose,
    )
