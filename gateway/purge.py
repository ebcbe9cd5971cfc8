"""Purging what is past its retention (GDPR 5(1)(e)): a whole person, or the part of her record that nothing holds.

Each person is one transaction: her statements, copies of letters and records go with the journal entry that says so
and with the notices to her past recipients (GDPR 19). A crash leaves whole persons done or not begun; the next run
goes on, and finds nothing more to do with those done. A whole person, or a household nobody speaks of any more, is
erased (`erasure.py`), which also writes the list outside the database and says who repairs it.

Never purged: the record of a person with a limitation (a dispute is one, GDPR 18(1)(c)), an objection not answered, or
a request of hers that waits; what no flow says how long to keep (`retention.due` lists it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from prometheus_client import Counter as Metric
from sqlalchemy import delete, func, or_, select, update

from gateway import clock, convention, erasure, journal, notification, quarantine, retention, traces
from gateway.basis_states import states
from gateway.categories import legal_code
from gateway.dossier import NO_DIGEST
from gateway.journal import Entry
from gateway.lookup import batches
from gateway.past import given, past_recipients
from gateway.person_history import HERSELF, head_of, people_of
from gateway.policy_obligations import hours
from gateway.policy_question import in_order
from gateway.problems import Conflict
from gateway.registry import Gateway
from gateway.rights import WAITING
from gateway.storage.tables.basis import basis_event, basis_record
from gateway.storage.tables.delivery import mailbox, outbox
from gateway.storage.tables.record import assertion_set, membership, person, source_record
from gateway.storage.tables.record import quarantine as quarantine_table
from gateway.storage.tables.rights import rights_request
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased
from schemas import paths
from schemas.record import Facts

ARTICLE = "RGPD 5(1)(e)"
PAGE = 200
TRACES = 1_000
"""Rows of one kind that go together."""

PURGED = Metric("maillon_purged", "What was purged because its retention elapsed, by kind", ["kind"])


@dataclass(frozen=True, slots=True)
class Purged:
    """What was purged of one person, household, or recipient's letters. `entry` has its index once committed."""

    id: str
    kind: str
    """`person`, `part`, `household`, `letters`, `bases`, `quarantine`, or one of `traces.past`."""
    subject: str
    """Her pseudonym in the journal; empty for what is purged of many at once."""
    counts: dict[str, int]
    categories: tuple[str, ...]
    told: tuple[str, ...]
    entry: Entry

    def line(self) -> dict[str, Any]:
        """The certificate as JSON, after the commit: pseudonyms, codes and counts."""
        return {
            "certificate": self.id,
            "kind": self.kind,
            "subject": self.subject,
            "article": ARTICLE,
            "categories": list(self.categories),
            "deleted": self.counts,
            "recipients_told": list(self.told),
            "journal": {"log": self.entry.log, "index": self.entry.idx, "origin": self.entry.origin},
        }


Act = Callable[[UnitOfWork, Gateway, Any], Purged | str | None]
"""Purges one unit: gives its certificate, why it may not be purged, or nothing."""


@dataclass(slots=True)
class Report:
    """A whole run. `held` counts the persons whose record is due and may not be purged, by reason."""

    purged: list[Purged] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)
    unknown: list[dict[str, Any]] = field(default_factory=list)

    def line(self) -> dict[str, Any]:
        kinds = Counter(one.kind for one in self.purged)
        deleted: Counter[str] = Counter()
        for one in self.purged:
            deleted.update(one.counts)
        return {"purged": dict(kinds), "deleted": dict(deleted), "held": dict(self.held), "unknown": self.unknown}


