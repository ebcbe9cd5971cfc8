"""The main path: what one body knows about a person reaches the bodies entitled to know it.

For each record of a document, in one transaction: unchanged? → who is it? → what changes? → for each recipient, what
does the law allow? → promise the delivery → write it in the journal. Whatever happens after the commit, nothing is
lost; whatever happens before, nothing was done. Deliveries are carried out by `gateway/delivery.py`.

A refusal is an ordinary outcome (`withheld`, with its reason and article), never an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gateway import clock, decision_record, journal, outbox, parcours, quarantine
from gateway.categories import bridge, codes_said
from gateway.convention_model import Flow
from gateway.corrections import items_of, send_again
from gateway.decide import FOLLOWING, absent_flow, answer, came_of_age, followers, following, refusal_of
from gateway.dossier import Place, Seen
from gateway.identity import NIR, NIR_ONLY, Keys, Match, borrowed, confirmed
from gateway.journal_files import require_available
from gateway.lookup import rows
from gateway.merge import Assertions, Portrait
from gateway.policy import Decision, Question, in_order
from gateway.receipt import Change, Outcome, Receipt, Request
from gateway.registry import Gateway
from gateway.storage.tables.record import assertion_set
from gateway.turns import Turn, take
from gateway.unit_of_work import UnitOfWork
from schemas.record import Current, Facts, Finding, PersonFacts, Record


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
            _remember_keys(work, gateway, request, record, one, its)
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
    foyer, foyer_changes = _assert_foyer(work, gateway, told, receipt)
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
        receipt.entry = journal.append(work, "exchange.request", **_who(request), n_records=1, outcome=receipt.status)
    return receipt


@dataclass(frozen=True, slots=True)
class _Told:
    """A record on its way in."""

    request: Request
    record: Record
    index: bytes
    asserted_at: str
    seen: Seen | None
    """What the last record of this key was."""

    @property
    def unchanged(self) -> bool:
        return bool(self.seen and self.record.digest and self.seen.digest == self.record.digest)

    @property
    def late(self) -> bool:
        """A whole record older than the one known of this key is history: it decides nothing any more."""
        return bool(self.seen and not self.record.partial and self.asserted_at < self.seen.asserted_at)


def _placed(work: UnitOfWork, gateway: Gateway, request: Request, record: Record) -> _Told:
    index = gateway.dossiers.record_index(request.sender, request.document, record.key)
    # A moment to come counts as now: a sender whose clock is ahead would shut out all that comes until then.
    asserted_at = min(clock.instant(record.asserted_at), work.now) if record.asserted_at else work.now
    return _Told(request, record, index, asserted_at, _seen(work)[index])


def _seen(work: UnitOfWork) -> dict[bytes, Seen | None]:
    """What the last record of each key was that this transaction looked up, or took."""
    seen: dict[bytes, Seen | None] = work.scratch.setdefault("seen", {})
    return seen


def _carry_person(
    work: UnitOfWork,
    gateway: Gateway,
    told: _Told,
    one: PersonFacts,
    rank: int,
    foyer: str,
    foyer_changes: set[str],
    receipt: Receipt,
) -> str:
    """Who she is, what changes, and who may know of it. Gives the person whose history it entered."""
    who = _identify(work, gateway, told, one)
    person = who.person
    entered = _assert_person(work, gateway, told, one, rank, who, foyer, receipt)
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
            if flows := _opened(work, gateway, told.request, who, entered, changed):
                offer_again(work, gateway, person, flows, answered(gateway, told.request, changed))
    return who.own


_BORN = "personne.date_naissance"
_RIGHT = "droit_rsa.etat"
_LIVES = ("personne.adresses[residence].code_insee", "personne.adresses[domiciliation].code_insee")
_DECIDES_WHERE = frozenset({_RIGHT, *_LIVES})
_BY_RIGHT = frozenset({"departement", "caf_msa", "france_travail"})
"""Roles that a right links her to."""


def _opened(
    work: UnitOfWork, gateway: Gateway, request: Request, who: _Who, entered: _Entered, changed: set[str]
) -> list[Flow]:
    """The flows that may be open to her since this: she moved, is no minor after all, her right began or ended,
    another body follows her or speaks of her. What repeats where all say that she lives opens none."""
    where = not changed.isdisjoint(_DECIDES_WHERE)
    follows = not entered.before or any(path.startswith(FOLLOWING) for path in entered.changed)
    if not (where or follows or _BORN in changed):
        return []
    said = gateway.dossiers.said(work, who.person)
    grown = _BORN in changed and came_of_age(
        Portrait(_said_before(work, gateway, who, entered, said)), work.now, Portrait(said), work.now
    )
    moved = False
    for path in changed.intersection(_LIVES):
        values = [each.facts[path] for each in said if path in each.facts]
        moved |= path in entered.before or len(values) < 2 or any(value != values[0] for value in values)
    bodies, referent = _new_followers(work, gateway, request, who, entered, said) if follows else (set(), "")
    by_right = _RIGHT in changed
    if not (moved or grown or by_right or bodies or referent):
        return []

    def may_open(flow: Flow) -> bool:
        de, vers = gateway.role(flow.de), gateway.role(flow.vers)
        follows = flow.vers in bodies or (referent and referent in (de, vers))
        return bool(moved or grown or follows or (by_right and vers in _BY_RIGHT))

    sources = sorted({each.source for each in said})
    return [flow for sender in sources for flow in gateway.flows(work, sender) if may_open(flow)]


def _new_followers(
    work: UnitOfWork, gateway: Gateway, request: Request, who: _Who, entered: _Entered, said: Sequence[Assertions]
) -> tuple[Collection[str], str]:
    """The bodies linked with her since this, and the role of the one that follows her when it is another."""
    told_before = entered.before or sum(each.source == request.sender for each in said) > 1
    if told_before and not any(path.startswith(FOLLOWING) for path in entered.changed):
        return (), ""
    linked, referent = following(gateway, Portrait(said))
    linked_before, referent_before = following(gateway, Portrait(_said_before(work, gateway, who, entered, said)))
    return linked - linked_before, referent if referent != referent_before else ""


def _said_before(
    work: UnitOfWork, gateway: Gateway, who: _Who, entered: _Entered, said: Sequence[Assertions]
) -> Iterator[Assertions]:
    """What was said of her before this record."""
    now = gateway.dossiers.told_in(work, who.own, entered.place)
    then = (replace(each, facts=entered.before) if each.facts is now else each for each in said)
    return (each for each in then if each.facts)


def answered(gateway: Gateway, request: Request, changed: set[str]) -> set[tuple[str, str]]:
    """What `offer` answered of these changes: flows, each with the object that its document is about."""
    categories = _categories(changed)
    found: set[tuple[str, str]] = set()
    for flow in request.flows:
        document = gateway.document(flow.vers, flow.document)
        if gateway.categories(document) & categories:
            found.update((flow.id, item) for item in items_of(document.item, changed))
    return found


_DOUBTFUL = Finding(
    "identity-to-confirm", "", "notice", detail="someone alike is known: a human of the gateway says who she is"
)
"""Told to whoever sent it, never with whom she resembles; the case of `gateway/identity.py` is what waits."""


def _leave_out(work: UnitOfWork, gateway: Gateway, told: _Told, foyer: str, named: list[str], receipt: Receipt) -> None:
    """Whoever this whole record names no more has left the household, as far as this sender knows."""
    home = (foyer, told.request.sender)
    for person in gateway.dossiers.stays.omitted(work, home, [*receipt.persons, *named], told.asserted_at):
        receipt.outcomes += offer(work, gateway, told.request, person, set(told.record.foyer), receipt)
        receipt.changed += 1


def _scope(request: Request, record: Record) -> str:
    """What a full file of this sender covers: the households of one caisse."""
    caisse = record.foyer.get("foyer.organisme"), record.foyer.get("foyer.code_organisme")
    return "|".join([request.sender, request.document, *(str(one) for one in caisse)]) if all(caisse) else ""


def offer(
    work: UnitOfWork, gateway: Gateway, request: Request, person: str, changed: set[str], receipt: Receipt
) -> list[Outcome]:
    """Offer what changed to each recipient that a flow names, as the law allows."""
    outcomes: list[Outcome] = []
    current = gateway.dossiers.current(work, person)
    changed_categories = _categories(changed)
    for flow in request.flows:
        document = gateway.document(flow.vers, flow.document)
        if not gateway.categories(document) & changed_categories:
            continue
        asked, decision = answer(work, gateway, person, flow, current)
        items = items_of(document.item, changed)
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
        served, categories = {flow.id for flow in request.flows}, _categories(facts)
        for flow in mine[sender]:
            form = gateway.document(flow.vers, flow.document)
            if flow.id not in served or not gateway.categories(form) & categories:
                continue
            items = [item for item in items_of(form.item, facts) if (flow.id, item) not in done]
            done.update((flow.id, item) for item in items)
            asked, decision = answer(work, gateway, person, flow, current)
            _answered(work, gateway, request, person, flow, items, asked, decision, Receipt("accepted"))


def _categories(changed: Collection[str]) -> set[str]:
    return {category for category, _ in bridge().of(changed, lambda path: None)}


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
        **_who(request),
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
            **_who(request),
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


# --- who it is, and what is said of her -----------------------------------------------------------------------------


def _keys(work: UnitOfWork, gateway: Gateway, request: Request, record: Record, one: PersonFacts) -> Keys:
    """What identifies this person, and her place in the sender's record when it names her there."""
    known: dict[int, tuple[PersonFacts, Keys]] = work.scratch.setdefault("keys", {})
    if id(one) in known:
        return known[id(one)][1]
    return _remember_keys(work, gateway, request, record, one, gateway.identity.keys_of(one.facts))


