"""Trying the settings of a partner: what answers, and in which words what does not is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.contract import Contact, Reachable
from connectors.kit.subject import Subject
from connectors.kit.wires import Failing, Strict
from connectors.manifest import installed
from connectors.transport import Limits, Transport, TransportError
from gateway.production import wrong_addresses
from gateway.registry import way_to
from gateway.settings import Settings

CALLED = sorted(id for id, one in installed().items() if any(s.name.endswith("_url") for s in one.manifest.setting))
SECRETS = {"france_travail": "client_secret", "api_particulier": "jeton"}


def tried(id: str, wire: Callable[[], httpx.AsyncBaseTransport] | None = None, **settings: str) -> list[Contact]:
    subject = Subject(installed()[id], settings)
    connector = subject.connector()
    assert isinstance(connector, Reachable)

    async def collect() -> list[Contact]:
        places = {value for value in subject.settings.values() if value.startswith("https://")}
        given = wire() if wire else Strict(subject.stand_in())
        async with Transport(id, places, limits=Limits(backoff=0.0, attempts=1), wire=given) as transport:
            return [one async for one in connector.contacts(transport)]

    return asyncio.run(collect())


@pytest.mark.parametrize("id", CALLED)
def test_a_partner_in_order_accepts_everything(id: str) -> None:
    found = tried(id)
    assert found
    assert {one.code for one in found} == {""}


@pytest.mark.parametrize("id", CALLED)
def test_a_network_that_fails_is_told_and_nothing_is_raised(id: str) -> None:
    found = tried(id, lambda: Failing(httpx.ConnectError))
    assert found
    assert "" not in {one.code for one in found}


@pytest.mark.parametrize("id", sorted(SECRETS))
def test_a_wrong_secret_is_told_without_the_secret(id: str) -> None:
    found = tried(id, **{SECRETS[id]: "tout-a-fait-faux"})
    assert {one.code for one in found} <= {"invalid_client", "unauthorized", "token-refused"}
    assert "tout-a-fait-faux" not in repr(found)


def knocked(where: str, ca: Path | None = None) -> str:
    return _met(where, ca, lambda transport: transport.knock(where))


def asked(where: str, ca: Path | None = None) -> str:
    return _met(where, ca, lambda transport: transport.request("POST", where))


def _met(where: str, ca: Path | None, act: Callable[[Transport], Awaitable[object]]) -> str:
    """Under the settings of a body; the code of what was met, empty when nothing was."""

    async def run() -> str:
        try:
            async with way_to(
                Settings(bodies={"essai": {"url": where} | ({"ca": str(ca)} if ca else {})}), "essai"
            ) as way:
                await act(way)
        except TransportError as error:
            return error.code
        return ""

    return asyncio.run(run())


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificat.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def served(then: Callable[[int], str], certificate: Path | None = None) -> str:
    """What `then` finds while a server listens on a port of this machine, with TLS when there is a certificate."""

    async def run() -> str:
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        async with server:
            return await asyncio.to_thread(then, server.sockets[0].getsockname()[1])

    return asyncio.run(run())


def test_each_obstacle_on_the_way_has_its_name(tmp_path: Path) -> None:
    pem = _self_signed(tmp_path)
    assert served(lambda port: knocked(f"https://localhost:{port}"), pem) == "certificate-refused"
    assert served(lambda port: knocked(f"https://localhost:{port}")) in ("tls-refused", "not-connected")
    assert served(lambda port: knocked(f"https://localhost:{port}", ca=pem), pem) == ""
    assert served(lambda port: asked(f"https://localhost:{port}"), pem) == "certificate-refused"
    assert served(lambda port: asked(f"https://127.0.0.1:{port}", pem), pem) == "certificate-refused", "another name"
    assert served(lambda port: asked(f"https://localhost:{port}", pem), pem) == "cut", "believed: the request left"
    assert knocked("https://localhost:4430", ca=tmp_path / "absent.pem") == "ca-unreadable"
    (told,) = wrong_addresses(Settings(bodies={"essai": {"ca": __file__}}))
    assert "`ca`" in told
    (told,) = wrong_addresses(Settings(bodies={"essai": {"networks": "10.2.0.1/16"}}))
    assert told.startswith("`networks` under [bodies.essai] is no list of networks (networks-invalid): ")
    (told,) = wrong_addresses(Settings(profile="production", bodies={"essai": {"url": "http://10.2.0.1:8080"}}))
    assert "(host-not-allowed)" in told
    assert "inside its `networks`" in told, "what opens it"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    assert knocked(f"https://localhost:{closed}") == "not-connected"
    assert knocked("https://partenaire.invalid") == "host-not-found"
