"""Networks that fail on purpose, and one that refuses calls the partner does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.routing import Match


class UnmatchedCall(AssertionError):
    """The connector called something that the partner does not have: a stand-in never answers what it does not know."""


@dataclass
class Strict(httpx.AsyncBaseTransport):
    """In front of a stand-in: passes what it serves, fails on everything else, and counts the calls."""

    app: Any
    calls: list[tuple[str, str]] = field(default_factory=list)
    media: set[str] = field(default_factory=set)
    """Media types of what was sent, without parameters."""
    asked: float = 0.0
    """The longest delay that a 429 asked for, in seconds."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls.append((request.method, request.url.path))
        self.media.add(request.headers.get("content-type", "").partition(";")[0].strip())
        routes = getattr(self.app, "routes", None)
        scope = {"type": "http", "method": request.method, "path": request.url.path, "root_path": "", "headers": []}
        if routes is not None and not any(route.matches(scope)[0] is Match.FULL for route in routes):
            raise UnmatchedCall(f"the stand-in does not serve {request.method} {request.url.path}")
        answer = await httpx.ASGITransport(self.app).handle_async_request(request)
        if getattr(self.app, "unmatched", None):
            raise UnmatchedCall("the stand-in counted a call that the partner does not have")
        if answer.status_code == 429:
            self.asked = max(self.asked, float(answer.headers.get("Retry-After", 0)))
        return answer


@dataclass
class Answering(httpx.AsyncBaseTransport):
    """Answers every call alike."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    calls: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return httpx.Response(self.status, headers=dict(self.headers), stream=httpx.ByteStream(self.body))


@dataclass
class Failing(httpx.AsyncBaseTransport):
    """Every call ends without an answer."""

    error: Callable[[str], httpx.TransportError]
    calls: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        raise self.error("on purpose")
