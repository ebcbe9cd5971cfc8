"""The one HTTP client: every request to a partner leaves through a `Transport`.

A transport belongs to one partner and one event loop. It only speaks to the origins registered for that partner, at
addresses checked before each connection; it bounds the total time, the size once decompressed, the number of requests
in flight and their rate; it follows no redirect, keeps no cookie and reads no proxy from the environment. Errors name
a host and a code, never a path, a header or a body (`connectors.failures`).
"""

from __future__ import annotations

import asyncio
import json as _json
import ssl
import time
import zlib
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlencode

import httpx

from connectors.contract import DocumentRefused
from connectors.destination import LOOPBACK, Destinations, Resolver, origin, resolve
from connectors.failures import (
    AnswerRefused,
    Busy,
    DestinationRefused,
    Interrupted,
    TransportError,
    Unreachable,
)
from connectors.json import parse as parse_json

if TYPE_CHECKING:
    from connectors.wire import Wire

__all__ = [
    "LOOPBACK", "Answer", "AnswerRefused", "Busy", "DestinationRefused", "Interrupted", "Limits", "Resolver",
    "Transport", "TransportError", "Unreachable", "origin", "resolve", "unavailable",
]  # fmt: skip

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_PAUSE = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one partner is given, in seconds, bytes and requests. `rate` reads as in `limits` (``10/second``)."""

    deadline: float = 30.0
    """For one call, its waits and its retries included."""
    connect: float = 5.0
    max_bytes: int = 10_000_000
    concurrent: int = 10
    rate: str = ""
    attempts: int = 3
    backoff: float = 0.3
    """First wait between two attempts of one call; doubles, with full jitter."""
    failures: int = 5
    """Failures in a row that open the circuit…"""
    rest: float = 30.0
    """…and how long it stays open before one request may try again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the partner answered, whole."""

    status: int
    headers: httpx.Headers = field(repr=False)
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON, as strictly read as any document. Raises `ValueError`."""
        try:
            return parse_json(self.content)
        except DocumentRefused as refused:
            raise ValueError(refused.code) from None

    def retry_after(self, now: datetime | None = None) -> float | None:
        """Seconds the partner asks to wait (RFC 9110 §10.2.3, delay or date); None when it says nothing readable."""
        text = self.headers.get("retry-after", "").strip()
        if text.isdecimal() and len(text) < 10:
            return float(text)
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def unavailable(answer: Answer) -> bool:
    """Answers that say nothing of the request itself: it may be tried again at once if repeating is safe."""
    return answer.status in {502, 503, 504}


@cache
def _tls(authorities: str = "") -> ssl.SSLContext:
    """Trusts the system's authorities, or those of one PEM file alone; nothing trusts whoever answers."""
    try:
        context = ssl.create_default_context(cafile=authorities or None)
    except OSError:  # also what is no PEM: `ssl.SSLError` is one
        raise DestinationRefused("ca-unreadable") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


_Told = Answer | TransportError


async def _outcome(attempt: Awaitable[Answer]) -> _Told:
    try:
        return await attempt
    except TransportError as error:
        return error


@lru_cache(maxsize=1024)
def _parsed(url: str) -> tuple[httpx.URL, str]:
    """An address, and how it is written in a request."""
    where = httpx.URL(url)
    return where, str(where)


class Call(NamedTuple):
    """One request as it leaves: nothing of it is looked at again on the way."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What comes back: its body is read once, then it is closed."""

    status: int
    headers: httpx.Headers
    body: AsyncIterable[bytes]
    close: Callable[[], Awaitable[None]]


