"""The double-entry meter: per recipient and document, fields filled for it, typed again by it, and in conflict.

Nothing is counted on the way: the meter is read from what each recipient was delivered and from what every body said,
so that it can always be recomputed and never drifts.

- *filled*: fields of the recipient's form that facts of other bodies fill today, out of all its fields.
- *typed again*: a value that the recipient says itself, for the first time, after it was delivered to it.
- *in conflict*: another value than those it was delivered, said for the first time after that.

A path counts once per person and recipient, by the last value the recipient said, under the document that brought it
first. What was typed before the last delivery that its traces outlived no longer counts (`traces.py`).
`meter_readings.py` keeps a reading and shows it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, NamedTuple

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

import mappings
from gateway import canonical, merge
from gateway.categories import Withheld, legal_code
from gateway.dossier import APART
from gateway.lookup import rows
from gateway.prefill import permitted, seen_by
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import assertion_set, person
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased
from schemas.record import Fact

log = structlog.get_logger(__name__)

_PIECE = 100
"""Persons counted in one transaction."""
_RANK = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class Count:
    """One recipient's document, over all the persons it was delivered about."""

    recipient: str
    document: str
    persons: int = 0
    documents: int = 0
    filled: int = 0
    own: int = 0
    """Filled by what the recipient itself had said."""
    empty: int = 0
    typed_again: int = 0
    in_conflict: int = 0
    not_written: int = 0
    """Documents that a defect of the mapping or the connector keeps from being filled today: no field of theirs is
    counted."""

    @property
    def fields_total(self) -> int:
        return self.filled + self.own + self.empty

    def line(self) -> dict[str, Any]:
        return asdict(self) | {"fields_total": self.fields_total}


class First(NamedTuple):
    """When a body said a value of a path for the first time."""

    value: Any
    source: str
    received_at: str


class Delivered(NamedTuple):
    """One document that reached its recipient: its C-codes, and when."""

    recipient: str
    document: str
    item: str
    sent: frozenset[str]
    at: str


Said = Mapping[str, Sequence[First]]
Place = tuple[str, str]
"""Recipient and document."""


def read(gateway: Gateway, recipient: str = "") -> list[Count]:
    """The meter, by recipient and document; of one recipient only when it is named."""
    counts: dict[Place, Count] = {}
    for counts in pieces(gateway, recipient):  # noqa: B007  the last piece has it all
        pass
    return in_order(counts)


def in_order(counts: Mapping[Place, Count]) -> list[Count]:
    return [counts[place] for place in sorted(counts)]


def pieces(gateway: Gateway, recipient: str = "") -> Iterator[dict[Place, Count]]:
    """Count some persons, then some more, until all are: what was counted so far, after each piece.

    A piece is a transaction of its own, which only reads: it holds back no writer, and memory does not grow.
    """
    counts: dict[Place, Count] = {}
    last = ""
    while True:
        with gateway.reading() as work:
            some = select(person.c.id).where(person.c.merged_into.is_(None), person.c.id > last)
            people = list(work.connection.execute(some.order_by(person.c.id).limit(_PIECE)).scalars())
            for who, delivered, said in _people(work, gateway, people, recipient):
                _forms(work, gateway, who, delivered, counts)
                name = delivered[0].recipient
                carried = {one.document: _carried(gateway, name, one.document) for one in delivered}
                for document, same in retyped(delivered, said, carried):
                    count = counts[name, document]
                    count.typed_again += same
                    count.in_conflict += not same
        if not people:
            return
        last = people[-1]
        yield counts


