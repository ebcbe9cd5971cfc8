"""Large files over a real connection: in pieces, bounded, never half kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from connectors.hubee.connector import Hubee
from connectors.hubee.demarches import DEMARCHES
from connectors.hubee.digest import announced, sha256
from connectors.hubee.reception import Arrival
from connectors.hubee.sandbox import sandbox
from connectors.transport import LOOPBACK, AnswerRefused, Interrupted, Limits, Transport
from tests.hubee.conftest import over_http

LARGE = b"<Racine>" + b"0123456789abcdef" * 1_000_000 + b"</Racine>"
"""16 MB: more than a transport keeps of any other answer."""


def app_of(*chunks: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), status: int = 200):
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def to(app) -> Transport:
    return Transport("hubee", ["https://a.exemple.org"], wire=httpx.ASGITransport(app), limits=Limits(max_bytes=100))


async def test_a_body_larger_than_what_is_kept_in_memory_goes_to_its_file() -> None:
    taken: list[bytes] = []
    answer = await to(app_of(*[b"x" * 1000] * 5)).download(
        "https://a.exemple.org/f", taken.append, deadline=5.0, max_bytes=5000
    )
    assert (answer.status, answer.content, b"".join(taken)) == (200, b"", b"x" * 5000)


async def test_an_error_is_told_and_never_written_into_the_file() -> None:
    taken: list[bytes] = []
    answer = await to(app_of(b'{"errors":[]}', status=404)).download(
        "https://a.exemple.org/f", taken.append, deadline=5.0, max_bytes=5000
    )
    assert (answer.status, answer.content, taken) == (404, b'{"errors":[]}', [])


@pytest.mark.parametrize(
    ("app", "code"),
    [
        (app_of(b"x" * 60, b"x" * 60), "answer-too-large"),
        (app_of(b"x" * 10, headers=((b"content-length", b"20"),)), "answer-truncated"),
        (app_of(b"x" * 10, headers=((b"content-encoding", b"br"),)), "encoding-not-supported"),
    ],
)
async def test_a_body_that_cannot_be_taken(app, code: str) -> None:
    with pytest.raises(AnswerRefused, match=code):
        await to(app).download("https://a.exemple.org/f", lambda chunk: None, deadline=5.0, max_bytes=100)


async def test_a_large_file_arrives_in_pieces_over_http(tmp_path: Path) -> None:
    app, sizes = sandbox(), []
    with over_http(app) as url:
        case = app.drop.send("RSABEM-RSABAM", {"RSABEM": LARGE})
        path = f"/teledossiers/v1/cases/{case}/attachments/{app.drop.attachment(case, 'RSABEM').id}"
        hubee = Hubee(app.credentials(url, "RSABEM-RSABAM"))
        async with Transport("hubee", [url], networks=LOOPBACK) as transport:
            with hubee.open_registre(tmp_path) as registre:
                reception = hubee.reception(transport, registre)
                await reception.client.download(
                    DEMARCHES["RSABEM-RSABAM"], path, len(LARGE), lambda: lambda chunk: sizes.append(len(chunk))
                )
                [arrival] = [one async for one in reception.arrivals()]
                assert isinstance(arrival, Arrival)
                [piece] = arrival.pieces
                assert registre.path(piece).read_bytes() == LARGE
    assert (sum(sizes), max(sizes) <= 1 << 20) == (len(LARGE), True)
    assert piece.digest == hashlib.sha256(LARGE).hexdigest()


async def test_a_connection_really_closed_after_its_effect_is_an_unknown_outcome() -> None:
    app = sandbox()
    app.fail("cut_after", "case_patch")
    case = app.drop.send("RSABEM-RSABAM", {"RSABEM": b"<Racine/>"})
    with over_http(app) as url:
        async with httpx.AsyncClient(base_url=url) as client, Transport("hubee", [url], networks=LOOPBACK) as transport:
            token = await client.post(
                "/oauth2/token",
                data={"grant_type": "client_credentials", "scope": "SI"},
                auth=("si-rsabem-rsabam", "secret-si-rsabem-rsabam"),
            )
            headers = {"authorization": f"Bearer {token.json()['access_token']}"}
            path = f"{url}/teledossiers/v1/cases/{case}"
            with pytest.raises((Interrupted, AnswerRefused)) as lost:
                await transport.request("PATCH", path, headers=headers, json={"status": "IN_PROGRESS"})
    assert lost.value.sent
    assert app.drop.case(case).status == "IN_PROGRESS"


@pytest.mark.parametrize("form", ["{}", "SHA-256={}", "sha-256={}", "SHA-512=YWJj, SHA-256={}", " {} "])
def test_both_forms_of_the_digest_header(form: str) -> None:
    assert announced(form.format(sha256(b"abc"))) == hashlib.sha256(b"abc").digest()


def test_no_digest_is_not_a_digest() -> None:
    assert announced("") is None
    for broken in ("YWJj", "é", "SHA-512=YWJj", "x" * 44):
        with pytest.raises(ValueError):
            announced(broken)
