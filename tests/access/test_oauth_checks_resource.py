"""O-50 to O-98: the access token and the proof of possession at a resource.

The resource is a two-route application of the tests; the check is the real one, called as every endpoint calls it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from types import SimpleNamespace

import httpx
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from sqlalchemy import select

from gateway.access.jose import parse
from gateway.storage.tables.access import revoked_token
from tests.access.office import ABSENT, ISSUER, URL, b64, compact, denied, edited, open_office, public, served
from tests.dates import passed


def forged(office, token: str, *, header=None, key=None, sign=None, **claims) -> str:
    """The token with some claims changed, signed by the gateway's own key unless another is given."""
    genuine = parse(token)
    key = key or office.gateway.access.keys._current.private
    return compact(edited(genuine.header, **(header or {})), edited(genuine.claims, **claims), sign or key)


@pytest.fixture
async def token(office) -> str:
    return await office.token(office.ccas)


async def use(office, token: str, **proof):
    """A call with a right proof for whatever token, but the changes given."""
    return await office.call(token, office.ccas.proof("GET", URL, **({"token": token} | proof)))


# --- the token


async def test_o_050_no_token(office):
    answer = await office.call(None)
    denied(office, answer, "token-missing")
    assert "error=" not in answer.headers["www-authenticate"]
    denied(office, await office.call("abc", scheme="Basic"), "token-missing")


async def test_o_051_expired(office, token):
    assert (await use(office, token)).status_code == 200
    with passed(time.time() + 301):
        denied(office, await use(office, token), "token-expired")


async def test_o_052_not_before_in_the_future(office, token):
    later = int(time.time()) + 120
    denied(office, await use(office, forged(office, token, nbf=later)), "token-not-yet-valid")
    denied(office, await use(office, forged(office, token, iat=later, exp=later + 60)), "token-not-yet-valid")


async def test_o_053_wrong_audience(office, token):
    for aud in ("https://other.example", [ISSUER], [ISSUER, "https://other.example"], ABSENT):
        denied(office, await use(office, forged(office, token, aud=aud)), "token-audience")


async def test_o_054_wrong_issuer(office, token):
    for iss in ("https://other.example", f"{ISSUER}/", ABSENT):
        denied(office, await use(office, forged(office, token, iss=iss)), "token-issuer")


async def test_o_055_typ_absent(office, token):
    denied(office, await use(office, forged(office, token, header={"typ": ABSENT})), "token-typ")


async def test_o_056_typ_of_another_token(office, token):
    for typ in ("JWT", "dpop+jwt", "id+jwt", ["at+jwt"]):
        denied(office, await use(office, forged(office, token, header={"typ": typ})), "token-typ")
    denied(office, await use(office, office.ccas.assertion()), "token-typ")
    assert (await use(office, forged(office, token, header={"typ": "application/at+jwt"}))).status_code == 200


async def test_o_057_alg_none(office, token):
    denied(office, await use(office, forged(office, token, header={"alg": "none"}, sign=lambda _: b"")), "token-alg")


async def test_o_058_signed_by_the_clients_key(office, token):
    denied(office, await use(office, forged(office, token, key=office.ccas.key)), "token-signature")
    named = forged(office, token, header={"kid": "ccas-1"}, key=office.ccas.key)
    denied(office, await use(office, named), "token-key-unknown")


async def test_o_059_unknown_key_never_causes_a_storm(office, token):
    loads = office.gateway.access.keys.loads
    for rank in range(20):
        denied(office, await use(office, forged(office, token, header={"kid": f"k{rank}"})), "token-key-unknown")
    assert office.gateway.access.keys.loads - loads <= 1
    denied(office, await use(office, forged(office, token, header={"kid": ABSENT})), "token-key-unknown")


async def test_o_060_revoked_token(office, token, monkeypatch):
    """At once in the worker that revoked it, and in another within the age of what it remembers (5 s)."""
    other = office.restarted()
    assert (await use(other, token)).status_code == 200
    form = office.ccas.form(token=token, grant_type=ABSENT, resource=ABSENT, authorization_details=ABSENT)
    assert (await office.post(form, path="/oauth/revoke")).status_code == 200
    denied(office, await use(office, token), "token-revoked")
    soon = time.monotonic() + 6
    monkeypatch.setattr("gateway.access.live.time", SimpleNamespace(monotonic=lambda: soon, time=time.time))
    denied(other, await use(other, token), "token-revoked")


