"""The registry: who is in it, with which keys, until when."""

from __future__ import annotations

import os

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from starlette.requests import Request

from gateway import access
from gateway.access import ProxyTrust, Quota, Rates
from gateway.problems import Conflict, Invalid, Misconfigured, Unavailable, Unknown
from gateway.settings import Settings
from tests.access.office import ISSUER, URL, denied, open_office, public, refused, unauthenticated


def new_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", parameters={"kid": kid})


def test_registering_gives_what_a_partner_needs(office):
    with office.work() as work:
        jwks = {"keys": [public(ECKey.generate_key("P-256")), public(OKPKey.generate_key("Ed25519"))]}
        given = access.register_partner(work, "ccas-dax", "ccas", jwks, ["orientation"], "CCAS de Dax", issuer=ISSUER)
    assert given == {"client_id": "ccas-dax", "issuer": ISSUER, "token_endpoint": f"{ISSUER}/oauth/token"}
    with office.gateway.engine.connect() as connection:
        listed = access.list_partners(connection)
    assert [one["client_id"] for one in listed] == ["ccas", "departement", "dpo", "ccas-dax"]
    assert (listed[-1]["purposes"], listed[-1]["role"], listed[-1]["state"]) == (["orientation"], "ccas", "active")
    assert [len(one["kid"]) for one in listed[-1]["keys"]] == [43, 43]


