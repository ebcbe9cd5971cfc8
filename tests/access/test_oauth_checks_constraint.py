"""O-39 to O-49: bound to a key, for one resource, for what the conventions allow."""

from __future__ import annotations

import json

import pytest
from joserfc.jwk import ECKey

from gateway import access
from gateway.access.jose import parse
from tests.access.office import ABSENT, ISSUER, public, refused

ORIENTATION = {"type": "maillon_exchange", "purpose": "orientation"}


def asking(*details) -> str:
    return json.dumps(list(details))


async def test_o_039_neither_proof_nor_certificate(office):
    refused(office, await office.post(office.ccas.form()), 400, "invalid_dpop_proof", "not-bound")


async def test_o_040_proof_of_another_key_than_the_announced_one(office):
    jkt = office.ccas.proof_key.thumbprint()
    assert (await office.ask(office.ccas, dpop_jkt=jkt)).status_code == 200
    other = ECKey.generate_key("P-256").thumbprint()
    refused(office, await office.ask(office.ccas, dpop_jkt=other), 400, "invalid_dpop_proof", "proof-other-key")
    with office.work() as work:
        key = ECKey.generate_key("P-256", parameters={"kid": "k"})
        access.register_partner(work, "pinned", "ccas", {"keys": [public(key)]}, body="ccas", dpop_jkt=other)
    office.ccas.client_id, office.ccas.key = "pinned", key
    refused(office, await office.ask(office.ccas), 400, "invalid_dpop_proof", "proof-other-key")
    for now in (jkt, None):  # it changed the key of its proofs; it may have any
        with office.work() as work:
            access.pin(work, "pinned", now)
        assert (await office.ask(office.ccas)).status_code == 200


async def test_o_041_no_resource(office):
    refused(office, await office.ask(office.ccas, resource=ABSENT), 400, "invalid_target", "resource-missing")


async def test_o_042_unknown_resource(office):
    for resource in ("https://other.example", f"{ISSUER}/v1", ""):
        refused(office, await office.ask(office.ccas, resource=resource), 400, "invalid_target", "resource-unknown")


async def test_o_043_two_resources(office):
    answer = await office.ask(office.ccas, resource=[ISSUER, ISSUER])
    refused(office, answer, 400, "invalid_request", "parameter-repeated")
    answer = await office.ask(office.ccas, resource=[ISSUER, "https://other.example"])
    refused(office, answer, 400, "invalid_request", "parameter-repeated")


async def test_o_044_unknown_scope(office):
    for scope in ("admin", "exchange admin", " "):
        answer = await office.ask(office.ccas, scope=scope)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    refused(office, await office.ask(office.ccas, scope="audit"), 400, "invalid_scope", "scope-not-open")
    refused(office, await office.ask(office.dpo, scope="exchange"), 400, "invalid_scope", "scope-not-open")
    assert (await office.ask(office.ccas, scope="exchange")).json()["scope"] == "exchange"


async def test_o_045_purpose_outside_the_convention(office):
    """The convention is this test's own table behind the real hook; conventions themselves are tested elsewhere."""
    answer = await office.ask(office.ccas, authorization_details=asking({**ORIENTATION, "purpose": "sanction"}))
    refused(office, answer, 400, "invalid_authorization_details", "purpose-not-allowed")
    both = asking(ORIENTATION, {**ORIENTATION, "purpose": "sanction"})
    refused(
        office,
        await office.ask(office.ccas, authorization_details=both),
        400,
        "invalid_authorization_details",
        "purpose-not-allowed",
    )
    with office.work() as work:
        key = ECKey.generate_key("P-256", parameters={"kid": "k"})
        jwks = {"keys": [public(key)]}
        access.register_partner(work, "narrow", "ccas", jwks, ["accompagnement"], body="ccas")
    office.ccas.client_id, office.ccas.key = "narrow", key
    refused(office, await office.ask(office.ccas), 400, "invalid_authorization_details", "purpose-not-allowed")


