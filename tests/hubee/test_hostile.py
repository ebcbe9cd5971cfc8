"""Attachments that attack: the door of HubEE keeps the limits and the refusals of every other door."""

from __future__ import annotations

import gzip
import io
import resource
import zipfile
from typing import Any

import httpx
import pytest

from connectors.transport import Transport
from gateway.collect import Collected, collect
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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [found] = await collect(one.gateway)
    assert (found.status, found.code) == ("retry", "answer-too-large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"
    nothing_entered(one)
