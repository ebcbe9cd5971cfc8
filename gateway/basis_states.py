"""What the decision table must know of a person's records: read for many people in a few queries."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any

from sqlalchemy import bindparam, func, select

from gateway.basis_record import fold
from gateway.lookup import rows
from gateway.policy_table import Table
from gateway.storage.tables.basis import basis_event, basis_record, notice
from gateway.storage.tables.record import person
from gateway.unit_of_work import UnitOfWork

_BATCH = 500


@dataclass(frozen=True, slots=True)
class FlowStates:
    """A person's states for one regime, purpose and recipient, in the words of the decision table."""

    consent_state: str
    consent_categories: frozenset[str]
    consent_ref: str
    objection_state: str
    person_informed: bool
    notice_ref: str
    limitation: bool
    age_status: str
    representative_notified: bool
    human_validations: int


@dataclass(frozen=True, slots=True)
class Held:
    """One record, its state, and when that state was recorded."""

    id: str
    kind: str
    regime: str
    purpose: str
    recipients: frozenset[str]
    categories: frozenset[str]
    state: str
    since: str
    valid_from: str
    valid_until: str
    notice: tuple[str, int]
    age_status: str
    agents: frozenset[str]

    def concerns(self, regime: str, purpose: str, recipient: str) -> bool:
        return (
            self.regime in ("", regime)
            and self.purpose in ("", purpose)
            and (not self.recipients or recipient in self.recipients)
        )

    def live(self, now: str) -> bool:
        return self.valid_from <= now and not (self.valid_until and self.valid_until <= now)


@dataclass(frozen=True, slots=True)
class BasisStates:
    """Everything recorded about one person."""

    held: tuple[Held, ...]
    notices: dict[str, int]
    """Version in force of each notice."""
    law: Table = field(repr=False)
    """The decision table that says what each regime demands."""

    def for_flow(self, regime: str, purpose: str, recipient: str, now: str) -> FlowStates:
        """`recipient` is a body's id, `now` an instant as the gateway writes it."""
        found = self.law.regimes.get(regime)
        required = found is not None and found.consent == "required"
        barred = found is not None and found.objection == "not_available"
        if not self.held:
            return _nothing_held(required, barred)
        held = [one for one in self.held if one.concerns(regime, purpose, recipient)]
        consent, named = self._consent([one for one in held if one.kind == "consent"], required, now)
        informed = [one for one in held if self._tells(one, now)]
        protections = [one for one in self.held if one.kind == "protection" and one.state in ("set", "notified")]
        agents = [one.agents for one in held if one.kind == "validation" and one.state == "validated" and one.live(now)]
        source = named or (informed[-1] if informed else None)
        return FlowStates(
            consent_state=consent,
            consent_categories=named.categories if named else frozenset(),
            consent_ref=named.id if named else "",
            objection_state=_objection([one for one in held if one.kind == "objection"], barred),
            person_informed=bool(informed),
            notice_ref=f"{source.notice[0]}:{source.notice[1]}" if source else "",
            limitation=any(one.kind == "limitation" and one.state == "set" for one in held),
            age_status=_most_protected(protections),
            representative_notified=bool(protections) and all(one.state == "notified" for one in protections),
            human_validations=len(frozenset[str]().union(*agents)),
        )

    def _consent(self, consents: list[Held], required: bool, now: str) -> tuple[str, Held | None]:
        """State of the consent decided last; at the same instant the most restrictive wins. One given in advance says
        nothing before it begins: what was decided before it holds until then."""
        decided = [one for one in consents if one.state not in ("requested", "superseded", "")]
        if not decided:
            replaced = any(one.state == "superseded" for one in consents)
            return ("superseded" if replaced else _undecided(required)), None
        begun = [one for one in decided if one.state != "given" or one.valid_from <= now]
        last = max((one.since for one in begun), default="")
        latest = [one for one in begun if one.since == last]
        if not latest:
            return "unknown", None
        refused = next((one for one in latest if one.state != "given"), None)
        if refused is not None:
            return ("withdrawn" if refused.state == "invalidated" else refused.state), None
        if not all(one.live(now) for one in latest):
            return "expired", None
        return "given", latest[0]

    def _tells(self, one: Held, now: str) -> bool:
        """Does this record show that the person received the notice in force?"""
        told = (one.kind == "information" and one.state == "informed") or (
            one.kind == "consent" and one.state == "given"
        )
        return told and one.live(now) and self.notices.get(one.notice[0]) == one.notice[1]


def _objection(objections: Iterable[Held], barred: bool) -> str:
    states = {one.state for one in objections}
    for state, said in (("upheld", "upheld"), ("raised", "raised_pending"), ("rejected", "rejected")):
        if state in states:
            return said
    return "not_available" if barred else "none"


def _undecided(required: bool) -> str:
    return "unknown" if required else "not_applicable"


