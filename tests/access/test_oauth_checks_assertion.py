"""O-1 to O-38: the token endpoint and the assertion that authenticates a client.

Every refusal is checked three times: its status, that no token is in the answer, and that it was reported for the
journal with its own reason, which the answer does not show.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import socket
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, RSAKey

from gateway import access
from tests.access.office import ABSENT, ISSUER, compact, credential_ends, open_gateway, public, refused, unauthenticated
from tests.dates import passed


async def test_o_001_no_client_authentication(office):
    form = office.ccas.form(client_assertion=ABSENT, client_assertion_type=ABSENT)
    unauthenticated(office, await office.post(form, office.ccas.proof()), "invalid-client")
    unauthenticated(office, await office.post(form | {"client_id": "ccas"}, office.ccas.proof()), "invalid-client")


async def test_o_002_client_secret(office):
    bare = office.ccas.form(client_assertion=ABSENT, client_assertion_type=ABSENT)
    basic = [("Authorization", "Basic " + base64.b64encode(b"ccas:secret").decode())]
    unauthenticated(office, await office.post(bare, office.ccas.proof(), headers=basic), "client-secret")
    posted = bare | {"client_id": "ccas", "client_secret": "secret"}
    unauthenticated(office, await office.post(posted, office.ccas.proof()), "client-secret")


async def test_o_003_wrong_assertion_type(office):
    saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
    unauthenticated(office, await office.ask(office.ccas, client_assertion_type=saml), "assertion-type")
    unauthenticated(office, await office.ask(office.ccas, client_assertion_type=ABSENT), "assertion-type")


@pytest.mark.parametrize("assertion", ["", "x", "a.b", "a.b.c", "a.b.c.d", "é.é.é", "e30.e30.", "W10.W10.AA"])
async def test_o_004_not_a_jwt(office, assertion):
    answer = await office.post(office.ccas.form(client_assertion=assertion), office.ccas.proof())
    assert answer.status_code == 401
    assert office.last_refusal()["reason"] in ("not-a-jwt", "assertion-alg")


async def test_o_005_alg_none(office):
    for alg in ("none", "None", "nOnE"):
        assertion = office.ccas.assertion(header={"alg": alg}, key=lambda _: b"")
        unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-alg")


async def test_o_006_hs256_keyed_with_the_public_key(office):
    pem = office.ccas.key.as_pem(private=False)
    for secret in (pem, json.dumps(public(office.ccas.key)).encode()):
        assertion = office.ccas.assertion(
            header={"alg": "HS256"}, key=lambda m, s=secret: hmac.digest(s, m, hashlib.sha256)
        )
        unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-alg")


async def test_o_007_rs256(office):
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    office.ccas.key = RSAKey.import_key(pem, {"kid": "rsa"})
    with office.work() as work:
        access.rotate(work, "ccas", {"keys": [public(office.ccas.key)]})
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    good = office.ccas.assertion(header={"alg": "PS256"}, key=lambda m: key.sign(m, pss, hashes.SHA256()))
    assert (await office.ask(office.ccas, good)).status_code == 200
    pkcs = office.ccas.assertion(
        header={"alg": "RS256"}, key=lambda m: key.sign(m, padding.PKCS1v15(), hashes.SHA256())
    )
    unauthenticated(office, await office.ask(office.ccas, pkcs), "assertion-alg")


async def test_o_008_curves_that_are_not_listed(office):
    """ES256K and ES512 are refused at the call; their keys are refused at registration already."""
    for alg, curve, size in (("ES256K", ec.SECP256K1(), 32), ("ES512", ec.SECP521R1(), 66)):
        key = ec.generate_private_key(curve)

        def sign(message: bytes, key=key, size=size) -> bytes:
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")

        unauthenticated(
            office, await office.ask(office.ccas, office.ccas.assertion(header={"alg": alg}, key=sign)), "assertion-alg"
        )
        numbers = key.public_key().public_numbers()
        name = {"ES256K": "secp256k1", "ES512": "P-521"}[alg]
        x, y = (base64.urlsafe_b64encode(n.to_bytes(size, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
        with pytest.raises(access.partners.Invalid), office.work() as work:
            access.rotate(work, "ccas", {"keys": [{"kty": "EC", "crv": name, "x": x, "y": y}]})


async def test_o_009_bad_signature(office):
    head, payload, signature = office.ccas.assertion().split(".")
    flipped = signature[:-2] + ("A" if signature[-2] != "A" else "Q") + signature[-1]
    unauthenticated(office, await office.ask(office.ccas, f"{head}.{payload}.{flipped}"), "assertion-signature")
    unauthenticated(office, await office.ask(office.ccas, f"{head}.{payload}.{signature[:40]}"), "assertion-signature")
    # A signature of zeros: the flaw known as "psychic signatures".
    unauthenticated(office, await office.ask(office.ccas, f"{head}.{payload}.{'A' * 86}"), "assertion-signature")


async def test_o_010_key_of_another_client(office):
    forged = office.ccas.assertion(key=office.departement.key)
    unauthenticated(office, await office.ask(office.ccas, forged), "assertion-signature")
    named = office.ccas.assertion(key=office.departement.key, header={"kid": "departement-1"})
    unauthenticated(office, await office.ask(office.ccas, named), "assertion-signature")


async def test_o_011_revoked_or_rotated_out_key(office):
    former, new = office.ccas.key, ECKey.generate_key("P-256", parameters={"kid": "ccas-2"})
    with office.work() as work:
        access.rotate(work, "ccas", {"keys": [public(new)]}, overlap=3600)
    assert (await office.ask(office.ccas)).status_code == 200
    assert credential_ends(office, "ccas") == pytest.approx(time.time() + 3600, abs=60), "told before it ends"
    with passed(time.time() + 3601):
        unauthenticated(office, await office.ask(office.ccas), "assertion-signature")
    office.ccas.key = new
    assert (await office.ask(office.ccas)).status_code == 200
    assert credential_ends(office, "ccas") is None
    third = ECKey.generate_key("P-256", parameters={"kid": "ccas-3"})
    with office.work() as work:
        access.rotate(work, "ccas", {"keys": [public(third)]}, overlap=0)
    unauthenticated(office, await office.ask(office.ccas), "assertion-signature")
    with pytest.raises(access.partners.Conflict), office.work() as work:
        access.rotate(work, "ccas", {"keys": [public(former, kid="ccas-2")]})


async def test_o_012_keys_offered_in_the_header_are_never_fetched(office, monkeypatch):
    dialled = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, address: dialled.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: dialled.append(address))
    attacker = ECKey.generate_key("P-256", parameters={"kid": "evil"})
    for member in (
        {"jku": "https://attacker.example/jwks.json"},
        {"x5u": "https://attacker.example/cert.pem"},
        {"jwk": public(attacker)},
        {"x5c": ["MIIB"]},
    ):
        for kid in ("evil", "ccas-1", ABSENT):
            assertion = office.ccas.assertion(header={"kid": kid, **member}, key=attacker)
            unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-signature")
    assert dialled == []


async def test_o_013_unknown_crit(office):
    header = {"crit": ["exp-policy"], "exp-policy": 1}
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(header=header)), "unknown-extension")


async def test_o_014_unencoded_payload(office):
    header = {"crit": ["b64"], "b64": False}
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(header=header)), "unknown-extension")
    alone = office.ccas.assertion(header={"b64": False})
    unauthenticated(office, await office.ask(office.ccas, alone), "unknown-extension")


async def test_o_015_iss_is_not_sub(office):
    for iss in ("departement", ABSENT, ["ccas"], 1):
        unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(iss=iss)), "assertion-iss")


async def test_o_016_no_sub(office):
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(sub=ABSENT)), "assertion-sub")


@pytest.mark.parametrize("sub", [1, ["ccas"], {"id": "ccas"}, None, True, "", "\ud800", "x" * 100])
async def test_o_017_sub_is_not_a_client_id(office, sub):
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(sub=sub)), "assertion-sub")


async def test_o_018_audience_is_another_server(office):
    for aud in ("https://other.example", f"{ISSUER}/", ABSENT, ISSUER.upper()):
        unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(aud=aud)), "assertion-aud")


async def test_o_019_token_endpoint_url_as_audience(office):
    assertion = office.ccas.assertion(aud=f"{ISSUER}/oauth/token")
    unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-aud")


async def test_o_020_array_as_audience(office):
    for aud in ([ISSUER], [ISSUER, "https://other.example"], []):
        unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(aud=aud)), "assertion-aud")


async def test_o_021_expired_five_minutes_ago(office):
    now = int(time.time())
    assertion = office.ccas.assertion(iat=now - 360, exp=now - 300)
    unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-expired")


async def test_o_022_no_exp(office):
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(exp=ABSENT)), "assertion-expired")


async def test_o_023_exp_in_one_hour(office):
    assertion = office.ccas.assertion(exp=int(time.time()) + 3600)
    unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-too-long")


async def test_o_024_exp_is_not_a_time(office):
    reasons = {"assertion-expired", "assertion-too-long", "not-a-jwt"}
    later = int(time.time()) + 60
    for exp in (str(later), True, None, [later], 1e308, -1, float("nan"), float("inf"), 10**5000):
        if isinstance(exp, int) and exp > 10**100:
            payload = json.dumps(office.ccas.claims(exp=0)).replace('"exp": 0', '"exp": 1' + "0" * 5000).encode()
        else:
            payload = json.dumps(office.ccas.claims(exp=exp)).encode()
        assertion = compact({"alg": "ES256", "kid": "ccas-1"}, payload, office.ccas.key)
        answer = await office.ask(office.ccas, assertion)
        assert answer.status_code == 401, exp
        assert office.last_refusal()["reason"] in reasons


async def test_o_025_eight_seconds_in_the_future_is_accepted(office):
    soon = int(time.time()) + 8
    answer = await office.ask(office.ccas, office.ccas.assertion(iat=soon, nbf=soon, exp=soon + 60))
    assert answer.status_code == 200


async def test_o_026_over_sixty_seconds_in_the_future(office):
    later = int(time.time()) + 61
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(iat=later)), "assertion-iat")
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(nbf=later)), "assertion-nbf")
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(iat=ABSENT)), "assertion-iat")


async def test_an_assertion_made_long_before_it_serves_is_refused(office):
    now = int(time.time())
    assert (await office.ask(office.ccas, office.ccas.assertion(iat=now - 120))).status_code == 200
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(iat=now - 360)), "assertion-iat")


async def test_o_027_replayed_jti(office):
    assertion = office.ccas.assertion()
    assert (await office.ask(office.ccas, assertion)).status_code == 200
    unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-replayed")
    # The identifier belongs to its client: another may use the same.
    assert (await office.ask(office.ccas, office.ccas.assertion(jti="shared"))).status_code == 200
    assert (await office.ask(office.departement, office.departement.assertion(jti="shared"))).status_code == 200


async def test_o_028_replayed_jti_after_a_restart(office):
    assertion = office.ccas.assertion()
    assert (await office.ask(office.ccas, assertion)).status_code == 200
    restarted = office.restarted()
    unauthenticated(restarted, await restarted.ask(office.ccas, assertion), "assertion-replayed")


def _present(folder: str, form: dict[str, str], proof: str, ready, go, out) -> None:
    """One worker process of its own over the same database: sends one request when told."""
    from tests.access.office import Office, application

    gateway = open_gateway(Path(folder))
    office = Office(gateway, application(gateway), None, None, None)  # type: ignore[arg-type]
    ready.release()
    go.wait(60)
    out.put(asyncio.run(office.post(form, proof)).status_code)


def test_o_029_replay_raced_on_two_processes(tmp_path, office):
    context = multiprocessing.get_context("spawn")
    ready, go, out = context.Semaphore(0), context.Event(), context.Queue()
    form = office.ccas.form()
    racers = [
        context.Process(target=_present, args=(str(tmp_path), form, office.ccas.proof(), ready, go, out))
        for _ in range(2)
    ]
    for racer in racers:
        racer.start()
    for _ in racers:
        assert ready.acquire(timeout=60)
    go.set()
    assert sorted(out.get(timeout=60) for _ in racers) == [200, 401]
    for racer in racers:
        racer.join(60)


async def test_o_030_jti_missing_empty_or_huge(office):
    for jti in (ABSENT, "", "x" * 2000, 1, None, "\x00"):
        unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(jti=jti)), "assertion-jti")
    unauthenticated(office, await office.ask(office.ccas, office.ccas.assertion(jti="x" * 30_000)), "not-a-jwt")
    # A megabyte never reaches the assertion: forms end at 64 KiB.
    refused(
        office,
        await office.ask(office.ccas, office.ccas.assertion(jti="x" * 2**20)),
        413,
        "invalid_request",
        "too-large",
    )


async def test_o_031_only_a_valid_assertion_uses_its_jti(office):
    wrong, right = office.ccas.assertion(jti="once", aud="https://other.example"), office.ccas.assertion(jti="once")
    unauthenticated(office, await office.ask(office.ccas, wrong), "assertion-aud")
    forged = office.ccas.assertion(jti="once", key=office.departement.key)
    unauthenticated(office, await office.ask(office.ccas, forged), "assertion-signature")
    assert (await office.ask(office.ccas, right)).status_code == 200
    unauthenticated(office, await office.ask(office.ccas, right), "assertion-replayed")


async def test_o_032_duplicate_member_in_the_claims(office):
    payload = json.dumps(office.ccas.claims())
    twice = ('{"iss": "departement", ' + payload[1:]).encode()
    assertion = compact({"alg": "ES256", "kid": "ccas-1"}, twice, office.ccas.key)
    unauthenticated(office, await office.ask(office.ccas, assertion), "not-a-jwt")


async def test_o_033_duplicate_form_parameter(office):
    pairs = list(office.ccas.form().items())
    for name, value in (("grant_type", "client_credentials"), ("scope", "exchange"), ("client_assertion", "x")):
        body = urlencode([*pairs, (name, value), *([(name, value)] if name == "scope" else [])])
        async with office.client() as client:
            headers = {"Content-Type": "application/x-www-form-urlencoded", "DPoP": office.ccas.proof()}
            answer = await client.post("/oauth/token", content=body, headers=headers)
        refused(office, answer, 400, "invalid_request", "parameter-repeated")


async def test_o_034_client_id_differs_from_the_assertion(office):
    unauthenticated(office, await office.ask(office.ccas, client_id="departement"), "client-id-differs")
    assert (await office.ask(office.ccas, client_id="ccas")).status_code == 200


async def test_o_035_get(office):
    async with office.client() as client:
        answer = await client.get("/oauth/token")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


async def test_o_036_json_body(office):
    async with office.client() as client:
        answer = await client.post("/oauth/token", json=office.ccas.form(), headers={"DPoP": office.ccas.proof()})
    refused(office, answer, 415, "invalid_request", "not-a-form")


@pytest.mark.parametrize(
    "grant",
    [
        "password",
        "refresh_token",
        "authorization_code",
        "implicit",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ABSENT,
    ],
)
async def test_o_037_other_grants(office, grant):
    answer = await office.ask(office.ccas, grant_type=grant)
    refused(office, answer, 400, "unsupported_grant_type", "unsupported-grant-type")
    assert grant is ABSENT or grant not in answer.text.replace("client_credentials", "")


async def test_o_038_assertion_of_300_kb(office):
    answer = await office.ask(office.ccas, "x" * 300_000)
    refused(office, answer, 413, "invalid_request", "too-large")

    async def endless():
        for _ in range(100):
            yield b"x" * 10_000

    async with office.client() as client:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await client.post("/oauth/token", content=endless(), headers=headers)
    refused(office, answer, 413, "invalid_request", "too-large")
