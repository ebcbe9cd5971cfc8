"""Every page and state, in both themes: axe finds nothing, nothing overflows, a picture is kept to be looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import CHROMIUM, SCREENSHOTS, Lived, follow

pytestmark = pytest.mark.browser

BAD_PAGE = """<!doctype html><html lang="fr"><head><title>Témoin</title><style>body { color: #000; background: #fff }
p { color: #bbb } @media (prefers-color-scheme: dark) { p { color: #000 } em { color: #bbb } }</style></head><body>
<main><h1>Témoin</h1><img src="data:,"><button></button><input><p>Illisible</p><em>Illisible</em></main>
</body></html>"""


def _search(page: Any, lived: Lived, **typed: str) -> None:
    page.goto("/console/personne")
    for name, value in typed.items():
        page.fill(f"#{name}", value)
    follow(page, "main button[type=submit]")


def _person(page: Any, lived: Lived) -> None:
    one = lived.people[0]
    _search(page, lived, nir=one.person.nir, date_naissance=one.born)


def _person_refusals(page: Any, lived: Lived) -> None:
    _person(page, lived)
    page.goto(page.url.partition("?")[0] + "?vue=refus")


def _first(href: str) -> Callable[[Any, Lived], None]:
    """Follow the first link of the main part whose address starts so."""
    listing = {"/console/quarantaine/": "/console/quarantaine"}

    def go(page: Any, lived: Lived) -> None:
        page.goto(listing.get(href, href.rstrip("/")))
        follow(page, f"main table a[href^='{href}']")

    return go


def _finding(page: Any, lived: Lived) -> None:
    _first("/console/quarantaine/")(page, lived)
    follow(page, "main tbody a[href^='/console/quarantaine/']")


def _value(page: Any, lived: Lived) -> None:
    _finding(page, lived)
    follow(page, "form[action$='/valeur'] button")
    if "/provider/" in page.url:
        follow(page, "main button")


def _divergence(page: Any, lived: Lived) -> None:
    page.goto("/console/divergences")
    follow(page, "main table a[href^='/console/divergences/']")
    if "/provider/" in page.url:
        follow(page, "main button")


def _trial(page: Any, lived: Lived) -> None:
    file = next(lived.gateway.settings.home.rglob("*.xml"))
    page.goto("/console/essai")
    page.select_option("#document", "caf.flux_beneficiaire")
    page.set_input_files(
        "#fichier", {"name": "essai.xml", "mimeType": "text/xml", "buffer": file.read_bytes()[:2_000_000]}
    )
    follow(page, "main button[type=submit]")


def _file_form(page: Any, lived: Lived) -> None:
    page.goto("/console/fichiers")
    follow(page, "form[action='/console/fichiers/essai'] button")


def _file_tried(page: Any, lived: Lived) -> None:
    file = next(lived.gateway.settings.home.rglob("*.xml"))
    _file_form(page, lived)
    page.select_option("#envoi", "caf|caf.flux_beneficiaire")
    page.set_input_files("#fichier", file)
    follow(page, "main form[enctype] button[type=submit]")
    while page.locator(".state", has_text="lecture d'essai").count():
        page.reload()


def _file_refused(page: Any, lived: Lived) -> None:
    _file_form(page, lived)
    page.select_option("#envoi", "caf|caf.flux_beneficiaire")
    page.set_input_files("#fichier", {"name": "x.xml", "mimeType": "text/xml", "buffer": b"<!DOCTYPE a><a/>"})
    follow(page, "main form[enctype] button[type=submit]")
    while page.locator(".state", has_text="lecture d'essai").count():
        page.reload()


def _refused_trial(page: Any, lived: Lived) -> None:
    page.goto("/console/essai")
    page.select_option("#document", "caf.flux_beneficiaire")
    page.set_input_files("#fichier", {"name": "x.xml", "mimeType": "text/xml", "buffer": b"<!DOCTYPE a><a/>"})
    follow(page, "main button[type=submit]")


def _checked(page: Any, lived: Lived) -> None:
    page.goto("/console/integrite")
    follow(page, "form[action$='/verifier'] button")


def _asking(right: str, then: str = "") -> Callable[[Any, Lived], None]:
    """A request of a person, just written down, or what follows it."""

    def go(page: Any, lived: Lived) -> None:
        _person(page, lived)
        page.goto(page.url.partition("?")[0] + "/demande")
        page.select_option("#droit", right)
        follow(page, "main button[type=submit]")
        if then:
            page.goto(page.url.partition("?")[0] + then)
        if "/provider/" in page.url:
            follow(page, "main button")

    return go


def _refused_without_letter(page: Any, lived: Lived) -> None:
    _asking("access")(page, lived)
    page.set_input_files("#lettre", {"name": "vide.txt", "mimeType": "text/plain", "buffer": b""})
    follow(page, "form:has(#lettre) button")


def _breach(page: Any, lived: Lived) -> None:
    page.goto("/console/violations")
    page.select_option("#nature", "token-stolen")
    follow(page, "main button[type=submit]")


def _reidentification(reason: str) -> Callable[[Any, Lived], None]:
    """A request just made, or its form with what is to correct."""

    def go(page: Any, lived: Lived) -> None:
        page.goto("/console/reidentification")
        page.fill("#pseudonyme", "ab" * 20)
        page.fill("#motif", reason)
        follow(page, "main button[type=submit]")

    return go


def _opening(page: Any, lived: Lived) -> None:
    _person(page, lived)
    page.goto(page.url.partition("?")[0] + "/demande")


def _contact(page: Any, lived: Lived) -> None:
    page.goto("/console/connecteurs/france_travail")
    follow(page, "main form button")


def _at(path: str) -> Callable[[Any, Lived], None]:
    return lambda page, lived: page.goto(path)


PAGES: dict[str, tuple[str, Callable[[Any, Lived], None]]] = {
    "entree": ("", _at("/console/")),
    "fournisseur": ("", _at("/console/connexion")),
    "accessibilite": ("", _at("/console/accessibilite")),
    "accueil-dpo": ("dpo", _at("/console/")),
    "registre": ("dpo", _at("/console/registre")),
    "registre-vide": ("dpo", _at("/console/registre?finalite=urgence_vitale")),
    "echanges": ("dpo", _at("/console/echanges")),
    "echange": ("dpo", _first("/console/echanges/")),
    "recherche": ("dpo", _at("/console/personne")),
    "recherche-erreur": ("dpo", lambda page, lived: _search(page, lived, nir="123")),
    "recherche-inconnue": (
        "dpo",
        lambda page, lived: _search(page, lived, numero_france_travail="00000000000", date_naissance="1950-01-01"),
    ),
    "personne": ("dpo", _person),
    "personne-refus": ("dpo", _person_refusals),
    "conventions": ("dpo", _at("/console/conventions")),
    "convention": ("dpo", _first("/console/conventions/")),
    "bases": ("dpo", _at("/console/bases")),
    "droit-inscrire": ("dpo", _opening),
    "droit-acces": ("dpo", _asking("access")),
    "droit-sans-lettre": ("dpo", _refused_without_letter),
    "droit-portabilite": ("dpo", _asking("portability", "/portabilite")),
    "droit-rectifier": ("dpo", _asking("rectification", "/executer")),
    "droit-effacer": ("dpo", _asking("erasure", "/executer")),
    "droit-limiter": ("dpo", _asking("limitation", "/executer")),
    "droit-opposition": ("dpo", _asking("objection", "/executer")),
    "droit-retrait": ("dpo", _asking("withdrawal", "/executer")),
    "violation": ("dpo", _breach),
    "droits": ("dpo", _at("/console/droits")),
    "droits-repondues": ("dpo", _at("/console/droits?vue=repondues")),
    "violations": ("dpo", _at("/console/violations")),
    "reidentification": ("dpo", _at("/console/reidentification")),
    "reidentification-demande": ("dpo", _reidentification("Réquisition du procureur, dossier 2026-41.")),
    "reidentification-erreur": ("dpo", _reidentification("pour voir")),
    "registres": ("dpo", _at("/console/registres")),
    "integrite": ("dpo", _checked),
    "conservation": ("dpo", _at("/console/conservation")),
    "anomalies": ("dpo", _at("/console/anomalies")),
    "minimisation": ("dpo", _at("/console/minimisation")),
    "double-saisie": ("dpo", _at("/console/double-saisie")),
    "correspondances": ("dpo", _at("/console/correspondances")),
    "correspondance": ("dpo", _at("/console/correspondances/caf.flux_beneficiaire")),
    "correspondance-fiche": ("dpo", _at("/console/correspondances/ccas.fiche")),
    "decision": ("dpo", _at("/console/decision")),
    "introuvable": ("dpo", _at("/console/conventions/aucune")),
    "reservee": ("dpo", _at("/console/quarantaine")),
    "accueil-integration": ("integration", _at("/console/")),
    "quarantaine": ("integration", _at("/console/quarantaine")),
    "quarantaine-liste": ("integration", _first("/console/quarantaine/")),
    "quarantaine-constat": ("integration", _finding),
    "quarantaine-valeur": ("integration", _value),
    "identites": ("integration", _at("/console/identites")),
    "identite": ("integration", _first("/console/identites/")),
    "divergences": ("integration", _at("/console/divergences")),
    "divergence": ("integration", _divergence),
    "connecteurs": ("integration", _at("/console/connecteurs")),
    "connecteur": ("integration", _at("/console/connecteurs/caf")),
    "connexion": ("integration", _contact),
    "explorateur": ("integration", _at("/console/explorateur")),
    "essai": ("integration", _at("/console/essai")),
    "essai-resultat": ("integration", _trial),
    "essai-refuse": ("integration", _refused_trial),
    "accueil-operateur": ("operateur", _at("/console/")),
    "partenaires": ("operateur", _at("/console/partenaires")),
    "abandonnes": ("operateur", _at("/console/abandonnes")),
    "fichiers": ("operateur", _at("/console/fichiers")),
    "fichier-choisir": ("operateur", _file_form),
    "fichier-essaye": ("operateur", _file_tried),
    "fichier-refuse": ("operateur", _file_refused),
    "etat": ("operateur", _at("/console/etat")),
}
"""State → (role, how to reach it)."""


COLOURS = {"runOnly": ["cat.color"], "rules": {"color-contrast-enhanced": {"enabled": False}}}
"""What axe looks at by itself that another colour may change."""


@pytest.fixture(scope="module")
def windows(chromium: Any, lived: Lived) -> Iterator[dict[str, Any]]:
    """One window per role; JavaScript only serves axe, the console has none."""
    opened: dict[str, Any] = {}
    contexts = []
    for role in ("", "dpo", "integration", "operateur"):
        context = chromium.new_context(base_url=lived.url, locale="fr-FR", viewport={"width": 1366, "height": 900})
        contexts.append(context)
        window = context.new_page()
        window.set_default_timeout(60_000)
        if role:
            window.goto(f"/console/connexion?comme={role}")
        opened[role] = window
    yield opened
    for context in contexts:
        context.close()


def in_theme(window: Any, theme: str, name: str) -> None:
    """Shows the page in this theme, and keeps a picture of it."""
    window.emulate_media(color_scheme=theme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    window.screenshot(path=SCREENSHOTS / f"{name}-{theme}.png", full_page=True)


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(windows: dict[str, Any], lived: Lived, name: str) -> None:
    role, reach = PAGES[name]
    window = windows[role]
    reach(window, lived)
    assert window.title(), f"not a page: {window.inner_text('body')}"
    in_theme(window, "light", name)
    found = Axe().run(window).response["violations"]
    in_theme(window, "dark", name)
    found += window.evaluate("options => axe.run(options)", COLOURS)["violations"]
    assert [(one["id"], one["nodes"][0]["target"], one["nodes"][0].get("failureSummary")) for one in found] == []
    assert re.match(r"^.+ – Maillon$", window.title())
    assert window.locator("h1").count() == 1


def test_the_dark_theme_changes_colours_alone(lived: Lived) -> None:
    """Why the other rules of axe are tried in one theme."""
    style = httpx.get(f"{lived.url}/console/static/console.css", trust_env=False).text
    (block,) = re.findall(r"@media screen and \(prefers-color-scheme: dark\) {\s*:root {([^}]*)}\s*}", style)
    assert style.count("prefers-color-scheme") == 1
    changed = [one.partition(":") for one in block.split(";") if one.strip()]
    assert changed
    assert not [name for name, _, value in changed if not re.fullmatch(r"\s*#[0-9a-f]{6}", value)]


def test_axe_finds_what_is_wrong_with_a_bad_page(chromium: Any) -> None:
    window = chromium.new_page()
    window.set_content(BAD_PAGE)
    found = {one["id"]: one["nodes"] for one in Axe().run(window).response["violations"]}
    window.emulate_media(color_scheme="dark")
    (dark,) = window.evaluate("options => axe.run(options)", COLOURS)["violations"]
    window.close()
    assert {"image-alt", "button-name", "label", "color-contrast"} <= found.keys()
    assert [one["target"] for one in found["color-contrast"]] == [["p"]]
    assert (dark["id"], [one["target"] for one in dark["nodes"]]) == ("color-contrast", [["em"]])


@pytest.mark.parametrize("width", [320, 768])
@pytest.mark.parametrize(
    "name",
    [
        "registre",
        "personne",
        "quarantaine-constat",
        "partenaires",
        "recherche-erreur",
        "entree",
        "double-saisie",
        "correspondance-fiche",
    ],
)
def test_nothing_needs_two_way_scrolling(windows: dict[str, Any], lived: Lived, name: str, width: int) -> None:
    role, reach = PAGES[name]
    window = windows[role]
    window.emulate_media(color_scheme="light")
    window.set_viewport_size({"width": width, "height": 800})
    reach(window, lived)
    window.wait_for_load_state("networkidle")  # a page reached by a form may be measured before its style sheet
    wide = window.evaluate("document.documentElement.scrollWidth")
    window.screenshot(path=SCREENSHOTS / f"{name}-{width}.png")
    window.set_viewport_size({"width": 1366, "height": 900})
    assert wide <= width


@pytest.mark.parametrize(
    "name", ["personne", "registre", "echange", "decision", "integrite", "correspondance", "convention"]
)
def test_a_printed_page_is_whole_and_says_what_it_is(windows: dict[str, Any], lived: Lived, name: str) -> None:
    """On A4, between margins of one centimetre: what is wider, the browser shrinks until nobody can read it."""
    role, reach = PAGES[name]
    window = windows[role]
    reach(window, lived)
    window.emulate_media(media="print", color_scheme="dark")
    window.set_viewport_size({"width": 718, "height": 1000})
    try:
        window.wait_for_load_state("networkidle")
        wide = window.evaluate("document.documentElement.scrollWidth")
        window.screenshot(path=SCREENSHOTS / f"{name}-papier.png")
        told = window.inner_text("footer")
        assert window.locator("nav:visible, form:visible").count() == 0
    finally:
        window.emulate_media(media="null")
        window.set_viewport_size({"width": 1366, "height": 900})
    assert wide <= 718
    assert re.search(r"Page /console/\S+, telle qu'elle était le \d\d/\d\d/\d{4} \d\d:\d\d", told)
    assert "Démonstration" in window.inner_text("header"), "on paper too, nobody is taken for a real person"


def test_the_page_is_in_french_and_needs_no_script(page: Any, lived: Lived) -> None:
    page.goto("/console/entree")
    content = page.content()
    assert '<html lang="fr">' in content
    assert "<script" not in content
    assert CHROMIUM