def purge(gateway: Gateway, *, dry_run: bool = False) -> Report:
    """Purge whatever is due now; `dry_run` does the same and keeps nothing of it."""
    report = Report()
    _apply(gateway, report, _old_letters(gateway), _letters, dry_run)
    _apply(gateway, report, _old_bases(gateway), _bases, dry_run)
    _apply(gateway, report, _old_quarantine(gateway), _quarantine, dry_run)
    for subjects in _due(gateway):
        _apply(gateway, report, subjects, _person_or_household, dry_run)
    _apply(gateway, report, _old_traces(gateway), _traces, dry_run)
    if dry_run:
        with gateway.reading() as work:
            left = retention.due(work, gateway)
    else:
        left = retention.keep(gateway).due
    report.unknown = [one for one in left if not one["regime_known"]]
    if not dry_run:
        for one in report.purged:
            PURGED.labels(one.kind).inc()
    return report


def _apply(gateway: Gateway, report: Report, units: Iterable[Any], act: Act, dry_run: bool) -> None:
    """Each unit in a transaction of its own: its certificate is written down, or why there is none."""
    for unit in units:
        with gateway.unit_of_work() as work:
            if dry_run:
                work.abandon()
            told = act(work, gateway, unit)
        if isinstance(told, Purged):
            report.purged.append(told)
        elif told:
            report.held[told] += 1


def hold(work: UnitOfWork, people: Collection[str]) -> str:
    """What forbids to purge anything of these people: `request`, `limitation`, `objection`; empty when nothing does."""
    waits = select(rights_request.c.id).where(
        rights_request.c.person_id.in_(people), rights_request.c.state.in_(WAITING)
    )
    if work.connection.execute(waits.limit(1)).first():
        return "request"
    held = {(one.kind, one.state) for known in states(work, people).values() for one in known.held}
    if ("limitation", "set") in held:
        return "limitation"
    return "objection" if ("objection", "raised") in held else ""


# --- statements -------------------------------------------------------------------------------------------------------


def _due(gateway: Gateway) -> Iterator[list[str]]:
    """Persons (heads) and households of which something may be past its retention, each once, page by page."""
    after, met = "", set[str]()
    while True:
        with gateway.reading() as work:
            known = retention.terms(work, gateway)
            query = select(assertion_set.c.subject_id).select_from(retention.statements).distinct()
            query = query.where(assertion_set.c.subject_id > after, retention.past(known, work.now))
            found = list(work.connection.execute(query.order_by(assertion_set.c.subject_id).limit(PAGE)).scalars())
            units = [one for subject in found if (one := _unit(work, subject)) not in met]
        yield list(dict.fromkeys(units))
        met.update(units)
        if len(found) < PAGE:
            return
        after = found[-1]


def _unit(work: UnitOfWork, subject: str) -> str:
    """The person a statement belongs to, or its household when several live or lived there."""
    if work.connection.scalar(select(person.c.id).where(person.c.id == subject)):
        return head_of(work, subject)
    heads = {head_of(work, one) for one in _lived_in(work, subject)}
    return heads.pop() if len(heads) == 1 else subject


def _lived_in(work: UnitOfWork, foyer_id: str) -> list[str]:
    query = select(membership.c.person_id).where(membership.c.foyer_id == foyer_id).distinct()
    return sorted(work.connection.execute(query).scalars())


def _person_or_household(work: UnitOfWork, gateway: Gateway, unit: str) -> Purged | str | None:
    is_person = bool(work.connection.scalar(select(person.c.id).where(person.c.id == unit)))
    people = people_of(work, unit) if is_person else _lived_in(work, unit)
    if is_person:
        erasure.keep_to_herself(work, people)
    subjects = [*people, *erasure.own_households(work, people)] if is_person else [unit]
    found = _look(work, gateway, subjects)
    found.postpone(work)
    if not found.gone and not found.trimmed:
        return None
    if why := hold(work, people):
        return why
    if is_person and not found.kept and not found.trimmed:
        return _whole(work, gateway, unit, len(found.gone), found.codes)
    return _part(work, gateway, people, unit if not is_person else "", found)


