"""The double-entry meter: per recipient and document, fields filled for it, typed again by it, and in conflict.

Nothing is counted on the way: the meter is read from what each recipient holds and from what every body said, so that
it can always be recomputed and never drifts.

- *filled*: fields of the recipient's form that facts of other bodies fill today, out of all its fields.
- *typed again*: a value that the recipient says itself, for the first time, after it was delivered to it.
- *in conflict*: another value than the one it was delivered, said for the first time after that.

A path counts once per person and recipient, under the document that brought it first.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prometheus_client import Gauge
from sqlalchemy import Row, select

import mappings
from gateway import canonical, merge
from gateway.categories import Withheld, legal_code
from gateway.dossier import APART
from gateway.person_history import people_of
from gateway.prefill import permitted, seen_by
from gateway.registry import Gateway
from gateway.storage.tables.delivery import held_by_recipient
from gateway.storage.tables.record import assertion_set
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased
from schemas.record import Fact

FIELDS = Gauge(
    "maillon_fields",
    "Fields of recipients' documents, by what happened to them: filled, empty, own, typed_again, in_conflict",
    ["recipient", "document", "what"],
    multiprocess_mode="mostrecent",
)
_CHUNK = 200
_RANK = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class Count:
    """One recipient's document, over all the persons it was delivered about."""

    recipient: str
    document: str
    documents: int = 0
    filled: int = 0
    own: int = 0
    """Filled by what the recipient itself had said."""
    empty: int = 0
    typed_again: int = 0
    in_conflict: int = 0

    @property
    def fields_total(self) -> int:
        return self.filled + self.own + self.empty

    def line(self) -> dict[str, Any]:
        return asdict(self) | {"fields_total": self.fields_total}


@dataclass(frozen=True, slots=True)
class First:
    """When a body said a value of a path for the first time."""

    value: Any
    source: str
    received_at: str


def read(work: UnitOfWork, gateway: Gateway, recipient: str = "") -> list[Count]:
    """The meter, by recipient and document; of one recipient only when it is named."""
    counts: dict[tuple[str, str], Count] = {}
    written: dict[tuple[str, str], re.Pattern[str]] = {}
    for row, said, brought in _held(work, gateway, recipient):
        place = (row.recipient, row.document)
        count = counts.setdefault(place, Count(*place))
        _form(work, gateway, row, count)
        if place not in written:
            written[place] = _written_by(gateway, row.recipient, row.document)
        again, conflict = retyped(row, said, brought, written[place])
        count.typed_again += again
        count.in_conflict += conflict
    return [counts[place] for place in sorted(counts)]


def observe(work: UnitOfWork, gateway: Gateway) -> list[Count]:
    """Read the meter and show it to Prometheus. It opens every delivered dossier: call it now and then, not often."""
    counts = read(work, gateway)
    FIELDS.clear()
    for one in counts:
        for what in ("filled", "own", "empty", "typed_again", "in_conflict"):
            FIELDS.labels(one.recipient, one.document, what).set(getattr(one, what))
    return counts


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


# --- what recipients hold ---------------------------------------------------------------------------------------------

Said = dict[str, list[First]]


def _held(work: UnitOfWork, gateway: Gateway, recipient: str) -> Iterator[tuple[Row[Any], Said, set[tuple[str, str]]]]:
    """What recipients hold, person by person, oldest delivery first, beside all that was ever said of her."""
    work.flush()
    people = select(held_by_recipient.c.person_id).distinct()
    rows_of = select(held_by_recipient)
    if recipient:
        people = people.where(held_by_recipient.c.recipient == recipient)
        rows_of = rows_of.where(held_by_recipient.c.recipient == recipient)
    last = ""
    while chunk := list(
        work.connection.execute(
            people.where(held_by_recipient.c.person_id > last).order_by(held_by_recipient.c.person_id).limit(_CHUNK)
        ).scalars()
    ):
        held: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in work.connection.execute(rows_of.where(held_by_recipient.c.person_id.in_(chunk))):
            held[row.person_id].append(row)
        for person_id in chunk:
            said = _history(work, gateway, person_id)
            brought: set[tuple[str, str]] = set()
            for row in sorted(held[person_id], key=lambda row: (row.delivered_at, row.document, row.item)):
                yield row, said, brought
        last = chunk[-1]


def _history(work: UnitOfWork, gateway: Gateway, person_id: str) -> Said:
    """Every value of every path, with who said it when for the first time; what was superseded included."""
    people = people_of(work, person_id)
    subjects = [*people, *dict.fromkeys(home for one in people for home in gateway.dossiers.homes(work, one))]
    query = select(assertion_set).where(assertion_set.c.subject_id.in_(subjects), assertion_set.c.document != APART)
    said: Said = defaultdict(list)
    for row in work.connection.execute(query.order_by(assertion_set.c.received_at, assertion_set.c.id)):
        try:
            facts = gateway.vault.open(work, row.subject_id, row.payload)
        except Erased:
            continue
        for path, value in facts.items():
            if not any(one.source == row.source and one.value == value for one in said[path]):
                said[path].append(First(value, row.source, row.received_at))
    return said


def _form(work: UnitOfWork, gateway: Gateway, row: Row[Any], count: Count) -> None:
    """How much of the recipient's form others fill today, as the law permits today."""
    flows = gateway.flows_carrying(work, row.recipient, row.document)
    visible = seen_by(work, gateway, row.person_id, flows).visible
    written = gateway.write(row.recipient, row.document, visible, item=row.item)
    own = sum(fact.source == row.recipient for fact in written.filled.values())
    count.documents += 1
    count.own += own
    count.filled += len(written.filled) - own
    count.empty += len(written.empty)


def _written_by(gateway: Gateway, recipient: str, document: str) -> re.Pattern[str]:
    """The paths that a document can carry, as its mapping names them."""
    if document == canonical.ID:
        return re.compile(".*")
    found = {
        concrete
        for one in gateway.document(recipient, document).mapping
        if (mapping := mappings.load(one)).file.direction != "read"
        for path, row, _ in mapping.rows()
        for concrete in mapping.concrete(path, row)
    }
    keyed = (re.escape(path).replace(r"\[\]", r"\[[^\]]*\]") for path in sorted(found))
    return re.compile("|".join(re.sub(r"\\{[^}]*\\}", r"[^\\]]*", path) for path in keyed) or "(?!)")


def retyped(
    row: Any, said: Mapping[str, Sequence[First]], brought: set[tuple[str, str]], written: re.Pattern[str]
) -> tuple[int, int]:
    """(typed again, in conflict) among the paths that this document had brought to the recipient.

    `row` is what the recipient holds; `brought` remembers the paths already counted for this person.
    """
    sent = set(row.categories.split(","))
    again = conflict = 0
    for path, values in said.items():
        place = (row.recipient, path)
        if place in brought or not written.fullmatch(path):
            continue
        received = [
            one.value
            for one in values
            if one.source != row.recipient
            and one.received_at <= row.delivered_at
            and legal_code(path, one.value) in sent
        ]
        later = [one for one in values if one.source == row.recipient and one.received_at > row.delivered_at]
        if received and later:
            brought.add(place)
            same = later[-1].value in received
            again += same
            conflict += not same
    return again, conflict