def _remember_keys(
    work: UnitOfWork, gateway: Gateway, request: Request, record: Record, one: PersonFacts, keys: Keys
) -> Keys:
    known: dict[int, tuple[PersonFacts, Keys]] = work.scratch.setdefault("keys", {})
    name = one.key
    if not name and record.key and len(record.personnes) == 1 and "nom+date" in keys.indexes:
        name = keys.indexes["nom+date"].hex()  # a record about one person names her by what identifies her
    if name:
        keys.indexes["place"] = _place_of(gateway, request, record, name)
    known[id(one)] = one, keys
    return keys


class _Who(NamedTuple):
    """Whom some facts speak of."""

    person: str
    own: str
    """Whose history they enter: hers, or that of the person merged into her whom the sender means."""
    doubtful: bool = False
    """A human must confirm who it is."""


def _identify(work: UnitOfWork, gateway: Gateway, told: _Told, one: PersonFacts) -> _Who:
    """The person these facts speak of, new if need be."""
    if one.person_id:
        return _Who(one.person_id, one.person_id)
    request = told.request
    keys = _keys(work, gateway, request, told.record, one)
    match = gateway.identity.resolve(work, keys)
    if match.candidate and match.reason in NIR_ONLY and keys.nir:
        match = _by_her_number(work, gateway, told, one, match.candidate, match)
    if match.person_id and gateway.identity.waits(work, match.person_id):
        return _Who(match.person_id, match.person_id, True)
    if match.person_id:
        own = gateway.identity.own(work, keys, match.person_id)
        gateway.identity.remember(work, own, keys, request.sender)
        return _Who(match.person_id, own)
    if match.certainty == "inconnu":
        person = gateway.dossiers.new_subject(work, "personne")
        gateway.identity.remember(work, person, keys, request.sender)
        return _Who(person, person)
    who = _provisional(work, gateway, request, one, keys, match)
    if not who.doubtful:
        gateway.identity.remember(work, who.own, keys, request.sender)
    return who