@dataclass(slots=True)
class _Looked:
    """The statements about some subjects, by what becomes of them."""

    gone: list[Any] = field(default_factory=list)
    trimmed: list[tuple[Any, Facts]] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    """C-codes of what goes."""

    looked: list[tuple[str, str]] = field(default_factory=list)
    """Of those kept, the ones that were opened, and when to open them again."""

    def postpone(self, work: UnitOfWork) -> None:
        """Do not open tomorrow what holds nothing that is due."""
        for id, look_at in self.looked:
            work.connection.execute(update(assertion_set).where(assertion_set.c.id == id).values(look_at=look_at))


def _look(work: UnitOfWork, gateway: Gateway, subjects: Sequence[str]) -> _Looked:
    known, found = retention.terms(work, gateway), _Looked()
    # Locked, so that nobody says any of it again between this look and the purge.
    work.connection.execute(
        select(assertion_set.c.id).where(assertion_set.c.subject_id.in_(subjects)).with_for_update()
    ).all()
    origins = select(assertion_set.c.origin_h).where(assertion_set.c.subject_id.in_(subjects))
    work.connection.execute(
        select(source_record.c.record_h).where(source_record.c.record_h.in_(origins)).with_for_update()
    ).all()
    query = select(assertion_set, retention.said_at.label("said_at")).select_from(retention.statements)
    hers = []
    for row in work.connection.execute(query.where(assertion_set.c.subject_id.in_(subjects))):
        term = retention.term_of(known, row.source, row.document)
        if row.source == HERSELF:
            hers.append(row)  # what she said of herself goes with the rest
        elif term is None or row.said_at >= term.first:
            found.kept.append(row)
        else:
            _weigh(work, gateway, row, term, found)
    (found.kept if found.kept or found.trimmed else found.gone).extend(hers)
    return found


def _weigh(work: UnitOfWork, gateway: Gateway, row: Any, term: retention.Term, found: _Looked) -> None:
    try:
        facts = gateway.vault.open(work, row.subject_id, row.payload)
    except Erased:
        found.gone.append(row)
        return
    remaining = retention.remaining(facts, row.said_at, term)
    if remaining == facts and facts:
        found.kept.append(row)
        found.looked.append((row.id, retention.next_look(facts, row.said_at, term, work.now)))
        return
    found.codes |= {code for path, value in facts.items() if path not in remaining and (code := _code(path, value))}
    if remaining:
        found.trimmed.append((row, remaining))
        found.looked.append((row.id, retention.next_look(remaining, row.said_at, term, work.now)))
    else:
        found.gone.append(row)


def _code(path: str, value: Any) -> str | None:
    try:
        return legal_code(path, value)
    except paths.UnknownPath:
        return None


def _whole(work: UnitOfWork, gateway: Gateway, head: str, statements: int, codes: set[str]) -> Purged | str:
    try:
        done = erasure.erase(work, gateway, head, ground="elapsed")
    except Conflict as refused:  # a flow still needs her, by what another body's words open
        return refused.code
    subject = gateway.keys.pseudonym(HERSELF, head)
    counts = done.deleted | {"assertion_set": max(statements, done.deleted.get("assertion_set", 0))}
    return Purged(done.id, "person", subject, counts, tuple(in_order(codes)), done.told, done.entry)


