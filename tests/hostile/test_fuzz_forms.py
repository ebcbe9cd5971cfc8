"""Any form at the OAuth endpoints: an answer of the contract, never a defect, never a value.

Short and always the same in the suite; `make chaos` draws thousands more from its seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from gateway.access.rates import Quota, Rates
from gateway.doors import access_of
from tests.api.house import House
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
