"""Who a record speaks of, and what it says of her: told apart from everybody known, and entered in her history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway import parcours
from gateway.dossier import Place, Seen
from gateway.identity import NIR, NIR_ONLY, Keys, Match, borrowed, confirmed
from gateway.receipt import Change, Receipt, Request
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.record import Facts, PersonFacts, Record


@dataclass(frozen=True, slots=True)
class Incoming:
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


def keys_of(work: UnitOfWork, gateway: Gateway, request: Request, record: Record, one: PersonFacts) -> Keys:
    """What identifies this person, and her place in the sender's record when it names her there."""
    known: dict[int, tuple[PersonFacts, Keys]] = work.scratch.setdefault("keys", {})
    if id(one) in known:
        return known[id(one)][1]
    return remember_keys(work, gateway, request, record, one, gateway.identity.keys_of(one.facts))


def remember_keys(
    work: UnitOfWork, gateway: Gateway, request: Request, record: Record, one: PersonFacts, keys: Keys
) -> Keys:
    """Keep what identifies this person for the time of the transaction."""
    known: dict[int, tuple[PersonFacts, Keys]] = work.scratch.setdefault("keys", {})
    name = one.key
    if not name and record.key and len(record.personnes) == 1 and "nom+date" in keys.indexes:
        name = keys.indexes["nom+date"].hex()  # a record about one person names her by what identifies her
    if name:
        keys.indexes["place"] = place_of(gateway, request, record, name)
    known[id(one)] = one, keys
    return keys


def place_of(gateway: Gateway, request: Request, record: Record, who: str | int) -> bytes:
    """Blind index of what this record says of one of its persons."""
    return gateway.dossiers.record_index(request.sender, request.document, f"{record.key}\x00{who}")


def places(gateway: Gateway, request: Request, record: Record) -> Iterator[bytes]:
    """All that this record is written under."""
    yield gateway.dossiers.record_index(request.sender, request.document, record.key)
    for rank, one in enumerate(record.personnes):
        yield place_of(gateway, request, record, one.key or rank)


class Who(NamedTuple):
    """Whom some facts speak of."""

    person: str
    own: str
    """Whose history they enter: hers, or that of the person merged into her whom the sender means."""
    doubtful: bool = False
    """A human must confirm who it is."""


def identify(work: UnitOfWork, gateway: Gateway, told: Incoming, one: PersonFacts) -> Who:
    """The person these facts speak of, new if need be."""
    if one.person_id:
        return Who(one.person_id, one.person_id)
    request = told.request
    keys = keys_of(work, gateway, request, told.record, one)
    match = gateway.identity.resolve(work, keys)
    if match.candidate and match.reason in NIR_ONLY and keys.nir:
        match = _by_her_number(work, gateway, told, one, match.candidate, match)
    if match.person_id and gateway.identity.waits(work, match.person_id):
        return Who(match.person_id, match.person_id, True)
    if match.person_id:
        own = gateway.identity.own(work, keys, match.person_id)
        gateway.identity.remember(work, own, keys, request.sender)
        return Who(match.person_id, own)
    if match.certainty == "inconnu":
        person = gateway.dossiers.new_subject(work, "personne")
        gateway.identity.remember(work, person, keys, request.sender)
        return Who(person, person)
    who = _provisional(work, gateway, request, one, keys, match)
    if not who.doubtful:
        gateway.identity.remember(work, who.own, keys, request.sender)
    return who


def _by_her_number(
    work: UnitOfWork, gateway: Gateway, told: Incoming, one: PersonFacts, candidate: str, match: Match
) -> Match:
    """What the NIR alone found: hers where a birth date is absent and the rest of the record says so."""
    known = gateway.dossiers.current(work, candidate)
    if confirmed(one.facts, told.record.foyer, known):
        return Match("certain", candidate, None, 1, "nir")
    return match if "personne.date_naissance" in known else replace(match, reason="nir-alone")


def _provisional(
    work: UnitOfWork, gateway: Gateway, request: Request, one: PersonFacts, keys: Keys, match: Match
) -> Who:
    """Record a doubtful person apart; the same doubt from the same sender always meets the same provisional person,
    and is no doubt any more once a human decided who she is."""
    told = hashlib.sha256(b"".join(keys.told)).hexdigest()
    mark = Keys({"provisional": gateway.keys.blind("provisional", f"{request.sender}|{one.key}|{told}")})
    gateway.identity.prefetch(work, [mark])
    if waiting := work.scratch["identity"][mark.indexes["provisional"]]:
        own = min(waiting)
        person, doubtful = gateway.identity.decided(work, own)
        return Who(person, own, doubtful)
    place = keys.indexes.get("place")
    if place is not None and not work.scratch["identity"][place]:
        mark.indexes["place"] = place  # what her sender adds there before and after the answer is hers
    person = gateway.dossiers.new_subject(work, "personne", provisional=1)
    gateway.identity.remember(work, person, mark, request.sender)
    gateway.identity.open_case(work, person, match, request.id)
    return Who(person, person, True)


class Entered(NamedTuple):
    """What a record says of a person, in her history."""

    changed: set[str]
    before: Facts
    """What it said of her last."""
    place: Place


def assert_person(
    work: UnitOfWork,
    gateway: Gateway,
    told: Incoming,
    one: PersonFacts,
    rank: int,
    who: Who,
    foyer: str,
    receipt: Receipt,
) -> Entered:
    """Enter what this record says of her: `changed` are the paths that are new, different or said no more."""
    request, record = told.request, told.record
    place_h = place_of(gateway, request, record, one.key or rank)
    place = (request.sender, request.document, place_h)
    known = gateway.dossiers.knows(work, who.own)
    facts = {path: value for path, value in one.facts.items() if path != NIR} if borrowed(one.facts) else one.facts
    before = gateway.dossiers.told_in(work, who.own, place)
    if not told.late and parcours.guards(facts):
        current = gateway.dossiers.current(work, who.person)
        facts, findings = parcours.admissible(gateway, request.sender, facts, before, current, told.asserted_at)
        record.findings.extend(findings)
    if record.silent and not record.partial:
        facts = {path: value for path, value in before.items() if _untold(path, record.silent)} | facts
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
    return Entered(changed, before, place)


def _untold(path: str, silent: tuple[str, ...]) -> bool:
    """Has the form that speaks no place for this fact, which another form of the document told before?"""
    return path.startswith(silent) or paths.shape(path) in silent


def assert_foyer(work: UnitOfWork, gateway: Gateway, told: Incoming, receipt: Receipt) -> tuple[str, set[str]]:
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
