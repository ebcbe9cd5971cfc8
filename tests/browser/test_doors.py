"""Who may come in, and what a session resists: over HTTP, without a browser."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gateway import production
from gateway.app import build
from gateway.console import common, identities, places
from gateway.console.common import MENU, safe
from gateway.console.provider import provider
from gateway.console.signin import require_complete
from gateway.journal_entry import EVENTS
from gateway.keys import Keyring
from gateway.problems import Misconfigured
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import identity_case
from gateway.words import strings
from tests.browser.conftest import Lived, send
from tests.docs.test_words import _codes

SignedIn = Callable[[str], httpx.Client]


def _token(client: httpx.Client, path: str) -> str:
    found = re.search(r'name="jeton" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]


@pytest.mark.parametrize("path", [place.path for place in places() if place.method == "GET" and "{" not in place.path])
def test_no_page_opens_without_a_session(lived: Lived, path: str) -> None:
    answer = httpx.get(lived.url + path, follow_redirects=False, trust_env=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/entree")


@pytest.mark.parametrize("role", list(MENU))
def test_a_role_opens_its_own_pages_and_no_other(signed_in: SignedIn, role: str) -> None:
    client = signed_in(role)
    for place in places():
        if place.method == "GET" and "{" not in place.path:
            answer = client.get(place.path)
            assert answer.status_code == (200 if role in place.roles else 403), (place.path, answer.status_code)


def test_no_value_of_a_doubtful_person_is_shown_to_anyone_and_only_those_who_may_decide_see_the_masked_ones(
    lived: Lived, signed_in: SignedIn
) -> None:
    gateway = lived.gateway
    with gateway.unit_of_work() as work:
        case = work.connection.execute(select(identity_case).where(identity_case.c.state == "open")).first()
        sides = [gateway.dossiers.current(work, one) for one in (case.person_id, case.candidate_id)]
    values = {str(one) for side in sides for path, fact in side.items() if path in identities._COMPARED
              for one in (fact.value if isinstance(fact.value, list) else [fact.value])}  # fmt: skip
    assert len(values) > 4
    for role in MENU:
        client = signed_in(role)
        pages = [client.get(path) for path in ("/console/identites", f"/console/identites/{case.id}")]
        told = client.post(f"/console/identites/{case.id}/meme", data={"jeton": "x" * 43})
        assert told.status_code == 403, "not without the token of the session, nor without the role"
        may = role == "integration"
        assert [one.status_code for one in pages] == [200 if may else 403] * 2, role
        shown = "".join(one.text for one in (*pages, told))
        assert not [value for value in values if value in shown], role
        assert ("••/••/" in shown) == may
        assert case.id in shown or not may


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("personne.nom_naissance", "LEFÈVRE DURAND", "L•••••• D•••••"),
        ("personne.nom_naissance", "O", "•"),
        ("personne.prenoms", ["Li", "Marie"], "•• M••••"),
        ("personne.date_naissance", "1985-06-12", "••/••/1985"),
        ("personne.adresses[residence].code_postal", "40100", "40•••"),
        ("identifiants[nir].valeur", "2850699999999", "2••••••••••99"),
        ("identifiants[ft_numero].valeur", "12345", "•••••"),
    ],
)
def test_a_masked_value_is_never_whole(path: str, value: Any, shown: str) -> None:
    assert identities.masked(path, value) == shown


@pytest.mark.parametrize("path", ["/console/nulle-part", "/console/sortie", "/console/droits/x/reponse"])
def test_an_address_that_is_no_page_is_answered_in_french(lived: Lived, signed_in: SignedIn, path: str) -> None:
    answer = signed_in("dpo").get(path)
    assert answer.status_code == 404
    assert "pas une page de la console" in html.unescape(answer.text)
    assert "<h1" in answer.text


def test_the_page_of_a_mapping_names_its_categories_and_its_tables(signed_in: SignedIn) -> None:
    page = html.unescape(signed_in("dpo").get("/console/correspondances/ccas.fiche").text)
    assert "freins (situations)" in page
    assert "<code>frein_situation</code>" not in page
    assert page.count("<table") == page.count("<table aria-label=") > 5


def test_a_number_that_is_none_is_said_not_searched(signed_in: SignedIn) -> None:
    wrong = send(signed_in("dpo"), "/console/personne", telephone="abc", courriel="x@y", prenom="Amélia")
    assert wrong.status_code == 422
    for name, said in (("telephone", "pas un numéro de téléphone"), ("courriel", "pas une adresse de courriel")):
        assert (said in wrong.text, f'href="#{name}"' in wrong.text) == (True, True), name


def test_two_pages_of_one_kind_have_two_titles(signed_in: SignedIn) -> None:
    """Whoever listens to tabs and to a history tells them apart; on screen the heading stays short."""
    client = signed_in("dpo")
    listed = sorted(set(re.findall(r"/console/echanges/[0-9a-f-]{36}", client.get("/console/echanges").text)))
    pages = [client.get(one).text for one in listed[:8]]
    titles = [found[1] for page in pages if (found := re.search(r"<title>(.*?)</title>", page))]
    assert len(set(titles)) == len(pages) == 8
    names = re.findall(r'<a href="/console/echanges/[^"]+">(.*?)</a>', client.get("/console/echanges").text)
    assert len(set(names)) == len(names)


def test_a_form_without_the_token_of_the_session_changes_nothing(signed_in: SignedIn) -> None:
    client = signed_in("operateur")
    for data in ({}, {"jeton": "x" * 43}, {"jeton": "é"}, {"jeton": "\x00"}):
        assert client.post("/console/partenaires/caf/suspendre", data=data).status_code == 403
    other = _token(signed_in("operateur"), "/console/partenaires")
    assert client.post("/console/partenaires/caf/suspendre", data={"jeton": other}).status_code == 403


def test_the_cookie_is_signed_and_out_of_reach_of_scripts(lived: Lived, signed_in: SignedIn) -> None:
    client = signed_in("dpo")
    (cookie,) = list(client.cookies.jar)
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "lax"
    token, _, signature = str(cookie.value).partition(".")
    for forged in (token, f"{token}.{'0' * len(signature)}", f"x{token}.{signature}", f"{token}.é", "é.é"):
        given = {"Cookie": f"{cookie.name}={forged}".encode()}
        answer = httpx.get(lived.url + "/console/registre", headers=given, trust_env=False)
        assert answer.status_code == 303


def test_leaving_ends_the_session_for_good(lived: Lived, signed_in: SignedIn) -> None:
    client = signed_in("dpo")
    cookies = dict(client.cookies)
    client.post("/console/sortie", data={"jeton": _token(client, "/console/registre")})
    assert httpx.get(lived.url + "/console/registre", cookies=cookies, trust_env=False).status_code == 303


def test_an_answer_that_nobody_asked_for_opens_nothing(lived: Lived) -> None:
    with httpx.Client(base_url=lived.url, trust_env=False) as client:
        assert client.get("/console/retour?code=x&state=y").status_code == 401
        start = client.get("/console/connexion?comme=dpo")
        stolen = start.headers["location"]
        code = client.get(stolen).headers["location"]
        for state in ("autre", "%C3%A9", ""):
            assert client.get(re.sub(r"state=[^&]+", f"state={state}", code)).status_code == 401
    with httpx.Client(base_url=lived.url, trust_env=False) as elsewhere:
        assert elsewhere.get(code).status_code == 401


def test_a_code_serves_once(lived: Lived) -> None:
    with httpx.Client(base_url=lived.url, trust_env=False) as client:
        code = client.get(client.get("/console/connexion?comme=dpo").headers["location"]).headers["location"]
        before = dict(client.cookies)
        assert client.get(code).status_code == 303
        assert httpx.get(lived.url + code, cookies=before, trust_env=False).status_code == 401


def test_a_sensitive_reading_asks_for_a_new_proof(lived: Lived, signed_in: SignedIn) -> None:
    client = signed_in("integration")
    reference = re.search(r"/console/divergences/([0-9a-f]{40})", client.get("/console/divergences").text)
    assert reference
    shown = client.get(reference[0])
    assert shown.status_code == 200
    assert re.search(r", le \d\d/\d\d/\d{4}", shown.text)
    assert not re.search(r"\d{4}-\d\d-\d\d", shown.text), "a day is written as French writes it"
    from tests.browser.test_journeys import _age_the_proof

    _age_the_proof(lived)
    answer = client.get(reference[0])
    assert "/console/provider/authorize" in str(answer.url)
    assert "Confirmez que c&#39;est bien vous" in answer.text


def test_pages_carry_a_strict_policy_and_no_script(signed_in: SignedIn) -> None:
    client = signed_in("dpo")
    for path in ("/console/registre", "/console/decision", "/console/correspondances/caf.flux_beneficiaire"):
        answer = client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "<script" not in answer.text
        assert " style=" not in answer.text
        assert not re.search(r" on[a-z]+=", answer.text)


@pytest.mark.parametrize(
    "address", ["https://mal.example/", "//mal.example", "/console/\\mal", "/v1/exchanges", "/console//x"]
)
def test_coming_back_never_leaves_the_console(address: str) -> None:
    assert not safe(address)


@pytest.mark.parametrize(
    ("issuer", "profile"),
    [("http://127.0.0.1:8400", "production"), ("https://passerelle.example", "demo"), ("https://10.1.2.3", "test")],
)
def test_the_local_provider_does_not_exist_in_production_nor_under_an_address_others_can_call(
    tmp_path: Path, issuer: str, profile: str
) -> None:
    with pytest.raises(Misconfigured):
        provider(Keyring(tmp_path), f"{issuer}/console/provider", profile, lambda *_: "")


async def test_the_local_provider_refuses_as_the_gateway_does(tmp_path: Path) -> None:
    app = build(Gateway.open(Settings(profile="demo", home=tmp_path, issuer="http://127.0.0.1:8400")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8400") as client:
        many = {"content": b"code=" + b"a" * 20_000, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
        answers = [
            (await client.post("/console/provider/jwks"), 405),
            (await client.get("/console/provider/jwks/"), 404),
            (await client.post("/console/provider/token", **many), 413),
        ]
    for answer, status in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["instance"].startswith("urn:uuid:")
    assert answers[0][0].headers["allow"] == "GET, HEAD"


async def test_a_console_without_a_provider_is_shut_to_the_network(tmp_path: Path) -> None:
    """A gateway put on line under its own name before anybody chose a profile lets nobody in without a password."""
    app = build(Gateway.open(Settings(profile="demo", home=tmp_path, issuer="https://passerelle.example")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://passerelle.example") as client:
        assert (await client.get("/console/entree")).status_code == 503
        assert (await client.get("/console/connexion?comme=dpo")).headers["location"] == "/console/entree"
        assert (await client.get("/console/provider/authorize")).status_code == 404
    for issuer in ("http://127.0.0.1:8400", "https://localhost"):
        with pytest.raises(Misconfigured, match="loopback-only"):
            production.require(Settings(profile="test", issuer=issuer), "0.0.0.0")


def test_a_provider_named_by_half_is_refused() -> None:
    with pytest.raises(Misconfigured):
        require_complete(Settings(profile="test", console_oidc_issuer="https://connexion.example"))


def test_every_sentence_is_used_and_every_key_exists() -> None:
    folder = Path(common.__file__).parent
    root = folder.parents[1]
    told = {(section, name) for section, all_ in strings().items() for name in all_}
    pages = [*folder.parent.rglob("*.py"), *folder.parent.rglob("templates/*.html")]
    source = "".join(path.read_text(encoding="utf-8") for path in pages)
    named = {tuple(key.split(".")) for key in re.findall(r'["\']([a-z_]+\.[a-z_0-9]+)["\']', source)}
    said = {tuple(key.split(".")) for key in re.findall(r'(?:say|many)\(\s*["\']([a-z_]+\.[a-z_0-9]+)', source)}
    assert sorted(said - told) == []
    made = re.findall(r'f"(?:[a-z_]+\.)?([a-z_]*)\{[^"{}]+\}([a-z_]*)"', source)
    all_ = [path for one in ("gateway", "connectors", "mappings", "schemas") for path in (root / one).rglob("*.*")]
    everything = "".join(
        path.read_text(encoding="utf-8") for path in all_ if path.suffix in (".py", ".toml") and path.stem != "strings"
    )
    found = {*re.findall(r"""["']([\w.+-]+)["']""", everything), *EVENTS}
    codes = {re.sub("[-.]", "_", code) for code in found}
    parts = {part for code in _codes() for part in (code, *code.split("_"))}
    unused = [
        f"{section}.{name}"
        for section, name in sorted(told - named)
        if re.sub("[-.]", "_", name) not in codes | (parts if section == "mot" else set())
        and not any((start or end) and name.startswith(start) and name.endswith(end) for start, end in made)
    ]
    assert not unused, unused


def test_the_journal_can_be_taken_away_and_checked(signed_in: SignedIn, tmp_path: Path) -> None:
    import io
    import zipfile

    from gateway import verify

    client = signed_in("dpo")
    answer = client.post("/console/integrite/export", data={"jeton": _token(client, "/console/integrite")})
    assert answer.headers["content-type"] == "application/zip"
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path)
    assert verify.verify(tmp_path / "journal").ok


