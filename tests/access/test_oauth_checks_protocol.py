"""O-99 to O-112: downgrade, authorization, metadata, rotation, clocks, timing, webhooks, idempotency."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import statistics
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms
from standardwebhooks import Webhook

from gateway.access import message_signatures, rotate_signing_key, webhooks
from gateway.access.client import IssuerMismatch, checked_metadata, discover
from gateway.access.endpoints import server_metadata
from gateway.access.jose import parse
from gateway.access.server import FormRequest
from gateway.access.webhooks import Sender, WebhookRefused
from gateway.problems import Conflict
from tests.access.office import ABSENT, ISSUER, URL, certificate_of, denied, served, unauthenticated
from tests.dates import passed

# --- downgrade


@pytest.fixture
def certificate(tmp_path):
    private = ec.generate_private_key(ec.SECP256R1())
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(certificate_of(private).public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(cert), str(key)


def handshake(port: int, version: ssl.TLSVersion) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, context.wrap_socket(plain) as tls:
        return tls.version()


def old_server(certificate: tuple[str, str]) -> int:
    """A server that still speaks TLS 1.1, to know that the client of this test does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            context.wrap_socket(connection, server_side=True).close()
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_o_099_old_tls(office, certificate):
    cert, key = certificate
    old = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
    port = old_server(certificate)
    assert [handshake(port, version) for version in old] == ["TLSv1", "TLSv1.1"]
    with served(office.app, ssl_certfile=cert, ssl_keyfile=key) as base:
        port = int(base.rpartition(":")[2])
        for version in old:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                handshake(port, version)
        assert handshake(port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        assert handshake(port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


async def test_o_100_plain_http(office, certificate):
    """An https issuer takes neither assertion nor token in clear, and redirects nobody; nor does the https port."""
    token = await office.token(office.ccas)
    transport = httpx.ASGITransport(office.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://maillon.example") as client:
        asked = await client.post("/oauth/token", data=office.ccas.form(), headers={"DPoP": office.ccas.proof()})
        proof = office.ccas.proof("GET", URL, token)
        called = await client.get("/v1/exchanges", headers={"Authorization": f"DPoP {token}", "DPoP": proof})
    for answer in (asked, called):
        assert answer.status_code == 400
        assert "location" not in answer.headers
    assert office.last_refusal()["reason"] == "plain-http"
    with served(office.app, ssl_certfile=certificate[0], ssl_keyfile=certificate[1]) as base:
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.HTTPError):
                await client.get(base.replace("https", "http") + "/oauth/jwks.json")


# --- authorization


async def test_o_101_person_of_another_departement(office):
    """On a store of this test keyed by the caller's body; the product's own store is tested with the API."""
    office.gateway.dossiers["departement", "ref-1"] = {"nom_naissance": "…"}
    token = await office.token(office.ccas)
    url = f"{ISSUER}/v1/persons/{{}}/dossier"
    foreign = await office.good_call(office.ccas, token, url=url.format("ref-1"))
    unknown = await office.good_call(office.ccas, token, url=url.format("ref-2"))
    assert (foreign.status_code, foreign.content) == (unknown.status_code, unknown.content)
    assert foreign.status_code == 404
    own = await office.token(office.departement)
    assert (await office.good_call(office.departement, own, url=url.format("ref-1"))).status_code == 200


async def test_o_102_nothing_else_in_a_request_grants_anything(office):
    """Mass assignment at the token endpoint: what is not a parameter of the profile changes nothing in the token."""
    more = {"role": "dpo", "decision": "permit", "fields": "*", "body": "departement", "purposes": "sanction"}
    claims = {"role": "dpo", "body": "departement", "scope": "audit", "client_id": "departement"}
    answer = await office.ask(office.ccas, office.ccas.assertion(**claims), **more)
    assert answer.json()["scope"] == "exchange journal"
    token = answer.json()["access_token"]
    called = await office.call(token, office.ccas.proof("GET", f"{URL}?fields=*&body=departement", token))
    assert called.json() == {"body": "ccas", "client_id": "ccas", "purposes": ["orientation"]}


async def test_o_103_partner_calls_the_audit(office):
    token, url = await office.token(office.ccas), f"{ISSUER}/v1/audit/search"
    answer = await office.good_call(office.ccas, token, url=url)
    denied(office, answer, "insufficient-scope", 403)
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_o_104_dpo_on_data_endpoints(office):
    office.gateway.conventions["dpo"] = {"orientation"}
    token = await office.token(office.dpo)
    denied(office, await office.good_call(office.dpo, token), "insufficient-scope", 403)
    assert (await office.good_call(office.dpo, token, url=f"{ISSUER}/v1/audit/search")).status_code == 200


async def test_o_105_introspect_another_clients_token(office):
    token = await office.token(office.ccas)

    async def introspect(partner, shown=token, **changes):
        form = partner.form(token=shown, grant_type=ABSENT, resource=ABSENT, authorization_details=ABSENT, **changes)
        return await office.post(form, path="/oauth/introspect")

    own = (await introspect(office.ccas)).json()
    assert own["active"] is True
    assert own["cnf"] == {"jkt": office.ccas.proof_key.thumbprint()}
    assert (own["client_id"], own["token_type"]) == ("ccas", "DPoP")
    for shown in (token, token[:-4] + "AAAA", "nonsense"):
        assert (await introspect(office.departement, shown)).json() == {"active": False}
    bare = await introspect(office.ccas, client_assertion=ABSENT, client_assertion_type=ABSENT)
    unauthenticated(office, bare, "invalid-client")
    # Nor can another revoke it, and the answer does not tell.
    form = office.departement.form(token=token, grant_type=ABSENT, resource=ABSENT, authorization_details=ABSENT)
    assert (await office.post(form, path="/oauth/revoke")).status_code == 200
    assert (await introspect(office.ccas)).json()["active"] is True
    form = office.ccas.form(token=token, grant_type=ABSENT, resource=ABSENT, authorization_details=ABSENT)
    assert (await office.post(form, path="/oauth/revoke")).status_code == 200
    assert (await introspect(office.ccas)).json() == {"active": False}


# --- protocol


async def test_o_106_metadata_of_another_issuer(office):
    with pytest.raises(IssuerMismatch):
        checked_metadata(f"{ISSUER}/", server_metadata(ISSUER))
    with served(office.app) as base, httpx.Client() as client, pytest.raises(IssuerMismatch):
        await asyncio.to_thread(discover, client, base)
    async with office.client() as client:
        metadata = (await client.get("/.well-known/oauth-authorization-server")).json()
        resource = (await client.get("/.well-known/oauth-protected-resource")).json()
        for path in ("oauth-authorization-server", "oauth-protected-resource"):
            told = (await client.get(f"/.well-known/{path}")).headers
            assert (told["cache-control"], told.get("pragma")) == ("public, max-age=300", None)
        asked = await client.post("/oauth/token", headers={"Origin": "https://elsewhere.example"})
        assert (asked.headers["cache-control"], asked.headers["pragma"]) == ("no-store", "no-cache")
    assert asked.headers["strict-transport-security"].startswith("max-age=")
    assert not [name for name in asked.headers if name.startswith("access-control-")]
    assert checked_metadata(ISSUER, metadata)["token_endpoint"] == f"{ISSUER}/oauth/token"
    assert metadata["grant_types_supported"] == ["client_credentials"]
    assert metadata["token_endpoint_auth_methods_supported"] == ["private_key_jwt", "tls_client_auth"]
    assert {"PS256", "ES256", "EdDSA"} <= set(metadata["token_endpoint_auth_signing_alg_values_supported"])
    assert metadata["authorization_details_types_supported"] == ["maillon_exchange"]
    assert (resource["resource"], resource["authorization_servers"]) == (ISSUER, [ISSUER])


async def test_o_107_key_rotation_under_traffic(office):
    """Two workers; the keys move while one of them has not looked again yet. No call fails, and old keys leave."""
    other = office.restarted()
    kids = {key["kid"] for key in other.gateway.access.keys.jwks()["keys"]}
    tokens = [await office.token(office.ccas)]
    rotate_signing_key(office.gateway.keys)
    office.gateway.access.keys._load()
    tokens += [await office.token(office.ccas), await other.token(office.ccas)]
    assert len({parse(token).header["kid"] for token in tokens}) == 2
    for token in tokens:
        for worker in (office, other):
            assert (await worker.good_call(office.ccas, token)).status_code == 200
    other.gateway.access.keys._load()
    for token in tokens:
        assert (await other.good_call(office.ccas, token)).status_code == 200
    assert kids < {key["kid"] for key in other.gateway.access.keys.jwks()["keys"]}
    with pytest.raises(Conflict):
        rotate_signing_key(office.gateway.keys)
    with passed(time.time() + 400):
        rotate_signing_key(office.gateway.keys)
    rotate_signing_key(office.gateway.keys, compromised=True)
    office.gateway.access.keys._load()
    denied(office, await office.good_call(office.ccas, tokens[-1]), "token-key-unknown")


async def test_o_108_partner_clock_ninety_seconds_ahead(office, office_that_wants_nonces):
    ahead = int(time.time()) + 90
    answer = await office.ask(office.ccas, office.ccas.assertion(iat=ahead, exp=ahead + 60))
    assert answer.status_code == 401
    assert abs(answer.json()["server_time"] - time.time()) < 30
    assert "server_time" in answer.json()["error_description"]
    answer = await office.post(office.ccas.form(), office.ccas.proof(iat=ahead))
    assert "clock" in answer.json()["error_description"]
    strict = office_that_wants_nonces
    nonce = strict.gateway.access.nonces.give()
    answer = await strict.post(strict.ccas.form(), strict.ccas.proof(iat=ahead, nonce=nonce))
    token = answer.json()["access_token"]
    called = await strict.call(token, strict.ccas.proof("GET", URL, token, iat=ahead, nonce=nonce))
    assert called.status_code == 200


def test_o_109_unknown_client_takes_as_long_as_a_bad_signature(office):
    """Medians over 1 000 interleaved requests to the real server, database included; the bodies are the same too.

    Time of this thread on its processor: what a neighbour on the same machine does is not counted.
    """
    server = office.gateway.access.server
    unknown = office.ccas.assertion(iss="nobody", sub="nobody")
    forged = office.ccas.assertion(key=office.departement.key)
    took: dict[str, list[float]] = {unknown: [], forged: []}
    bodies = {}
    for _ in range(1000):
        for assertion, times in took.items():
            request = FormRequest(f"{ISSUER}/oauth/token", office.ccas.form(assertion), {}, [b"x"], None)
            begun = time.thread_time()
            answer = server.ask("token", request)
            times.append(time.thread_time() - begun)
            bodies[assertion] = {**answer.body, "server_time": 0}
    assert bodies[unknown] == bodies[forged]
    assert abs(statistics.median(took[unknown]) - statistics.median(took[forged])) < 0.005


# --- webhooks


@pytest.fixture
def receive(office):
    """Receives webhooks as an endpoint would; says why one was refused."""

    def receive(headers: dict[str, str], body: bytes, sender: Sender) -> webhooks.Received | str:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            return webhooks.verify(raw, body, sender, office.gateway.access.replay.burn)
        except WebhookRefused as refused:
            return refused.reason if refused.status == 401 else "another status"

    return receive


def test_o_110_webhook_refusals(receive):
    key, secret = Ed25519PrivateKey.generate(), b"s" * 32
    sender = Sender.of("partner", [webhooks.public_text(key)])
    body, now = b'{"event":"rdv.created"}', int(time.time())
    good = webhooks.sign(key, "msg-1", body)
    assert receive(good, body[:-1], sender) == "webhook-signature"
    assert receive(webhooks.sign(Ed25519PrivateKey.generate(), "msg-1", body), body, sender) == "webhook-signature"
    for at in (now - 301, now + 310):
        assert receive(webhooks.sign(key, "msg-1", body, at), body, sender) == "webhook-time"
    moved = good | {"webhook-timestamp": str(now - 1)}
    assert receive(moved, body, sender) == "webhook-signature"
    for broken in (
        {"webhook-id": ""},
        {"webhook-timestamp": "NaN"},
        {"webhook-timestamp": "1e9"},
        {"webhook-id": "a b"},
    ):
        assert receive(good | broken, body, sender) == "webhook-headers"
    assert receive({}, body, sender) == "webhook-headers"
    # Algorithm swap: the public key taken for a shared secret.
    swapped = webhooks.sign(key.public_key().public_bytes_raw(), "msg-1", body)
    assert receive(swapped, body, sender) == "webhook-signature"
    relabelled = good | {"webhook-signature": good["webhook-signature"].replace("v1a,", "v1,")}
    assert receive(relabelled, body, sender) == "webhook-signature"
    assert receive(good | {"webhook-signature": "v1a,é"}, body, sender) == "webhook-signature"
    # None of the refusals used the message up.
    received = receive(good, body, sender)
    assert received == webhooks.Received("msg-1", int(good["webhook-timestamp"]), repeated=False)
    assert receive(good, body, sender) == "webhook-replayed"
    again = receive(webhooks.sign(key, "msg-1", body, now - 20), body, sender)
    assert isinstance(again, webhooks.Received)
    assert again.repeated
    shared = Sender.of("other", ["whsec_" + base64.b64encode(secret).decode()])
    assert receive(webhooks.sign(key, "msg-2", body), body, shared) == "webhook-signature"
    assert receive(webhooks.sign(secret, "msg-2", b"{}"), body, shared) == "webhook-signature"
    assert isinstance(receive(webhooks.sign(secret, "msg-2", body), body, shared), webhooks.Received)


def test_o_110_the_reference_library_agrees(receive):
    secret, body = b"k" * 32, b'{"a":1}'
    at = datetime.now(UTC)
    signature = Webhook(secret).sign("msg-9", at, body.decode())
    headers = {"webhook-id": "msg-9", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}
    sender = Sender.of("partner", ["whsec_" + base64.b64encode(secret).decode()])
    assert isinstance(receive(headers, body, sender), webhooks.Received)
    assert Webhook(secret).verify(body, webhooks.sign(secret, "msg-10", body)) == {"a": 1}
    for wrong in ("whsec_short", "whpk_AAAA", "AAAA", "whsec_" + "A" * 4000, "whpk_é"):
        with pytest.raises(ValueError, match="a webhook key is"):
            Sender.of("partner", [wrong])


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self.key = key

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
        return self.key

    def resolve_public_key(self, key_id: str):
        return self.key.public_key()


BODY = b'{"event":"rdv.created"}'
HOOK = f"{ISSUER}/v1/webhooks/rdv_insertion"
COVERED = ("@method", "@target-uri", "content-digest", "content-type")


def signed_by_the_library(key: Ed25519PrivateKey, body: bytes = BODY, **options) -> dict[str, str]:
    """An independent implementation of RFC 9421 signs; ours reads."""
    headers = {"content-type": "application/json", "content-digest": message_signatures.digest(body)}
    request = SimpleNamespace(method="POST", url=HOOK, headers=headers)
    defaults = {"covered_component_ids": COVERED, "nonce": "n-1", "tag": "maillon-webhook", "key_id": "k1"}
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys(key))
    signer.sign(request, use_existing_digest=True, **(defaults | options))
    return {name.lower(): value for name, value in headers.items()}


def test_o_111_message_signatures(office):
    key = Ed25519PrivateKey.generate()

    def check(headers: dict[str, str], body: bytes = BODY, url: str = HOOK, method: str = "POST") -> str:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        keys = {"k1": key.public_key()}
        try:
            return message_signatures.verify(method, url, raw, body, keys, office.gateway.access.replay.burn)
        except WebhookRefused as refused:
            return refused.reason if refused.status == 401 else "another status"

    good = signed_by_the_library(key)
    for missing in COVERED:
        covered = tuple(name for name in COVERED if name != missing)
        assert check(signed_by_the_library(key, covered_component_ids=covered)) == "signature-components"
    assert check(good, BODY + b" ") == "signature-digest"
    assert check(signed_by_the_library(key, body=b"other")) == "signature-digest"
    old = datetime.now(UTC) - timedelta(seconds=90)
    assert check(signed_by_the_library(key, created=old)) == "signature-time"
    assert check(signed_by_the_library(key, created=datetime.now(UTC) + timedelta(seconds=60))) == "signature-time"
    expired = {
        "created": datetime.now(UTC) - timedelta(seconds=30),
        "expires": datetime.now(UTC) - timedelta(seconds=5),
    }
    assert check(signed_by_the_library(key, **expired)) == "signature-time"
    assert check(signed_by_the_library(key, tag="other")) == "signature-tag"
    assert check(signed_by_the_library(key, tag=None)) == "signature-tag"
    assert check(signed_by_the_library(key, nonce=None)) == "signature-parameters"
    assert check(signed_by_the_library(key, key_id="k2")) == "signature-wrong"
    assert check(signed_by_the_library(Ed25519PrivateKey.generate())) == "signature-wrong"
    assert check(good, url=f"{HOOK}?x=1") == "signature-wrong"
    assert check(good, method="PUT") == "signature-wrong"
    assert check(good | {"content-type": "text/plain"}) == "signature-wrong"
    assert check({name: value for name, value in good.items() if name != "signature"}) == "signature-headers"
    assert check(good | {"signature": "x"}) == "signature-malformed"
    assert check(good) == "k1"
    assert check(good) == "signature-replayed"
    ours = message_signatures.sign(key, "k1", "POST", HOOK, BODY, "application/json")
    assert check(ours) == "k1"


# --- idempotency


async def test_o_112_idempotency_key_belongs_to_its_client(office):
    """On a store of this test keyed by the authenticated client; the product's own receipts are tested with the API."""
    url = f"{ISSUER}/v1/once"

    async def write(partner, body: dict[str, int]) -> httpx.Response:
        token = await office.token(partner)
        proof, content = partner.proof("POST", url, token), json.dumps(body).encode()
        return await office.call(
            token, proof, url=url, method="POST", headers=[("Idempotency-Key", "k")], content=content
        )

    first = await write(office.ccas, {"a": 1})
    assert first.status_code == 202
    parallel = await asyncio.gather(*(write(office.ccas, {"a": 1}) for _ in range(5)))
    assert {answer.content for answer in parallel} == {first.content}
    assert (await write(office.ccas, {"a": 2})).status_code == 422
    other = await write(office.departement, {"a": 2})
    assert other.status_code == 202
    assert other.content != first.content
