"""H-54 … H-60: addresses a partner would have the gateway call, refused at registration and again at each call."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.destination import REMEMBERED, Destinations
from connectors.transport import Call, DestinationRefused, Limits, Transport, TransportError, origin
from connectors.wire import Wire
from gateway import notifier, production
from gateway.problems import Misconfigured
from gateway.settings import Settings

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[str]:
    """A server on loopback that answers anything at all."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)  # type: ignore[arg-type]
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def resolving(*turns: list[str]):  # type: ignore[no-untyped-def]
    """A name server that answers differently each time, the last answer for ever."""
    left = list(turns)

    async def resolve(_host: str, _port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


SPELLINGS = ["127.1", "0x7f.1", "2130706433", "0", "[::ffff:127.0.0.1]", "127.0.0.1", "[::1]", "0177.0.0.1"]
INTERNAL = ["169.254.169.254", "[fd00::1]", "10.0.0.1", "192.168.1.1", "localhost.", "localhost", "[fe80::1]"]


@pytest.mark.parametrize("host", SPELLINGS)
def test_h_54_loopback_by_any_spelling_is_refused_at_registration(host: str, tmp_path: Path) -> None:
    for url in (f"https://{host}/", f"http://{host}/"):
        with pytest.raises(DestinationRefused):
            origin(url)
        not_started(url, tmp_path)


def not_started(url: str, home: Path) -> None:
    """No process begins with this address among its settings, as a partner's or as the one its notices go to."""
    told = {"notifications_url": "https://partenaire.example/avis", "api_url": "https://partenaire.example/"}
    for name in told:
        settings = Settings(profile="production", home=home, bodies={"ccas": told | {name: url}})
        (wrong,) = production.wrong_addresses(settings)
        assert "[bodies.ccas]" in wrong
        with pytest.raises(Misconfigured, match=r"\[bodies\.ccas\]"):
            production.require(settings, "127.0.0.1")
    assert production.wrong_addresses(Settings(profile="production", home=home, bodies={"ccas": told})) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "::1", "0.0.0.0", "64:ff9b::7f00:1"])
async def test_h_54_and_at_each_call_by_the_address_it_resolves_to(address: str) -> None:
    async with Transport("p", ["https://partenaire.example"], resolver=resolving([address])) as transport:
        with pytest.raises(DestinationRefused, match="address-not-allowed"):
            await transport.request("GET", "https://partenaire.example/")


@pytest.mark.parametrize("host", INTERNAL)
def test_h_55_internal_addresses_are_refused_at_registration(host: str, tmp_path: Path) -> None:
    with pytest.raises(DestinationRefused):
        origin(f"https://{host}/")
    not_started(f"https://{host}/", tmp_path)


INSIDE = [
    "10.0.0.1", "169.254.169.254", "fd00::1", "fec0::1", "100.64.0.1", "224.0.0.1",
    "168.63.129.16", "::ffff:168.63.129.16", "192.0.0.8", "192.0.0.192", "192.88.99.1", "3fff::1",
    "::ffff:93.184.216.34", "2002:7f00:1::1", "64:ff9b::5db8:d822", "2001:0:7f00:1::1",
]  # fmt: skip
"""Private, of a cloud's own platform, of a protocol, or an IPv4 address in disguise."""


@pytest.mark.parametrize("name", ["10.0.0.1.nip.io", "metadata.example"])
async def test_h_55_a_public_name_of_an_internal_address_is_refused(name: str) -> None:
    for address in INSIDE:
        for found in ([], [address], ["93.184.216.34", address]):
            async with Transport("p", [f"https://{name}"], resolver=resolving(found)) as transport:
                with pytest.raises(DestinationRefused, match="address-not-allowed"):
                    await transport.request("GET", f"https://{name}/")
                with pytest.raises(DestinationRefused, match="address-not-allowed"):
                    await transport.knock(transport.origins[0])


