"""HTTP/1.1 as the gateway listens to it: uvicorn's h11 protocol, within bounds of size and time.

uvicorn leaves three things open: a client may take forever to send its headers or its body, a refused request is
answered in plain text, and a header folded over two lines is joined where another reader would cut it. Each ends
here, before any door. Used by `maillon serve` (`**serving()` given to uvicorn); the reverse proxy in front has limits
of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""From the first byte of a request (or the opening of the connection) to the end of its headers."""
BODY_SECONDS = 10.0
"""Without `BODY_RATE` on average, how long a body may take."""
BODY_RATE = 16_384
"""Bytes a second that give a body more time."""
HEAD_BYTES = 65_536
CONNECTIONS = 2_000
KEEP_ALIVE = 10

_FOLDED = re.compile(rb"\r?\n[ \t]")
_TITLES = {400: "The request is not valid HTTP", 408: "The request took too long", 431: "The headers are too large"}
_CODES = {400: "bad-http", 408: "too-slow", 431: "headers-too-large"}


def serving() -> dict[str, Any]:
    """What uvicorn needs to listen this way."""
    return {
        "http": Guarded,
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": KEEP_ALIVE,
        "server_header": False,
        "proxy_headers": False,
        "ws": "none",
    }


class Guarded(H11Protocol):
    """One connection."""

    _timer: asyncio.TimerHandle | None = None
    _began = 0.0
    _received = 0
    _waiting = ""
    _head = b""
    _over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait("")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._received += len(data)
        if self.conn.their_state is h11.IDLE and self._folded(data):
            self._unset_keepalive_if_required()
            self._refuse(400)
            return
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def _follow(self) -> None:
        """Time what is being waited for: the rest of the headers, the rest of the body, or nothing."""
        state = self.conn.their_state
        if state is not h11.IDLE:
            self._head = b""
        if state is h11.SEND_BODY:
            self._wait("body")
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait("head")
        else:
            self._wait("")
            self._head = b""

    def _wait(self, what: str) -> None:
        if what == self._waiting:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting = what
        if what:
            self._began, self._received = self.loop.time(), 0
            self._timer = self.loop.call_later(HEAD_SECONDS if what == "head" else BODY_SECONDS, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._waiting == "head" and not self._received and not self.conn.trailing_data[0]:
            # Nothing was asked: browsers open connections in advance, and would show an answer written now as that of
            # the next page.
            self._over = True
            self.transport.close()
            return
        if self._waiting == "body":
            earned = self._began + BODY_SECONDS + self._received / BODY_RATE
            if earned > self.loop.time() + 0.01:
                self._timer = self.loop.call_at(earned, self._late)
                return
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self._refuse(408)

    def _folded(self, data: bytes) -> bool:
        """Does a header continue on the next line? Two readers would not agree on where it ends."""
        self._head = (self._head + data)[:HEAD_BYTES]
        head, end, _ = self._head.partition(b"\r\n\r\n")
        return bool(_FOLDED.search(head if end else self._head.rstrip(b"\r\n")))

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        self._refuse(431 if getattr(error, "error_status_hint", 400) == 431 else 400)

    def _refuse(self, status: int) -> None:
        """Answer a problem if no answer has begun, and close."""
        self._wait("")
        self._over = True
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_answer(status))
        self.transport.close()


def _answer(status: int) -> bytes:
    problem = {
        "type": f"urn:maillon:problem:{_CODES[status]}",
        "title": _TITLES[status],
        "status": status,
        "instance": f"urn:uuid:{uuid.uuid4()}",
    }
    body = json.dumps(problem).encode()
    reason = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}[status]
    lines = [
        b"HTTP/1.1 %d %s" % (status, reason),
        b"Content-Type: application/problem+json",
        b"Content-Length: %d" % len(body),
        b"X-Content-Type-Options: nosniff",
        b"Cache-Control: no-store",
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
