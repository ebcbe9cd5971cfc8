"""The group commit: who waits for whom, and what happens to the others when one fails."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gateway.committer import Committer
from gateway.problems import Unavailable
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.unit_of_work import UnitOfWork


class Unreachable:
    """A unit of work whose connection cannot be made."""

    opened = 0

    def __enter__(self) -> Any:
        type(self).opened += 1
        raise OperationalError(None, None, OSError("connection refused"))

    def __exit__(self, *_: object) -> None: ...


async def test_nobody_waits_for_a_database_that_is_gone() -> None:
    committer = Committer(Unreachable)  # type: ignore[arg-type]
    asked = [committer.submit(lambda work: None) for _ in range(40)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in answers} == {Unavailable}
    assert all(one.retry_after and one.status == 503 for one in answers if isinstance(one, Unavailable))
    assert Unreachable.opened <= 40, "nobody was tried twice"
    committer.close()


async def test_one_defect_does_not_touch_the_others(tmp_path: Any) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'one.db'}")
    metadata.create_all(engine)
    committer = Committer(lambda: UnitOfWork(engine))

    def broken(_: Any) -> None:
        raise ZeroDivisionError

    answers = await asyncio.gather(
        *(committer.submit(broken if rank == 3 else lambda work: 7) for rank in range(8)), return_exceptions=True
    )
    assert isinstance(answers[3], ZeroDivisionError)
    assert [one for rank, one in enumerate(answers) if rank != 3] == [7] * 7
    committer.close()
    with pytest.raises(ZeroDivisionError):
        raise answers[3]
    engine.dispose()


async def test_a_caller_that_left_does_not_stop_the_others(tmp_path: Any) -> None:
    """What it asked for is written all the same: it may have been told to go by a proxy that lost patience."""
    engine = open_engine(f"sqlite:///{tmp_path / 'one.db'}")
    metadata.create_all(engine)
    committer = Committer(lambda: UnitOfWork(engine))
    held, done = threading.Event(), threading.Event()
    first = asyncio.create_task(committer.submit(lambda _: held.wait(30)))
    left = asyncio.create_task(committer.submit(lambda _: done.set()))
    stayed = asyncio.create_task(committer.submit(lambda _: 7))
    await asyncio.sleep(0)
    left.cancel()
    held.set()
    assert await asyncio.wait_for(asyncio.gather(first, stayed), 30) == [True, 7]
    assert done.is_set()
    assert await asyncio.wait_for(committer.submit(lambda _: 8), 30) == 8, "the writer goes on"
    committer.close()
    engine.dispose()


async def test_what_is_short_goes_before_what_is_long_and_what_is_long_goes_alone(tmp_path: Any) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'one.db'}")
    metadata.create_all(engine)
    committer = Committer(lambda: UnitOfWork(engine))
    started, held = threading.Event(), threading.Event()
    told: list[tuple[str, UnitOfWork]] = []

    class Long:
        long = True

        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, work: UnitOfWork) -> None:
            told.append((self.name, work))

    def first(_: UnitOfWork) -> None:
        started.set()
        held.wait(60)

    asked = [asyncio.create_task(committer.submit(first))]
    assert await asyncio.to_thread(started.wait, 60)
    asked += [asyncio.create_task(committer.submit(Long(name))) for name in ("document", "another document")]
    asked += [asyncio.create_task(committer.submit(lambda work, name=name: told.append((name, work)))) for name in "ab"]
    await asyncio.sleep(0)
    held.set()
    await asyncio.wait_for(asyncio.gather(*asked), 60)
    assert [name for name, _ in told] == ["a", "b", "document", "another document"]
    assert len({id(work) for _, work in told}) == 3, "the short ones share a transaction"
    committer.close()
    engine.dispose()


async def test_who_comes_while_the_last_ones_are_answered_shares_the_next_transaction(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'one.db'}")
    metadata.create_all(engine)
    committer = Committer(lambda: UnitOfWork(engine))
    loop, started, held = asyncio.get_running_loop(), threading.Event(), threading.Event()
    told: list[tuple[str, UnitOfWork]] = []
    later: list[asyncio.Task[None]] = []
    coming, all_came = ["c", "d", "e"], asyncio.Event()

    def come() -> None:
        queued = threading.Event()

        def ask() -> None:
            later.append(asyncio.create_task(committer.submit(action(coming.pop(0)))))
            loop.call_soon(queued.set)
            if not coming:
                all_came.set()

        loop.call_soon_threadsafe(ask)
        assert queued.wait(60)

    def action(name: str) -> Any:
        def run(work: UnitOfWork) -> None:
            told.append((name, work))
            if name == "b":
                come()

        return run

    def first(_: UnitOfWork) -> None:
        started.set()
        held.wait(60)

    def pause(_: float) -> None:
        if coming:
            come()

    monkeypatch.setattr("gateway.committer.time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))
    asked = [asyncio.create_task(committer.submit(first))]
    assert await asyncio.to_thread(started.wait, 60)
    asked += [asyncio.create_task(committer.submit(action(name))) for name in "ab"]
    await asyncio.sleep(0)
    held.set()
    await asyncio.wait_for(asyncio.gather(*asked), 60)
    await asyncio.wait_for(all_came.wait(), 60)
    await asyncio.wait_for(asyncio.gather(*later), 60)
    assert [name for name, _ in told] == list("abcde")
    works = [work for _, work in told]
    assert works[0] is works[1]
    assert works[2] is works[3] is works[4] is not works[0]
    committer.close()
    engine.dispose()
