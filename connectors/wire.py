"""The network under a `Transport`: httpx's requests and responses, over aiohttp's connections.

httpx's own network costs several times the CPU of what it carries (`bench/delivery.py` measures both). The adapter
`httpx-aiohttp` tells a connection cut after the request as one that never was (`ConnectTimeout`), resends GET, PUT and
DELETE by itself and keeps cookies: what was perhaps done would be done twice.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from socket import AddressFamily

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

Address = Callable[[str, int], Awaitable[str]]
"""The one numeric address to connect to for a host and a port, checked."""

_OURS_ALONE = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that aiohttp would add by itself."""
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_KEPT = 30.0
"""Seconds an idle connection is kept for the next request to the same origin."""
_CHUNK = 65_536


class Wire(httpx.AsyncBaseTransport):
    """HTTP/1.1 to the addresses that `address` gives, one connection per request in flight, kept for a while.

    Raises `httpx.ConnectError` when nothing was sent, another `httpx.TransportError` when something may have been, and
    what `address` raises.
    """

    def __init__(self, address: Address, tls: ssl.SSLContext, connect: float) -> None:
        # Connections are kept under the name of their origin: never shared by two names at one address.
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(address), use_dns_cache=False, ssl=tls, limit=0, keepalive_timeout=_KEPT,
            happy_eyeballs_delay=None,
        )  # fmt: skip
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OURS_ALONE,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
        )
        self._session._retry_connection = False  # there is no public word for it; a test holds it to this

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = await self._session.request(
                request.method,
                yarl.URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=request.read() or None,
                allow_redirects=False,
            )
        except _NEVER_SENT as error:
            raise httpx.ConnectError(type(error).__name__) from None
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.RemoteProtocolError(type(error).__name__) from None
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer), request=request)

    async def aclose(self) -> None:
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._answer.content.read(_CHUNK):
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(type(error).__name__) from None

    async def aclose(self) -> None:
        self._answer.close()  # once it was read to its end, the connection is kept all the same


class _Pinned(AbstractResolver):
    """Only the address that was checked."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        address = await self._address(host, port)
        kind = AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]

    async def close(self) -> None:
        return None
