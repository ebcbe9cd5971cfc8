"""The services that the operator chose answer within bounds too: a witness, an authority, a provider of accounts."""

from __future__ import annotations

import asyncio
import gzip
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from connectors import service
from gateway import note, timestamp, witness
from gateway.app import build
from gateway.console.signin import SignIn
from gateway.problems import Unavailable
from gateway.registry import Gateway
from gateway.settings import Settings
from tests.api.house import bounded
from tests.hostile.test_h_54_60_outgoing import served

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BOMB = gzip.compress(b" " * (300 << 20), 9)


async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 100000\r\n\r\n")
    try:
        while not writer.is_closing():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)
    except OSError:
        return


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    try:
        while not writer.is_closing():
            writer.write(b"10000\r\n" + b"a" * 65_536 + b"\r\n")
            await writer.drain()
    except OSError:
        return


async def inflating(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB)
    await writer.drain()
    writer.close()


async def moved(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


ANSWERS = {"drip": dripping, "endless": endless, "bomb": inflating}
each = pytest.mark.parametrize("answer", ANSWERS)


@each
async def test_h_41_59_an_answer_without_end_is_cut(answer: str) -> None:
    async with served(ANSWERS[answer]) as url, service.client(deadline=0.5) as client:
        began = time.monotonic()
        with bounded(), pytest.raises(httpx.HTTPError):
            await client.get(url)
        assert time.monotonic() - began < 5
    assert service.DEADLINE <= 10


async def test_h_56_no_redirect_is_followed() -> None:
    async with served(moved) as url, service.client() as client:
        assert (await client.get(url)).status_code == 302


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds are half of one."""
    build = service.Bounded.__init__
    monkeypatch.setattr(service.Bounded, "__init__", lambda self, wire=None, deadline=0.0: build(self, wire, 0.5))


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """One whose journal is published."""
    opened = Gateway.open(Settings(profile="test", home=tmp_path, departement="040"))
    build(opened)
    opened.publish_journal()
    return opened


@each
@pytest.mark.usefixtures("hurried")
async def test_h_41_59_a_witness_that_does_not_end_is_left_out(gateway: Gateway, answer: str) -> None:
    vkey = note.public_key("w", Ed25519PrivateKey.generate(), note.COSIGNATURE)
    async with served(ANSWERS[answer]) as url:
        (gateway.settings.home / witness.WITNESS_POLICY).write_text(f"witness w {vkey} {url}\nquorum w\n")
        with bounded(), pytest.raises(Unavailable, match="witness-quorum"):
            await asyncio.wait_for(witness.cosign_published(gateway.engine, gateway.settings), 60)


@each
@pytest.mark.usefixtures("hurried")
async def test_h_41_59_an_authority_that_does_not_end_stamps_nothing(gateway: Gateway, answer: str) -> None:
    async with served(ANSWERS[answer]) as url:
        told = gateway.settings.model_copy(update={"timestamp_url": url, "timestamp_authorities": Path("/dev/null")})
        with bounded(), pytest.raises(httpx.HTTPError):
            await asyncio.wait_for(timestamp.stamp_published(told, datetime.now(UTC)), 60)


@each
@pytest.mark.usefixtures("hurried")
async def test_h_41_59_a_provider_of_accounts_that_does_not_end_is_unreachable(answer: str) -> None:
    async with served(ANSWERS[answer]) as url:
        sign_in = SignIn(Settings(profile="test", console_oidc_issuer=url, console_oidc_client_id="x"))
        with bounded(), pytest.raises(Unavailable, match="provider-unreachable"):
            await asyncio.wait_for(sign_in.address(sign_in.start("/console/", again=False), ""), 60)
