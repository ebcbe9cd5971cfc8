"""What was withheld for a reason that ended goes without anybody typing it again.

Its sender said it, and has nothing new to say. When the reason ends apart from her file (she is informed, a limitation
is lifted, an objection rejected; a convention begins or is widened, a notice published), what may go now is promised
here, decided again when it leaves, and not sent to whoever holds it already. A move, or a change of her right, comes
with an exchange, which looks by itself (`exchange.offer_again`).

A look covers what happened since the last one that ended. Persons are taken a few at a time, each lot followed by a
rest as long as itself, so that exchanges come first. A process that dies leaves a look that is begun anew: what it had
promised already would say the same twice, and leaves once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select

from gateway import clock, convention
from gateway.basis_states import states
from gateway.convention_model import Flow
from gateway.exchange import offer_again
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_event, basis_record, notice
from gateway.storage.tables.record import person
from gateway.storage.tables.schedule import schedule
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
            return
        await asyncio.sleep(time.monotonic() - start)


def look(gateway: Gateway, since: str) -> Iterator[int]:
    """Promise what may go since this instant; how many persons were looked at, lot by lot, each in its transaction.

    It goes on until nothing new happened meanwhile.
    """
    seen: dict[str, str] = {}
    known: set[Flow] = set()
    while True:
        with gateway.reading() as work:
            now = work.now
            flows = [flow for flow in _opened(work, since) if flow not in known]
            people = {one: moment for one, moment in _concerned(work, since).items() if seen.get(one) != moment}
        if not flows and not people:
            return
        for lot in _lots([*people]):
            yield _promise(gateway, lot, None)
        if flows:
            for page in _everybody(gateway):
                for lot in _lots(page):
                    yield _promise(gateway, lot, flows)
        seen.update(people)
        known.update(flows)
        since = max(since, _before(now))


def _last_look(gateway: Gateway) -> str:
    """When the last look that ended did, or when the first was to begin; a little before."""
    with gateway.reading() as work:
        row = work.connection.execute(select(schedule).where(schedule.c.name == JOB)).first()
        return _before((row.done_at or row.since) if row else work.now)


def _before(moment: str) -> str:
    return clock.instant(datetime.fromisoformat(moment) - _LATE)


def _opened(work: UnitOfWork, since: str) -> list[Flow]:
    """The flows that opened or changed, and those that a notice published since covers."""
    published = select(notice.c.id, notice.c.version).group_by(notice.c.id, notice.c.version)
    rows = work.connection.execute(published.having(func.min(notice.c.published_at) > since))
    covered = {f"{row.id}:{row.version}" for row in rows}
    told = [one for one in convention.declared(work) if one.active and one.information == "collective"]
    return list(dict.fromkeys([*convention.opened(work, since), *(one for one in told if one.notice in covered)]))


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


def _lots(people: Sequence[str]) -> Iterator[Sequence[str]]:
    return (people[start : start + _LOT] for start in range(0, len(people), _LOT))


def _promise(gateway: Gateway, people: Sequence[str], flows: Collection[Flow] | None) -> int:
    """Offer again what was said of these persons through these flows, or through all."""
    with gateway.unit_of_work() as work:
        gateway.dossiers.prefetch_people(work, people)
        states(work, people)
        for one in people:
            offer_again(work, gateway, one, convention.declared(work) if flows is None else flows)
    return len(people)