async def test_h_56_a_redirect_is_an_answer_never_followed() -> None:
    called = []

    async def internal(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(1)
        writer.close()

    async with served(internal) as secret:

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {secret}/\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            writer.close()

        async with served(redirect) as url, Transport("p", [url], networks=("127.0.0.0/8",)) as transport:
            assert (await transport.request("GET", f"{url}/")).status == 302
    assert called == []


async def test_h_57_a_name_that_turns_private_is_refused_when_it_does() -> None:
    """The address that was checked is the one connected to; when it is asked again, it is checked again."""
    now = [0.0]
    asked: list[str] = []

    async def rebinding(_host: str, _port: int) -> list[str]:
        asked.append(_host)
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    where = Destinations(["https://partenaire.example"], (), rebinding, lambda: now[0])
    for _ in range(3):
        assert await where.address("partenaire.example", 443) == "93.184.216.34", "pinned, not resolved again"
    now[0] += REMEMBERED + 1
    with pytest.raises(DestinationRefused, match="address-not-allowed"):
        await where.address("partenaire.example", 443)


async def test_h_57_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name of which the system knows another address, or none, is called where the check said."""
    called: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with served(answer) as url:
        port = url.rpartition(":")[2]
        networks = ("127.0.0.1/32",)
        where = Destinations([url], networks, resolving(["127.0.0.1"]), time.monotonic)
        wire = Wire(where.address, ssl.create_default_context(), 2.0)
        try:
            told = await wire.call(Call("GET", f"http://nom-inconnu.invalid:{port}/", {}, b""))
        finally:
            await wire.aclose()
        assert told.status == 200
    assert b"host: nom-inconnu.invalid" in called[0].lower()


@pytest.mark.parametrize(
    "url",
    ["https://ok.example@evil.example/", "https://a:b@evil.example/", "https://partenaire.example:22/",
     "file:///etc/passwd", "gopher://partenaire.example/", "ftp://partenaire.example/",
     "http://partenaire.example/", "https:///x", "https://", "x",
     "https://partenaire.example:65536/", "https://pa\u0430rtenaire.example\u2044@evil/", "https://xn--a.com/",
     "https://partenaire.example./", "https://ex\u00e9mple.example/", "https://intranet/", "partenaire.example", "",
     "https://partenaire.example\\@evil.example/", "https://partenaire.1/"],
)  # fmt: skip
def test_h_58_urls_that_mean_something_else(url: str) -> None:
    with pytest.raises(DestinationRefused):
        origin(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://partenaire.example.evil.example/",
        "https://partenaire.example:8443/",
        "https://x@partenaire.example/",
    ],
)
async def test_h_58_only_the_registered_origin_is_called(url: str) -> None:
    async with Transport("p", ["https://partenaire.example"], resolver=resolving(["93.184.216.34"])) as transport:
        with pytest.raises(DestinationRefused):
            await transport.request("GET", url)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"], ids=["silence", "drip"])
async def test_h_59_an_answer_without_end_is_cut_at_the_total_deadline(head: bytes) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        try:
            while not writer.is_closing():
                writer.write(b"a" if head else b"")
                await writer.drain()
                await asyncio.sleep(0.05)
        except OSError:
            return

    assert Limits().deadline <= 30, "a partner's own service, its retries included; a webhook of ours:"
    assert notifier._DEADLINE <= 10
    async with served(drip) as url:
        limits = Limits(deadline=0.6, attempts=1)
        async with Transport("p", [url], networks=("127.0.0.0/8",), limits=limits) as transport:
            began = time.monotonic()
            with pytest.raises(TransportError, match="deadline"):
                await transport.request("GET", f"{url}/")
            assert time.monotonic() - began < 10


@pytest.mark.parametrize("sent", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", b"HTTP/1.1 200 OK\r\nContent-Le", b"",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
])  # fmt: skip
async def test_h_60_a_short_answer_is_not_a_success(sent: bytes) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()
        writer.close()

    async with served(cut) as url:
        limits = Limits(attempts=1)
        async with Transport("p", [url], networks=("127.0.0.0/8",), limits=limits) as transport:
            with pytest.raises(TransportError):
                await transport.request("POST", f"{url}/", content=b"{}")
