"""A withdrawal racing exchanges: in the journal, every exchange is strictly before or strictly after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from gateway import basis, journal
from gateway.problems import Conflict
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.storage.tables.journal import journal_entry
from gateway.unit_of_work import UnitOfWork

Said = Callable[..., dict[str, Any]]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """The same database for `at`, `said` and the threads below."""
    url = (
        f"sqlite:///{tmp_path / 'm.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    )
    engine = open_engine(url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_no_exchange_is_permitted_after_the_withdrawal(engine: Engine, said: Said, person: str) -> None:
    with UnitOfWork(engine) as work:
        consent = basis.record(work, said("consent"), decision="given").id
    ready, begun, stop = threading.Barrier(4), threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def exchange() -> None:
        try:
            ready.wait()
            for rank in range(20_000):
                with UnitOfWork(engine) as work:
                    state = basis.states(work, [person])[person].for_flow(
                        "CONSENT_6_1_a", "aide_facultative_ccas", "ccas_villemin", work.now
                    )
                    permitted = state.consent_state == "given"
                    journal.append(work, "exchange.permit" if permitted else "exchange.deny", consent_ref=consent)
                if rank == 20:
                    begun.set()
                if errors or (stop.is_set() and not permitted):
                    return
        except BaseException as error:
            errors.append(error)

    def withdraw() -> None:
        try:
            ready.wait()
            assert begun.wait(60)
            with UnitOfWork(engine) as work:
                basis.withdraw(work, consent, past_recipients=["ccas_villemin"], reference=lambda _: "ab" * 20)
            stop.set()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=exchange) for _ in range(3)] + [threading.Thread(target=withdraw)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with engine.connect() as connection:
        events = list(connection.execute(select(journal_entry.c.event).order_by(journal_entry.c.idx)).scalars())
    place = events.index("consent.withdraw")
    assert "exchange.permit" in events[:place]
    assert set(events[place + 1 :]) == {"exchange.deny"}


def test_two_withdrawals_at_once_are_one(engine: Engine, said: Said) -> None:
    with UnitOfWork(engine) as work:
        consent = basis.record(work, said("consent"), decision="given").id
    ready = threading.Barrier(2)
    outcomes: list[str] = []

    def withdraw() -> None:
        ready.wait()
        try:
            with UnitOfWork(engine) as work:
                basis.withdraw(work, consent)
            outcomes.append("withdrawn")
        except Conflict as refused:
            outcomes.append(refused.code)

    threads = [threading.Thread(target=withdraw) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["basis-ended", "withdrawn"]
