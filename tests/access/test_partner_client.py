"""The client given to partners, against the real server."""

from __future__ import annotations

import time

import pytest
from joserfc.jwk import OKPKey

from gateway import access
from gateway.access.client import PartnerAuth, TokenRefused
from tests.dates import moved


def auth_of(office, partner, **options):
    return PartnerAuth(office.issuer, partner.client_id, partner.key, **({"purpose": "orientation"} | options))


async def test_a_partner_gets_a_token_once_and_calls_with_it(office):
    auth = auth_of(office, office.ccas)
    async with office.client(auth=auth) as client:
        first = await client.get("/v1/exchanges", params={"limit": 2})
        token = auth._token
        assert (await client.post("/v1/exchanges")).status_code == 200
    assert first.json() == {"body": "ccas", "client_id": "ccas", "purposes": ["orientation"]}
    assert auth._token == token


async def test_a_partner_with_an_ed25519_key(office):
    office.ccas.key = OKPKey.generate_key("Ed25519", parameters={"kid": "ed"})
    with office.work() as work:
        access.rotate(work, "ccas", {"keys": [office.ccas.key.as_dict(private=False)]})
    async with office.client(auth=auth_of(office, office.ccas)) as client:
        assert (await client.get("/v1/exchanges")).status_code == 200


async def test_a_token_that_expired_is_asked_again(office):
    auth = auth_of(office, office.ccas)
    async with office.client(auth=auth) as client:
        assert (await client.get("/v1/exchanges")).status_code == 200
        first = auth._token
        with moved(time.time() + 400):
            assert (await client.get("/v1/exchanges")).status_code == 200
    assert auth._token != first


async def test_nonces_are_followed(office_that_wants_nonces):
    office = office_that_wants_nonces
    async with office.client(auth=auth_of(office, office.ccas)) as client:
        assert (await client.get("/v1/exchanges")).status_code == 200


async def test_a_refusal_says_its_code(office):
    office.ccas.key = office.departement.key
    async with office.client(auth=auth_of(office, office.ccas)) as client:
        with pytest.raises(TokenRefused, match=r"^invalid_client \(401\)"):
            await client.get("/v1/exchanges")


@pytest.mark.parametrize("skew", [-3600, 90])
async def test_a_partner_whose_clock_is_wrong_follows_the_gateways(office, skew):
    auth = auth_of(office, office.ccas, clock=lambda: time.time() + skew)
    async with office.client(auth=auth) as client:
        assert (await client.get("/v1/exchanges")).status_code == 200


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_a_partner_whose_clock_is_set_right_does_not_follow_what_it_was(office, skew):
    """With the token it holds, then with the next: neither waits for the partner's software to be started again."""
    wrong = [skew]
    auth = auth_of(office, office.ccas, clock=lambda: time.time() + wrong[0])
    async with office.client(auth=auth) as client:
        assert (await client.get("/v1/exchanges")).status_code == 200
        for wrong[0] in (0, skew, 0):
            assert (await client.get("/v1/exchanges")).status_code == 200
