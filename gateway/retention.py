"""How long what each body said may be kept, and what of a dossier is past it.

A statement is held under the regimes of the flows that its source signed: it may be kept as long as one of them allows
(`retention` in the decision table), each category as long as a flow that may carry it. The time runs from the last
time the source said it here, changed or not. What elapsed is no longer sent (D19) and is purged (`purge.py`).

Kept and listed, never guessed: the words of a source that signed no flow, and the participations to operations of the
ESF+, whose length the table does not say. What a person said of herself goes with the rest of her record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, and_, case, delete, false, func, insert, not_, or_, select

from gateway import clock, convention
from gateway.categories import bridge
from gateway.convention_model import Flow
from gateway.merge import Assertions, Portrait
from gateway.person_history import HERSELF
from gateway.policy import Policy
from gateway.policy_obligations import hours
from gateway.policy_table import Regime
from gateway.registry import Gateway
from gateway.storage.tables.record import assertion_set, source_record
from gateway.storage.tables.rights import retention_reading
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.record import Facts

AGAIN = timedelta(days=30)
_ESF = ("fse.", "maillon.fse_")


@dataclass(frozen=True, slots=True)
class Term:
    """What one source last said before these instants is past its retention."""

    whole: str
    by_code: Mapping[str, str]
    """C-codes kept for another time than the rest."""
    first: str
    """The latest of them: nothing said since is past anything."""
    regimes: frozenset[str]

    def of(self, path: str, value: object) -> str:
        try:
            return self.by_code.get(bridge().code(path, value), self.whole)
        except paths.UnknownPath:
            return self.whole


def terms(work: UnitOfWork, gateway: Gateway) -> Mapping[str, Term]:
    """The term of each source that signed a flow, to the hour."""
    if "retention" not in work.scratch:
        asked = work.now[:13], convention.versions(work)
        last = _last.get(gateway.policy)
        if last is None or last[0] != asked:
            last = _last[gateway.policy] = asked, _terms(gateway.policy, work.now, convention.declared(work))
        work.scratch["retention"] = last[1]
    found: Mapping[str, Term] = work.scratch["retention"]
    return found


_last: WeakKeyDictionary[Policy, tuple[Any, Mapping[str, Term]]] = WeakKeyDictionary()
"""The terms found last, of each table: they change with the hour and with the conventions."""


def _terms(policy: Policy, now: str, flows: Iterable[Flow]) -> dict[str, Term]:
    signed: dict[str, list[Flow]] = {}
    for flow in flows:
        signed.setdefault(flow.de, []).append(flow)
    return {source: _term(policy, now, its) for source, its in signed.items()}


def _term(policy: Policy, now: str, flows: list[Flow]) -> Term:
    table = policy.table
    carried = [(table.regimes[flow.regime], flow.may_carry(table)) for flow in flows]
    every = [regime for regime, _ in carried]
    by_code = {
        code: _before(now, [_kept(regime, code) for regime, codes in carried if code in codes] or
                      [_kept(regime, code) for regime in every])
        for code in table.categories
    }  # fmt: skip
    whole = _before(now, [regime.retention for regime in every])
    return Term(whole, by_code, max(whole, *by_code.values()), frozenset(regime.id for regime in every))


def _kept(regime: Regime, code: str) -> str:
    return regime.shorter.get(code, regime.retention)


def _before(now: str, lengths: list[str]) -> str:
    hour = datetime.fromisoformat(now).replace(minute=0, second=0, microsecond=0)
    return clock.instant(hour - timedelta(hours=max(map(hours, lengths))))


def term_of(terms: Mapping[str, Term], source: str, document: str) -> Term | None:
    """The term of what this source says in this document; None when it is not known."""
    return None if document.startswith(_ESF) else terms.get(source)


def remaining(facts: Facts, said_at: str, term: Term) -> Facts:
    """The facts that are still within their retention; the same object when all are."""
    if said_at >= term.first:
        return facts
    kept = {path: value for path, value in facts.items() if said_at >= term.of(path, value)}
    return facts if len(kept) == len(facts) else kept


def next_look(facts: Facts, said_at: str, term: Term, now: str) -> str:
    """When something of these facts, all within their retention now, may be past it; a month from now at the latest,
    in case the law or a convention changes."""
    said, moment = datetime.fromisoformat(said_at), datetime.fromisoformat(now)
    left = [said - datetime.fromisoformat(cut) for cut in {term.of(path, value) for path, value in facts.items()}]
    return clock.instant(moment + min([AGAIN, *left]))


def within(work: UnitOfWork, gateway: Gateway, current: Portrait) -> Portrait:
    """A dossier without what is past its retention; the same object when nothing is."""
    known = terms(work, gateway)
    kept = [_within(one, term_of(known, one.source, one.document)) for one in current.said]
    if all(one is before for one, before in zip(kept, current.said, strict=True)):
        return current
    return Portrait(one for one in kept if one.facts)


def _within(said: Assertions, term: Term | None) -> Assertions:
    if term is None:
        return said
    facts = remaining(said.facts, said.last_said or said.received_at, term)
    return said if facts is said.facts else replace(said, facts=facts)


# --- what is due ------------------------------------------------------------------------------------------------------

_live, _again = assertion_set.c.superseded_at.is_(None), source_record.c.received_at
said_at = case((and_(_live, _again > assertion_set.c.received_at), _again), else_=assertion_set.c.received_at)
"""When a statement was last said here; one that was replaced counts from its receipt."""
statements = assertion_set.outerjoin(source_record, source_record.c.record_h == assertion_set.c.origin_h)

_apart = or_(*(assertion_set.c.document.startswith(one, autoescape=True) for one in _ESF))


def past(known: Mapping[str, Term], now: str) -> ColumnElement[bool]:
    """The statements of which something may be past its retention, among `statements`."""
    table = assertion_set.c
    looked = or_(table.look_at.is_(None), table.look_at <= now)
    old = (
        and_(table.source == source, or_(said_at < term.whole, and_(said_at < term.first, looked)))
        for source, term in known.items()
    )
    return and_(not_(_apart), or_(false(), *old))


def due(work: UnitOfWork, gateway: Gateway) -> list[dict[str, Any]]:
    """By source: statements past their retention, or past that of some of their categories; and, with
    `regime_known` false, those that no flow says how long to keep."""
    known, table = terms(work, gateway), assertion_set.c
    counts = (func.count(), func.count(table.subject_id.distinct()), func.min(said_at))
    unknown = or_(table.source.not_in(known.keys()), _apart)
    questions = ((past(known, work.now), True), (and_(unknown, table.source != HERSELF), False))
    found = []
    for condition, is_known in questions:
        query = select(table.source, *counts).select_from(statements).where(condition).group_by(table.source)
        for source, count, subjects, oldest in work.connection.execute(query.order_by(table.source)):
            found.append({
                "source": source, "before": known[source].first if is_known else None, "statements": count,
                "subjects": subjects, "oldest": oldest, "regime_known": is_known,
                "regimes": sorted(known[source].regimes) if is_known else [],
            })  # fmt: skip
    return found


@dataclass(frozen=True, slots=True)
class Reading:
    """What `due` said at an instant."""

    read_at: str
    due: list[dict[str, Any]]


def keep(gateway: Gateway) -> Reading:
    """Count what is due and write it down in place of the last count: it reads every statement, a page may not."""
    with gateway.reading() as work:
        reading = Reading(work.now, due(work, gateway))
    with gateway.unit_of_work() as work:
        work.connection.execute(delete(retention_reading))
        work.connection.execute(insert(retention_reading).values(read_at=reading.read_at, due=json.dumps(reading.due)))
    return reading


def last(work: UnitOfWork) -> Reading | None:
    """The last count; None before the first."""
    row = work.connection.execute(select(retention_reading)).first()
    return Reading(row.read_at, json.loads(row.due)) if row else None
