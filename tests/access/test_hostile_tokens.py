"""Whatever is sent where a JWT or authorization details are expected is refused, and nothing crashes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from gateway.access import details, dpop, jose
from gateway.access.jose import Refused
from tests.access.office import ISSUER, URL, Partner, b64, compact

PARTNER = Partner("ccas", ECKey.generate_key("P-256", parameters={"kid": "k"}))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CLAIM_NAMES = st.sampled_from(["htm", "htu", "iat", "jti", "ath", "nonce", "exp", "nbf"])


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_anything_at_all(raw):
    with pytest.raises(Refused):
        jose.parse(raw)
    with pytest.raises(Refused):
        dpop.check(raw, "GET", URL)


@given(
    st.dictionaries(st.sampled_from(["alg", "typ", "jwk", "kid", "crit", "x5c"]), JSON), JSON, st.binary(max_size=80)
)
def test_any_header_payload_and_signature(header, payload, signature):
    parts = [b64(json.dumps(part).encode("utf-8", "surrogatepass")) for part in (header, payload)]
    with pytest.raises(Refused):
        dpop.check(".".join([*parts, b64(signature)]), "GET", URL)


@given(st.dictionaries(CLAIM_NAMES, JSON))
def test_signed_proofs_with_any_claims(claims):
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": PARTNER.proof_key.as_dict(private=False)}
    with pytest.raises(Refused):
        dpop.check(compact(header, json.dumps(claims).encode(), PARTNER.proof_key), "GET", URL, ath="x")


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_byte_changed_anywhere(place, value):
    proof = bytearray(PARTNER.proof("GET", URL).encode())
    place %= len(proof)
    if proof[place] == value:
        value ^= 1
    proof[place] = value
    with pytest.raises(Refused):
        dpop.check(bytes(proof), "GET", URL)


@given(
    JSON | st.lists(st.dictionaries(st.sampled_from(["type", "purpose", "datatypes", "regime", "x"]), JSON), max_size=3)
)
def test_any_details(value):
    with pytest.raises(Refused):
        details.requested(json.dumps(value))


@given(st.text(max_size=200))
def test_any_details_text(text):
    with pytest.raises(Refused):
        details.requested(text)


def test_json_may_begin_on_another_line():
    (one,) = details.requested('\n  [{"type": "maillon_exchange", "purpose": "orientation"}]\n')
    assert one.purpose == "orientation"
    proof = PARTNER.proof("GET", URL)
    head, payload, _ = (jose.unbase64(part.encode()) for part in proof.split("."))
    spaced = compact(json.loads(head), b"\r\n" + payload, PARTNER.proof_key)
    assert dpop.check(spaced, "GET", URL).jkt == dpop.check(proof, "GET", URL).jkt


def test_urls_are_compared_as_rfc_3986_says():
    same = [f"{ISSUER}/v1/%7Ea", f"{ISSUER}/v1/~a", f"{ISSUER}/v1/%7ea?x", "HTTPS://Maillon.Example:443/v1/~a#f"]
    assert len({dpop.normal_url(url) for url in same}) == 1
    other = [f"{ISSUER}/v1/a%2Fb", f"{ISSUER}/v1/a/b", f"{ISSUER}/V1/a/b", f"{ISSUER}:8443/v1/a/b", f"{ISSUER}/v1/a/b/"]
    assert len({dpop.normal_url(url) for url in other}) == len(other)
    assert dpop.normal_url(ISSUER) == f"{ISSUER}/"
    assert dpop.normal_url("http://[::1]:8400/x") == "http://[::1]:8400/x"
    assert dpop.normal_url(f"{ISSUER}/a%2fb") == f"{ISSUER}/a%2Fb"
    for bad in ("ftp://x/y", "//x/y", "https://", "https://x:port/", "https://a@x/", "https://[x/"):
        with pytest.raises(ValueError):
            dpop.normal_url(bad)
