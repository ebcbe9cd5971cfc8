"""Two ways to be at another date: time passes until then, or somebody moves the machine's date.

Time that passes is counted by the machine's own clock too; a date that is moved is not, and the gateway sees it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from unittest import mock

import time_machine

from gateway import clock

moved = time_machine.travel


@contextmanager
def passed(until: datetime | str | float, *, tick: bool = True) -> Iterator[time_machine.Coordinates]:
    """Time passes until this moment; it may be moved on with `shift`, and ends with the block."""

    def counted() -> float:
        return time.time() - clock._BEGAN

    with mock.patch.object(clock, "_elapsed", counted), time_machine.travel(until, tick=tick) as at:
        yield at