# --- one form ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Form:
    """One form over some persons: what other bodies already gave of it, and what became of that."""

    document: str
    recipient: str
    fields: int = 0
    given: int = 0
    """Fields that facts of other bodies fill, law and conventions left aside."""
    withheld: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Of these, fields kept back: by the article that keeps them, each by its name, without ranks in lists."""
    prefilled: int = 0
    """Of these, fields that nobody has to type."""
    sources: Counter[str] = field(default_factory=Counter)
    """Who had given what is prefilled."""

    @property
    def missed(self) -> int:
        """Given, permitted, and yet to be typed: a defect."""
        return self.given - sum(fields.total() for fields in self.withheld.values()) - self.prefilled


def form(work: UnitOfWork, gateway: Gateway, people: Sequence[str], recipient: str, document: str) -> Form:
    """One recipient's form about these persons, against what other bodies already gave."""
    told = Form(document, recipient)
    for person_id in people:
        flows = gateway.flows_carrying(work, recipient, document)
        current, others = gateway.dossiers.current(work, person_id), _others(work, gateway, person_id, recipient)
        allowed: dict[str, Fact] = {}
        back: dict[tuple[str, str], Withheld] = {}
        for flow in flows:
            kept, not_kept, *_ = permitted(work, gateway, person_id, flow, current, others)
            allowed |= kept
            back |= {(one.code, one.article): one for one in not_kept}
        given = gateway.write(recipient, document, others)
        _count_form(told, given.sources, gateway.write(recipient, document, allowed).sources)
        told.fields += given.fields_total
        # Each category that was kept back, given back: what it alone would fill. A reason says more than the default.
        for one in sorted(back.values(), key=lambda one: one.rule == "D05"):
            known = set(gateway.write(recipient, document, allowed).filled)
            allowed |= {path: fact for path, fact in others.items() if legal_code(path, fact.value) == one.code}
            if more := gateway.write(recipient, document, allowed).filled.keys() & given.filled.keys() - known:
                told.withheld[one.article].update(_RANK.sub("", place) for place in more)
    return told


def _others(work: UnitOfWork, gateway: Gateway, person_id: str, recipient: str) -> dict[str, Fact]:
    """What the bodies but this one say, resolved among themselves."""
    return merge.current(one for one in gateway.dossiers.said(work, person_id) if one.source != recipient)


def _count_form(told: Form, given: Collection[str], filled: Mapping[str, str]) -> None:
    ready = {name: source for name, source in filled.items() if name in given}
    told.given += len(given)
    told.prefilled += len(ready)
    told.sources.update(ready.values())


# --- what recipients were delivered -----------------------------------------------------------------------------------


def _people(
    work: UnitOfWork, gateway: Gateway, people: Sequence[str], recipient: str
) -> Iterator[tuple[str, list[Delivered], Said]]:
    """Each person and recipient: what it was delivered about her, oldest first, and all that was ever said of her."""
    head_of = {one: one for one in people}
    head_of |= dict(map(tuple, rows(work.connection, person, ("id", "merged_into"), "merged_into", people)))
    columns = ("person_id", "recipient", "document", "item", "categories", "settled_at")
    delivered: dict[str, dict[str, list[Delivered]]] = defaultdict(lambda: defaultdict(list))
    for row in rows(work.connection, outbox, columns, "person_id", head_of, "state = 'delivered'"):
        if recipient in ("", row.recipient) and gateway.speaks(row.recipient, row.document):
            sent = frozenset((row.categories or "").split(","))
            one = Delivered(row.recipient, row.document, row.item, sent, row.settled_at)
            delivered[head_of[row.person_id]][row.recipient].append(one)
    merged = gateway.dossiers.prefetch_people(work, delivered)
    said = _histories(work, gateway, {who: (who, *merged[who]) for who in delivered})
    for who, by_recipient in delivered.items():
        for hers in by_recipient.values():
            yield who, sorted(hers, key=lambda one: (one.at, one.document, one.item)), said[who]


