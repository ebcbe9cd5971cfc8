"""Every way a request to a partner may fail to bring an answer.

TransportError
├── DestinationRefused   not a place this partner may be reached at: the operator must act
├── Busy                 not sent: the partner asked for a pause, or keeps failing (`retry_after`)
├── Unreachable          not sent: no connection
├── Interrupted          sent, perhaps done: cut or too late; read the remote state before sending again
└── AnswerRefused        sent, perhaps done: the answer is truncated, too large or not decodable
"""

from __future__ import annotations

from typing import ClassVar


class TransportError(Exception):
    """A request that got no answer. `sent` tells whether the partner may have acted on it."""

    sent: ClassVar[bool] = False

    def __init__(self, code: str, host: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(f"{code} ({host})" if host else code)
        self.code = code
        self.host = host
        self.retry_after = retry_after


class DestinationRefused(TransportError):
    """Not a place this partner may be reached at; the operator must change the registration."""


class Busy(TransportError):
    """Not sent, on purpose; try again after `retry_after` seconds."""


class Unreachable(TransportError):
    """Not sent: no connection could be made."""


class Interrupted(TransportError):
    """Sent, and perhaps done: read the remote state before sending again."""

    sent = True


class AnswerRefused(TransportError):
    """Answered, with something that cannot be taken; what was asked is perhaps done."""

    sent = True
