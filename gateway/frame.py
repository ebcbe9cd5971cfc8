"""What every request goes through before its door, and every answer before it leaves.

Written as plain ASGI: it costs a few microseconds, and no body passes through it. A request that no door should see
(ambiguous framing, another server's name, a path that two readers would read differently) ends here.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import clock, metrics
from gateway.doors import access_of
from gateway.problems import (
    HeadersTooLarge,
    MethodUnknown,
    Misdirected,
    Problem,
    Unavailable,
    Unknown,
    Unreadable,
    where,
)
from gateway.storage import unreachable

if TYPE_CHECKING:
    from gateway.registry import Gateway

log = structlog.get_logger(__name__)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""Those of HTTP (RFC 9110 §9, RFC 5789): a resource takes one, or says which it takes."""
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32_768
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by the machines around, under whatever name they know this one by."""
PARTNERS = ("/v1/", "/oauth/")
"""Where partners call: under a date that was moved, their proofs would look too old or too young, and they to blame."""
_TWO_READINGS = (b"//", b"\\", b";", b"%2f", b"%5c", b"%2e", b"%00", b"%25", b"/../", b"/./")
"""Where a proxy and a server may disagree on which resource is meant."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_HSTS = "max-age=63072000"


AWAY = Unavailable("database-unavailable", "The database cannot be reached now; send this again.")
DEFECT = Problem("defect", "The gateway failed; tell its operator the instance.")


class Frame:
    """ASGI middleware of one gateway. Gives each request `state.instance`, the `urn:uuid` of its problem and journal
    entry, and `state.nonce` for pages."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self.app, self.gateway = app, gateway
        parts = urlsplit(gateway.settings.issuer)
        self.https = parts.scheme == "https"
        self._names = {_authority(parts.netloc, self.https)}
        self._loopback = gateway.settings.profile in ("demo", "test")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["instance"], state["nonce"] = f"urn:uuid:{uuid.uuid4()}", secrets.token_urlsafe(16)
        structlog.contextvars.bind_contextvars(instance=state["instance"])
        began, status = time.perf_counter(), 0

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(scope, MutableHeaders(scope=message))
            await send(message)

        try:
            problem = self._refusal(scope)
            await (answer(state, problem) if problem else self.app)(scope, receive, framed)
        except ClientDisconnect:
            log.info("request.gone")
        except Exception as error:
            # Its kind and its line, not its message, which may quote what was sent.
            away = unreachable(error)
            log.error("request.unavailable" if away else "request.defect", kind=type(error).__name__, at=where(error))
            if status:
                raise
            await answer(state, AWAY if away else DEFECT)(scope, receive, framed)
        finally:
            structlog.contextvars.unbind_contextvars("instance")
            door = getattr(scope.get("route"), "path", "")
            metrics.REQUESTS.labels(door, status).observe(time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Problem | None:
        method, headers, raw = scope["method"], scope["headers"], (scope.get("raw_path") or b"").lower()
        if method not in METHODS:
            return MethodUnknown("method-unknown", "Check the method: /openapi.json lists those of each address.")
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            return HeadersTooLarge(
                "headers-too-large", f"Send at most {MAX_HEADERS} headers, of {MAX_HEADER_BYTES} bytes in all."
            )
        names = [name for name, _ in headers]
        framings = names.count(b"content-length") + names.count(b"transfer-encoding")
        if framings > 1:
            closing = {"Connection": "close"}
            return Unreadable("ambiguous-framing", "Send one Content-Length, or chunks, not both.", headers=closing)
        if not self._ours([value for name, value in headers if name == b"host"], scope["path"]):
            return Misdirected("host", "Call this gateway by the name of its issuer.")
        if any(mark in raw for mark in _TWO_READINGS) or raw.endswith((b"/..", b"/.")):
            return Unknown("not-found", "Send the path as it is, without dots to follow or characters read two ways.")
        return clock.doubtful() if scope["path"].startswith(PARTNERS) and not clock.steady() else None

    def _ours(self, hosts: list[bytes], path: str) -> bool:
        if path in PROBES:
            return len(hosts) <= 1
        if len(hosts) != 1:
            return False
        named = _authority(hosts[0].decode("latin-1"), self.https)
        return named in self._names or (self._loopback and _is_loopback(named))

    def _complete(self, scope: Scope, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self.https:
            headers.setdefault("Strict-Transport-Security", _HSTS)
        caller = scope["state"].get("caller")
        if caller is not None and "ratelimit" not in headers:
            headers.update(access_of(self.gateway).rate_headers(caller))


def answer(state: dict[str, Any], problem: Problem) -> JSONResponse:
    """A problem as RFC 9457 says it, under the request's instance."""
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    return JSONResponse(
        problem.body(state.get("instance")), problem.status, headers, media_type="application/problem+json"
    )


def _authority(text: str, https: bool) -> str:
    """Host and port as they are compared: lower case, no default port."""
    return text.strip().lower().removesuffix(":443" if https else ":80")


def _is_loopback(authority: str) -> bool:
    host, _, port = authority.rpartition(":") if not authority.endswith("]") else (authority, "", "")
    if not port.isdecimal():
        host = authority
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