async def test_a_revocation_is_kept_no_longer_than_its_token_would_last(office):
    async def revoke() -> None:
        form = office.ccas.form(token=await office.token(office.ccas), grant_type=ABSENT, resource=ABSENT)
        assert (await office.post(form, path="/oauth/revoke")).status_code == 200

    await revoke()
    with passed(time.time() + 7200):
        await revoke()
    with office.gateway.engine.connect() as connection:
        assert len(connection.execute(select(revoked_token)).all()) == 1


async def test_o_061_token_in_the_query_is_refused_and_not_logged(office, token, caplog):
    async with office.client() as client:
        answer = await client.get(f"/v1/exchanges?access_token={token}")
    assert answer.status_code == 400
    with served(office.app) as base, caplog.at_level(logging.INFO, "uvicorn.access"):
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{base}/v1/exchanges?access_token={token}")).status_code == 400
    logged = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert len(logged) == 1
    assert "GET /v1/exchanges HTTP/1.1" in logged[0]
    assert token not in caplog.text


async def test_o_062_token_in_the_form(office, token):
    async with office.client() as client:
        answer = await client.post(URL, data={"access_token": token}, headers={"DPoP": office.ccas.proof("POST", URL)})
    denied(office, answer, "token-missing")


async def test_o_063_two_authorization_headers(office, token):
    proof = office.ccas.proof("GET", URL, token)
    answer = await office.call(token, proof, headers=[("Authorization", f"DPoP {token}")])
    assert answer.status_code == 400


async def test_o_064_bound_token_as_bearer(office, token):
    proof = office.ccas.proof("GET", URL, token)
    denied(office, await office.call(token, proof, scheme="Bearer"), "bound-token-as-bearer")
    denied(office, await office.call(token, scheme="Bearer"), "bound-token-as-bearer")


async def test_o_065_token_without_cnf(office, token):
    for cnf in (ABSENT, {}, {"jkt": ""}, {"jkt": 1}, "jkt", None):
        denied(office, await use(office, forged(office, token, cnf=cnf)), "token-not-bound")


async def test_o_066_scheme_in_lower_case(office, token):
    for scheme in ("dpop", "DPOP"):
        answer = await office.call(token, office.ccas.proof("GET", URL, token), scheme=scheme)
        assert answer.status_code == 200


# --- the proof


async def test_o_067_header_name_in_capitals(tmp_path):
    """Through a real HTTP server, which is what normalises the name."""
    office = open_office(tmp_path, issuer="http://127.0.0.1:8400")
    token, url = await office.token(office.ccas, resource=office.issuer), f"{office.issuer}/v1/exchanges"
    with served(office.app) as base:
        headers = [("AUTHORIZATION", f"DPoP {token}"), ("DPOP", office.ccas.proof("GET", url, token))]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{base}/v1/exchanges", headers=headers)).status_code == 200


async def test_o_068_two_proofs(office, token):
    proofs = [office.ccas.proof("GET", URL, token) for _ in range(2)]
    denied(office, await office.call(token, *proofs), "proof-repeated")
    denied(office, await office.call(token, ", ".join(proofs)), "proof-not-a-jwt")


async def test_o_069_not_a_jwt(office, token):
    for proof in ("", "x", "a.b.c", "....", "e30.e30"):
        denied(office, await office.call(token, proof), "proof-not-a-jwt")


async def test_o_070_no_typ(office, token):
    denied(office, await use(office, token, header={"typ": ABSENT}), "proof-typ")


async def test_o_071_no_alg(office, token):
    denied(office, await use(office, token, header={"alg": ABSENT}), "proof-alg")


async def test_o_072_no_jwk(office, token):
    for jwk in (ABSENT, None, {}, [], {"kty": "EC"}, {"kty": ["EC"]}, {"kty": "oct", "k": "AAAA"}):
        assert (await use(office, token, header={"jwk": jwk})).status_code == 401
        assert office.last_refusal()["reason"] in ("proof-not-a-jwk", "proof-private-key")


async def test_o_073_no_jti(office, token):
    for jti in (ABSENT, "", 1, "x" * 300, None):
        denied(office, await use(office, token, jti=jti), "proof-jti")