async def test_o_046_more_datatypes_than_the_convention_grants(office):
    perimeter = access.Perimeter(datatypes=frozenset({"C1", "C7"}))
    office.gateway.conventions["ccas"] = {"orientation": perimeter}
    asked = asking({**ORIENTATION, "datatypes": ["C13", "C7", "C1"], "privileges": ["all"]})
    answer = await office.ask(office.ccas, authorization_details=asked)
    assert answer.status_code == 200
    granted = [{**ORIENTATION, "datatypes": ["C1", "C7"]}]
    assert answer.json()["authorization_details"] == granted
    assert parse(answer.json()["access_token"]).claims["authorization_details"] == granted
    nothing = asking({**ORIENTATION, "datatypes": ["C13"]})
    answer = await office.ask(office.ccas, authorization_details=nothing)
    refused(office, answer, 400, "invalid_authorization_details", "details-not-allowed")


async def test_o_047_convention_suspended_between_two_calls(office):
    assert (await office.ask(office.ccas)).status_code == 200
    office.gateway.conventions["ccas"] = frozenset()
    refused(office, await office.ask(office.ccas), 400, "invalid_authorization_details", "purpose-not-allowed")


async def test_o_047_the_token_of_before_stops_at_the_resource_too(office):
    """R5: purposes are looked at again on each call, within the seconds the registry is remembered."""
    token = await office.token(office.ccas)
    assert (await office.good_call(office.ccas, token)).status_code == 200
    office.gateway.conventions["ccas"] = frozenset()
    office.gateway.access.live.forget()
    answer = await office.good_call(office.ccas, token)
    assert (answer.status_code, office.last_refusal()["reason"]) == (403, "purpose-not-allowed")


@pytest.mark.parametrize(
    "details",
    [
        "",
        "{}",
        "[]",
        "null",
        "[1]",
        "not json",
        '[{"type":"maillon_exchange"}]',
        '[{"type":"payment","purpose":"orientation"}]',
        '[{"type":"maillon_exchange","purpose":"P2"}]',
        '[{"type":"maillon_exchange","purpose":["orientation"]}]',
        '[{"type":"maillon_exchange","purpose":"orientation","decision":"accord"}]',
        '[{"type":"maillon_exchange","purpose":"orientation","purpose":"sanction"}]',
        '[{"type":"maillon_exchange","purpose":"orientation","datatypes":["C99"]}]',
        '[{"type":"maillon_exchange","purpose":"orientation","datatypes":"C1"}]',
        '[{"type":"maillon_exchange","purpose":"orientation","regime":"AUTRE"}]',
        '[{"type":"maillon_exchange","purpose":"orientation","actions":["delete"]}]',
        "[" * 5000 + "]" * 5000,
    ],
)
async def test_o_048_unknown_field_or_wrong_type(office, details):
    answer = await office.ask(office.ccas, authorization_details=details)
    refused(office, answer, 400, "invalid_authorization_details", "details-invalid")


async def test_o_048_optional_fields_are_granted_as_asked(office):
    asked = {**ORIENTATION, "regime": "RSA", "actions": ["send", "read"], "locations": [ISSUER], "convention_id": "c-1"}
    answer = await office.ask(office.ccas, authorization_details=asking(asked))
    assert answer.json()["authorization_details"] == [asked]
    elsewhere = asking({**asked, "locations": [ISSUER, "https://other.example"]})
    answer = await office.ask(office.ccas, authorization_details=elsewhere)
    refused(office, answer, 400, "invalid_authorization_details", "details-not-allowed")


async def test_o_049_scope_without_details_on_a_data_endpoint(office):
    """On this test's own data endpoint, behind the real check that every data endpoint calls."""
    token = await office.token(office.ccas, authorization_details=ABSENT, scope="exchange")
    answer = await office.good_call(office.ccas, token)
    assert answer.status_code == 403
    assert office.last_refusal()["reason"] == "purpose-required"
