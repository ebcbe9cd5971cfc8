"""Group commit: exchanges that arrive together share one transaction, so that the disk is asked once for all.

Work is handed to a writer thread as functions of a unit of work. Those waiting are run in one transaction; each caller
is answered only when it is durable. If any of them fails, nothing of the group is kept and each is run again in a
transaction of its own, so that one caller's defect never touches another's.

An action whose attribute `long` is true has a transaction of its own, and what is short goes before it: a document of
thousands of records makes others wait for one such at most.

An action may have a static method `foresee(work, actions)`: it is called once with all actions of its kind, before the
first of them, to look up with few queries what each would look up alone.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from gateway.problems import Unavailable
from gateway.storage import unreachable
from gateway.unit_of_work import UnitOfWork

T = TypeVar("T")
Action = Callable[[UnitOfWork], T]

GROUP = 64
"""Most exchanges in one transaction: bounds how long the first one waits for the last."""
WAITING = 2_000
"""Most exchanges waiting to be written; beyond, callers are told to come back."""
PAUSE = 0.002
"""Seconds without a new exchange after which the next group is begun, when the last one had several: the loop's thread,
which answers those and reads the next, needs the interpreter that a group takes from it at each turn."""
PATIENCE = 60.0
"""Seconds for which what is long lets what came after it go first."""
AGAIN = 2
"""How often an action that met another writer (same key, deadlock) is run again: it then finds what the other wrote."""


@dataclass(slots=True)
class _Task:
    action: Action[Any]
    done: asyncio.Future[Any]

    @property
    def long(self) -> bool:
        return bool(getattr(self.action, "long", False))


Turn = tuple[float, int, _Task | None]
"""When it is due, then in which order it came; without a task: stop."""


class Committer:
    """Runs actions durably on `writers` threads (one on SQLite, which has a single writer anyway)."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], writers: int = 1) -> None:
        self._unit_of_work = unit_of_work
        self._queue: queue.PriorityQueue[Turn] = queue.PriorityQueue(WAITING)
        self._order = count()
        self._threads = [
            threading.Thread(target=self._write, name=f"writer-{rank}", daemon=True) for rank in range(writers)
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, action: Action[T]) -> T:
        """Run the action in a transaction; returns once it is committed. Raises what the action raises, or
        `Unavailable` (503) when too much is waiting or the database cannot be reached."""
        task: _Task = _Task(action, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait((time.monotonic() + task.long * PATIENCE, next(self._order), task))
        except queue.Full:
            raise Unavailable("busy", "Too many exchanges are waiting; send this one again.", retry_after=2) from None
        result: T = await task.done
        return result

    def close(self) -> None:
        """Finish what was accepted, then stop."""
        for _ in self._threads:
            self._queue.put((math.inf, next(self._order), None))
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        several = False
        while (first := self._queue.get()[2]) is not None:
            if several and not first.long:
                self._let_others_come()
            group, stop = [first], False
            after: list[_Task] = []
            while len(group) < GROUP and not (first.long or after or stop):
                try:
                    task = self._queue.get_nowait()[2]
                except queue.Empty:
                    break
                if task is None:
                    stop = True
                else:
                    (after if task.long else group).append(task)
            self._run(group)
            several = len(group) > 1
            if after:
                self._run(after)
            if stop:
                return

    def _let_others_come(self) -> None:
        before, waiting = -1, self._queue.qsize()
        while before < waiting < GROUP:
            time.sleep(PAUSE)
            before, waiting = waiting, self._queue.qsize()

    def _run(self, group: list[_Task], again: int = AGAIN) -> None:
        try:
            with self._unit_of_work() as work:
                _foresee(work, [task.action for task in group])
                results = [task.action(work) for task in group]
        except Exception as error:  # whatever it is, it belongs to the caller whose action raised it
            if unreachable(error):  # for all alike: trying each alone would only make them wait
                _answer((task, None, _translated(error)) for task in group)
            elif len(group) == 1 and again and isinstance(error, DBAPIError):
                self._run(group, again - 1)
            elif len(group) == 1:
                _answer([(group[0], None, _translated(error))])
            else:
                for task in group:
                    self._run([task])
            return
        _answer((task, result, None) for task, result in zip(group, results, strict=True))


def _foresee(work: UnitOfWork, actions: list[Action[Any]]) -> None:
    """Let actions of one kind that have something to look up look it up together."""
    alike: dict[Callable[..., None], list[Action[Any]]] = {}
    for action in actions:
        if foresee := getattr(action, "foresee", None):
            alike.setdefault(foresee, []).append(action)
    for foresee, its in alike.items():
        foresee(work, its)


Outcome = tuple[_Task, Any, Exception | None]


def _answer(outcomes: Iterable[Outcome]) -> None:
    """Tell the callers what became of their actions, waking their loop once for all of them."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].done.get_loop(), []).append(outcome)
    for loop, its in by_loop.items():
        with suppress(RuntimeError):  # a loop that was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, its)


def _settle(outcomes: list[Outcome]) -> None:
    for task, result, error in outcomes:
        if task.done.done():
            continue  # its caller did not wait
        if error is None:
            task.done.set_result(result)
        else:
            task.done.set_exception(error)


def _translated(error: Exception) -> Exception:
    if isinstance(error, DBAPIError):
        return Unavailable("database-unavailable", "The gateway cannot write now; send this again.", retry_after=5)
    return error