@pytest.mark.parametrize(
    ("jwks", "code"),
    [
        (None, "jwks-unreadable"),
        ([], "jwks-unreadable"),
        ({"keys": []}, "jwks-unreadable"),
        ({"keys": [public(new_key(str(n))) for n in range(9)]}, "jwks-unreadable"),
        ({"keys": ["x"]}, "key-refused"),
        ({"keys": [dict(new_key("k").as_dict(private=True))]}, "key-refused"),
        ({"keys": [public(OctKey.generate_key(256))]}, "key-refused"),
        ({"keys": [public(ECKey.generate_key("P-384"))]}, "key-refused"),
        ({"keys": [public(OKPKey.generate_key("X25519"))]}, "key-refused"),
        ({"keys": [public(RSAKey.generate_key(1024))]}, "key-refused"),
        ({"keys": [public(new_key("k"), use="enc")]}, "key-refused"),
        ({"keys": [public(new_key("k")), public(new_key("k"))]}, "kid-refused"),
        ({"keys": [public(new_key("k"), kid="x" * 200)]}, "kid-refused"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_keys_that_are_refused(office, jwks, code):
    with pytest.raises(Invalid) as refusal, office.work() as work:
        access.register_partner(work, "new", "ccas", jwks)
    assert refusal.value.code == code


def test_what_else_is_refused_at_registration(office):
    jwks = {"keys": [public(new_key("k"))]}
    with pytest.raises(Conflict), office.work() as work:
        access.register_partner(work, "ccas", "ccas", jwks)
    with pytest.raises(Invalid), office.work() as work:
        access.register_partner(work, "new", "ccas", jwks, ["curiosite"])
    for id in ("", "a b", "x" * 65, "ccas/dax", "é\n", "CCAS", "ccas-", "ccas--dax"):
        with pytest.raises(Invalid), office.work() as work:
            access.register_partner(work, id, "ccas", jwks)
    with pytest.raises(Invalid), office.work() as work:
        access.register_partner(work, "new", "ccas", None, tls_client_auth={"san_ip": "10.0.0.1"})
    for act in (access.suspend, access.resume):
        with pytest.raises(Unknown), office.work() as work:
            act(work, "nobody")
    with pytest.raises(Unknown), office.work() as work:
        access.rotate(work, "nobody", jwks)


@pytest.mark.parametrize("name", ["\u202esiamed SACC", "CCAS\nde Dax", "CCAS\x1b[31m", "CCAS\x00", "\ud800", "C" * 201])
def test_a_name_that_no_page_shows_as_it_is_written_is_refused(office, name):
    with pytest.raises(Invalid) as refusal, office.work() as work:
        access.register_partner(work, "new", "ccas", {"keys": [public(new_key("k"))]}, name=name)
    assert refusal.value.code == "partner-name"


async def test_suspension_stops_tokens_and_resuming_does_not_revive_them(office):
    token = await office.token(office.ccas)
    with office.work() as work:
        access.suspend(work, "ccas")
    office.gateway.access.live.forget()
    denied(office, await office.good_call(office.ccas, token), "token-revoked")
    unauthenticated(office, await office.ask(office.ccas), "client-suspended")
    with office.work() as work:
        access.resume(work, "ccas")
    office.gateway.access.live.forget()
    denied(office, await office.good_call(office.ccas, token), "token-revoked")
    assert (await office.good_call(office.ccas, await office.token(office.ccas))).status_code == 200


async def test_a_leaked_key_takes_its_tokens_with_it(office):
    token = await office.token(office.ccas)
    key = new_key("ccas-2")
    with office.work() as work, pytest.raises(Conflict, match="key-kept"):
        access.rotate(work, "ccas", {"keys": [public(office.ccas.key)]}, overlap=0)
    with office.work() as work:
        assert access.rotate(work, "ccas", {"keys": [public(key)]}, overlap=0)["retired"] == ["ccas-1"]
    office.gateway.access.live.forget()
    denied(office, await office.good_call(office.ccas, token), "token-revoked")
    office.ccas.key = key
    assert (await office.good_call(office.ccas, await office.token(office.ccas))).status_code == 200


async def test_a_key_announced_again_counts_again(office):
    first, second = public(office.ccas.key), public(new_key("ccas-2"))
    with office.work() as work:
        access.rotate(work, "ccas", {"keys": [second]})
    with office.work() as work:
        access.rotate(work, "ccas", {"keys": [first, second]})
    with office.gateway.engine.connect() as connection:
        keys = access.list_partners(connection)[0]["keys"]
    assert {key["kid"]: key["valid_until"] for key in keys} == {"ccas-1": None, "ccas-2": None}


def test_a_rotation_interrupted_is_finished_by_the_next(office):
    folder = office.gateway.keys.folder
    current, following = ((folder / f"{name}.es256").read_bytes() for name in ("oauth", "oauth-next"))
    os.link(folder / "oauth.es256", folder / "oauth-previous.es256")
    access.rotate_signing_key(office.gateway.keys)
    assert (folder / "oauth.es256").read_bytes() == following
    assert (folder / "oauth-previous.es256").read_bytes() == current
    assert sorted(path.name for path in folder.glob("oauth*")) == [
        "oauth-next.es256",
        "oauth-previous.es256",
        "oauth.es256",
    ]


async def test_a_proof_recorded_with_the_exchange(office):
    """`later=True`: the use is written in the caller's own transaction, and refused in a second one."""
    token = await office.token(office.ccas)

    def request(proof: str) -> Request:
        headers = [(b"authorization", f"DPoP {token}".encode()), (b"dpop", proof.encode())]
        scope = {"type": "http", "method": "GET", "path": "/v1/exchanges", "scheme": "https", "query_string": b""}
        scope |= {"client": ("127.0.0.1", 1), "app": office.app, "state": {"instance": "urn:uuid:0"}}
        return Request(scope | {"headers": headers})

    proof = office.ccas.proof("GET", URL, token)
    caller = await office.gateway.access.authenticate(request(proof), later=True)
    other_worker = office.restarted().gateway.access
    again = await other_worker.authenticate(request(proof), later=True)
    with office.work() as work:
        access.burn(work, caller)
    with pytest.raises(access.resource.Unauthenticated), office.work() as work:
        access.burn(work, again)
    with pytest.raises(access.resource.Unauthenticated):
        await office.gateway.access.authenticate(request(proof), later=True)
    # The module's own function finds the gateway of the application.
    assert (await access.authenticate(request(office.ccas.proof("GET", URL, token)))).body == "ccas"


DAY = 86_400
"""A window that does not turn while a test counts in it: they start at fixed times."""


async def test_too_many_requests(tmp_path):
    rates = Rates(**{"token-address": Quota(5, DAY), "token-client": Quota(2, DAY), "calls": Quota(1, DAY)})
    office = open_office(tmp_path, app={"rates": rates})
    token = await office.token(office.ccas)
    answer = await office.good_call(office.ccas, token)
    assert answer.headers["ratelimit"].startswith('"calls";r=0;t=')
    assert answer.headers["ratelimit-policy"] == f'"calls";q=1;w={DAY}'
    assert (await office.good_call(office.ccas, token)).status_code == 429
    assert (await office.ask(office.ccas)).status_code == 200
    answer = await office.ask(office.ccas)
    refused(office, answer, 429, "temporarily_unavailable", "client-rate")
    assert answer.headers["ratelimit"].startswith('"token-client";r=0;t='), "the quota that was passed"
    assert 0 < int(answer.headers["retry-after"]) <= DAY
    # Somebody else's failures never count against a partner: only the address does.
    assert (await office.ask(office.departement)).status_code == 200
    assert (await office.ask(office.departement)).status_code == 200
    refused(office, await office.ask(office.departement), 429, "temporarily_unavailable", "address-rate")
    told = len(office.gateway.refusals)
    assert (await office.ask(office.departement)).status_code == 429
    assert len(office.gateway.refusals) == told


async def test_one_address_cannot_fill_the_journal(tmp_path):
    office = open_office(tmp_path, app={"rates": Rates(**{"refused-address": Quota(3, DAY)})})
    statuses = [(await office.call(None)).status_code for _ in range(6)]
    assert statuses == [401, 401, 401, 401, 429, 429]
    assert [one["reason"] for one in office.gateway.refusals] == ["token-missing"] * 3 + ["address-rate"]


async def test_a_registry_that_cannot_be_read_lets_nobody_in(office):
    token = await office.token(office.ccas)
    office.gateway.access.live.forget()
    with office.work() as work:
        work.connection.exec_driver_sql("ALTER TABLE revoked_token RENAME TO gone")
    answer = await office.good_call(office.ccas, token)
    assert answer.status_code == Unavailable.status
    with office.work() as work:
        work.connection.exec_driver_sql("ALTER TABLE seen_jti RENAME TO lost")
    assert (await office.ask(office.ccas)).status_code == Unavailable.status


async def test_a_refusal_that_cannot_be_journaled_stays_a_refusal(office):
    def broken(*_a, **_k):
        raise OSError("disk full")

    office.gateway.access._journal = broken
    assert (await office.ask(office.ccas, office.ccas.assertion(aud="x"))).status_code == 401
    assert (await office.call(None)).status_code == 401


@pytest.mark.parametrize(
    ("issuer", "profile"),
    [
        ("http://127.0.0.1:8400", "production"),
        ("http://maillon.example", "demo"),
        ("https://maillon.example?x=1", "production"),
        ("https://maillon.example#x", "production"),
        ("https://user@maillon.example", "production"),
        ("ftp://maillon.example", "demo"),
        ("maillon", "demo"),
    ],
)
def test_issuers_that_are_refused(issuer, profile):
    with pytest.raises(Misconfigured):
        access.checked_issuer(issuer, profile)
    assert Settings(issuer=issuer).issuer == issuer
    assert not ProxyTrust().trusts({"client": ("127.0.0.1", 1)})


def test_issuers_that_are_accepted():
    for issuer in ("http://127.0.0.1:8400", "http://localhost:8400", "http://[::1]:8400", "https://maillon.example"):
        assert access.checked_issuer(issuer, "demo") == issuer


async def test_without_conventions_nothing_is_allowed(office):
    office.gateway.conventions.clear()
    refused(office, await office.ask(office.ccas), 400, "invalid_authorization_details", "purpose-not-allowed")
