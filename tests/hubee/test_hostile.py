"""Attachments that attack: the door of HubEE keeps the limits and the refusals of every other door."""

from __future__ import annotations

import asyncio
import gzip
import io
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.hubee import client
from connectors.transport import Transport
from gateway.collect import Collected, collect
from tests.api.house import bounded
from tests.hostile.test_h_01_16_xml import DOCTYPES
from tests.hubee.conftest import BASE, QUICK
from tests.hubee.test_collect import CODE, Passerelle, flux, passerelle  # noqa: F401 a fixture

MEGABYTE = 1_000_000


async def received(one: Passerelle, content: bytes, *, announced: int = 0) -> Collected:
    """What becomes of an attachment whose bytes are these, whatever its sender announced."""
    case = one.app.drop.send(CODE, {"RSABEM": flux()})
    attachment = one.app.drop.attachment(case, "RSABEM")
    attachment.content, attachment.size = content, announced or len(content)
    [found] = await one.collect()
    return found


def nothing_entered(one: Passerelle) -> None:
    assert one.state()["person"] == one.state()["assertion_set"] == 0
    assert one.files() == [], "what was refused is not left on this disk"


@pytest.mark.parametrize("name", DOCTYPES)
async def test_h_1_2_3_4_5_a_doctype_in_an_attachment(passerelle: Any, name: str) -> None:  # noqa: F811
    one = passerelle()
    body = DOCTYPES[name] % 9 if b"%d" in DOCTYPES[name] else DOCTYPES[name]
    found = await received(one, flux().replace(b"<Racine", body + b"<Racine", 1))
    assert (found.status, found.code) == ("refused", "xml-doctype")
    nothing_entered(one)


@pytest.mark.parametrize(
    "body",
    [
        flux().replace(b"<Racine", b'<?xml version="1.0" encoding="UTF-7"?><Racine', 1),
        b"\xff\xfe" + flux(),
        b"<Racine>" + b"<a>" * 100_000,
        b"<Racine " + b" ".join(b'a%d="1"' % n for n in range(200_000)) + b"/>",
        b"<Racine>\x00</Racine>",
    ],
    ids=["utf-7", "utf-16", "depth", "attributes", "nul"],
)
async def test_h_7_8_10_11_xml_that_is_none_in_an_attachment(passerelle: Any, body: bytes) -> None:  # noqa: F811
    one = passerelle()
    found = await received(one, body)
    assert found.status == "refused"
    nothing_entered(one)


def archive(name: str, content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return written.getvalue()


@pytest.mark.parametrize(
    "body",
    [archive("flux.xml", b"0" * 100 * MEGABYTE), archive("../../flux.xml", flux()), b"%PDF-1.7\n/JS (app.alert(1))"],
    ids=["bomb", "slip", "pdf"],
)
async def test_h_41_42_43_an_attachment_that_is_not_what_it_says(passerelle: Any, body: bytes) -> None:  # noqa: F811
    one = passerelle()
    found = await received(one, body)
    assert found.status == "refused"
    nothing_entered(one)


async def test_h_41_59_an_attachment_that_does_not_end_is_cut_at_its_announced_size(passerelle: Any) -> None:  # noqa: F811
    one = passerelle()
    found = await received(one, flux() + b" " * 50 * MEGABYTE, announced=len(flux()))
    assert (found.status, found.code) == ("retry", "answer-too-large")
    nothing_entered(one)


async def test_h_41_49_an_attachment_inflated_on_the_way_is_cut_too(passerelle: Any) -> None:  # noqa: F811
    one = passerelle()
    one.app.drop.send(CODE, {"RSABEM": flux()})
    bomb = gzip.compress(b" " * 300 * MEGABYTE, 9)

    class Inflating(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if answer.headers.get("content-type") != "application/octet-stream":
                return answer
            return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))

    one.gateway.transports["hubee"] = Transport("hubee", [BASE], limits=QUICK, wire=Inflating(one.app))
    with bounded(cpu=10):
        [found] = await collect(one.gateway)
    assert (found.status, found.code) == ("retry", "answer-too-large")
    nothing_entered(one)


async def test_h_59_an_attachment_that_comes_byte_by_byte_is_cut_at_the_total_deadline(
    passerelle: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour is for the largest file; here it is half a second, and each byte comes sooner than any pause allowed."""
    assert client.TRANSFER <= 3600
    monkeypatch.setattr(client, "TRANSFER", 0.5)
    one = passerelle()
    one.app.drop.send(CODE, {"RSABEM": flux()})

    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"<"
                await asyncio.sleep(0.05)

    class Dripping(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if answer.headers.get("content-type") != "application/octet-stream":
                return answer
            return httpx.Response(200, stream=Drip())

    one.gateway.transports["hubee"] = Transport("hubee", [BASE], limits=QUICK, wire=Dripping(one.app))
    began = time.monotonic()
    [found] = await collect(one.gateway)
    assert (found.status, found.code) == ("retry", "deadline")
    assert time.monotonic() - began < 20
    nothing_entered(one)


NAMES = ["../../../canari.xml", "/etc/cron.d/canari.xml", "C:\\canari.xml", "canari\x00.xml", "canari.xml" + "é" * 300]


def bearing(folder: Path) -> list[Path]:
    """Every file of that name, here and where it points."""
    return [path for place in (folder, Path("/etc/cron.d")) if place.is_dir() for path in place.rglob("*canari.xml*")]


@pytest.mark.parametrize("name", NAMES)
async def test_h_42_44_the_name_of_an_attachment_names_no_file_here(
    passerelle: Any,  # noqa: F811
    tmp_path: Path,
    name: str,
) -> None:
    """What is kept is named by its address and its content; a name is neither opened nor told."""
    one = passerelle()
    case = one.app.drop.send(CODE, {"RSABEM": flux()})
    one.app.drop.attachment(case, "RSABEM").file_name = name
    [found] = await one.collect()
    assert (found.status, found.code) in (("done", ""), ("retry", "answer-unreadable")), found
    assert "canari" not in str(found)
    assert bearing(tmp_path.parent) == []