def _by_her_number(
    work: UnitOfWork, gateway: Gateway, told: _Told, one: PersonFacts, candidate: str, match: Match
) -> Match:
    """What the NIR alone found: hers where a birth date is absent and the rest of the record says so."""
    known = gateway.dossiers.current(work, candidate)
    if confirmed(one.facts, told.record.foyer, known):
        return Match("certain", candidate, None, 1, "nir")
    return match if "personne.date_naissance" in known else replace(match, reason="nir-alone")


def _provisional(
    work: UnitOfWork, gateway: Gateway, request: Request, one: PersonFacts, keys: Keys, match: Match
) -> _Who:
    """Record a doubtful person apart; the same doubt from the same sender always meets the same provisional person,
    and is no doubt any more once a human decided who she is."""
    told = hashlib.sha256(b"".join(keys.told)).hexdigest()
    mark = Keys({"provisional": gateway.keys.blind("provisional", f"{request.sender}|{one.key}|{told}")})
    gateway.identity.prefetch(work, [mark])
    if waiting := work.scratch["identity"][mark.indexes["provisional"]]:
        own = min(waiting)
        person, doubtful = gateway.identity.decided(work, own)
        return _Who(person, own, doubtful)
    place = keys.indexes.get("place")
    if place is not None and not work.scratch["identity"][place]:
        mark.indexes["place"] = place  # what her sender adds there before and after the answer is hers
    person = gateway.dossiers.new_subject(work, "personne", provisional=1)
    gateway.identity.remember(work, person, mark, request.sender)
    gateway.identity.open_case(work, person, match, request.id)
    return _Who(person, person, True)


