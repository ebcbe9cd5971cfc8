"""Any form at the OAuth endpoints and at the console: an answer of the contract, never a defect, never a value.

Short and always the same in the suite; `make chaos` draws thousands more from its seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import strategies as st

from gateway.access.rates import Quota, Rates
from gateway.doors import access_of
from tests.api.house import House, opened
from tests.hostile.test_fuzz_doors import CANARY
from tests.hostile.test_fuzz_parsers import LONG, drawn

FORM = "application/x-www-form-urlencoded"
WORDS = [
    b"grant_type=client_credentials", b"client_assertion=", b"client_assertion_type=", b"client_id=ccas", b"token=",
    b"resource=", b"scope=exchange", b"authorization_details=", b"[{}]", b"jeton=", b"motif=", b"&", b"&", b"=", b";",
    b"%", b"%00", b"%ff", b"%C3%A9", b"+", b"\xff", b"\x00", b"\r\n", b"a" * 300, CANARY.encode(),
]  # fmt: skip
BODIES = st.binary(max_size=80) | st.lists(st.sampled_from(WORDS), max_size=20).map(b"".join)
MEDIA = st.sampled_from([
    FORM, f"{FORM}; charset=utf-16", f"{FORM};charset={CANARY}", "multipart/form-data", "text/plain", "", CANARY,
    "multipart/form-data; boundary=", "multipart/form-data; boundary=x",
])  # fmt: skip


@pytest.fixture
def patient(house: House) -> Iterator[House]:
    """A house that does not count how often one address asks."""
    access = access_of(house.gateway)
    before, access.rates = (
        access.rates,
        Rates(**{"token-address": Quota(10**9, 60), "refused-address": Quota(10**9, 60)}),
    )
    yield house
    access.rates = before


@pytest.mark.parametrize("count", [40, LONG])
@pytest.mark.parametrize("door", ["token", "introspect", "revoke"])
def test_fuzz_oauth_form(patient: House, door: str, count: int) -> None:
    with patient.anyone() as client:

        def send(body: bytes, media: str) -> None:
            answer = client.post(f"/oauth/{door}", content=body, headers={"Content-Type": media} if media else {})
            assert answer.status_code in (400, 401, 413, 415), answer.text
            assert {"error"} <= set(answer.json())
            assert CANARY not in answer.text
            assert answer.headers["cache-control"] == "no-store"

        drawn(count, send, body=BODIES, media=MEDIA)


def console_forms(house: House) -> list[str]:
    """Every address of the console that takes a form."""
    return sorted(
        route.path for route in house.app.routes
        if getattr(route, "path", "").startswith("/console") and "POST" in (getattr(route, "methods", None) or ())
    )  # fmt: skip


@pytest.mark.parametrize("count", [3, pytest.param(300, marks=pytest.mark.chaos)])
def test_fuzz_console_form(tmp_path: Path, count: int) -> None:
    """Signed in, with the token of the session or without; in a house apart, for some forms do something."""
    with opened(tmp_path) as house:
        fuzz_console(house, count)


def fuzz_console(house: House, count: int) -> None:
    forms = console_forms(house)
    assert len(forms) > 10
    with httpx.Client(base_url=house.base, follow_redirects=True, timeout=30, trust_env=False) as client:
        client.get("/console/connexion?comme=dpo").raise_for_status()
        token = client.get("/console/").text.partition('name="jeton" value="')[2].partition('"')[0]
        assert token
        client.follow_redirects = False
        fields = st.dictionaries(
            st.text(max_size=8) | st.just("motif"), st.text(max_size=12) | st.just(CANARY), max_size=4
        )

        def send(path: str, body: bytes, media: str, more: dict[str, str], ours: bool) -> None:
            address = path.replace("{", "").replace("}", "").replace(":path", "")
            content = urlencode({"jeton": token} | more, errors="replace").encode() if ours else body
            answer = client.post(address, content=content, headers={"Content-Type": FORM if ours else media or "x"})
            assert answer.status_code < 500, (path, answer.status_code)
            if not ours:
                assert answer.status_code in (303, 400, 403, 404, 413, 415, 422), (path, answer.status_code)
                assert CANARY not in answer.text

        paths = st.sampled_from([path for path in forms if not path.endswith(("/sortie", "/deconnexion"))])
        drawn(count * len(forms), send, path=paths, body=BODIES, media=MEDIA, more=fields, ours=st.booleans())
