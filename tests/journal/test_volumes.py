"""The counts of the register: a day that is over is written down once; of today, what is new is added."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from gateway import clock, journal, volumes
from gateway.problems import JournalBroken
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_day, journal_entry
from tests.dates import passed


@pytest.fixture
def gateway(database: str, tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway.open(Settings(home=tmp_path, profile="test", departement="040", database_url=database))
    yield gateway
    gateway.engine.dispose()


def happened(gateway: Gateway, days_ago: int, times: int, event: str = "exchange.request") -> None:
    with gateway.unit_of_work() as work:
        work.now = clock.instant(clock.now() - timedelta(days=days_ago))
        for _ in range(times):
            journal.append(work, event, sender_org="caf", purpose="orientation", outcome="accepted")


def counted(gateway: Gateway, days: int = 30) -> int:
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        return sum(volumes.counts(gateway.engine, connection, days).values())


def test_today_grows_as_the_journal_does(gateway: Gateway) -> None:
    happened(gateway, 0, 3)
    assert counted(gateway) == 3
    happened(gateway, 0, 2)
    happened(gateway, 0, 1, "policy.change")
    assert counted(gateway) == 5, "what is not counted stays out"
    assert counted(gateway) == 5


def test_an_earlier_day_is_seen_before_and_after_it_is_written_down(gateway: Gateway) -> None:
    happened(gateway, 9, 4)
    happened(gateway, 3, 2)
    assert counted(gateway) == 6
    assert counted(gateway, 7) == 2
    assert volumes.keep(gateway) >= 7, "days without anything count as well: nobody looks again"
    assert volumes.keep(gateway) == 0
    with gateway.unit_of_work() as work:  # pruned: the counts stay
        work.connection.execute(delete(journal_entry))
    again = Gateway.open(gateway.settings)
    assert counted(again) == 6
    happened(again, 0, 1)
    assert counted(again) == 7
    again.engine.dispose()


def test_a_day_begins_and_ends_at_midnight_in_paris(gateway: Gateway) -> None:
    for now in ("2026-06-30T21:59:59.999000Z", "2026-06-30T22:00:00.000000Z", "2026-07-01T21:30:00.000000Z"):
        with gateway.unit_of_work() as work:
            work.now = now
            journal.append(work, "exchange.request", sender_org="caf", purpose="orientation", outcome="accepted")

    def seen() -> list[tuple[str, int]]:
        with gateway.engine.connect().execution_options(read_only=True) as connection:
            days = [*volumes.by_day(gateway.engine, connection, 3)]
        return [(day, sum(counts.values())) for day, counts in days]

    with passed("2026-07-01T23:30:00+02:00"):
        assert seen() == [("2026-06-29", 0), ("2026-06-30", 1), ("2026-07-01", 2)]
    with passed("2026-07-02T00:30:00+02:00"):
        assert volumes.keep(gateway) == 2
        assert seen() == [("2026-06-30", 1), ("2026-07-01", 2), ("2026-07-02", 0)]


def test_counts_name_nobody(gateway: Gateway) -> None:
    with gateway.unit_of_work() as work:
        work.now = clock.instant(clock.now() - timedelta(days=2))
        journal.append(work, "log.read", sender_org="caf", subject="a" * 40, outcome="dossier")
    volumes.keep(gateway)
    with gateway.engine.connect() as connection:
        kept = "".join(connection.scalars(select(journal_day.c.counts)))
    assert "dossier" in kept
    assert "a" * 40 not in kept


def test_an_entry_written_over_by_hand_hides_no_other(gateway: Gateway) -> None:
    happened(gateway, 0, 2)
    happened(gateway, 1, 1)
    before = counted(gateway)
    with gateway.unit_of_work() as work:
        altered = update(journal_entry).where(journal_entry.c.idx == 1).values(entry=b"\xff not JSON")
        work.connection.execute(altered)
    with gateway.reading() as work:
        seen = volumes.said(work.connection, ("outcome",), journal_entry.c.event == "exchange.request")
        told = ("exchange.request", "caf", "", "orientation", "")
        assert seen == {(*told, "accepted"): 2, (*told, ""): 1}
        day = clock.instant(clock.now() - timedelta(days=2)), clock.instant(clock.now() + timedelta(days=1))
        (altered,) = [one for one in journal.of_period(work.connection, *day) if one.idx == 1]
        with pytest.raises(JournalBroken, match="journal-altered") as broken:
            _ = altered.fields
        assert broken.value.status == 500
    again = Gateway.open(gateway.settings)
    assert counted(again) == before
    again.engine.dispose()
