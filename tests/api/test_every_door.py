"""Every door that asks for a token refuses the same wrong callers, in the same words, and the journal keeps it.

What each kind of wrong token or proof is refused for is in `tests/access`; here, that no door was left without it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey
from starlette.routing import Route

from gateway.access.jose import parse
from gateway.openapi_tables import OPERATIONS
from tests.access.office import b64, compact, edited, public
from tests.api.house import PURPOSE, House, problem

NAMES = {"connector": "rdv_insertion", "tile": "0/000", "log": "6m"}


def doors(house: House) -> Iterator[tuple[str, str, str]]:
    """Method, path and scope of each operation whose token has a scope, and of the doors of officers."""
    told = {(one.method.upper(), one.path): one.scope for one in OPERATIONS if one.scope}
    for route in house.app.routes:
        if isinstance(route, Route) and route.path.startswith("/v1/audit"):
            told |= {(method, route.path): "audit" for method in (route.methods or set()) - {"HEAD"}}
    for (method, path), scope in sorted(told.items()):
        yield method, re.sub(r"{(\w+)(?::\w+)?}", lambda found: NAMES.get(found[1], "x"), path), scope


class Thief:
    """Somebody who holds a genuine token of a partner, and may do one thing wrong with it."""

    def __init__(self, house: House, scope: str, purpose: str = PURPOSE["ccas"]) -> None:
        self.house = house
        body = "ccas" if scope == "exchange" else "dpo"
        auth = house.auth(body, purpose) if scope == "exchange" and purpose else house.auth(body, scope=scope)
        with httpx.Client(base_url=house.base, auth=auth, trust_env=False) as client:
            client.get("/v1/exchanges" if scope == "exchange" else "/v1/journal/tile/0/000")
        self.token, self.key = str(auth._token), auth.proof_key

    def proof(self, method: str, path: str, **changes: Any) -> str:
        key = changes.pop("key", self.key)
        ath = b64(hashlib.sha256(self.token.encode()).digest())
        claims = {"htm": method, "htu": f"{self.house.base}{path}", "iat": int(time.time()), "ath": ath}
        claims["jti"] = secrets.token_urlsafe(16)
        return compact({"alg": "ES256", "typ": "dpop+jwt", "jwk": public(key)}, edited(claims, **changes), key)

    def forged(self) -> str:
        """The same claims, signed by a key of one's own."""
        genuine = parse(self.token)
        return compact(genuine.header, genuine.claims, ECKey.generate_key("P-256"))


WRONGS: dict[str, Callable[[Thief, str, str], dict[str, str]]] = {
    "token-missing": lambda one, method, path: {},
    "token-signature": lambda one, method, path: {
        "Authorization": f"DPoP {one.forged()}", "DPoP": one.proof(method, path)},
    "bound-token-as-bearer": lambda one, method, path: {"Authorization": f"Bearer {one.token}"},
    "proof-missing": lambda one, method, path: {"Authorization": f"DPoP {one.token}"},
    "proof-other-key": lambda one, method, path: {
        "Authorization": f"DPoP {one.token}", "DPoP": one.proof(method, path, key=ECKey.generate_key("P-256"))},
    "proof-htu": lambda one, method, path: {
        "Authorization": f"DPoP {one.token}", "DPoP": one.proof(method, path, htu=f"{one.house.base}/v1/elsewhere")},
    "proof-ath": lambda one, method, path: {
        "Authorization": f"DPoP {one.token}", "DPoP": one.proof(method, path, ath=b64(b"x" * 32))},
    "proof-iat": lambda one, method, path: {
        "Authorization": f"DPoP {one.token}", "DPoP": one.proof(method, path, iat=int(time.time()) - 3600)},
}  # fmt: skip


@pytest.mark.parametrize("reason", WRONGS)
def test_no_door_opens_to_a_wrong_caller(house: House, reason: str) -> None:
    thieves = {scope: Thief(house, scope) for scope in ("exchange", "journal", "audit")}
    tried = 0
    with house.anyone() as client:
        for method, path, scope in doors(house):
            headers = WRONGS[reason](thieves[scope], method, path)
            answer = client.request(method, path, headers=headers | {"Idempotency-Key": secrets.token_hex(8)})
            told = problem(answer, 401, reason)
            assert answer.headers["www-authenticate"].startswith("DPoP ")
            assert house.journaled(told["instance"])["reason_code"] == reason, f"{method} {path}"
            tried += 1
    assert tried > 15


def test_a_door_gives_its_one_form_or_says_which_it_has(house: House) -> None:
    """RFC 9110 §12.5.1, on every door whose answer has one form; 406 is then among the answers described."""
    with house.anyone() as client:
        described = client.get("/openapi.json").json()["paths"]
        tried = set()
        for path, methods in described.items():
            for method, told in methods.items():
                forms = {form for status, one in told["responses"].items() if status[0] == "2"
                         for form in one.get("content", ())}  # fmt: skip
                if len(forms) != 1 or "*/*" in forms:
                    continue
                (form,), place = forms, re.sub(r"{\w+}", "x", path)
                assert "406" in told["responses"], path
                for refused in ("application/pdf", f"*/*, {form};q=0"):
                    answer = client.request(method, place, headers={"Accept": refused})
                    assert form in problem(answer, 406, "not-acceptable")["detail"]
                for taken in (form.upper(), f"image/*, {form.partition('/')[0]}/*;q=0.2"):
                    assert client.request(method, place, headers={"Accept": taken}).status_code != 406, place
                tried.add((path, form))
    assert tried >= {("/metrics", "text/plain"), ("/oauth/token", "application/json"), ("/healthz", "application/json"),
                     ("/v1/audit/exchanges/{id}/evidence", "application/zip"), ("/v1/exchanges", "application/json"),
                     ("/v1/journal/tile/{tile}", "application/octet-stream")}  # fmt: skip
    assert len(tried) > 40


def test_a_proof_serves_once_on_every_door(house: House) -> None:
    thieves = {scope: Thief(house, scope) for scope in ("exchange", "journal", "audit")}
    with house.anyone() as client:
        for method, path, scope in doors(house):
            thief = thieves[scope]
            headers = {"Authorization": f"DPoP {thief.token}", "DPoP": thief.proof(method, path)}
            first = client.request(method, path, headers=headers)
            assert first.status_code not in (401, 403), (method, path, first.text)
            problem(client.request(method, path, headers=headers), 401, "proof-replayed")


def test_a_token_of_another_scope_opens_no_door(house: House) -> None:
    thieves = {scope: Thief(house, scope, purpose="") for scope in ("exchange", "journal", "audit")}
    with house.anyone() as client:
        for method, path, scope in doors(house):
            for other in thieves.keys() - {scope}:
                thief = thieves[other]
                headers = {"Authorization": f"DPoP {thief.token}", "DPoP": thief.proof(method, path)}
                problem(client.request(method, path, headers=headers), 403, "insufficient-scope")