_compact = _json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _call(
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    json: Any = None,
    form: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Call:
    """What is sent; of an answer, gzip alone is understood."""
    told, kind = dict(headers or ()) | {"Accept-Encoding": "gzip"}, ""
    if not "".join(told.values()).isascii():
        raise ValueError("a header that is not ASCII")
    if form is not None:
        content, kind = urlencode(form).encode(), "application/x-www-form-urlencoded"
    elif json is not None:
        content, kind = _compact(json).encode(), "application/json"
    if kind and not any(name.lower() == "content-type" for name in told):
        told["Content-Type"] = kind
    return Call(method, url, told, content or b"")


class _Pace:
    """So many requests in any stretch of time; the library is imported for whoever set a rate."""

    def __init__(self, rate: str, partner: str) -> None:
        import limits
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._rate, self._partner = limits.parse(rate), partner
        self._window = MovingWindowRateLimiter(MemoryStorage())

    async def turn(self) -> None:
        while not self._window.hit(self._rate, self._partner):
            reset = self._window.get_window_stats(self._rate, self._partner).reset_time
            await asyncio.sleep(max(0.001, reset - time.time()))


class _Circuit:
    """Stops calling a partner that keeps failing: closed, open for a while, then one trial request."""

    def __init__(self, failures: int, rest: float, now: Callable[[], float]) -> None:
        self._most, self._rest, self._now = failures, rest, now
        self._failures = 0
        self._until = 0.0
        self._trial = False

    def enter(self) -> float:
        """Seconds to wait before asking again; 0: go on."""
        if self._failures < self._most:
            return 0.0
        wait = self._until - self._now()
        if wait > 0 or self._trial:
            return max(wait, 1.0)
        self._trial = True
        return 0.0

    def leave(self, ok: bool) -> None:
        self._trial = False
        self._failures = 0 if ok else self._failures + 1
        if self._failures >= self._most:
            self._until = self._now() + self._rest

    def abandon(self) -> None:
        """The request ended without saying anything of the partner's health."""
        self._trial = False


@dataclass(frozen=True, slots=True)
class _Sink:
    """Where a downloaded body goes, and how much of it at most."""

    take: Callable[[bytes], object]
    max_bytes: int


class Transport:
    """The way to one partner.

    `origins` are the only places it may be called at (`https://host[:port]`). `networks` are private networks
    allowed besides public addresses (`LOOPBACK` in the demo and test profiles). `wire` replaces the network, for
    instance by ``httpx.ASGITransport(app)`` in front of an in-process sandbox: nothing is resolved then.
    """

    def __init__(
        self,
        partner: str,
        origins: Iterable[str],
        *,
        limits: Limits | None = None,
        networks: Iterable[str] = (),
        wire: httpx.AsyncBaseTransport | None = None,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.partner = partner
        self.limits = limits or Limits()
        self._destinations = Destinations(origins, networks, resolver, now)
        self._given, self._tls, self._now = wire, tls, now
        self._own: Wire | None = None
        self._slots = asyncio.Semaphore(self.limits.concurrent)
        self._circuit = _Circuit(self.limits.failures, self.limits.rest, now)
        self._paused_until = 0.0
        self._pace = _Pace(self.limits.rate, partner) if self.limits.rate else None

    @classmethod
    def open(cls, partner: str, settings: Mapping[str, Any], *, allow_loopback: bool = False) -> Self:
        """The way to a partner as the operator described it.

        Its origins are those of the settings named `…_url`. `networks` (private networks reached by agreement,
        separated by commas), `ca` (a PEM file: the only authorities its certificate may come from), `rate`,
        `concurrent`, `deadline` and `max_bytes` may be set too. Raises `DestinationRefused` when a URL is not a place
        to call, and ``ca-unreadable``.
        """
        named = [str(value) for name, value in settings.items() if name.endswith("_url") and value]
        private = [net.strip() for net in str(settings.get("networks") or "").split(",") if net.strip()]
        networks = (*private, *(LOOPBACK if allow_loopback else ()))
        standard = Limits()
        return cls(
            partner,
            named,
            networks=networks,
            tls=_tls(str(settings["ca"])) if settings.get("ca") else None,
            limits=replace(
                standard,
                rate=str(settings.get("rate") or standard.rate),
                concurrent=int(settings.get("concurrent") or standard.concurrent),
                deadline=float(settings.get("deadline") or standard.deadline),
                max_bytes=int(settings.get("max_bytes") or standard.max_bytes),
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            await own.aclose()

    def pause(self, seconds: float) -> None:
        """The partner asked for silence: calls fail with `Busy` for that long (an hour at most)."""
        self._paused_until = max(self._paused_until, self._now() + min(seconds, _MAX_PAUSE))

    @property
    def origins(self) -> tuple[str, ...]:
        """The registered places, as `https://host:port`, in order."""
        return self._destinations.origins

    async def knock(self, where: str) -> None:
        """Resolve a registered origin, connect, agree on TLS, and leave: nothing is asked.

        Raises `DestinationRefused`, `Unreachable` (``host-not-found``, ``not-connected``, ``certificate-refused``,
        ``tls-refused``). In front of an in-process stand-in there is nothing to reach.
        """
        scheme, host, port = self._destinations.target(httpx.URL(where))
        if self._given is not None:
            return
        address = await self._destinations.address(host, port)
        secure = (self._tls or _tls()) if scheme == "https" else None
        try:
            async with asyncio.timeout(self.limits.connect):
                _, writer = await asyncio.open_connection(
                    address, port, ssl=secure, server_hostname=host if secure else None
                )
        except ssl.SSLCertVerificationError:
            raise Unreachable("certificate-refused", host) from None
        except ssl.SSLError:
            raise Unreachable("tls-refused", host) from None
        except (OSError, TimeoutError):
            raise Unreachable("not-connected", host) from None
        writer.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        repeatable: bool | None = None,
        again: Callable[[Answer], bool] = unavailable,
        deadline: float | None = None,
    ) -> Answer:
        """One call, within the total deadline (`limits.deadline`, or `deadline` seconds for a large body).

        `repeatable` says that sending twice does no harm (by default: GET, HEAD, OPTIONS). Only then is a cut
        connection, or an answer for which `again` holds, tried again inside this call, with jitter. What was never
        sent may always be tried again. An answer of any status is returned; `TransportError` says there was none.
        """
        safe = method in _REPEATABLE if repeatable is None else repeatable
        where, written = _parsed(str(httpx.URL(url, params=dict(params))) if params else url)
        host, sent = self._destinations.target(where)[1], [False]

        async def once() -> Answer:
            return await self._once(_call(method, written, headers, json, form, content), host, sent)

        def repeat(told: Answer | TransportError) -> bool:
            if isinstance(told, Answer):
                return safe and again(told)
            return isinstance(told, Unreachable) or (safe and isinstance(told, Interrupted | AnswerRefused))

        try:
            async with asyncio.timeout(deadline or self.limits.deadline):
                told = await _outcome(once())
                if repeat(told) and self.limits.attempts > 1:
                    told = await self._again(told, once, repeat)
        except TimeoutError:
            raise (Interrupted if sent[0] else Busy)("deadline", host) from None
        if isinstance(told, Answer):
            return told
        raise told

    async def _again(
        self, first: _Told, once: Callable[[], Awaitable[Answer]], repeat: Callable[[_Told], bool]
    ) -> _Told:
        """What comes after a first attempt that may be repeated: entering here costs as much CPU as a request."""
        from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_random_exponential

        tried = [first]

        async def attempt() -> _Told:
            return tried.pop() if tried else await _outcome(once())

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.limits.attempts),
            wait=wait_random_exponential(multiplier=self.limits.backoff, max=5.0),
            retry=retry_if_result(repeat),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        told: _Told = await retrying(attempt)
        return told

    async def download(
        self,
        url: str,
        into: Callable[[bytes], object],
        *,
        headers: Mapping[str, str] | None = None,
        deadline: float,
        max_bytes: int,
    ) -> Answer:
        """One GET whose body, if the answer is 200, is given to `into` as it comes, in constant memory.

        Tried once: whoever calls starts again from nothing. The content of a 200 is empty, that of another status is
        the partner's error. Raises `TransportError`; what was given to `into` is then worth nothing.
        """
        where, written = _parsed(url)
        host, sent = self._destinations.target(where)[1], [False]
        try:
            async with asyncio.timeout(deadline):
                return await self._once(_call("GET", written, headers), host, sent, _Sink(into, max_bytes))
        except TimeoutError:
            raise (Interrupted if sent[0] else Busy)("deadline", host) from None

    async def _once(self, call: Call, host: str, sent: list[bool], sink: _Sink | None = None) -> Answer:
        await self._admitted(host)
        concluded = False
        try:
            async with self._slots:
                answer = await self._exchange(call, host, sent, sink)
            concluded = True
            self._circuit.leave(not unavailable(answer))
        except (Unreachable, Interrupted, AnswerRefused):
            concluded = True
            self._circuit.leave(False)
            raise
        except asyncio.CancelledError:
            # The deadline, or a worker that stops: only the former speaks of the partner.
            concluded = sent[0]
            if concluded:
                self._circuit.leave(False)
            raise
        finally:
            if not concluded:
                self._circuit.abandon()
        if answer.status in {429, 503} and (wait := answer.retry_after()):
            self.pause(wait)
        return answer

    async def _admitted(self, host: str) -> None:
        """Wait for the partner's rate; raise `Busy` when it must be left alone."""
        if (wait := self._paused_until - self._now()) > 0:
            raise Busy("paused", host, retry_after=wait)
        if self._pace:
            await self._pace.turn()
        if wait := self._circuit.enter():
            raise Busy("circuit-open", host, retry_after=wait)

    async def _exchange(self, call: Call, host: str, sent: list[bool], sink: _Sink | None) -> Answer:
        try:
            sent[0] = True
            reply = await self._passed(call)
            try:
                content = await self._body(reply, host, call.method, sink)
            finally:
                await reply.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            sent[0] = False
            raise Unreachable("not-connected", host) from None
        except httpx.HTTPError:
            raise Interrupted("cut", host) from None
        except (DestinationRefused, Unreachable):
            sent[0] = False
            raise
        return Answer(reply.status, reply.headers, content)

    async def _passed(self, call: Call) -> Reply:
        """Through the network, opened by the first request, or through what replaces it, in httpx's words."""
        if self._given is not None:
            request = httpx.Request(call.method, call.url, headers=call.headers, content=call.body or None)
            answer = await self._given.handle_async_request(request)
            return Reply(answer.status_code, answer.headers, answer.aiter_raw(), answer.aclose)
        if self._own is None:
            from connectors.wire import Wire  # aiohttp, for whoever calls somebody

            self._own = Wire(self._destinations.address, self._tls or _tls(), self.limits.connect)
        return await self._own.call(call)

    async def _body(self, reply: Reply, host: str, method: str, sink: _Sink | None) -> bytes:
        """The whole body, inflated, never more than `max_bytes` of it in memory; that of a 200 goes to the sink."""
        encoding = reply.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip", "x-gzip", ""}:
            raise AnswerRefused("encoding-not-supported", host)
        inflate = zlib.decompressobj(31) if "gzip" in encoding else None
        if sink and reply.status != 200:
            sink = None
        most, received, kept, body = sink.max_bytes if sink else self.limits.max_bytes, 0, 0, bytearray()
        keep = sink.take if sink else body.extend
        async for chunk in reply.body:
            received += len(chunk)
            try:
                plain = inflate.decompress(chunk, most + 1 - kept) if inflate else chunk
            except zlib.error:
                raise AnswerRefused("encoding-broken", host) from None
            kept += len(plain)
            if received > most or kept > most:
                raise AnswerRefused("answer-too-large", host)
            keep(plain)
        bodiless = method == "HEAD" or reply.status in {204, 304}
        declared = reply.headers.get("content-length", "")
        if not bodiless and declared.isdecimal() and int(declared) != received:
            raise AnswerRefused("answer-truncated", host)
        if inflate and received and (not inflate.eof or inflate.unused_data):
            raise AnswerRefused("answer-truncated", host)
        return bytes(body)
