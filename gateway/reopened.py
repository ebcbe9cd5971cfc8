"""What was withheld for a reason that ended goes without anybody typing it again.

Its sender said it, and has nothing new to say. When the reason ends apart from her file (she is informed or comes of
age, a limitation is lifted, an objection rejected; a convention begins or is widened, a notice published, a partner
comes back, a table is put in force), what may go now is promised here, decided again when it leaves, and not sent to
whoever holds it already. A move, a change of her right or of who follows her comes with an exchange, which looks by
itself (`gateway/opening.py`).

A look covers what happened since the last one that ended. Persons are taken a few at a time, each lot followed by a
rest as long as itself, so that exchanges come first. A process that dies leaves a look that is begun anew: what it had
promised already would say the same twice, and leaves once. Everybody is walked through when the reason was everybody's,
and once a day for birthdays: a birth date is sealed, no index tells it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from gateway import clock, convention, policy_history
from gateway.access import partners
from gateway.basis_states import states
from gateway.clock import today
from gateway.convention_model import Flow
from gateway.decide import answer, came_of_age
from gateway.lookup import batches
from gateway.merge import Portrait
from gateway.offer import offer_again
from gateway.policy import Policy
from gateway.problems import Problem
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_event, basis_record, notice
from gateway.storage.tables.record import person
from gateway.storage.tables.schedule import schedule
from gateway.turns import kept
from gateway.unit_of_work import UnitOfWork

JOB = "withheld-again"
_OPENS = ("informed", "given", "rejected", "retracted", "lifted", "notified", "ended", "validated")
"""Events of basis records after which something may go that could not."""
_LATE = timedelta(seconds=30)
"""What was written while the last look ended may be dated so long before its end."""
_LOT, _PAGE = 20, 500


async def keep(gateway: Gateway) -> None:
    """One look, for the schedule."""
    since = await asyncio.to_thread(_last_look, gateway)
    lots = look(gateway, since)
    while True:
        start = time.monotonic()
        if await asyncio.to_thread(next, lots, None) is None:
            break
        await asyncio.sleep(time.monotonic() - start)
    policy_history.note_offered(gateway.settings.home, gateway.policy.version)


@dataclass(frozen=True, slots=True)
class _Ended:
    """What ended for everybody."""

    flows: Collection[Flow]
    """Those that opened or changed."""
    former: str
    """The digest of the table that decided until then, when another is in force."""
    minors_at: str
    """An instant of a day before; empty when birthdays were looked at."""

    def __bool__(self) -> bool:
        return bool(self.flows or self.former or self.minors_at)

    def opens(self, work: UnitOfWork, gateway: Gateway, one: str) -> Collection[Flow]:
        """The flows through which something of this person may go that could not."""
        if not (self.former or self.minors_at):
            return self.flows
        current, every = gateway.dossiers.current(work, one), convention.declared(work)
        if self.minors_at and came_of_age(current, self.minors_at, current, work.now):
            return every
        return [flow for flow in every if flow in self.flows or self._given_more(work, gateway, one, flow, current)]

    def _given_more(self, work: UnitOfWork, gateway: Gateway, one: str, flow: Flow, current: Portrait) -> bool:
        """Does the table in force permit what the former did not?"""
        if not self.former or flow.de not in current.sources or not gateway.speaks(flow.vers, flow.document):
            return False
        former = _table(gateway.settings.home, self.former)
        if former is None or any(_said(former, part) != _said(gateway.policy, part) for part in _BESIDE):
            return True
        asked, now = answer(work, gateway, one, flow, current)
        before = former.decide(asked)
        as_before = before.permits and now.sent <= before.sent and now.onward == before.onward
        return now.permits and not as_before


def look(gateway: Gateway, since: str) -> Iterator[int]:
    """Promise what may go since this instant; how many persons were looked at, lot by lot, each in its transaction.

    It goes on until nothing new happened meanwhile.
    """
    seen: dict[str, str] = {}
    known: set[Flow] = set()
    former, minors_at = policy_history.last_offered(gateway.settings.home), since
    if former == gateway.policy.version:
        former = ""
    while True:
        with gateway.reading() as work:
            now = work.now
            flows = [flow for flow in _opened(work, since) if flow not in known]
            people = {one: moment for one, moment in _concerned(work, since).items() if seen.get(one) != moment}
            born = minors_at if today(minors_at) != today(now) else ""
        ended = _Ended(flows, former, born)
        if not people and not ended:
            return
        for lot in batches([*people], _LOT):
            yield _promise(gateway, lot, None)
        if ended:
            for page in _everybody(gateway):
                for lot in batches(page, _LOT):
                    yield _promise(gateway, lot, ended)
        seen.update(people)
        known.update(flows)
        former, minors_at, since = "", now, max(since, clock.after(now, -_LATE))


_BESIDE = "annexes", "regimes"
"""What a table says that a question is made from: where it differs, the same question is not asked."""


def _said(policy: Policy, part: str) -> Any:
    return policy.table.source.get(part)


@lru_cache(maxsize=1)
def _table(home: Path, digest: str) -> Policy | None:
    with contextlib.suppress(Problem):  # what this gateway cannot read any more is taken to have refused all
        return policy_history.load(home, digest)
    return None


def _last_look(gateway: Gateway) -> str:
    """When the last look that ended did, or when the first was to begin; a little before."""
    with gateway.reading() as work:
        row = work.connection.execute(select(schedule).where(schedule.c.name == JOB)).first()
        return clock.after((row.done_at or row.since) if row else work.now, -_LATE)


def _opened(work: UnitOfWork, since: str) -> list[Flow]:
    """The flows that opened or changed, those that a notice published since covers, those of a partner that is back."""
    published = select(notice.c.id, notice.c.version).group_by(notice.c.id, notice.c.version)
    rows = work.connection.execute(published.having(func.min(notice.c.published_at) > since))
    covered = {f"{row.id}:{row.version}" for row in rows}
    back = partners.come_back(work.connection, since)
    told = [
        one for one in convention.declared(work)
        if one.active and ((one.information == "collective" and one.notice in covered) or back & {one.de, one.vers})
    ]  # fmt: skip
    return list(dict.fromkeys([*convention.opened(work, since), *told]))


def _concerned(work: UnitOfWork, since: str) -> dict[str, str]:
    """The persons of whom something was recorded that may let what concerns them go, or whose consent began; when."""
    record, event = basis_record.c, basis_event.c
    head = func.coalesce(person.c.merged_into, person.c.id)
    here = person.c.erased_at.is_(None), person.c.provisional == 0
    hers = person.join(basis_record, record.person_id == person.c.id)
    recorded = select(head, event.recorded_at).select_from(hers.join(basis_event, event.record_id == record.id))
    recorded = recorded.where(event.name.in_(_OPENS), event.recorded_at > since, *here)
    begun = select(head, record.valid_from).select_from(hers).where(record.kind == "consent", *here)
    begun = begun.where(record.valid_from > since, record.valid_from <= work.now)
    found: dict[str, str] = {}
    for one, moment in sorted([*work.connection.execute(recorded), *work.connection.execute(begun)]):
        found[one] = moment
    return found


def _everybody(gateway: Gateway) -> Iterator[list[str]]:
    last = ""
    while True:
        with gateway.reading() as work:
            here = person.c.merged_into.is_(None), person.c.erased_at.is_(None), person.c.provisional == 0
            query = select(person.c.id).where(*here, person.c.id > last).order_by(person.c.id).limit(_PAGE)
            page = list(work.connection.execute(query).scalars())
        if not page:
            return
        yield page
        last = page[-1]


def _promise(gateway: Gateway, people: Sequence[str], ended: _Ended | None) -> int:
    """Offer again what was said of these persons: through what ended for everybody opens, or through all flows."""
    with gateway.unit_of_work() as work:
        here = kept(work, people)
        gateway.dossiers.prefetch_people(work, here)
        states(work, here)
        for one in here:
            if flows := ended.opens(work, gateway, one) if ended else convention.declared(work):
                offer_again(work, gateway, one, flows)
    return len(people)