def _part(work: UnitOfWork, gateway: Gateway, people: list[str], foyer: str, found: _Looked) -> Purged:
    """Take out what nothing holds; the rest of the person or of the household stays."""
    counts: Counter[str] = Counter()
    homes = [] if foyer else erasure.own_households(work, people)
    erasure.overwrite(work)
    for row, facts in found.trimmed:
        sealed = gateway.vault.seal(work, row.subject_id, facts)
        work.connection.execute(update(assertion_set).where(assertion_set.c.id == row.id).values(payload=sealed))
        counts["assertion_set_trimmed"] += 1
        if row.superseded_at is None:
            # If its sender says it again, unchanged, it must be read whole: a part of it is no longer here.
            here = source_record.c.record_h == row.origin_h
            work.connection.execute(update(source_record).where(here).values(digest=NO_DIGEST))
    for ids in batches([row.id for row in found.gone]):
        here = assertion_set.c.id.in_(ids)
        counts["assertion_set"] += work.connection.execute(delete(assertion_set).where(here)).rowcount
    ended = [row for row in found.gone if row.superseded_at is None]
    for row in ended:
        since = or_(source_record.c.received_at.is_(None), source_record.c.received_at <= row.said_at)
        here = (source_record.c.record_h == row.origin_h) & since
        counts["source_record"] += work.connection.execute(delete(source_record).where(here)).rowcount
    if said_in := {row.record_h for row in ended if row.subject_id in people}:
        here = membership.c.person_id.in_(people) & membership.c.said_in.in_(said_in)
        counts["membership"] += work.connection.execute(delete(membership).where(here)).rowcount
    for cache in ("dossier", "homes", "merged"):
        work.scratch.pop(cache, None)
    identifier = clock.new_id()
    told = _tell(work, gateway, identifier, people, found.codes)
    subject = gateway.keys.pseudonym(HERSELF, people[0]) if people and not foyer else ""
    entry = _log(work, identifier, sum(counts.values()), subject=subject, categories_redacted=in_order(found.codes))
    empty = [foyer] if foyer and not found.kept and not found.trimmed else []
    for home in [*empty, *(one for one in homes if not _spoken_of(work, one))]:
        counts.update(erasure.forget_household(work, gateway, home, entry))
    kind = "household" if foyer else "part"
    return Purged(identifier, kind, subject, _counted(counts), tuple(in_order(found.codes)), told, entry)


def _spoken_of(work: UnitOfWork, foyer: str) -> bool:
    """Whether anything is still said of a household, or somebody is said to live there."""
    said = select(assertion_set.c.id).where(assertion_set.c.subject_id == foyer)
    lives = select(membership.c.person_id).where(membership.c.foyer_id == foyer)
    return bool(work.connection.execute(said.limit(1)).first() or work.connection.execute(lives.limit(1)).first())


def _tell(work: UnitOfWork, gateway: Gateway, record_id: str, people: list[str], codes: set[str]) -> tuple[str, ...]:
    """Every body that was given one of these categories is told that they were erased here (GDPR 19)."""
    bodies: set[str] = set()
    for one in people:
        read = given(work, gateway, one)
        told = {body for body in past_recipients(work, gateway, one) if body not in read or codes & read[body]}
        bodies |= told
        notification.tell(
            work, record_id, "retention.elapsed", told, action="erase", purpose="droits_personne", categories=codes,
            reference=gateway.keys.pseudonyms_of(one),
        )  # fmt: skip
    return tuple(sorted(bodies))


# --- copies of letters, records of what exchanges rested on, quarantine -----------------------------------------------


def _cutoffs(work: UnitOfWork, gateway: Gateway) -> dict[str, str]:
    """What each regime no longer allows to keep is older than this."""
    return {
        regime.id: clock.after(work.now, -timedelta(hours=hours(regime.retention)))
        for regime in gateway.policy.table.regimes.values()
    }


def _old_letters(gateway: Gateway) -> list[tuple[str, str, Sequence[str]]]:
    """(recipient, regime, ids) of letters older than the regime of their flow allows, fetched or not."""
    found: dict[tuple[str, str], list[str]] = {}
    with gateway.reading() as work:
        cutoffs = _cutoffs(work, gateway)
        regimes = {flow.id: flow.regime for flow in convention.declared(work)}
        query = select(mailbox.c.id, mailbox.c.body, mailbox.c.created_at, outbox.c.flow)
        query = query.join_from(mailbox, outbox, outbox.c.id == mailbox.c.delivery_id)
        for row in work.connection.execute(query.where(mailbox.c.created_at < max(cutoffs.values()))):
            regime = regimes.get(row.flow)
            if regime and row.created_at < cutoffs[regime]:
                found.setdefault((row.body, regime), []).append(row.id)
    return [(*key, ids) for key, all_of in sorted(found.items()) for ids in batches(all_of)]


