"""A code list changed: what was stored under its former codes is said again under the new ones.

The file is `schemas.nomenclatures.migration`'s. Nothing stored is rewritten: each live assertion set that uses a former
code is superseded by one under the new codes, in the same body's name and at the same date, whose exchange is the
migration. A split, and two items that one code would join though they differ, wait for a human (`choose`): no code is
guessed. Whoever received one of these values is offered the document again, decided anew.

Applying the same file twice changes nothing; one that was cut goes on where it stopped, since what was moved has no
former code left. It is applied while processes run: it takes its turn with those who write the same records (`turns`),
and a process that has the former list writes no more facts once the change is opened (`code_lists`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import insert, select, update

from gateway import clock, journal, tasks
from gateway.code_lists import DOCUMENT, SENDER, alone, changes
from gateway.corrections import send_again
from gateway.dossier import Place
from gateway.lookup import rows
from gateway.person_history import head_of, people_of
from gateway.problems import Conflict, Invalid, Misnamed, Unknown
from gateway.registry import Gateway
from gateway.storage.tables.record import assertion_set, exchange, person, task
from gateway.turns import Turn, take
from gateway.unit_of_work import UnitOfWork
from schemas import nomenclatures, paths
from schemas.fields import FIELDS
from schemas.nomenclatures.migration import Change, Migration
from schemas.record import Facts

CHOOSE = "code-to-choose"
_CHUNK = 100
"""Persons at once: a few hundred records, each a turn held until they are written."""


@dataclass(slots=True)
class Told:
    """What a change of referential does, or would do. Codes and counts, nobody's name."""

    id: str
    list: str
    before: str
    after: str
    sets: int = 0
    """Assertion sets said again under the new codes."""
    subjects: int = 0
    """Persons and households that they are about."""
    moved: dict[str, int] = field(default_factory=dict)
    """Former code → facts said again under the code that it became."""
    retired: dict[str, int] = field(default_factory=dict)
    """Former code → facts that are history from now on."""
    to_choose: dict[str, int] = field(default_factory=dict)
    """Former code → sets in which a human must choose."""
    deliveries: int = 0
    """Documents offered again to bodies that hold one of these values."""

    def line(self) -> dict[str, Any]:
        return asdict(self)


# --- one set of facts -------------------------------------------------------------------------------------------------


class Spots(NamedTuple):
    """Where the codes of one list stand in the dossier, by shape of path."""

    values: Mapping[str, str]
    """Shape of a field that holds such a code → the lists it takes it from."""
    keys: Mapping[str, int]
    """Shape of a field inside an item named by such a code → rank of that key in the path."""


@lru_cache
def spots(name: str) -> Spots:
    values = {shape: one.liste for shape, one in FIELDS.items() if one.liste and name in one.liste.split("|")}
    keys = {shape: rank for shape, one in FIELDS.items() for rank, key in enumerate(one.cles) if key.liste == name}
    return Spots(values, keys)


@dataclass(slots=True)
class Translated:
    """A set of facts under the new codes. `moved` and `retired` count its facts by former code."""

    facts: Facts = field(default_factory=dict)
    moved: Counter[str] = field(default_factory=Counter)
    retired: Counter[str] = field(default_factory=Counter)
    to_choose: set[str] = field(default_factory=set)
    """Former codes left as they are: split, or naming items that one code would join though they differ."""


Becomes = Mapping[str, str | None]
"""Former code → the code that it becomes, None when nothing says it any more."""


def translate(facts: Facts, migration: Migration, chosen: Mapping[str, str] | None = None) -> Translated:
    """The same facts under the new codes. `chosen` is what a human said a code becomes in this very set: it stands
    over what the set says under the new code already, and over the other codes that become it."""
    becomes: dict[str, str | None] = {**migration.moved, **dict.fromkeys(migration.retired)}
    for code, to in (chosen or {}).items():
        rivals = [other for other, target in migration.moved.items() if target == to]
        becomes |= dict.fromkeys([*rivals, to]) | {code: to}
    while True:
        told, apart = _pass(facts, migration.codes, becomes)
        if not apart:
            break
        becomes = {code: to for code, to in becomes.items() if code not in apart}
    told.to_choose = {code for code in _used(told.facts, migration.codes) if code in migration.changes}
    return told


