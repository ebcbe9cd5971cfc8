"""Time as the gateway writes it: RFC 3339 UTC with microseconds, as text that sorts; and the day it is in Paris."""

from __future__ import annotations

import re
import threading
import time
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

from gateway.chance import chance
from gateway.problems import Misnamed, Unavailable
from schemas.normalisation import PARIS

STEADY = 300.0
"""Seconds by which a machine's date may be set right while a process runs."""


def now() -> datetime:
    return datetime.now(UTC)


def instant(moment: datetime | None = None) -> str:
    """`2026-11-21T09:30:00.000000Z`. Raises `ValueError` for a moment without a zone, or outside the calendar."""
    moment = moment or now()
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    try:
        return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except OverflowError:
        raise ValueError("outside the calendar, in universal time") from None


def after(moment: str, span: timedelta) -> str:
    """The instant that comes so long after this one; before it, for a negative span."""
    return instant(datetime.fromisoformat(moment) + span)


def same_day(day: date, months: int) -> date:
    """The same day so many months later (earlier, for a negative number), or the last one of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def told(text: str) -> str:
    """An instant that somebody gave (RFC 3339), as the gateway writes it. Raises `Invalid` (`bad-instant`)."""
    try:
        return instant(datetime.fromisoformat(text))
    except ValueError:
        raise Misnamed("bad-instant", "An instant is RFC 3339 with its time zone.") from None


def local(moment: str) -> datetime:
    """An instant of the gateway in Paris time."""
    return datetime.fromisoformat(moment).astimezone(PARIS)


def today(moment: str = "") -> str:
    """The day it is in Paris (`AAAA-MM-JJ`), now or at an instant of the gateway."""
    return local(moment or instant()).date().isoformat()


def day_of(moment: str) -> str:
    """The day (`AAAA-MM-JJ`) of a date, or of an instant: the one it was in Paris."""
    return today(moment) if "T" in moment else moment[:10]


_COUNTED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _elapsed() -> float:
    """Seconds that the machine counted by itself, asleep or not: nobody sets this clock."""
    return time.clock_gettime(_COUNTED)


_BEGAN = time.time() - _elapsed()


def moved() -> float:
    """Seconds by which the machine's date was moved since this process began, forwards or backwards."""
    return abs(time.time() - _elapsed() - _BEGAN)


def steady() -> bool:
    """Is the date still the one this process began under? Whether that one was right, `other_clocks` asked then."""
    return moved() <= STEADY


def doubtful() -> Unavailable:
    """What is answered to whatever would be decided, or written down, under a date that was moved."""
    return Unavailable(
        "clock-doubtful",
        "The date of this machine was moved while the gateway ran; its operator must set it right, then restart the"
        " gateway. Nothing was done: send this again later.",
        retry_after=60,
    )


def require_steady() -> None:
    """Raises `Unavailable("clock-doubtful")` (503) when the date was moved."""
    if not steady():
        raise doubtful()


_lock = threading.Lock()
_last = 0


ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""How an id of the gateway is written."""


def new_id() -> str:
    """A UUIDv7 (RFC 9562): time-ordered, monotonic inside this process."""
    global _last
    with _lock:
        moment = time.time_ns()
        stamp = moment // 1_000_000 << 12 | (moment // 244) & 0xFFF
        if stamp <= _last:
            stamp = _last + 1
        _last = stamp
    tail = int.from_bytes(chance(8), "big") & (2**62 - 1) | 1 << 63
    text = f"{stamp >> 12 << 80 | 7 << 76 | (stamp & 0xFFF) << 64 | tail:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
