"""What a process that lasts asks of the Python it runs in: how long its threads keep each other waiting, and how often
the collector looks at what it holds (hardly anything here refers to itself)."""

from __future__ import annotations

import gc
import sys
from functools import cache

TURN = 0.001
"""Seconds for which a thread that computes keeps the others waiting. With Python's five milliseconds, one page being
computed left the writer a tenth of the exchanges it takes alone; with one, four tenths."""


def settle_in() -> None:
    """From the first line of a command."""
    sys.setswitchinterval(TURN)
    _collect_rarely()


@cache
def leave_aside() -> None:
    """Once a process is warm: what stays for good (modules, mappings, tables) is not looked at again."""
    gc.collect()
    gc.freeze()
    _collect_rarely()


def _collect_rarely() -> None:
    """Looking as often as usual cost a tenth of a delivery, and as much of a start, whose modules all stay."""
    gc.set_threshold(10_000, 20, 50)
