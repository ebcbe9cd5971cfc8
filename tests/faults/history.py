"""Histories of concurrent operations on one register, and whether some order explains them (Wing and Gong, with
Lowe's memory of what was already tried).

An operation is invoked, then ends `ok`, `fail` (it did not happen) or `info` (nobody knows: it may take effect at any
later moment, or never). A register holds one value; a read that returns what was never there has no explanation.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Operation:
    process: int
    kind: Literal["read", "write"]
    key: str
    value: Hashable
    """Written, or read."""
    invoked: float
    ended: float
    """Monotonic seconds; infinity when the outcome is unknown."""
    outcome: Literal["ok", "info"]


class Recorder:
    """Collects operations from several threads; what failed is not kept, for it did not happen."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._lock = threading.Lock()

    def ok(self, process: int, kind: Any, key: str, value: Hashable, invoked: float) -> None:
        self._add(Operation(process, kind, key, value, invoked, time.monotonic(), "ok"))

    def info(self, process: int, kind: Any, key: str, value: Hashable, invoked: float) -> None:
        if kind == "write":  # a read without an answer says nothing
            self._add(Operation(process, kind, key, value, invoked, float("inf"), "info"))

    def _add(self, operation: Operation) -> None:
        with self._lock:
            self.operations.append(operation)

    def keep(self, path: Path, seed: int) -> None:
        """Write the history beside the seed that made it, so that a failure can be looked at again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"seed": seed}, *(asdict(one) for one in self.operations)]
        path.write_text("\n".join(json.dumps(row, default=str) for row in rows))


def explains(operations: Sequence[Operation], initial: Hashable) -> bool:
    """Is there an order, respecting real time, in which a register starting at `initial` gives these reads?

    Keys are independent: each is checked alone.
    """
    keys = {one.key for one in operations}
    return all(_one_register([one for one in operations if one.key == key], initial) for key in keys)


def _one_register(operations: list[Operation], initial: Hashable) -> bool:
    ordered = sorted(operations, key=lambda one: one.invoked)
    everything = (1 << len(ordered)) - 1
    must = sum(1 << rank for rank, one in enumerate(ordered) if one.outcome == "ok")
    tried: set[tuple[int, Hashable]] = set()
    stack: list[tuple[int, Hashable]] = [(0, initial)]
    while stack:
        done, value = stack.pop()
        if done & must == must:
            return True
        if (done, value) in tried:
            continue
        tried.add((done, value))
        left = everything & ~done
        # Whatever is still to be placed and ended first bounds what may come next.
        bound = min((one.ended for rank, one in enumerate(ordered) if left >> rank & 1), default=float("inf"))
        for rank, one in enumerate(ordered):
            if one.invoked > bound:
                break
            if not left >> rank & 1 or (one.kind == "read" and one.value != value):
                continue
            stack.append((done | 1 << rank, one.value if one.kind == "write" else value))
    return False
