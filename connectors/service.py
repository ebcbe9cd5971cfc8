"""The HTTP client for services that the operator chose and that are no partner: witnesses, a time-stamp authority, the
provider of the console's accounts.

Their addresses come from the settings alone. What they answer is bounded all the same: in total time, in size, and
never inflated; no redirect is followed and no proxy is read from the environment.
"""

from __future__ import annotations

import asyncio

import httpx

DEADLINE = 10.0
"""Seconds for one request and its whole answer."""
MAX_BYTES = 1_000_000


def client(wire: httpx.AsyncBaseTransport | None = None, deadline: float = DEADLINE) -> httpx.AsyncClient:
    """A client whose every request ends within `deadline`. `wire` replaces the network, as for a `Transport`.

    Its requests raise `httpx.ReadTimeout` after the deadline, `httpx.DecodingError` for an answer too large or encoded.
    """
    return httpx.AsyncClient(transport=Bounded(wire, deadline), timeout=deadline, trust_env=False)


class Bounded(httpx.AsyncBaseTransport):
    """A network whose answers come whole, in time and within `MAX_BYTES`."""

    def __init__(self, wire: httpx.AsyncBaseTransport | None = None, deadline: float = DEADLINE) -> None:
        self._wire, self._deadline = wire or httpx.AsyncHTTPTransport(trust_env=False), deadline

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._wire.handle_async_request(request)
                try:
                    return httpx.Response(answer.status_code, headers=answer.headers, content=await _whole(answer))
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise httpx.ReadTimeout("deadline", request=request) from None

    async def aclose(self) -> None:
        await self._wire.aclose()


async def _whole(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise httpx.DecodingError("encoding-not-supported")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise httpx.DecodingError("answer-too-large")
    return bytes(body)
