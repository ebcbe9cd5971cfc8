"""How often the collector looks at what a lasting process holds: hardly anything here refers to itself."""

from __future__ import annotations

import gc
from functools import cache


def collect_rarely() -> None:
    """Looking as often as usual cost a tenth of a delivery, and as much of a start, whose modules all stay."""
    gc.set_threshold(10_000, 20, 50)


@cache
def leave_aside() -> None:
    """Once a process is warm: what stays for good (modules, mappings, tables) is not looked at again."""
    gc.collect()
    gc.freeze()
    collect_rarely()