class _Entered(NamedTuple):
    """What a record says of a person, in her history."""

    changed: set[str]
    before: Facts
    """What it said of her last."""
    place: Place


def _assert_person(
    work: UnitOfWork,
    gateway: Gateway,
    told: _Told,
    one: PersonFacts,
    rank: int,
    who: _Who,
    foyer: str,
    receipt: Receipt,
) -> _Entered:
    request, record = told.request, told.record
    place_h = _place_of(gateway, request, record, one.key or rank)
    place = (request.sender, request.document, place_h)
    known = gateway.dossiers.knows(work, who.own)
    facts = {path: value for path, value in one.facts.items() if path != NIR} if borrowed(one.facts) else one.facts
    before = gateway.dossiers.told_in(work, who.own, place)
    if not told.late and parcours.guards(facts):
        current = gateway.dossiers.current(work, who.person)
        facts, findings = parcours.admissible(gateway, request.sender, facts, before, current, told.asserted_at)
        record.findings.extend(findings)
    if one.taken_back:
        facts = {path: value for path, value in before.items() if path not in one.taken_back} | facts
    changed = gateway.dossiers.put(
        work,
        who.own,
        place,
        facts,
        asserted_at=told.asserted_at,
        exchange_id=request.id,
        partial=record.partial and not one.taken_back,
        late=told.late,
        origin=told.index,
    )
    if foyer:
        home = (foyer, request.sender)
        gateway.dossiers.stays.name(work, who.own, home, told.asserted_at, place_h, late=told.late)
    receipt.changes.append(Change("personne", not known, frozenset(changed)))
    return _Entered(changed, before, place)


def _assert_foyer(work: UnitOfWork, gateway: Gateway, told: _Told, receipt: Receipt) -> tuple[str, set[str]]:
    """The household of this record, empty when it has none, and what changes in it."""
    request, record = told.request, told.record
    if not record.foyer:
        return "", set()
    foyer = gateway.identity.find_foyer(work, told.index)
    new = foyer is None
    if foyer is None:
        foyer = gateway.dossiers.new_subject(work, "foyer")
        gateway.identity.remember_foyer(work, foyer, told.index, request.sender)
    changed = gateway.dossiers.put(
        work,
        foyer,
        (request.sender, request.document, told.index),
        record.foyer,
        asserted_at=told.asserted_at,
        exchange_id=request.id,
        partial=record.partial,
        late=told.late,
        origin=told.index,
    )
    receipt.changes.append(Change("foyer", new, frozenset(changed), record.foyer))
    return foyer, changed


def _place_of(gateway: Gateway, request: Request, record: Record, who: str | int) -> bytes:
    """Blind index of what this record says of one of its persons."""
    return gateway.dossiers.record_index(request.sender, request.document, f"{record.key}\x00{who}")


def _places(gateway: Gateway, request: Request, record: Record) -> Iterator[bytes]:
    """All that this record is written under."""
    yield gateway.dossiers.record_index(request.sender, request.document, record.key)
    for rank, one in enumerate(record.personnes):
        yield _place_of(gateway, request, record, one.key or rank)


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
    take(work, Turn.RECORD, (place for _, request, record in placed for place in _places(gateway, request, record)))
    indexes = dict.fromkeys(index for index, _, _ in placed)
    seen |= indexes | gateway.dossiers.digests(work.connection, list(indexes))
    new = [(index, request, record) for index, request, record in placed if not _as_seen(record, seen[index])]
    everyone = [_keys(work, gateway, request, record, one) for _, request, record in new for one in record.personnes]
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


def _who(request: Request) -> dict[str, Any]:
    who = {"exchange_id": request.id, "sender_org": request.sender}
    return who | {"client_id": request.client_id} if request.client_id else who