def _letters(work: UnitOfWork, gateway: Gateway, unit: tuple[str, str, Sequence[str]]) -> Purged | str | None:
    body, regime, ids = unit
    rows = work.connection.execute(select(mailbox.c.id, mailbox.c.person_id).where(mailbox.c.id.in_(ids))).all()
    free = [row.id for row in rows if not hold(work, people_of(work, head_of(work, row.person_id)))]
    if not free:
        return "letters" if rows else None
    count = work.connection.execute(delete(mailbox).where(mailbox.c.id.in_(free))).rowcount
    identifier = clock.new_id()
    entry = _log(work, identifier, count, recipient_org=body, regime=regime)
    return Purged(identifier, "letters", "", {"mailbox": count}, (), (), entry)


_ENDED = {
    "information": {"informed", "superseded"},
    "consent": {"given", "refused", "withdrawn", "expired", "superseded", "invalidated", "requested"},
    "objection": {"rejected", "retracted"},
    "limitation": {"lifted"},
    "validation": {"validated", "superseded"},
}
"""Records that nothing rests on once their regime holds nothing of the person. An objection upheld is kept: it still
forbids; so is a protection."""


def _old_bases(gateway: Gateway) -> list[str]:
    """Persons with a record older than its regime allows."""
    with gateway.reading() as work:
        found = set[str]()
        for regime, cutoff in _cutoffs(work, gateway).items():
            old = (basis_record.c.regime == regime) & (basis_record.c.created_at < cutoff)
            query = select(basis_record.c.person_id).where(old, basis_record.c.kind.in_(_ENDED)).distinct()
            found.update(work.connection.execute(query).scalars())
    return sorted(found)


def _bases(work: UnitOfWork, gateway: Gateway, person_id: str) -> Purged | str | None:
    """Records of a regime that holds nothing of her any more, once its retention has passed since they ended."""
    people = people_of(work, head_of(work, person_id))
    subjects = [*people, *_homes(work, people)]
    sources = select(assertion_set.c.source).where(assertion_set.c.subject_id.in_(subjects)).distinct()
    known = retention.terms(work, gateway)
    live = {
        regime for one in work.connection.execute(sources).scalars() if one in known for regime in known[one].regimes
    }
    cutoffs = _cutoffs(work, gateway)
    over = [
        one for one in states(work, [person_id])[person_id].held
        if one.regime in cutoffs and one.regime not in live and one.state in _ENDED.get(one.kind, ())
        and max(one.since, one.valid_from, one.valid_until) < cutoffs[one.regime]
    ]  # fmt: skip
    if not over:
        return None
    if why := hold(work, people):
        return why
    ids = [one.id for one in over]
    work.connection.execute(delete(basis_event).where(basis_event.c.record_id.in_(ids)))
    count = work.connection.execute(delete(basis_record).where(basis_record.c.id.in_(ids))).rowcount
    identifier, subject = clock.new_id(), gateway.keys.pseudonym(HERSELF, people[0])
    entry = _log(work, identifier, count, subject=subject, regime=over[0].regime)
    return Purged(identifier, "bases", subject, {"basis_record": count}, (), (), entry)


def _homes(work: UnitOfWork, people: list[str]) -> list[str]:
    return list(
        work.connection.execute(select(membership.c.foyer_id).where(membership.c.person_id.in_(people))).scalars()
    )


def _old_quarantine(gateway: Gateway) -> list[tuple[str, str]]:
    """(sender, before when) where records wait in quarantine past all that their sender may have kept."""
    table = quarantine_table.c
    with gateway.reading() as work:
        found = [(source, term.whole) for source, term in sorted(retention.terms(work, gateway).items())]
        return [
            (sender, before) for sender, before in found
            if work.connection.execute(select(table.id).where(_waiting(sender, before)).limit(1)).first()
        ]  # fmt: skip


def _waiting(sender: str, before: str) -> Any:
    table = quarantine_table.c
    return (table.sender == sender) & (table.created_at < before) & table.record.is_not(None)


