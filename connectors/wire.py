"""The network under a `Transport`: aiohttp's connections, httpx's errors and headers.

httpx's own network costs several times the CPU of what it carries (`bench/delivery.py` measures both), its requests and
responses half as much as aiohttp's. The adapter
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

from connectors.failures import Unreachable
from connectors.transport import Call, Reply

Address = Callable[[str, int], Awaitable[str]]
"""The one numeric address to connect to for a host and a port, checked."""

_OURS_ALONE = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that aiohttp would add by itself."""
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_KEPT = 30.0
"""Seconds an idle connection is kept for the next request to the same origin."""
_CHUNK = 65_536


class Wire:
    """HTTP/1.1 to the addresses that `address` gives, one connection per request in flight, kept for a while.

    Raises `httpx.ConnectError` when nothing was sent, another `httpx.TransportError` when something may have been,
    `Unreachable` for a certificate that is not believed or a connection that could not be encrypted, and what `address`
    raises.
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

    async def call(self, call: Call) -> Reply:
        try:
            answer = await self._session.request(
                call.method,
                yarl.URL(call.url, encoded=True),
                headers=call.headers,
                data=call.body or None,
                allow_redirects=False,
            )
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable("certificate-refused", error.host) from None
        except aiohttp.ClientConnectorSSLError as error:
            raise Unreachable("tls-refused", error.host) from None
        except _NEVER_SENT as error:
            raise httpx.ConnectError(type(error).__name__) from None
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.RemoteProtocolError(type(error).__name__) from None

        async def close() -> None:
            answer.close()  # once it was read to its end, the connection is kept all the same

        return Reply(answer.status, httpx.Headers(answer.raw_headers), _body(answer), close)

    async def aclose(self) -> None:
        await self._session.close()


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        while chunk := await answer.content.read(_CHUNK):
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.ReadError(type(error).__name__) from None


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
