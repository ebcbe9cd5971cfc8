"""`maillon`, with a place where it dies: FAILPOINT=<name>[:<rank>] kills the process the <rank>-th time it gets there.

The product has no such switch: the places are wrapped from outside, in this process alone, by the names they have in
the code. A name that no longer exists stops the launcher at once.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import sys
from pathlib import Path
from typing import Any

PLACES = {
    "receive": "gateway.api:_Doors._accept",
    "decide": "gateway.exchange:decide",
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


def arm(failpoint: str) -> None:
    """Wrap the place so that the process is killed there."""
    name, _, rank = failpoint.partition(":")
    place, _, moment = name.partition(".")
    module_name, _, path = PLACES[place].partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, last = path.split(".")
    for one in parents:
        owner = getattr(owner, one)
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


if __name__ == "__main__":
    for needed in ("gateway.cli", "gateway.app", "gateway.worker", "gateway.journal_files"):
        importlib.import_module(needed)
    arm(os.environ["FAILPOINT"])
    from gateway.cli import main

    sys.argv[0] = "maillon"
    main()