def test_the_proof_of_an_exchange_verifies(signed_in: SignedIn) -> None:
    import io
    import zipfile

    client = signed_in("dpo")
    listed: Any = re.findall(r"/console/echanges/[0-9a-f-]{36}", client.get("/console/echanges").text)
    answer = client.get(f"{listed[-1]}/preuve")
    assert answer.status_code == 200
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert {"LISEZMOI.txt", "verify.py", "policy.txt"} <= set(names)


def test_whatever_was_told_of_a_person_is_opened_and_proved_from_her_page(lived: Lived, signed_in: SignedIn) -> None:
    """Also what no document received began: the question that was put to France Travail about her."""
    one = lived.people[0]
    client = signed_in("dpo")
    found = send(client, "/console/personne", nir=one.person.nir, date_naissance=one.born)
    heads = set()
    for opened in sorted(set(re.findall(r"/console/echanges/[0-9a-f-]{36}", found.text))):
        page = client.get(opened)
        assert page.status_code == 200, page.text
        assert client.get(f"{opened}/preuve").headers["content-type"] == "application/zip"
        heads.add(re.findall(r"<h1[^>]*>\s*(.*?)\s*</h1>", html.unescape(page.text))[0].partition(" : ")[0])
    assert any(head.startswith("Échange vers France Travail") for head in heads), heads


