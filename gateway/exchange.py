"""The main path: what one body knows about a person reaches the bodies entitled to know it.

For each record of a document, in one transaction: unchanged? → who is it? → what changes? → for each recipient, what
does the law allow? → promise the delivery → write it in the journal. Whatever happens after the commit, nothing is
lost; whatever happens before, nothing was done. Deliveries are carried out by `gateway/delivery.py`.

A refusal is an ordinary outcome (`withheld`, with its reason and article), never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway import clock, journal, outbox, quarantine
from gateway.assertion import Incoming, assert_foyer, assert_person, identify, keys_of, places, remember_keys
from gateway.dossier import Seen
from gateway.identity import Keys
from gateway.journal_files import require_available
from gateway.offer import answered, offer, offer_again
from gateway.opening import opened
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.turns import Turn, take
from gateway.unit_of_work import UnitOfWork
from schemas.record import Finding, PersonFacts, Record


def exchange(
    work: UnitOfWork,
    gateway: Gateway,
    request: Request,
    records: Sequence[Record],
    first: int = 1,
    ranks: Sequence[int] | None = None,
    known_keys: Sequence[Sequence[Keys]] = (),
) -> list[Receipt]:
    """Carry these records; durable when `work` commits. One receipt per record, in order.

    `first` is the rank of the first record in its document, `ranks` those of all when some are left out.
    `known_keys` are what identifies the persons of each record, where another process computed them. Raises
    `Unavailable("audit-unavailable")` when the journal was not sealed for too long.
    """
    require_available(work, gateway.settings)
    for record, found in zip(records, known_keys, strict=False):
        for one, its in zip(record.personnes, found, strict=False):
            remember_keys(work, gateway, request, record, one, its)
    foresee(work, gateway, [(request, records)])
    positions = ranks or range(first, first + len(records))
    return [_carry(work, gateway, request, record, rank) for rank, record in zip(positions, records, strict=True)]


def _carry(work: UnitOfWork, gateway: Gateway, request: Request, record: Record, position: int) -> Receipt:
    told = _placed(work, gateway, request, record)
    if record.rejected:
        if told.seen:
            gateway.dossiers.restated(work, told.index, told.asserted_at)
        return quarantine.reject(work, gateway, request, record, position)
    if told.unchanged:
        if not record.partial:
            gateway.dossiers.restated(work, told.index, told.asserted_at)
        return Receipt("unchanged")
    receipt = Receipt("unchanged")
    foyer, foyer_changes = assert_foyer(work, gateway, told, receipt)
    named: list[str] = []
    for rank, one in enumerate(record.personnes):
        named.append(_carry_person(work, gateway, told, one, rank, foyer, foyer_changes, receipt))
    if foyer and not (record.partial or told.late or record.unplaced):
        _leave_out(work, gateway, told, foyer, named, receipt)
    if not told.late:
        gateway.dossiers.taken(work, told.index, record, told.asserted_at, request.id, _scope(request, record))
        _seen(work)[told.index] = Seen(record.digest, told.asserted_at, len(record.personnes))
    if record.quarantined:
        quarantine.keep(work, gateway, request, record, position)
        receipt.status = "quarantined"
    elif receipt.changed and receipt.status != "quarantined":
        receipt.status = "accepted"
    receipt.findings = len(record.findings)
    if receipt.entry is None and receipt.changed:
        receipt.entry = journal.append(
            work, "exchange.request", **request.journaled, n_records=1, outcome=receipt.status
        )
    return receipt


def _placed(work: UnitOfWork, gateway: Gateway, request: Request, record: Record) -> Incoming:
    index = gateway.dossiers.record_index(request.sender, request.document, record.key)
    # A moment to come counts as now: a sender whose clock is ahead would shut out all that comes until then.
    asserted_at = min(clock.instant(record.asserted_at), work.now) if record.asserted_at else work.now
    return Incoming(request, record, index, asserted_at, _seen(work)[index])


def _seen(work: UnitOfWork) -> dict[bytes, Seen | None]:
    """What the last record of each key was that this transaction looked up, or took."""
    seen: dict[bytes, Seen | None] = work.scratch.setdefault("seen", {})
    return seen


def _carry_person(
    work: UnitOfWork,
    gateway: Gateway,
    told: Incoming,
    one: PersonFacts,
    rank: int,
    foyer: str,
    foyer_changes: set[str],
    receipt: Receipt,
) -> str:
    """Who she is, what changes, and who may know of it. Gives the person whose history it entered."""
    who = identify(work, gateway, told, one)
    person = who.person
    entered = assert_person(work, gateway, told, one, rank, who, foyer, receipt)
    changed = foyer_changes | entered.changed
    receipt.persons.append(person)
    receipt.changed += len(changed)
    if who.doubtful:
        receipt.status = "quarantined"
        if (waits := replace(_DOUBTFUL, path=f"personnes[{rank + 1}]")) not in told.record.findings:
            told.record.findings.append(waits)
    elif changed:
        receipt.outcomes += offer(work, gateway, told.request, person, changed, receipt)
        if not gateway.vault.created(work, person):
            outbox.replay_waiting(work, person)
            if flows := opened(work, gateway, told.request, who, entered, changed):
                offer_again(work, gateway, person, flows, answered(gateway, told.request, changed))
    return who.own


_DOUBTFUL = Finding(
    "identity-to-confirm", "", "notice", detail="someone alike is known: a human of the gateway says who she is"
)
"""Told to whoever sent it, never with whom she resembles; the case of `gateway/identity.py` is what waits."""


def _leave_out(
    work: UnitOfWork, gateway: Gateway, told: Incoming, foyer: str, named: list[str], receipt: Receipt
) -> None:
    """Whoever this whole record names no more has left the household, as far as this sender knows."""
    home = (foyer, told.request.sender)
    for person in gateway.dossiers.stays.omitted(work, home, [*receipt.persons, *named], told.asserted_at):
        receipt.outcomes += offer(work, gateway, told.request, person, set(told.record.foyer), receipt)
        receipt.changed += 1


def _scope(request: Request, record: Record) -> str:
    """What a full file of this sender covers: the households of one caisse."""
    caisse = record.foyer.get("foyer.organisme"), record.foyer.get("foyer.code_organisme")
    return "|".join([request.sender, request.document, *(str(one) for one in caisse)]) if all(caisse) else ""


def foresee(work: UnitOfWork, gateway: Gateway, sent: Sequence[tuple[Request, Sequence[Record]]]) -> None:
    """Bring into memory, with few queries, all that these records will be compared with.

    `exchange` does it for its own records; whoever carries out several exchanges in one transaction does it for all of
    them first. What was looked up already is not looked up again.
    """
    gateway.dossiers.code_lists.require(work)  # before any turn: a change of list waits for those who hold this one
    seen = _seen(work)
    placed = [
        (index, request, record)
        for request, records in sent
        for record in records
        if (index := gateway.dossiers.record_index(request.sender, request.document, record.key)) not in seen
    ]
    take(work, Turn.RECORD, (place for _, request, record in placed for place in places(gateway, request, record)))
    indexes = dict.fromkeys(index for index, _, _ in placed)
    seen |= indexes | gateway.dossiers.digests(work.connection, list(indexes))
    new = [(index, request, record) for index, request, record in placed if not _as_seen(record, seen[index])]
    everyone = [keys_of(work, gateway, request, record, one) for _, request, record in new for one in record.personnes]
    take(work, Turn.PERSON, (index for keys in everyone for index in keys.shared))
    gateway.identity.prefetch(work, everyone, {index for index, _, record in new if record.foyer})
    if len(new) > 1:
        subjects = {subject for found in work.scratch["identity"].values() for subject in found}
        gateway.dossiers.stays.prefetch(work, subjects)
        homes = {foyer for stays in work.scratch["homes"].values() for foyer, _ in stays}
        gateway.dossiers.stays.prefetch_members(work, homes)
        gateway.dossiers.prefetch(work, subjects | homes)


def _as_seen(record: Record, seen: Seen | None) -> bool:
    """Nothing of this record will be compared: it is rejected, or says what it said last."""
    return record.rejected or bool(record.digest and seen and seen.digest == record.digest)
