"""The main path: what one body knows about a person reaches the bodies entitled to know it.

For each record of a document, in one transaction: unchanged? → who is it? → what changes? → for each recipient, what
does the law allow? → promise the delivery → write it in the journal. Whatever happens after the commit, nothing is
lost; whatever happens before, nothing was done. Deliveries are carried out by `gateway/delivery.py`.

A refusal is an ordinary outcome (`withheld`, with its reason and article), never an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from gateway import clock, journal, outbox, quarantine
from gateway.convention import Flow
from gateway.decide import absent_flow, decide, followers, refusal_of
from gateway.identity import Keys, Match
from gateway.policy import Decision, in_order
from gateway.receipt import Outcome, Receipt, Request
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.record import Current, PersonFacts, Record


def exchange(
    work: UnitOfWork, gateway: Gateway, request: Request, records: Sequence[Record], first: int = 1
) -> list[Receipt]:
    """Carry these records; durable when `work` commits. One receipt per record, in order.

    `first` is the rank of the first record in its document.
    """
    known = _prefetch(work, gateway, request, records)
    return [_carry(work, gateway, request, record, rank, known) for rank, record in enumerate(records, first)]


def _carry(
    work: UnitOfWork,
    gateway: Gateway,
    request: Request,
    record: Record,
    position: int,
    known: dict[bytes, tuple[bytes, str]],
) -> Receipt:
    if record.rejected:
        return quarantine.reject(work, gateway, request, record, position)
    index = gateway.dossiers.record_index(request.sender, request.document, record.key)
    if record.digest and known.get(index, (b"", ""))[0] == record.digest:
        return Receipt("unchanged")
    receipt = Receipt("unchanged")
    asserted_at = clock.instant(record.asserted_at) if record.asserted_at else work.now
    foyer_changes = _assert_foyer(work, gateway, request, record, index, asserted_at)
    for rank, one in enumerate(record.personnes):
        person, doubtful = _identify(work, gateway, request, one)
        changed = foyer_changes | _assert_person(work, gateway, request, record, one, rank, person, asserted_at)
        _house(work, gateway, request, record, person)
        receipt.persons.append(person)
        receipt.changed += len(changed)
        if doubtful:
            receipt.status = "quarantined"
        elif changed:
            receipt.outcomes += _offer(work, gateway, request, person, changed, receipt)
            outbox.replay_waiting(work, person)
    gateway.dossiers.taken(work, index, record, asserted_at, request.id)
    known[index] = (record.digest, asserted_at)
    if record.quarantined:
        quarantine.keep(work, gateway, request, record, position)
        receipt.status = "quarantined"
    elif receipt.changed and receipt.status != "quarantined":
        receipt.status = "accepted"
    receipt.findings = len(record.findings)
    if receipt.entry is None and receipt.changed:
        receipt.entry = journal.append(work, "exchange.request", **_who(request), n_records=1, outcome=receipt.status)
    return receipt


def _offer(
    work: UnitOfWork, gateway: Gateway, request: Request, person: str, changed: set[str], receipt: Receipt
) -> list[Outcome]:
    """Offer what changed to each recipient that a flow names, as the law allows."""
    outcomes: list[Outcome] = []
    current = gateway.dossiers.current(work, person)
    changed_categories = frozenset(paths.categorie(path) for path in changed)
    for flow in request.flows:
        document = gateway.document(flow.vers, flow.document)
        if not gateway.categories(document) & changed_categories:
            continue
        decision = decide(work, gateway, person, flow, current)
        for item in items_of(document.item, changed):
            outcome = _promise(work, request, person, flow, decision, item)
            entry = journal.append(
                work,
                "exchange.request" if decision.permits else "exchange.deny",
                **_who(request),
                recipient_org=flow.vers,
                subject=gateway.keys.pseudonym(flow.vers, person),
                **_why(decision, flow),
            )
            receipt.entry = receipt.entry or entry
            outcomes.append(outcome)
    return outcomes + _refuse_others(work, gateway, request, person, current, receipt)


def _refuse_others(
    work: UnitOfWork, gateway: Gateway, request: Request, person: str, current: Current, receipt: Receipt
) -> list[Outcome]:
    """A body that follows this person and is named by no flow gets nothing; the refusal is told with its article."""
    if not request.flows:
        return []
    named = {flow.vers for flow in gateway.flows(work, request.sender)} | {request.sender}
    outcomes = []
    for body in sorted(followers(gateway, current) - named):
        flow = absent_flow(gateway, request.flows[0], body)
        decision = refusal_of(work, gateway, person, flow, current)
        outcomes.append(_withheld(body, flow, decision))
        entry = journal.append(
            work,
            "exchange.deny",
            **_who(request),
            recipient_org=body,
            subject=gateway.keys.pseudonym(body, person),
            **_why(decision, flow),
        )
        receipt.entry = receipt.entry or entry
    return outcomes


def _promise(work: UnitOfWork, request: Request, person: str, flow: Flow, decision: Decision, item: str) -> Outcome:
    """Queue the delivery that the decision permits, or say why there is none."""
    if not decision.permits:
        return _withheld(flow.vers, flow, decision)
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
        withheld_categories=tuple(in_order(decision.redacted)),
        delivery=delivery,
        document=flow.document,
        purpose=flow.purpose,
    )


def _withheld(recipient: str, flow: Flow, decision: Decision) -> Outcome:
    return Outcome(
        recipient,
        "withheld",
        decision.reason,
        decision.articles,
        withheld_categories=tuple(in_order(decision.redacted)),
        document=flow.document,
        purpose=flow.purpose,
    )


def items_of(item: str, changed: set[str]) -> list[str]:
    """For a form about one object (a rendez-vous), the keys of the objects that changed; else one delivery."""
    if not item:
        return [""]
    prefix = f"{item}["
    return sorted({path[len(prefix) :].partition("]")[0] for path in changed if path.startswith(prefix)})


# --- who it is, and what is said of her -----------------------------------------------------------------------------


def _identify(work: UnitOfWork, gateway: Gateway, request: Request, one: PersonFacts) -> tuple[str, bool]:
    """The person these facts speak of, new if need be; and whether a human must confirm who it is."""
    if one.person_id:
        return one.person_id, False
    keys = gateway.identity.keys_of(one.facts)
    match = gateway.identity.resolve(work, keys)
    if match.person_id:
        gateway.identity.remember(work, match.person_id, keys, request.sender)
        return match.person_id, False
    if match.certainty == "inconnu":
        person = gateway.dossiers.new_subject(work, "personne")
        gateway.identity.remember(work, person, keys, request.sender)
        return person, False
    return _provisional(work, gateway, request, one, keys, match), True


def _provisional(
    work: UnitOfWork, gateway: Gateway, request: Request, one: PersonFacts, keys: Keys, match: Match
) -> str:
    """Record a doubtful person apart; the same doubt from the same sender always meets the same provisional person."""
    told = hashlib.sha256(b"".join(sorted(keys.indexes.values()))).hexdigest()
    mark = Keys({"provisional": gateway.keys.blind("provisional", f"{request.sender}|{one.key}|{told}")})
    gateway.identity.prefetch(work, [mark])
    if waiting := work.scratch["identity"][mark.indexes["provisional"]]:
        return str(min(waiting))
    person = gateway.dossiers.new_subject(work, "personne", provisional=1)
    gateway.identity.remember(work, person, mark, request.sender)
    gateway.identity.open_case(work, person, match, request.id)
    return person


def _assert_person(
    work: UnitOfWork,
    gateway: Gateway,
    request: Request,
    record: Record,
    one: PersonFacts,
    rank: int,
    person: str,
    asserted_at: str,
) -> set[str]:
    key = f"{record.key}\x00{one.key or rank}"
    place = (request.sender, request.document, gateway.dossiers.record_index(request.sender, request.document, key))
    return gateway.dossiers.put(
        work, person, place, one.facts, asserted_at=asserted_at, exchange_id=request.id, partial=record.partial
    )


def _assert_foyer(
    work: UnitOfWork, gateway: Gateway, request: Request, record: Record, index: bytes, asserted_at: str
) -> set[str]:
    if not record.foyer:
        return set()
    foyer = gateway.identity.find_foyer(work, index)
    if foyer is None:
        foyer = gateway.dossiers.new_subject(work, "foyer")
        gateway.identity.remember_foyer(work, foyer, index, request.sender)
    return gateway.dossiers.put(
        work,
        foyer,
        (request.sender, request.document, index),
        record.foyer,
        asserted_at=asserted_at,
        exchange_id=request.id,
        partial=record.partial,
    )


def _house(work: UnitOfWork, gateway: Gateway, request: Request, record: Record, person: str) -> None:
    if record.foyer:
        index = gateway.dossiers.record_index(request.sender, request.document, record.key)
        foyer = gateway.identity.find_foyer(work, index)
        assert foyer is not None
        gateway.dossiers.live_in(work, person, foyer, request.sender)


def _prefetch(
    work: UnitOfWork, gateway: Gateway, request: Request, records: Sequence[Record]
) -> dict[bytes, tuple[bytes, str]]:
    """Bring into memory, with few queries, all that these records will be compared with."""
    indexes = [gateway.dossiers.record_index(request.sender, request.document, record.key) for record in records]
    known = gateway.dossiers.digests(work, indexes)
    new = [
        (index, record)
        for index, record in zip(indexes, records, strict=True)
        if not record.rejected and not (record.digest and known.get(index, (b"", ""))[0] == record.digest)
    ]
    if len(new) > 1:
        gateway.identity.prefetch_foyers(work, [index for index, record in new if record.foyer])
        gateway.identity.prefetch(
            work, [gateway.identity.keys_of(one.facts) for _, record in new for one in record.personnes]
        )
        subjects = {subject for found in work.scratch["identity"].values() for subject in found}
        gateway.dossiers.prefetch_homes(work, subjects)
        gateway.dossiers.prefetch(work, subjects | {home for homes in work.scratch["homes"].values() for home in homes})
    return known


def _who(request: Request) -> dict[str, Any]:
    return {"exchange_id": request.id, "sender_org": request.sender, "client_id": request.client_id or None}


def _why(decision: Decision, flow: Flow) -> dict[str, Any]:
    return {
        "purpose": flow.purpose,
        "regime": flow.regime,
        "article": list(decision.articles),
        "decision": "permit" if decision.permits else "deny",
        "rule_ids": list(decision.rule_ids),
        "policy_h": decision.policy_version,
        "categories_sent": sorted(decision.sent),
        "categories_redacted": sorted(decision.redacted),
        "reason_code": decision.reason,
    }