def _histories(work: UnitOfWork, gateway: Gateway, people: Mapping[str, Iterable[str]]) -> dict[str, Said]:
    """Every value of every path, with who said it when for the first time; what was superseded included."""
    whose: dict[str, list[str]] = defaultdict(list)
    for who, hers in people.items():
        for subject in dict.fromkeys(one for each in hers for one in (each, *gateway.dossiers.homes(work, each))):
            whose[subject].append(who)
    columns = ("subject_id", "source", "received_at", "id", "payload")
    sets = rows(work.connection, assertion_set, columns, "subject_id", whose, f"document <> '{APART}'")
    said: dict[str, dict[str, list[First]]] = {who: defaultdict(list) for who in people}
    for row in sorted(sets, key=lambda row: (row.received_at, row.id)):
        try:
            facts = gateway.vault.open(work, row.subject_id, row.payload)
        except Erased:
            continue
        for who in whose[row.subject_id]:
            for path, value in facts.items():
                if not any(one.source == row.source and one.value == value for one in said[who][path]):
                    said[who][path].append(First(value, row.source, row.received_at))
    return dict(said)


def _forms(
    work: UnitOfWork, gateway: Gateway, who: str, delivered: Sequence[Delivered], counts: dict[Place, Count]
) -> None:
    """How much of the recipient's forms about one person others fill today, as the law permits today."""
    recipient = delivered[0].recipient
    items: dict[str, set[str]] = defaultdict(set)
    for one in delivered:
        items[one.document].add(one.item)
    for document, wanted in items.items():
        count = counts.setdefault((recipient, document), Count(recipient, document))
        count.persons += 1
        count.documents += len(wanted)
        visible = seen_by(work, gateway, who, gateway.flows_carrying(work, recipient, document)).visible
        for item in sorted(wanted):
            try:
                written = gateway.write(recipient, document, visible, item=item)
            except SQLAlchemyError:
                raise
            except Exception as error:  # a defect of one mapping or connector must not hide all the others' counts
                log.error("meter.not_written", recipient=recipient, document=document, kind=type(error).__name__)
                count.not_written += 1
                continue
            own = sum(fact.source == recipient for fact in written.filled.values())
            count.own += own
            count.filled += len(written.filled) - own
            count.empty += len(written.empty)


def _carried(gateway: Gateway, recipient: str, document: str) -> re.Pattern[str]:
    """The paths that a document can carry, as its mapping names them."""
    if document == canonical.ID:
        return re.compile(".*")
    return _paths(gateway.document(recipient, document).mapping)


@cache
def _paths(written: tuple[str, ...]) -> re.Pattern[str]:
    found = {
        concrete
        for one in written
        if (mapping := mappings.load(one)).file.direction != "read"
        for path, row, _ in mapping.rows()
        for concrete in mapping.concrete(path)
    }
    keyed = (re.escape(path).replace(r"\[\]", r"\[[^\]]*\]") for path in sorted(found))
    return re.compile("|".join(re.sub(r"\\{[^}]*\\}", r"[^\\]]*", path) for path in keyed) or "(?!)")


def retyped(
    delivered: Sequence[Delivered], said: Said, carried: Mapping[str, re.Pattern[str]]
) -> Iterator[tuple[str, bool]]:
    """What one recipient says itself of a person though it was delivered to it: for each path, the document that had
    brought it first, and whether the recipient says what it was brought (typed again) or something else (in conflict).

    `delivered` is oldest first; `carried` gives the paths that each of these documents can carry.
    """
    recipient = delivered[0].recipient
    for path, values in said.items():
        mine = [one for one in values if one.source == recipient and one.received_at > delivered[0].at]
        if not mine:
            continue
        brought = [
            (letter, one.value)
            for letter in delivered
            if carried[letter.document].fullmatch(path)
            for one in values
            if one.source != recipient and one.received_at <= letter.at and legal_code(path, one.value) in letter.sent
        ]
        if brought and mine[-1].received_at > brought[0][0].at:
            last = mine[-1]
            yield (
                brought[0][0].document,
                any(value == last.value for letter, value in brought if letter.at < last.received_at),
            )