async def test_o_074_no_htm(office, token):
    denied(office, await use(office, token, htm=ABSENT), "proof-htm")


async def test_o_075_no_htu(office, token):
    for htu in (ABSENT, "", None, 1, "/v1/exchanges", "http://[", "https://user@maillon.example/v1/exchanges"):
        denied(office, await use(office, token, htu=htu), "proof-htu")


async def test_o_076_no_iat(office, token):
    for iat in (ABSENT, "now", None, True, 1e300, float("1e12")):
        denied(office, await use(office, token, iat=iat), "proof-iat")


async def test_o_077_no_ath(office, token):
    denied(office, await use(office, token, ath=ABSENT), "proof-ath")


async def test_o_078_wrong_typ(office, token):
    for typ in ("JWT", "at+jwt", "dpop", 1):
        denied(office, await use(office, token, header={"typ": typ}), "proof-typ")


async def test_o_079_rs256(office, token):
    key = RSAKey.generate_key(2048)
    for alg in ("RS256", "PS256"):
        header = {"alg": alg, "jwk": public(key)}
        denied(office, await use(office, token, header=header, key=lambda _: b"x" * 256), "proof-alg")


async def test_o_080_alg_none(office, token):
    denied(office, await use(office, token, header={"alg": "none"}, key=lambda _: b""), "proof-alg")


async def test_o_081_bad_signature(office, token):
    denied(office, await use(office, token, key=lambda _: b"\x00" * 64), "proof-signature")
    denied(office, await use(office, token, key=lambda _: b"\x01" * 63), "proof-signature")


async def test_o_082_private_key_in_the_proof(office, token):
    jwk = dict(office.ccas.proof_key.as_dict(private=True))
    denied(office, await use(office, token, header={"jwk": jwk}), "proof-private-key")


async def test_o_083_wrong_method(office, token):
    for htm in ("POST", "get", "", None):
        denied(office, await use(office, token, htm=htm), "proof-htm")


async def test_o_084_url_with_query_or_fragment(office, token):
    for htu in (f"{URL}?limit=2", f"{URL}#top", f"{URL}?a=1#b"):
        assert (await use(office, token, htu=htu)).status_code == 200
    called = f"{URL}?limit=2"
    assert (await office.call(token, office.ccas.proof("GET", URL, token), url=called)).status_code == 200


async def test_o_085_another_url(office, token):
    for htu in (
        f"{URL}/",
        f"{ISSUER}/v1",
        f"{ISSUER}",
        URL.replace("https", "http"),
        "https://other.example/v1/exchanges",
    ):
        denied(office, await use(office, token, htu=htu), "proof-htu")


async def test_o_086_iat_in_one_hour(office, token):
    denied(office, await use(office, token, iat=int(time.time()) + 3600), "proof-iat")


async def test_o_087_iat_one_hour_ago_or_stale_nonce(office, token, office_that_wants_nonces):
    denied(office, await use(office, token, iat=int(time.time()) - 3600), "proof-iat")
    strict = office_that_wants_nonces
    nonces = strict.gateway.access.nonces
    with passed(time.time() - 100):
        stale = nonces.give()
    fresh = nonces.give()
    form = strict.ccas.form
    answer = await strict.post(form(), strict.ccas.proof(nonce=stale))
    assert (answer.status_code, answer.json()["error"]) == (400, "use_dpop_nonce")
    token = (await strict.post(form(), strict.ccas.proof(nonce=fresh))).json()["access_token"]
    for nonce in (stale, "x" * 32, "", 1, fresh[:-1] + ("A" if fresh[-1] != "A" else "B"), "é" * 32, "!" * 32):
        denied(strict, await use(strict, token, nonce=nonce), "use-dpop-nonce")
    assert (await use(strict, token, nonce=fresh)).status_code == 200


async def test_o_088_same_proof_twice(office, token):
    proof = office.ccas.proof("GET", URL, token)
    assert (await office.call(token, proof)).status_code == 200
    denied(office, await office.call(token, proof), "proof-replayed")
    restarted = office.restarted()
    denied(restarted, await restarted.call(token, proof), "proof-replayed")
    used = office.ccas.proof()
    assert (await office.post(office.ccas.form(), used)).status_code == 200
    answer = await office.post(office.ccas.form(), used)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_o_089_wrong_ath(office, token):
    another = await office.token(office.ccas)
    for ath in (b64(hashlib.sha256(another.encode()).digest()), "", 1, hashlib.sha256(token.encode()).hexdigest()):
        denied(office, await use(office, token, ath=ath), "proof-ath")


