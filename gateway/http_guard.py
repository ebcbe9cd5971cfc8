"""HTTP/1.1 as the gateway listens to it: uvicorn's h11 protocol, within bounds of size and time.

uvicorn leaves four things open: a client may take forever to send its headers or its body, or to read its answer; who
holds every connection shuts the others out; a refused request is answered in plain text; and a header folded over two
lines, or a length that stands twice, is joined where another reader would not. Each ends here, before any door. Used by
`maillon serve` (`**serving()` given to uvicorn); the reverse proxy in front has limits of its own.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import resource
import sys
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.frame import answer
from gateway.problems import Unavailable

HEAD_SECONDS = 10.0
"""From the first byte of a request (or the opening of the connection) to the end of its headers."""
BODY_SECONDS = 10.0
"""Without `BODY_RATE` on average, how long a body may take."""
BODY_RATE = 16_384
"""Bytes a second that give a body more time."""
REST_SECONDS = 10.0
"""For what is left of a body once its request was answered."""
READ_SECONDS = 10.0
"""For the client to take what waits for it: 64 kB at most while an answer is being written, else its end."""
HEAD_BYTES = 65_536
CONNECTIONS = 2_000
"""Held by one process, or half of the descriptors it may open. Beyond, those that wait for their client make room."""
ROOM = 100
"""How many make room at once: looking for them costs the same for one."""
KEEP_ALIVE = 10

_LENGTH = b"\ncontent-length:"
_TITLES = {400: "The request is not valid HTTP", 408: "The request took too long", 431: "The headers are too large"}
_CODES = {400: "bad-http", 408: "too-slow", 431: "headers-too-large"}


def serving() -> dict[str, Any]:
    """What uvicorn needs to listen this way."""
    return {
        "http": Guarded,
        "h11_max_incomplete_event_size": HEAD_BYTES,
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
    _over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _most() and not self._make_room():
            self.app = _busy
        self._wait("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait("")
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        """Drop those that have waited longest for their client; False when all are being answered."""
        held = [one for one in self.connections if isinstance(one, Guarded) and one._waiting]
        longest = heapq.nsmallest(ROOM, held, key=lambda one: one._began)
        for one in longest:
            one.transport.abort()
        return bool(longest)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._follow()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._follow()

    def eof_received(self) -> None:
        self.loop.call_soon(self._follow)  # the transport closes once this has returned

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._follow()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._received += len(data)
        super().data_received(data)
        self._follow()

    def handle_events(self) -> None:
        """Read what was received: called for new bytes, and again for a request that came with the one before it."""
        if self.conn.their_state is h11.IDLE and _two_readings(self.conn.trailing_data[0]):
            self._refuse(400)
            return
        super().handle_events()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def _follow(self) -> None:
        """Time what the client is waited for: to read, to send the rest of the headers or of the body, to ask again."""
        state = self.conn.their_state
        if self.flow.write_paused or self.transport.is_closing():
            self._wait("read")
        elif state is h11.SEND_BODY:
            self._wait("body" if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE, h11.SEND_BODY) else "rest")
        elif state is h11.IDLE:
            self._wait("head" if self.conn.trailing_data[0] else "idle")
        else:
            self._wait("")

    def _wait(self, what: str) -> None:
        if what == self._waiting:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting = what
        if what:
            self._began, self._received = self.loop.time(), 0
        # uvicorn times an idle connection.
        allowed = {"head": HEAD_SECONDS, "body": BODY_SECONDS, "rest": REST_SECONDS, "read": READ_SECONDS}
        if what in allowed:
            self._timer = self.loop.call_later(allowed[what], self._late)

    def _late(self) -> None:
        self._timer = None
        if self._waiting == "read":
            self.transport.abort()
            return
        nothing_asked = self._waiting == "head" and not self._received and not self.conn.trailing_data[0]
        if nothing_asked or self._waiting == "rest":
            # Browsers open connections in advance, and would show an answer written now as that of the next page.
            self._close()
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

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        self._refuse(431 if getattr(error, "error_status_hint", 400) == 431 else 400)

    def _refuse(self, status: int) -> None:
        """Answer a problem if no answer has begun, and close."""
        if not self.transport.is_closing() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_answer(status))
        self._close()

    def _close(self) -> None:
        """Hear nothing more, and leave once the client has read what was written."""
        self._over = True
        self.transport.close()
        self._wait("read")


def _most() -> int:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if descriptors == resource.RLIM_INFINITY else min(CONNECTIONS, descriptors // 2)


async def _busy(scope: Any, receive: Any, send: Any) -> None:
    """What a connection too many is answered, whatever it asks."""
    busy = Unavailable("busy", "Too many are being answered; send it again.", retry_after=1)
    response = answer({"instance": f"urn:uuid:{uuid.uuid4()}"}, busy)
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


def _two_readings(received: bytes) -> bool:
    """Does a header continue on the next line, or the length stand twice? Two readers would not agree on where the
    header or the body ends; h11 takes a length that is repeated alike."""
    received = received[:HEAD_BYTES]
    head, end, _ = received.partition(b"\r\n\r\n")
    head = head if end else received.rstrip(b"\r\n")
    _, told, rest = head.lower().partition(_LENGTH)
    twice = told and (_LENGTH in rest or b"," in rest.partition(b"\n")[0])
    return bool(twice) or b"\n " in head or b"\n\t" in head


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