def _pass(facts: Facts, name: str, becomes: Becomes) -> tuple[Translated, set[str]]:
    """One reading; also the former codes whose items differ from the one that they would join."""
    told, apart = Translated(), set[str]()
    came_from: dict[str, str] = {}
    for path, value in facts.items():
        key = _key(path, name)
        if key is not None and key in becomes:
            to = becomes[key]
            (told.retired if to is None else told.moved)[key] += 1
            if to is None:
                continue
            new_path, new_value = _under(path, name, to), to if paths.field(path).repete_cle else value
        else:
            new_path, new_value = path, _value(path, value, name, becomes, told)
        if new_value is None:
            continue
        if told.facts.setdefault(new_path, new_value) != new_value:
            apart |= {code for code in (key or "", came_from[new_path]) if code in becomes}
        came_from.setdefault(new_path, key or "")
    return told, apart


def _value(path: str, value: Any, name: str, becomes: Becomes, told: Translated) -> Any:
    """A field's value under the new codes; None when nothing is left of it."""
    lists = spots(name).values.get(paths.shape(path))
    if lists is None:
        return value
    known = nomenclatures.codes(lists)  # a field may take its codes from several lists

    def new(code: Any) -> Any:
        if code in known or code not in becomes:
            return code
        (told.retired if becomes[code] is None else told.moved)[code] += 1
        return becomes[code]

    if not isinstance(value, list):
        return new(value)
    return [code for code in dict.fromkeys(map(new, value)) if code is not None] or None


def _key(path: str, name: str) -> str | None:
    rank = spots(name).keys.get(paths.shape(path))
    return None if rank is None else paths.keys(path)[rank]


def _under(path: str, name: str, code: str) -> str:
    """The same path in the item of another code, itself under the theme that the list gives to that code."""
    head, *rest = path.split("[")
    rank = spots(name).keys[paths.shape(path)]
    named = {rank: code}
    if rank and (theme := nomenclatures.codes(name)[code].parent):
        named[rank - 1] = theme
    for place, key in named.items():
        rest[place] = f"{key}]{rest[place].partition(']')[2]}"
    return "[".join([head, *rest])


def _used(facts: Facts, name: str) -> Iterator[str]:
    """Every code of the list that these facts use."""
    for path, value in facts.items():
        if (key := _key(path, name)) is not None:
            yield key
        if paths.shape(path) in spots(name).values:
            yield from value if isinstance(value, list) else [value]


# --- the whole record -------------------------------------------------------------------------------------------------


def apply(gateway: Gateway, migration: Migration, *, dry_run: bool = False) -> Told:
    """Say again under the new codes all that is stored under former ones; with `dry_run`, only count.

    Durable chunk by chunk, each journaled. Raises `Invalid` (`migration-not-stored`: no field of the record holds this
    list, its tables alone change) or `Conflict` (`migration-out-of-order`, `migration-changed`).
    """
    if not any(spots(migration.codes)):
        raise Invalid("migration-not-stored", f"The record keeps no code of {migration.codes}: only mappings change.")
    told = Told(migration.id, migration.codes, migration.before, migration.after)
    with gateway.reading() as work:
        known = _check(work, migration)
    exchange_id = known or clock.new_id()
    if not (dry_run or known):
        with gateway.unit_of_work() as work:
            _open(work, exchange_id, migration)
    last = ""
    while True:
        with UnitOfWork(gateway.engine, read_only=dry_run) as work:
            subjects = _subjects(work, last)
            if not dry_run:
                gateway.dossiers.code_lists.require(work)
                take(work, Turn.RECORD, _records(work, subjects))
            before = told.sets
            for subject in subjects:
                _subject(work, gateway, migration, subject, told, None if dry_run else exchange_id)
            if told.sets > before and not dry_run:
                journal.append(
                    work, "referential.change", exchange_id=exchange_id, object_ref=migration.id,
                    n_records=told.sets - before, outcome="applied",
                )  # fmt: skip
        if len(subjects) < _CHUNK:
            return told
        last = subjects[-1]


