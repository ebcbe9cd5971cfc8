"""The log of every process: one JSON object a line on standard error, made of codes and ids.

Libraries log through the standard library, and what they say may quote what was sent. Of theirs, the line keeps who
spoke and where in its code, and the kind of the error: never its message. The server's own sentences are kept, without
the values they are filled with.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, Processor

from gateway.problems import kind

_OURS: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(),
)


_AGAIN, _LONGEST = 60.0, 3600.0
"""Seconds between the first two lines about a failure that lasts, and at most between two."""


class LastingFailure:
    """A failure met at each of many tries: said when it begins and when it becomes another, then after a minute, two,
    four… up to an hour, and once when it is over. Each line says how many tries failed and for how many seconds,
    and what it is `said` of."""

    def __init__(self, failed: str, over: str, clock: Callable[[], float] = time.monotonic, **said: str) -> None:
        self._failed, self._over, self._clock, self._said = failed, over, clock, said
        self._kinds: set[str] = set()
        self.times = 0
        """Tries that failed since the last that succeeded."""
        self._since = self._next = self._pause = 0.0

    def met(self, error: Exception) -> None:
        """A try failed."""
        now = self._clock()
        if not self.times:
            self._since, self._next, self._pause = now, now, _AGAIN
        self.times += 1
        new = kind(error) not in self._kinds
        self._kinds.add(kind(error))
        if new or now >= self._next:
            structlog.get_logger().error(self._failed, kind=kind(error), **self._lasted(now))
        if now >= self._next:
            self._next, self._pause = now + self._pause, min(2 * self._pause, _LONGEST)

    def found(self, error: Exception | None) -> None:
        """A look said that it failed, or that all is well."""
        if error is None:
            self.over()
        else:
            self.met(error)

    def over(self) -> None:
        """A try succeeded."""
        if self.times:
            structlog.get_logger().info(self._over, **self._lasted(self._clock()))
        self.times = 0
        self._kinds.clear()

    def _lasted(self, now: float) -> dict[str, str | int]:
        return self._said | {"times": self.times, "seconds": round(now - self._since)}


class _Library(logging.Handler):
    """Says what a library logged in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            told: EventDict = {"logger": record.name, "at": f"{record.module}:{record.lineno}"}
            if record.exc_info and record.exc_info[0]:
                told["kind"] = record.exc_info[0].__name__
            if record.name.startswith("uvicorn") and isinstance(record.msg, str):
                told["said"] = record.msg.strip()
            structlog.get_logger().log(record.levelno, "library", **told)
        except Exception:
            self.handleError(record)


def configure() -> None:
    """Called once by each process, before it does anything."""
    structlog.configure(
        processors=list(_OURS),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Library()], force=True)
    logging.captureWarnings(True)
