"""The log of every process: one JSON object a line on standard error, made of codes and ids.

Libraries log through the standard library, and what they say may quote what was sent. Of theirs, the line keeps who
spoke and where in its code, and the kind of the error: never its message. The server's own sentences are kept, without
the values they are filled with.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

_OURS: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(),
)


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