@cache
def _nothing_held(required: bool, barred: bool) -> FlowStates:
    """The states of a person of whom nothing is recorded: the regime alone decides."""
    return FlowStates(
        consent_state=_undecided(required),
        consent_categories=frozenset(),
        consent_ref="",
        objection_state=_objection((), barred),
        person_informed=False,
        notice_ref="",
        limitation=False,
        age_status=_most_protected([]),
        representative_notified=False,
        human_validations=0,
    )


def states(work: UnitOfWork, person_ids: Collection[str]) -> dict[str, BasisStates]:
    """The states of these people, read once per transaction (a change in it reads them again).

    What was recorded of a person holds for all that were found to be her: of whom a body was asking when she objected
    changes nothing.
    """
    known: dict[str, BasisStates] = work.scratch.setdefault("basis", {})
    if missing := [person for person in dict.fromkeys(person_ids) if person not in known]:
        notices = notices_in_force(work)
        # Of someone this very transaction created nothing is recorded, unless this transaction recorded it.
        created = () if work.scratch.get("basis.written") else work.scratch.get("vault", ())
        known.update(
            dict.fromkeys((person for person in missing if person in created), BasisStates((), notices, work.law))
        )
        missing = [person for person in missing if person not in created]
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            held = _held(work, batch)
            known.update((person, BasisStates(tuple(held.get(person, ())), notices, work.law)) for person in batch)
    return {person: known[person] for person in person_ids}


_IN_FORCE = select(notice.c.id, func.max(notice.c.version)).group_by(notice.c.id)
_RECORDS = (
    select(basis_record)
    .where(basis_record.c.person_id.in_(bindparam("people", expanding=True)))
    .order_by(basis_record.c.id)
)


def _one_with(work: UnitOfWork, people: list[str]) -> dict[str, list[str]]:
    """Each of these people, and all that are one with her: whom she was found to be, who was found to be her."""
    found = rows(work.connection, person, ("id", "merged_into"), "id", people, "merged_into IS NOT NULL")
    heads = dict.fromkeys(people) | {row.id: row.merged_into for row in found}
    groups: dict[str, list[str]] = {head or one: [head or one] for one, head in heads.items()}
    for row in rows(work.connection, person, ("id", "merged_into"), "merged_into", groups):
        groups[row.merged_into].append(row.id)
    return {one: groups[head or one] for one, head in heads.items()}


def notices_in_force(work: UnitOfWork) -> dict[str, int]:
    """Version in force of each notice, read once per transaction."""
    if "basis.notices" not in work.scratch:
        work.scratch["basis.notices"] = {row[0]: row[1] for row in work.connection.execute(_IN_FORCE)}
    found: dict[str, int] = work.scratch["basis.notices"]
    return found


def _held(work: UnitOfWork, asked: list[str]) -> dict[str, list[Held]]:
    """What is recorded of each, also under the name of another that she was found to be."""
    one_with = _one_with(work, asked)
    persons = list({one for group in one_with.values() for one in group})
    records = work.connection.execute(_RECORDS, {"people": persons}).all()
    if not records:
        return {}
    if consents := [row.id for row in records if row.kind == "consent"]:
        # A withdrawal waits for the exchanges that rely on the consent, and they for it: each is strictly before or
        # after it in the journal. (SQLite has one writer at a time: nothing to lock.)
        lock = select(basis_record.c.id).where(basis_record.c.id.in_(consents)).order_by(basis_record.c.id)
        work.connection.execute(lock.with_for_update(read=True)).all()
    events: dict[str, list[Any]] = {row.id: [] for row in records}
    happened = (
        select(basis_event)
        .join(basis_record, basis_record.c.id == basis_event.c.record_id)
        .where(basis_record.c.person_id.in_(persons))
    )
    for event in work.connection.execute(happened):
        events[event.record_id].append(event)
    own: dict[str, list[Held]] = {}
    for row in records:
        own.setdefault(row.person_id, []).append(_one(row, events[row.id]))
    return {
        one: sorted((held for each in group for held in own.get(each, ())), key=attrgetter("id"))
        for one, group in one_with.items()
    }


def _one(row: Any, events: Iterable[Any]) -> Held:
    happened = list(events)
    content = json.loads(row.content)
    state = fold(row.kind, [(one.name, one.recorded_at) for one in happened])
    decisive = [
        one.recorded_at for one in happened if one.name == state or (state, one.name) == ("given", "reconfirmed")
    ]
    return Held(
        id=row.id,
        kind=row.kind,
        regime=row.regime,
        purpose=row.purpose,
        recipients=frozenset(content["recipients"]),
        categories=frozenset(content["categories"]),
        state=state,
        since=max(decisive, default=""),
        valid_from=row.valid_from,
        valid_until=row.valid_until or "",
        notice=(content["notice_id"], content["notice_version"]),
        age_status=content["age_status"],
        agents=frozenset(one.actor for one in happened if one.name == "validated"),
    )


def _most_protected(protections: list[Held]) -> str:
    kinds = {one.age_status for one in protections}
    return "minor" if "minor" in kinds else "protected_adult" if kinds else "adult"
