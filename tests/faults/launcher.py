"""`maillon` in a process of its own, made at once, with a place where it may die.

Processes are forked from one that has only imported the product: an experiment that kills two hundred of them spends
its time on the traffic, not on imports. `Process` speaks as `subprocess.Popen` does.

A failpoint `<place>.<moment>[:<rank>]` kills the process the `<rank>`-th time it gets there. The product has no such
switch: the places are wrapped from outside, in that process alone, by the names they have in the code; a name that no
longer exists stops the process at once.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLACES = {
    "receive": "gateway.arrival:Arrival.__call__",
    "decide": "gateway.policy:Policy.decide",
    "insert": "gateway.outbox:enqueue",
    "commit": "gateway.unit_of_work:UnitOfWork.commit",
    "claim": "gateway.outbox:claim",
    "send": "gateway.delivery:send",
    "ack": "gateway.delivery:conclude",
    "checkpoint": "gateway.journal_files:Files.write",
    "rename": "os:rename",
}
"""Each has a moment before and a moment after: `send.before`, `send.after`."""
NAMES = tuple(f"{name}.{moment}" for name in PLACES for moment in ("before", "after"))
IMPORTED = [
    "gateway.cli",
    "gateway.serving",
    "gateway.worker",
    "gateway.journal_files",
    "uvicorn.protocols.http.h11_impl",
]

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(IMPORTED)
"""Processes that begin with the product imported, and with nothing that a thread of this one holds."""


_NETWORK = 0x40000000
"""CLONE_NEWNET, setns(2)."""


class Process:
    """One `maillon` command, running with exactly this environment; its outputs are appended to `log`. MIGRATIONS names
    the folder of another version's migrations, NETNS the network namespace to run in."""

    def __init__(self, args: tuple[str, ...], environment: Mapping[str, str], log: Path, failpoint: str = "") -> None:
        self.args = args
        self._one = forks.Process(target=_run, args=(args, dict(environment), str(log), failpoint))
        self._one.start()
        assert self._one.pid is not None
        self.pid: int = self._one.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._one.exitcode

    def poll(self) -> int | None:
        return self._one.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._one.join(timeout)
        if self._one.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._one.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(args: tuple[str, ...], environment: dict[str, str], log: str, failpoint: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(out, stream)
    if failpoint:
        arm(failpoint)
    if namespace := environment.get("NETNS"):
        with open(f"/run/netns/{namespace}") as place:
            assert ctypes.CDLL(None).setns(place.fileno(), _NETWORK) == 0
    if another := environment.get("MIGRATIONS"):
        from gateway.storage import migrate

        migrate._FOLDER = Path(another)
    from gateway.cli import main

    sys.argv = ["maillon", *args]
    main()


def found(place: str) -> tuple[Any, str]:
    """Where a place of `PLACES` is in the product: its owner and its name there."""
    module_name, _, path = PLACES[place].partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, last = path.split(".")
    for one in parents:
        owner = getattr(owner, one)
    return owner, last


def arm(failpoint: str) -> None:
    """Wrap the place so that the process is killed there."""
    name, _, rank = failpoint.partition(":")
    place, _, moment = name.partition(".")
    owner, last = found(place)
    original = getattr(owner, last)
    left = [int(rank or 1)]

    def reach(at: str) -> None:
        if at == moment:
            left[0] -= 1
            if left[0] == 0:
                Path(os.environ["MAILLON_HOME"], "died").write_text(failpoint)
                os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(original)
    def around(*args: Any, **kwargs: Any) -> Any:
        reach("before")
        result = original(*args, **kwargs)
        reach("after")
        return result

    @functools.wraps(original)
    async def around_async(*args: Any, **kwargs: Any) -> Any:
        reach("before")
        result = await original(*args, **kwargs)
        reach("after")
        return result

    setattr(owner, last, around_async if inspect.iscoroutinefunction(original) else around)