def _subjects(work: UnitOfWork, after: str) -> list[str]:
    a = assertion_set.c
    query = select(a.subject_id).where(a.superseded_at.is_(None), a.subject_id > after).distinct()
    return list(work.connection.execute(query.order_by(a.subject_id).limit(_CHUNK)).scalars())


def _records(work: UnitOfWork, subjects: list[str]) -> list[bytes]:
    """The records that speak of them: whoever writes one of these is waited for, then waits."""
    found = rows(work.connection, assertion_set, ("record_h",), "subject_id", subjects, "superseded_at IS NULL")
    return [row.record_h for row in found]


def _subject(
    work: UnitOfWork, gateway: Gateway, migration: Migration, subject: str, told: Told, exchange_id: str | None
) -> None:
    """One person or household; only counted without `exchange_id`."""
    changed: set[str] = set()
    touched = False
    for place, asserted_at, facts in list(gateway.dossiers.sets_of(work, subject)):
        new = translate(facts, migration)
        _count(told, new)
        if new.to_choose and exchange_id:
            tasks.open_once(work, CHOOSE, subject, place, exchange_id, asserted_at)
        if not (new.moved or new.retired):
            continue
        told.sets += 1
        touched = True
        if exchange_id:
            changed |= gateway.dossiers.put(
                work, subject, place, new.facts, asserted_at=asserted_at, exchange_id=exchange_id, partial=False
            )
    told.subjects += touched
    if changed and exchange_id:
        told.deliveries += _offer_again(work, gateway, subject, changed, exchange_id)


def _count(told: Told, new: Translated) -> None:
    for counts, found in ((told.moved, new.moved), (told.retired, new.retired), (told.to_choose, new.to_choose)):
        for code, times in Counter(found).items():
            counts[code] = counts.get(code, 0) + times


def _offer_again(work: UnitOfWork, gateway: Gateway, subject: str, changed: set[str], exchange_id: str) -> int:
    """Whoever holds a document that says one of these values is offered it again."""
    people = gateway.dossiers.members(work, subject)
    if not people and work.connection.execute(select(person.c.id).where(person.c.id == subject)).first():
        people = [head_of(work, subject)]
    deliveries = (send_again(work, gateway, people_of(work, one), changed, exchange_id)[0] for one in people)
    return sum(map(len, deliveries))


# --- what was applied -------------------------------------------------------------------------------------------------


def applied(work: UnitOfWork) -> list[dict[str, Any]]:
    """Every change applied here, oldest first: id, list, versions, when, and what each former code became."""
    query = changes(exchange.c.id, exchange.c.received_at, exchange.c.response).order_by(exchange.c.id)
    return [
        {"exchange": row.id, "applied_at": row.received_at, **json.loads(row.response)}
        for row in work.connection.execute(query)
    ]


def _said(migration: Migration) -> dict[str, Any]:
    became = {code: list(change.to) for code, change in sorted(migration.changes.items())}
    return {"id": migration.id, "list": migration.codes, "from": migration.before, "to": migration.after} | {
        "became": became
    }


def _check(work: UnitOfWork, migration: Migration) -> str:
    """The exchange under which this very file was applied, empty when it was not."""
    said, last = _said(migration), ""
    for one in applied(work):
        if one["id"] == migration.id:
            if any(one[name] != value for name, value in said.items()):
                raise Conflict(
                    "migration-changed", "A file of this id was applied with another content: give a new id."
                )
            return str(one["exchange"])
        last = one["to"] if one["list"] == migration.codes else last
    if last and last != migration.before:
        raise Conflict("migration-out-of-order", f"{migration.codes} is at {last} here: apply what leads from there.")
    return ""


