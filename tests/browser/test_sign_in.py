"""Signing in to the console with the accounts of a provider of its own: what is believed of it, and what is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import select

from gateway.access.rates import Quota, Rates
from gateway.doors import access_of
from gateway.storage.tables.console import console_session
from tests.api.house import House, opened
from tests.browser.account_provider import CLIENT, SECRET, AccountProvider, served

SENSITIVE = "/console/reidentification/00000000-0000-0000-0000-000000000000/voir"
"""Of a request that does not exist: who may ask is looked at first."""


@pytest.fixture(scope="module")
def provider() -> Iterator[AccountProvider]:
    with served() as one:
        yield one


@pytest.fixture(scope="module")
def shared(provider: AccountProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("sign-in")
    secret = home / "secret"
    secret.write_text(SECRET)
    told = {"console_oidc_issuer": provider.issuer, "console_oidc_client_id": CLIENT}
    with opened(home / "home", console_oidc_secret_file=secret, **told) as house:
        yield house


@pytest.fixture
def house(shared: House, provider: AccountProvider) -> Iterator[House]:
    """The gateway, in front of a provider that tells the truth until it is bent."""
    provider.account, provider.level, provider.signed_in_at = (
        {"sub": "agent-1", "roles": ["dpo"]},
        "un-facteur",
        time.time(),
    )
    provider.bent.clear()
    provider.asked.clear()
    provider.left.clear()
    provider.signing, provider.header = provider.key, {"alg": "RS256", "kid": provider.key.kid}
    yield shared
    provider.bent.clear()
    shared.gateway.settings.console_oidc_acr = ""


@pytest.fixture
def browser(house: House) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=house.base, follow_redirects=True, timeout=30, trust_env=False) as client:
        yield client


def sign_in(browser: httpx.Client, path: str = "/console/connexion") -> httpx.Response:
    return browser.get(path)


def signed_in(browser: httpx.Client) -> bool:
    return browser.get("/console/", follow_redirects=False).status_code == 200


def test_an_account_enters_with_the_role_its_provider_says(browser: httpx.Client, provider: AccountProvider) -> None:
    assert sign_in(browser).status_code == 200
    asked = provider.asked[-1]
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{browser.base_url}/console/retour".replace("//console", "/console")
    assert len(asked["state"]) > 20 < len(asked["nonce"])
    assert browser.get("/console/registre").status_code == 200
    assert browser.get("/console/partenaires").status_code == 403


def test_one_address_may_not_knock_without_end(
    browser: httpx.Client, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_of(house.gateway), "rates", Rates(**{"token-address": Quota(2, 3600)}))
    answers = [browser.get("/console/connexion", follow_redirects=False) for _ in range(3)]
    assert [one.status_code for one in answers] == [303, 303, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0


@pytest.mark.parametrize(("roles", "status"), [([], 403), (["administrateur"], 403), ("operateur", 200), (7, 403)])
def test_an_account_without_a_role_stays_outside(
    browser: httpx.Client, provider: AccountProvider, roles: Any, status: int
) -> None:
    provider.account = {"sub": "agent-2", "roles": roles}
    assert sign_in(browser).status_code == status
    assert signed_in(browser) == (status == 200)


def test_roles_may_be_listed_for_a_provider_that_only_says_who_someone_is(
    browser: httpx.Client, house: House, provider: AccountProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.account = {"sub": "agent-3"}
    assert sign_in(browser).status_code == 403
    monkeypatch.setitem(house.gateway.settings.console_agents, "agent-3", "integration")
    assert sign_in(browser).status_code == 200
    assert browser.get("/console/quarantaine").status_code == 200


LIES: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "another issuer": ("id_token", lambda told: told | {"iss": "https://mal.example"}),
    "another client": ("id_token", lambda told: told | {"aud": "autre"}),
    "several clients, none said to be ours": ("id_token", lambda told: told | {"aud": [CLIENT, "autre"]}),
    "made for another client": ("id_token", lambda told: told | {"azp": "autre"}),
    "another sign-in": ("id_token", lambda told: told | {"nonce": "autre"}),
    "no nonce": ("id_token", lambda told: {name: one for name, one in told.items() if name != "nonce"}),
    "past": ("id_token", lambda told: told | {"exp": int(time.time()) - 120}),
    "without end": ("id_token", lambda told: {name: one for name, one in told.items() if name != "exp"}),
    "to come": ("id_token", lambda told: told | {"nbf": int(time.time()) + 600}),
    "nobody": ("id_token", lambda told: {name: one for name, one in told.items() if name != "sub"}),
    "a list of accounts": ("id_token", lambda told: told | {"sub": ["agent-1"]}),
    "information of another account": ("userinfo", lambda told: told | {"sub": "agent-9"}),
    "information for another client": ("userinfo", lambda told: told | {"aud": "autre"}),
    "answered by another provider": ("callback", lambda told: told | {"iss": "https://mal.example"}),
    "answered by nobody": ("callback", lambda told: {name: one for name, one in told.items() if name != "iss"}),
    "another state": ("callback", lambda told: told | {"state": "autre"}),
    "a refusal": ("callback", lambda told: {"error": "access_denied", "state": told["state"], "iss": told["iss"]}),
    "a code it did not give": ("callback", lambda told: told | {"code": "autre"}),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_is_not_for_this_sign_in_opens_nothing(
    browser: httpx.Client, provider: AccountProvider, lie: str
) -> None:
    what, bend = LIES[lie]
    provider.bent[what] = bend
    answer = sign_in(browser)
    assert answer.status_code == 401, answer.text
    assert "agent-" not in answer.text
    assert not signed_in(browser)


@pytest.mark.parametrize("how", ["another key", "no algorithm", "the public key as a secret"])
def test_a_token_that_the_provider_did_not_sign_opens_nothing(
    browser: httpx.Client, provider: AccountProvider, how: str
) -> None:
    if how == "another key":
        provider.signing = RSAKey.generate_key(2048)
    elif how == "no algorithm":
        provider.header = {"alg": "none", "kid": provider.key.kid}
    else:
        provider.header = {"alg": "HS256", "kid": provider.key.kid}
        provider.signing = OctKey.import_key(provider.key.as_dict(private=False)["n"])
    assert sign_in(browser).status_code == 401
    assert not signed_in(browser)


def test_the_secret_known_before_signing_in_is_worth_nothing_after(browser: httpx.Client, house: House) -> None:
    """Session fixation: the cookie given before is another than the one that opens."""
    browser.get("/console/connexion", follow_redirects=False)
    before = dict(browser.cookies)
    assert sign_in(browser).status_code == 200
    with httpx.Client(base_url=house.base, cookies=before, trust_env=False) as other:
        assert not signed_in(other)


def test_a_session_that_the_provider_opened_long_ago_proves_nothing_now(
    browser: httpx.Client, provider: AccountProvider
) -> None:
    provider.signed_in_at = time.time() - 8 * 3600
    assert sign_in(browser).status_code == 200
    asked = browser.get(SENSITIVE, follow_redirects=False)
    assert asked.headers["location"].startswith("/console/preuve"), "known, but not proved a moment ago"
    assert browser.get(asked.headers["location"]).status_code == 404, "proved: the request is looked for"
    assert provider.asked[-1]["prompt"] == "login"
    assert provider.asked[-1]["max_age"] == "0"


@pytest.mark.parametrize("said", [None, "hier", True, -1])
def test_a_provider_that_does_not_say_when_proves_nothing(
    browser: httpx.Client, provider: AccountProvider, said: Any
) -> None:
    provider.bent["id_token"] = lambda told: told | {"auth_time": said}
    assert sign_in(browser).status_code == 200
    refused = browser.get(SENSITIVE)
    assert refused.status_code == 401
    assert "sign-in-old" in refused.text


def test_a_sensitive_reading_demands_the_level_that_the_settings_name(
    browser: httpx.Client, house: House, provider: AccountProvider
) -> None:
    house.gateway.settings.console_oidc_acr = "deux-facteurs trois-facteurs"
    assert sign_in(browser).status_code == 200, "reading the register asks for no more than an account"
    refused = browser.get(SENSITIVE)
    assert (refused.status_code, "sign-in-weak" in refused.text) == (401, True)
    assert '"deux-facteurs", "trois-facteurs"' in provider.asked[-1]["claims"]
    provider.level = "trois-facteurs"
    sign_in(browser)
    assert browser.get(SENSITIVE).status_code == 404


def test_another_account_that_proves_itself_is_that_account(
    browser: httpx.Client, house: House, provider: AccountProvider
) -> None:
    sign_in(browser)
    provider.account = {"sub": "agent-operateur", "roles": ["operateur"]}
    sign_in(browser, "/console/preuve?suite=/console/partenaires")
    assert browser.get("/console/partenaires").status_code == 200
    assert browser.get(SENSITIVE).status_code == 403


def test_leaving_ends_both_sessions_and_every_one_this_browser_had(
    browser: httpx.Client, house: House, provider: AccountProvider
) -> None:
    sign_in(browser)
    first = dict(browser.cookies)
    sign_in(browser, "/console/preuve")
    page = browser.get("/console/registre")
    assert f"form-action 'self' {provider.issuer};" in page.headers["content-security-policy"]
    token = page.text.partition('name="jeton" value="')[2].partition('"')[0]
    browser.post("/console/sortie", data={"jeton": token})
    (left,) = provider.left
    assert left["post_logout_redirect_uri"] == f"{house.base}/console/entree"
    assert left["id_token_hint"].count(".") == 2
    assert not signed_in(browser)
    with httpx.Client(base_url=house.base, cookies=first, trust_env=False) as other:
        assert not signed_in(other), "the session before the proof ended with it"


def test_no_link_ends_a_session(browser: httpx.Client, provider: AccountProvider) -> None:
    """Another site can have a browser follow one: an account leaves by the form, or by coming back as another."""
    sign_in(browser)
    for link in ("connexion", "connexion?comme=operateur", "preuve", "retour", "retour?code=x&state=y", "sortie"):
        browser.get(f"/console/{link}", follow_redirects=False)
        assert signed_in(browser), link
    provider.bent["callback"] = LIES["a refusal"][1]
    assert browser.get("/console/preuve").status_code == 401
    assert signed_in(browser), "who does not prove herself anew goes on as before"
    provider.bent.clear()
    assert browser.get("/console/preuve").status_code == 200
    assert signed_in(browser)
    assert len(browser.cookies) == 1, "the cookie of the sign-in ended with it"


def test_what_a_session_keeps_says_nothing_of_the_account(browser: httpx.Client, house: House) -> None:
    sign_in(browser)
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(select(console_session)).all()
    assert rows
    assert not any("agent-1" in str(row.agent) for row in rows)


def test_nobody_has_a_form_read_before_signing_in(house: House) -> None:
    """Without a session a body is neither read nor kept on disk: the answer comes before it does."""
    head = b"POST /console/sortie HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    sent = head % house.base.removeprefix("http://").encode() + b"Content-Length: 1000000000\r\n\r\n--x\r\n"
    assert house.raw(sent, timeout=2).startswith(b"HTTP/1.1 303")


@pytest.mark.parametrize(
    "metadata",
    [lambda told: told | {"issuer": "https://mal.example"}, lambda _: {}, lambda told: told | {"x": "y" * 2_000_000}],
)
def test_a_provider_that_names_itself_otherwise_or_answers_without_end_lets_nobody_in(
    provider: AccountProvider, tmp_path: Path, metadata: Any
) -> None:
    provider.bent["metadata"] = metadata
    told = {"console_oidc_issuer": provider.issuer, "console_oidc_client_id": CLIENT}
    try:
        with opened(tmp_path, **told) as house, house.anyone() as client:
            answer = client.get("/console/connexion")
            assert answer.status_code == 503
            assert "<html" in answer.text
    finally:
        provider.bent.clear()