def test_a_connection_is_tried_for_real_and_written_down(lived: Lived, signed_in: SignedIn) -> None:
    from sqlalchemy import select

    from gateway.storage.tables.journal import journal_entry

    client = signed_in("integration")
    at = "/console/connecteurs/france_travail"
    answer = client.post(f"{at}/essai", data={"jeton": _token(client, at), "organisme": "france_travail"})
    assert "Tout ce qui a été essayé répond." in answer.text, answer.text[-3000:]
    assert lived.gateway.settings.bodies["france_travail"]["client_secret"] not in answer.text
    with lived.gateway.engine.connect() as connection:
        entries = connection.scalars(select(journal_entry.c.entry).where(journal_entry.c.event == "admin.contact"))
        assert any(
            b'"outcome":"reached"' in bytes(one) and b'"agent_role":"integration"' in bytes(one) for one in entries
        )
    other = client.post(f"{at}/essai", data={"jeton": _token(client, at), "organisme": "caf"})
    assert other.status_code == 404


def test_what_moves_is_followed_live_only_when_asked(lived: Lived, signed_in: SignedIn) -> None:
    from sqlalchemy import delete, insert

    from gateway import clock
    from gateway.storage.tables.record import batch

    client, page, id = signed_in("operateur"), "/console/fichiers", clock.new_id()
    assert "refresh" not in client.get(f"{page}?direct=1").headers, "nothing moves"
    with lived.gateway.engine.begin() as connection:
        row = {"sender": "caf", "document": "caf.flux_beneficiaire", "envelope_h": b"e" * 32, "file_digest": b"d" * 32}
        more = {"kind": "stock", "state": "running", "done": 1200, "started_at": clock.instant()}
        connection.execute(insert(batch).values(id=id, **row, **more))
    try:
        still = client.get(page)
        assert "refresh" not in still.headers
        assert "Suivre en direct" in still.text
        live = client.get(f"{page}?direct=1")
        assert live.headers["refresh"] == "5"
        assert "Arrêter le suivi" in live.text
        assert "1\u202f200 lus et appliqués" in live.text
    finally:
        with lived.gateway.engine.begin() as connection:
            connection.execute(delete(batch).where(batch.c.id == id))