def _quarantine(work: UnitOfWork, gateway: Gateway, unit: tuple[str, str]) -> Purged | str | None:
    """What was never understood is dismissed, and its content not kept, unless it speaks of someone on hold."""
    table = quarantine_table.c
    held = {one.id for one, *_ in quarantine.holding(work, gateway, _on_hold(work))}
    kept = work.connection.execute(select(table.id, table.exchange_id, table.position).where(_waiting(*unit))).all()
    closed = sum(quarantine.settle_record(work, one, "dismissed") for one in kept if one.id not in held)
    if not closed:
        return "quarantine"
    identifier = clock.new_id()
    entry = _log(work, identifier, closed, sender_org=unit[0])
    return Purged(identifier, "quarantine", "", {"quarantine": closed}, (), (), entry)


def _on_hold(work: UnitOfWork, among: Collection[str] | None = None) -> list[str]:
    """Everybody of whom nothing may be purged now; or, of these heads alone, with who was merged into them."""
    head = func.coalesce(person.c.merged_into, person.c.id).label("head")
    waits = select(head).join(rights_request, rights_request.c.person_id == person.c.id)
    marked = select(head).join(basis_record, basis_record.c.person_id == person.c.id)
    some = waits.where(rights_request.c.state.in_(WAITING)).union(
        marked.where(basis_record.c.kind.in_(("limitation", "objection")))
    ).subquery()  # fmt: skip
    query = select(some.c.head) if among is None else select(some.c.head).where(some.c.head.in_(among))
    groups = [people_of(work, one) for one in sorted(work.connection.execute(query).scalars())]
    return [one for people in groups if hold(work, people) for one in people]


# --- traces of exchanges ----------------------------------------------------------------------------------------------


def _old_traces(gateway: Gateway) -> Iterator[tuple[str, list[str]]]:
    """(kind, ids) of rows that no longer serve, a page at a time."""
    with gateway.reading() as work:
        kinds = traces.past(work, gateway)
    for kind, (table, past) in kinds.items():
        after = ""
        while True:
            with gateway.reading() as work:
                query = select(table.c.id).where(table.c.id > after, past).order_by(table.c.id).limit(TRACES)
                ids = list(work.connection.execute(query).scalars())
            if not ids:
                break
            yield kind, ids
            after = ids[-1]


def _traces(work: UnitOfWork, gateway: Gateway, unit: tuple[str, list[str]]) -> Purged | str | None:
    """Rows of one kind, if nothing happened to them since they were found; not those of anybody on hold."""
    kind, ids = unit
    table, past = traces.past(work, gateway)[kind]
    here = table.c.id.in_(ids) & past
    for whose in traces.ABOUT.get(kind, ()):
        theirs = select(whose).where(table.c.id.in_(ids))
        heads = select(func.coalesce(person.c.merged_into, person.c.id)).where(person.c.id.in_(theirs)).distinct()
        here &= whose.not_in(_on_hold(work, list(work.connection.execute(heads).scalars())))
    # What another transaction holds waits for the next run: neither waits for the other.
    free = select(table.c.id).where(here).order_by(table.c.id).with_for_update(skip_locked=True, of=table)
    ids = list(work.connection.execute(free).scalars())
    if not ids:
        return kind
    counts: Counter[str] = Counter()
    counts[table.name] = work.connection.execute(delete(table).where(table.c.id.in_(ids))).rowcount
    if kind == "notices":  # and the letters that told them
        counts["mailbox"] = work.connection.execute(delete(mailbox).where(mailbox.c.delivery_id.in_(ids))).rowcount
    identifier = clock.new_id()
    entry = _log(work, identifier, sum(counts.values()))
    return Purged(identifier, kind, "", _counted(counts), (), (), entry)


# --- small things -----------------------------------------------------------------------------------------------------


def _log(work: UnitOfWork, identifier: str, count: int, **fields: Any) -> Entry:
    return journal.append(
        work, "right.erase", purpose="droits_personne", article=[ARTICLE], object_ref=identifier, n_records=count,
        outcome="purged", reason_code="elapsed", **fields,
    )  # fmt: skip


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