def _open(work: UnitOfWork, exchange_id: str, migration: Migration) -> None:
    alone(work)
    work.connection.execute(
        insert(exchange).values(
            id=exchange_id, sender=SENDER, document=DOCUMENT, purpose="referentiel", received_at=work.now, records=0,
            response=json.dumps(_said(migration), ensure_ascii=False),
        )
    )  # fmt: skip
    journal.append(
        work, "referential.change", exchange_id=exchange_id, object_ref=migration.id, n_records=0, outcome="opened"
    )


# --- what waits for a human -------------------------------------------------------------------------------------------


def waiting(work: UnitOfWork, gateway: Gateway) -> list[dict[str, Any]]:
    """What a human must choose: the task, whom it is about, each former code and what it may become. Journaled, since
    a code may tell of someone."""
    found = []
    for row in work.connection.execute(select(task).where(task.c.kind == CHOOSE, task.c.state == "open")).all():
        migration = _migration_of(work, row.exchange_id)
        facts = gateway.dossiers.told_in(work, row.subject_id, _place(row))
        codes = translate(facts, migration).to_choose
        options = {code: list(migration.changes[code].to) for code in sorted(codes)}
        found.append({"task": row.id, "subject": row.subject_id, "said_by": row.sender, "became": options})
    journal.append(work, "log.read", n_records=len(found), outcome="referential")
    return found


def choose(work: UnitOfWork, gateway: Gateway, task_id: str, code: str, to: str) -> bool:
    """A human says what a former code becomes in one body's statement about one person; True when nothing is left to
    choose there. For items that a merge would join, the one of `code` is kept.

    Raises `Unknown`, `Conflict` (`task-settled`), `Invalid` (`code-not-offered`).
    """
    row = work.connection.execute(select(task).where(task.c.id == task_id, task.c.kind == CHOOSE)).first()
    if row is None:
        raise Unknown("task-unknown", "Check the id against `maillon referential list`.")
    if row.state != "open":
        raise Conflict("task-settled", "This task was closed already; read the list again.")
    migration, place = _migration_of(work, row.exchange_id), _place(row)
    gateway.dossiers.code_lists.require(work)
    take(work, Turn.RECORD, [place[2]])
    facts = gateway.dossiers.told_in(work, row.subject_id, place)
    left = translate(facts, migration)
    if left.to_choose:
        if code not in left.to_choose or to not in migration.changes[code].to:
            raise Misnamed("code-not-offered", "Choose among what `maillon referential list` shows for this task.")
        left = translate(facts, migration, {code: to})
        asserted_at = next(at for one, at, _ in gateway.dossiers.sets_of(work, row.subject_id) if one == place)
        changed = gateway.dossiers.put(
            work, row.subject_id, place, left.facts, asserted_at=asserted_at, exchange_id=row.exchange_id, partial=False
        )
        _offer_again(work, gateway, row.subject_id, changed, row.exchange_id)
        journal.append(
            work, "referential.change", exchange_id=row.exchange_id, object_ref=migration.id, n_records=1,
            outcome="chosen",
        )  # fmt: skip
    if not left.to_choose:
        work.connection.execute(update(task).where(task.c.id == task_id).values(state="settled", settled_at=work.now))
    return not left.to_choose


def _place(row: Any) -> Place:
    return row.sender, row.document, row.record_h


def _migration_of(work: UnitOfWork, exchange_id: str) -> Migration:
    row = work.connection.execute(select(exchange.c.response).where(exchange.c.id == exchange_id)).one()
    told = json.loads(row.response)
    changes = {code: Change(code, tuple(to)) for code, to in told["became"].items()}
    return Migration(told["id"], told["list"], told["from"], told["to"], changes)