async def test_o_090_signed_with_another_key(office, token):
    other = ECKey.generate_key("P-256")
    denied(office, await use(office, token, key=other), "proof-signature")
    denied(office, await use(office, token, key=other, header={"jwk": public(other)}), "proof-other-key")


async def test_o_091_extra_header_and_claims(office, token):
    header = {"kid": "mine", "x-more": [1], "jwk": public(office.ccas.proof_key, kid="mine", use="sig", ext=True)}
    assert (await use(office, token, header=header, more={"a": 1}, aud="anything")).status_code == 200


async def test_o_092_host_in_upper_case(office, token):
    assert (await use(office, token, htu="HTTPS://MAILLON.EXAMPLE/v1/exchanges")).status_code == 200


async def test_o_093_explicit_default_port(office, token):
    assert (await use(office, token, htu="https://maillon.example:443/v1/exchanges")).status_code == 200
    denied(office, await use(office, token, htu="https://maillon.example:8443/v1/exchanges"), "proof-htu")


async def test_o_094_no_proof(office, token):
    denied(office, await office.call(token), "proof-missing")


async def test_o_095_iat_ten_seconds_off(office, token):
    now = int(time.time())
    assert (await use(office, token, iat=now - 10)).status_code == 200
    assert (await use(office, token, iat=now + 10)).status_code == 200


async def test_o_096_nbf_and_exp_in_the_proof_are_honoured(office, token):
    now = int(time.time())
    assert (await use(office, token, nbf=now - 5, exp=now + 60)).status_code == 200
    for exp in (now - 30, "soon", None):
        denied(office, await use(office, token, exp=exp), "proof-expired")
    for nbf in (now + 60, "now", None):
        denied(office, await use(office, token, nbf=nbf), "proof-not-yet-valid")


async def test_o_097_nonce_required(office_that_wants_nonces):
    office = office_that_wants_nonces
    answer = await office.ask(office.ccas)
    assert (answer.status_code, answer.json()["error"]) == (400, "use_dpop_nonce")
    nonce = answer.headers["dpop-nonce"]
    answer = await office.post(office.ccas.form(), office.ccas.proof(nonce=nonce))
    token = answer.json()["access_token"]
    answer = await use(office, token)
    denied(office, answer, "use-dpop-nonce")
    assert 'error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    assert (await use(office, token, nonce=answer.headers["dpop-nonce"])).status_code == 200


async def test_o_098_forwarded_headers_do_not_move_the_url(office, token):
    spoofed = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "http"), ("Forwarded", "host=evil.example")]
    proof = office.ccas.proof("GET", "http://evil.example/v1/exchanges", token)
    denied(office, await office.call(token, proof, headers=spoofed), "proof-htu")
    assert (await office.call(token, office.ccas.proof("GET", URL, token), headers=spoofed)).status_code == 200
    evil = "https://evil.example/v1/exchanges"
    denied(office, await office.call(token, office.ccas.proof("GET", evil, token), url=evil), "proof-htu")


# --- keys of other kinds


async def test_a_proof_of_an_ed25519_key(office):
    for alg in ("EdDSA", "Ed25519"):
        key = OKPKey.generate_key("Ed25519")
        sign = key.private_key.sign
        header = {"alg": alg, "jwk": public(key)}
        answer = await office.post(office.ccas.form(), office.ccas.proof(header=header, key=sign))
        token = answer.json()["access_token"]
        assert (await use(office, token, header=header, key=sign)).status_code == 200


async def test_claims_are_read_as_strictly_as_the_token(office, token):
    for claims in ({"client_id": "departement"}, {"jti": ABSENT}, {"scope": 1}, {"authorization_details": "x"}):
        denied(office, await use(office, forged(office, token, **claims)), "token-claims")
    ten_minutes = int(time.time()) + 600
    denied(office, await use(office, forged(office, token, exp=ten_minutes)), "token-times")
