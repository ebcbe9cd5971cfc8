"""The one HTTP client, against servers that misbehave: SSRF checks H-54…H-60, limits, retries, circuit."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.transport import (
    LOOPBACK,
    AnswerRefused,
    Busy,
    DestinationRefused,
    Interrupted,
    Limits,
    Transport,
    Unreachable,
    origin,
)

HOST = "https://partenaire.exemple.org"
QUICK = Limits(backoff=0.0, deadline=5.0)


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def to(app: Callable[..., Awaitable[None]], limits: Limits = QUICK, now: Callable[[], float] = Clock()) -> Transport:
    return Transport("partenaire", [HOST], limits=limits, wire=httpx.ASGITransport(app), now=now)


def answering(*answers: tuple[int, dict[str, str], bytes]):
    """An application that gives these answers in order, the last one forever, and counts the calls."""

    async def app(scope, receive, send) -> None:
        status, headers, body = answers[min(len(app.calls), len(answers) - 1)]
        app.calls.append((scope["method"], scope["path"], dict(scope["headers"])))
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    app.calls = []
    return app


# Where a request may go


def test_loopback_is_a_place_only_where_the_operator_says_so() -> None:
    assert origin("http://127.0.0.1:8400/x", LOOPBACK) == ("http", "127.0.0.1", 8400)
    assert origin("http://localhost:8400", LOOPBACK) == ("http", "localhost", 8400)
    assert origin("http://[::1]:8400", LOOPBACK) == ("http", "::1", 8400)
    assert origin("https://api.exemple.org:8443/chemin") == ("https", "api.exemple.org", 8443)
    for sneaky in ("http://127.1:8400", "http://10.0.0.1:8400", "http://api.exemple.org", "http://[::ffff:127.0.0.1]"):
        with pytest.raises(DestinationRefused):
            origin(sneaky, LOOPBACK)


Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """Raw servers on loopback; `serve(reply)` gives the port."""
    servers: list[asyncio.Server] = []

    async def start(reply: Server, tls: ssl.SSLContext | None = None) -> int:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reply(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls))
        return int(servers[-1].sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for partenaire.exemple.org alone, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "partenaire.exemple.org")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("partenaire.exemple.org")]), False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return pem


async def test_the_connection_goes_to_the_checked_address_and_proves_the_name(serve, certificate: Path) -> None:
    """DNS rebinding (H-57): the name is resolved once per request and the connection pinned to what was checked."""
    seen: list[bytes] = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    port = await serve(reply, context)
    trust = ssl.create_default_context(cafile=str(certificate))
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    for name, works in (("partenaire.exemple.org", True), ("usurpe.exemple.org", False)):
        url = f"https://{name}:{port}"
        async with Transport("p", [url], networks=LOOPBACK, resolver=resolver, tls=trust, limits=QUICK) as transport:
            if works:
                assert (await transport.request("GET", f"{url}/chemin")).content == b"ok"
            else:
                with pytest.raises(Unreachable):
                    await transport.request("GET", f"{url}/chemin")
    assert asked[0] == "partenaire.exemple.org"
    assert f"host: partenaire.exemple.org:{port}".encode() in seen[0].lower()
    assert len(seen) == 1


# What comes back


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 20",
        b"",
    ],
    ids=["short-body", "short-chunk", "short-head", "nothing"],
)
async def test_a_connection_cut_after_sending_is_an_unknown_outcome(serve, raw: bytes) -> None:
    calls: list[bytes] = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(raw)
        await writer.drain()

    url = f"http://127.0.0.1:{await serve(reply)}"
    async with Transport("p", [url], networks=LOOPBACK, limits=QUICK) as transport:
        with pytest.raises(Interrupted) as caught:
            await transport.request("POST", url, json={})
        assert caught.value.sent
        assert len(calls) == 1, "a POST is never repeated by itself"
        with pytest.raises(Interrupted):
            await transport.request("PUT", url, json={})
        assert len(calls) == 2, "nor is a PUT, unless it is said to be repeatable"
        with pytest.raises(Interrupted):
            await transport.request("GET", url)
        assert len(calls) == 2 + QUICK.attempts


async def test_connections_are_kept_cookies_are_not_and_nothing_is_added_to_a_request(serve) -> None:
    heads: list[bytes] = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(b"connected")
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 204 No Content\r\nSet-Cookie: suivi=1\r\n\r\n")
            await writer.drain()

    url = f"http://127.0.0.1:{await serve(reply)}"
    async with Transport("p", [url], networks=LOOPBACK, limits=QUICK) as transport:
        for _ in range(2):
            await transport.request("GET", f"{url}/a%2Fb?q=%C3%A9", headers={"X-Essai": "1"})
    assert heads[0] == b"connected"
    assert len(heads) == 3, "one connection for both"
    first, *headers = heads[1].decode().strip().lower().split("\r\n")
    assert first == "get /a%2fb?q=%c3%a9 http/1.1"
    assert {line.partition(":")[0] for line in headers} == {"host", "x-essai", "accept-encoding"}
    assert heads[2] == heads[1]


async def test_a_body_shorter_than_announced_is_not_a_success() -> None:
    with pytest.raises(AnswerRefused, match="answer-truncated"):
        await to(answering((200, {"content-length": "90"}, b'{"id"'))).request("POST", HOST, json={})


async def test_an_answer_is_bounded_once_inflated() -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    small = Limits(max_bytes=100_000, backoff=0.0)
    assert len(bomb) < small.max_bytes
    with pytest.raises(AnswerRefused, match="answer-too-large"):
        await to(answering((200, {"content-encoding": "gzip"}, bomb)), small).request("GET", HOST)
    with pytest.raises(AnswerRefused, match="answer-too-large"):
        await to(answering((200, {}, b"0" * 100_001)), small).request("GET", HOST)
    exact = await to(answering((200, {"content-encoding": "gzip"}, gzip.compress(b"0" * 100_000))), small).request(
        "GET", HOST
    )
    assert len(exact.content) == 100_000


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("br", b"x", "encoding-not-supported"),
        ("gzip", b"not gzip", "encoding-broken"),
        ("gzip", gzip.compress(b"a" * 1000)[:-4], "answer-truncated"),
    ],
    ids=["unknown-encoding", "not-gzip", "cut-short"],
)
async def test_an_answer_that_cannot_be_decoded_is_refused(encoding: str, body: bytes, code: str) -> None:
    with pytest.raises(AnswerRefused, match=code):
        await to(answering((200, {"content-encoding": encoding}, body))).request("GET", HOST)


# How often


async def test_only_what_is_safe_is_tried_again_inside_one_call() -> None:
    recovering = ((503, {}, b""), (200, {}, b"ok"))
    app = answering(*recovering)
    assert (await to(app).request("GET", HOST)).status == 200
    app = answering(*recovering)
    assert (await to(app).request("POST", HOST)).status == 503
    app = answering(*recovering)
    assert (await to(app).request("POST", HOST, repeatable=True)).status == 200
    app = answering((500, {}, b'{"codeRetour":"R998"}'), (200, {}, b"ok"))
    assert (await to(app).request("GET", HOST)).status == 500
    app = answering((503, {}, b""))
    assert (await to(app).request("GET", HOST)).status == 503
    assert len(app.calls) == QUICK.attempts


async def test_a_refused_connection_may_always_be_tried_again() -> None:
    with socketless_port() as port:
        url = f"http://127.0.0.1:{port}"
        async with Transport("p", [url], networks=LOOPBACK, limits=QUICK) as transport:
            with pytest.raises(Unreachable) as caught:
                await transport.request("POST", url, json={})
    assert not caught.value.sent


def socketless_port():
    """A port that nobody listens on while the block runs."""
    import contextlib
    import socket

    @contextlib.contextmanager
    def reserve():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            yield taken.getsockname()[1]

    return reserve()


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("120", 120),
        ("Sat, 21 Nov 2026 10:02:00 GMT", 120),
        ("demain", None),
        ("", None),
        (f"Sat, 21 Nov {'9' * 20} 10:02:00 GMT", None),
        ("Sat, 21 Nov 2026 10:02:00 +99999999999999", None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, pause: float | None) -> None:
    answer = await to(answering((429, {}, b""))).request("GET", HOST)
    answer.headers["retry-after"] = header
    moment = datetime.datetime(2026, 11, 21, 10, 0, tzinfo=datetime.UTC)
    assert answer.retry_after(moment) == pause


@pytest.mark.parametrize(
    "said", [b'"\\ud800"', b'"\\u0000"', b"NaN", b"1e400", b"[" * 100_000, b'{"a":1,"a":2}', b'"\xff"']
)
async def test_an_answer_is_read_as_strictly_as_a_document(said: bytes) -> None:
    answer = await to(answering((200, {}, b'{"id":' + said + b"}"))).request("GET", HOST)
    with pytest.raises(ValueError, match="json-"):
        answer.json()


async def test_a_partner_that_asks_for_silence_is_left_alone() -> None:
    clock = Clock()
    app = answering((429, {"retry-after": "30"}, b""), (200, {}, b""))
    transport = to(app, now=clock)
    assert (await transport.request("POST", HOST)).status == 429
    clock.time += 29
    with pytest.raises(Busy) as caught:
        await transport.request("POST", HOST)
    assert caught.value.retry_after == 1
    assert len(app.calls) == 1
    clock.time += 1
    assert (await transport.request("POST", HOST)).status == 200


async def test_the_circuit_opens_after_failures_and_lets_one_request_try() -> None:
    clock = Clock()
    app = answering((502, {}, b""), (502, {}, b""), (502, {}, b""), (200, {}, b""))
    transport = to(app, Limits(failures=2, rest=10, attempts=1), clock)
    for _ in range(2):
        assert (await transport.request("POST", HOST)).status == 502
    with pytest.raises(Busy, match="circuit-open"):
        await transport.request("POST", HOST)
    clock.time += 10
    assert (await transport.request("POST", HOST)).status == 502
    with pytest.raises(Busy):
        await transport.request("POST", HOST)
    clock.time += 10
    assert (await transport.request("POST", HOST)).status == 200
    assert (await transport.request("POST", HOST)).status == 200
    assert len(app.calls) == 5


async def test_a_fault_about_one_person_does_not_open_the_circuit() -> None:
    transport = to(answering((500, {}, b"R998")), Limits(failures=1, attempts=1))
    for _ in range(3):
        assert (await transport.request("POST", HOST)).status == 500


async def test_requests_in_flight_are_capped_and_the_rate_held() -> None:
    gate, full, inside, most = asyncio.Event(), asyncio.Event(), 0, 0

    async def app(scope, receive, send) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 3:
            full.set()
        await gate.wait()
        inside -= 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = to(app, Limits(concurrent=3, rate="5 per 1 second", backoff=0.0))
    calls = [asyncio.create_task(transport.request("GET", HOST)) for _ in range(5)]
    await full.wait()
    await asyncio.sleep(0)
    gate.set()
    assert [answer.status for answer in await asyncio.gather(*calls)] == [204] * 5
    assert most == 3
    late = Transport(
        "q",
        [HOST],
        limits=Limits(rate="1 per 1 hour", deadline=0.05),
        wire=httpx.ASGITransport(answering((200, {}, b""))),
    )
    assert (await late.request("GET", HOST)).status == 200
    with pytest.raises(Busy, match="deadline"):
        await late.request("GET", HOST)


async def test_an_error_names_the_host_and_nothing_else() -> None:
    with pytest.raises(AnswerRefused) as caught:
        await to(answering((200, {"content-length": "9"}, b"2900199999901"))).request(
            "GET", f"{HOST}/usagers/2900199999901", headers={"authorization": "Bearer s3cr3t"}
        )
    shown = f"{caught.value} {caught.value!r}"
    assert "2900199999901" not in shown
    assert "s3cr3t" not in shown
    answer = await to(answering((200, {}, b"2900199999901"))).request("GET", HOST)
    assert "2900199999901" not in repr(answer)


def test_the_networks_allowed_for_a_demonstration_are_this_machine_only() -> None:
    assert [ipaddress.ip_network(n).num_addresses for n in LOOPBACK] == [1, 1]


async def test_a_transport_is_opened_from_the_urls_the_operator_wrote() -> None:
    described = {"auth_url": "https://a.exemple.org/x", "api_url": "https://b.exemple.org:8443", "client_id": "PAR_0"}
    async with Transport.open("p", described | {"rate": "5/second", "deadline": "7"}) as transport:
        assert (transport.limits.rate, transport.limits.deadline) == ("5/second", 7.0)
        for url in ("https://c.exemple.org/", "https://a.exemple.org:8443/", "https://b.exemple.org/"):
            with pytest.raises(DestinationRefused, match="origin-not-registered"):
                await transport.request("GET", url)
    with pytest.raises(DestinationRefused):
        Transport.open("p", {"api_url": "http://127.0.0.1:8400"})
    with pytest.raises(DestinationRefused):
        Transport.open("p", {"api_url": "https://10.1.2.3"})
    Transport.open("p", {"api_url": "http://127.0.0.1:8400"}, allow_loopback=True)
    Transport.open("p", {"api_url": "https://10.1.2.3", "networks": "10.1.0.0/16"})
