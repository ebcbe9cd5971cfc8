"""The description of the API is true: every door is in it, and every answer to any call."""

from __future__ import annotations

import re
import uuid
from typing import Any
from unittest import SkipTest

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from tests.api.house import PURPOSE, House
from tests.conftest import TLS

PATHS = ("/v1/", "/oauth/", "/.well-known/oauth", "/healthz", "/readyz", "/metrics")


def test_every_door_is_described_and_every_description_is_a_door(house: House) -> None:
    described = {
        (method.upper(), path)
        for path, methods in httpx.get(f"{house.base}/openapi.json").json()["paths"].items()
        for method in methods
    }
    doors = {
        (method, re.sub(r":path\}", "}", route.path))
        for route in house.app.routes
        if isinstance(route, Route) and route.path.startswith(PATHS)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert described == doors


def test_every_operation_says_in_a_sentence_of_its_own_what_it_is_for(house: House) -> None:
    told = [
        one["summary"]
        for path in httpx.get(f"{house.base}/openapi.json").json()["paths"].values()
        for one in path.values()
    ]
    assert len(set(told)) == len(told)
    assert all(re.match("[A-Z]", one) for one in told), "a word of the path is no sentence"


def test_what_a_body_may_hold_is_described_member_by_member(house: House) -> None:
    """Save what another writes the description of: a partner's own message, a form of OAuth."""
    api = httpx.get(f"{house.base}/openapi.json").json()
    page = httpx.get(f"{house.base}/docs").text

    def members(schema: dict[str, Any]) -> set[str]:
        if name := schema.get("$ref", "").removeprefix("#/components/schemas/"):
            return members(api["components"]["schemas"][name])
        return set(schema.get("properties", {})).union(*map(members, schema.get("anyOf", ())))

    for path, methods in api["paths"].items():
        told = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if told is None or path in ("/v1/exchanges", "/v1/webhooks/{connector}"):
            continue
        named = members(told.get("schema", {}))
        assert named or path.endswith(("/ack", "/withdraw", "/approve", "/use", "/verify")), path
        assert all(f"<code>{name}</code>" in page for name in named), path
    assert "application/toml" in api["paths"]["/v1/audit/decisions/period"]["post"]["requestBody"]["content"]


def test_no_door_replaces_what_somebody_else_may_have_changed(house: House) -> None:
    """So none has to demand `If-Match` (428): see "Nothing is overwritten" in docs/decisions.md."""
    methods = {method for one in httpx.get(f"{house.base}/openapi.json").json()["paths"].values() for method in one}
    assert methods <= {"get", "post"}


def test_the_statement_of_accessibility_is_found_where_it_is_looked_for(house: House) -> None:
    found = httpx.get(f"{house.base}/accessibilite", follow_redirects=True)
    assert (found.status_code, found.url.path) == (200, "/console/accessibilite")


def test_the_page_for_people_needs_nothing_from_elsewhere(house: House) -> None:
    page = httpx.get(f"{house.base}/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert set(re.findall(r'(?:src|href)="(https?:[^"]*)"', page.text)) == set()
    assert httpx.get(f"{house.base}/docs.css").headers["content-type"].startswith("text/css")
    assert "/v1/exchanges" in page.text


class Signed(requests.auth.AuthBase):
    """A token of a partner and a new proof for each request, as `requests` wants them."""

    def __init__(self, house: House, body: str, scope: str) -> None:
        self.auth = house.auth(body, scope=scope) if scope != "exchange" else house.auth(body, PURPOSE[body])
        self.base = house.base

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        shown = httpx.Request(str(request.method), str(request.url))
        flow = self.auth.sync_auth_flow(shown)
        signed = next(flow)
        while signed is not shown:
            with httpx.Client(trust_env=False, verify=TLS) as client:
                signed = flow.send(client.send(signed))
        flow.close()
        for name in ("Authorization", "DPoP"):
            request.headers[name] = shown.headers[name]
        return request


def operations(house: House) -> Any:
    return schemathesis.openapi.from_url(f"{house.base}/openapi.json")


schemathesis.serializer.alias("application/toml", "text/plain")  # a decision table: its generator knows no TOML
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOUNDED = settings(
    max_examples=2, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_any_call_gets_a_described_answer_and_never_a_defect(house: House, mode: GenerationMode) -> None:
    met: dict[str, set[int]] = {}

    def call(case: Any) -> None:
        place = f"{case.method} {case.operation.path}"
        scopes = [scope for named in case.operation.definition.raw["security"] for scope in named["token"]]
        auth = Signed(house, "dpo" if scopes[0] in ("audit", "journal") else "ccas", scopes[0]) if scopes else None
        if place == "POST /v1/exchanges" and mode is GenerationMode.POSITIVE:
            named = {"Maillon-Document": "ccas.suivi", "Idempotency-Key": str(uuid.uuid4())}
            case.headers = {**(case.headers or {}), **named}
        answer = case.call(auth=auth, timeout=60)
        met.setdefault(place, set()).add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    for operation in (one.ok() for one in operations(house).get_all_operations()):
        raw = operation.definition.raw
        if mode is GenerationMode.NEGATIVE and "requestBody" not in raw and "Limit" not in str(raw.get("parameters")):
            continue  # any text at all is a valid id: nothing can be wrong in what it takes
        try:
            BOUNDED(given(case=operation.as_strategy(generation_mode=mode))(call))()
        except (Unsatisfiable, SkipTest):
            continue
    assert len(met) > (15 if mode is GenerationMode.POSITIVE else 5)
    assert house.alive()
