"""Tokens, jetons, headers and the outcome of every documented failure: domain reference §2 and §3."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
from pathlib import Path

import pytest

import schemas.nomenclatures
from connectors.contract import DocumentRefused
from connectors.france_travail.answers import SEARCH
from connectors.france_travail.sandbox import SCENARIOS, Usager

ODDITIES = {
    "impact_absent", "libelles_mojibake", "code_inconnu", "libelle_contredit", "valeur_inconnue", "objectifs_inventes",
    "champs_nouveaux", "cles_absentes", "anciennes_cles", "orientations_vides", "rendez_vous_200", "fusion",
    "activites_enveloppe", "activites_inexploitables", "activites_refusees", "rendez_vous_sans_id",
    "coupure_apres_ecriture", "criteres_insuffisants", "orientation_non_decidable", "contrat_transition_impossible",
    "sanction_impossible", "fusion_perte", "activites_pleines",
}  # fmt: skip
"""Scenarios that `test_command_line.py` and others test: they touch the content of a document or a write."""

PULLED = {
    "client_refuse": ("refused", "invalid_client", None),
    "jeton_acces_refuse": ("refused", "unauthorized", None),
    "portee_refusee": ("refused", "invalid_scope", None),
    "portee_absente": ("refused", "scope_missing", None),
    "redirection": ("refused", "agent_header_missing", None),
    "quota": ("retry", "quota", 30.0),
    "quota_sans_delai": ("retry", "quota", 60.0),
    "panne_durable": ("retry", "JCS0011G", None),
    "indisponible": ("retry", "http_503", None),
    "approchant_absent": ("waiting", "not_found", None),
    "approchant_absent_null": ("waiting", "not_found", None),
    "approchant_absent_204": ("waiting", "not_found", None),
    "approchant_absent_404": ("waiting", "not_found", None),
    "approchant_absent_404_code": ("waiting", "not_found", None),
    "identite_non_certifiee": ("waiting", "not_certified", None),
    "homonymes": ("refused", "ambiguous", None),
    "hors_perimetre": ("refused", "forbidden", None),
    "non_rattachee": ("refused", "forbidden", None),
    "recherche_invalide": ("refused", "invalid_input", None),
    "sans_adresse": ("refused", "incomplete_person", None),
    "recherche_indisponible": ("retry", "unavailable", None),
    "code_retour_inconnu": ("refused", "unexpected", None),
    "reponse_tronquee": ("retry", "answer-truncated", None),
    "muet": ("retry", "deadline", None),
}
RECOVERED = {"jeton_acces_expire", "jeton_expire", "panne_technique"}


@pytest.mark.parametrize(("scenario", "outcome"), PULLED.items())
async def test_each_documented_failure_has_one_outcome(partner, scenario: str, outcome: tuple) -> None:
    ft = partner(scenario)
    if scenario == "muet":
        ft.transport.limits = type(ft.transport.limits)(backoff=0.0, deadline=0.1)
    assert await ft.refusal("dossier_diagnostic") == outcome


@pytest.mark.parametrize("scenario", sorted(RECOVERED))
async def test_a_failure_that_passes_is_passed_over(partner, scenario: str) -> None:
    assert len(await partner(scenario).pull("dossier_diagnostic")) == 1


def test_every_scenario_of_the_stand_in_is_tested_somewhere() -> None:
    assert SCENARIOS.keys() == PULLED.keys() | RECOVERED | ODDITIES | {"rien", "reponse_non_json"}


async def test_an_answer_that_is_not_json_is_kept_out(partner) -> None:
    """A pulled document is opened by `read`, which refuses it; a calculated answer is a typed outcome."""
    ft = partner("reponse_non_json")
    (content,) = await ft.pull("dossier_diagnostic")
    with pytest.raises(DocumentRefused, match="json-syntax"):
        ft.connector.read("france_travail.dossier_diagnostic", io.BytesIO(content))
    assert await ft.refusal("informations_administratives") == ("retry", "answer_unreadable", None)


async def test_nothing_is_not_an_error(partner) -> None:
    assert await partner("rien").pull("dossier_diagnostic") == []
    ft = partner()
    assert await ft.pull("dossier_diagnostic", ft.person("00000000102")) == []


def test_every_search_code_that_is_published_has_an_outcome() -> None:
    path = Path(schemas.nomenclatures.__file__).parent / "france_travail" / "rechercher_usager_codes.csv"
    rows = {row["code"]: row for row in csv.DictReader(path.open(encoding="utf-8"))}
    assert rows.keys() == SEARCH.keys()
    for code, row in rows.items():
        outcome, name = SEARCH[code]
        assert name == row["outcome"], code
        assert (outcome == "retry") == (row["retryable"] == "yes"), code


# Identifiers


async def test_nir_and_birth_date_are_preferred_to_the_number(partner) -> None:
    ft = partner()
    await ft.pull("statut_usager", ft.person() | {"ft_numero": "00000000101"})
    assert len(ft.app.calls("recherche_nir")) == 1
    await ft.pull("statut_usager", {"ft_numero": "00000000101"})
    assert len(ft.app.calls("recherche_numero")) == 1


@pytest.mark.parametrize(
    ("identifiers", "outcome"),
    [
        ({}, ("waiting", "identifier_missing", None)),
        ({"nir": "2900199999101"}, ("waiting", "identifier_missing", None)),
        ({"date_naissance": "1990-01-01"}, ("waiting", "identifier_missing", None)),
        ({"nir": "290019999910100", "date_naissance": "1990-01-01"}, ("refused", "invalid_input", None)),
        ({"nir": "29001", "date_naissance": "1990-01-01"}, ("refused", "invalid_input", None)),
        ({"nir": "2900199999101", "date_naissance": "1990"}, ("refused", "invalid_input", None)),
        ({"ft_numero": "1234"}, ("refused", "invalid_input", None)),
    ],
)
async def test_what_cannot_find_anyone_is_not_sent(partner, identifiers: dict, outcome: tuple) -> None:
    ft = partner()
    assert await ft.refusal("dossier_diagnostic", identifiers) == outcome
    assert ft.app.calls("recherche_nir") == ft.app.calls("recherche_numero") == []


@pytest.mark.parametrize("unusable", [{"nir": "290019999910100"}, {"date_naissance": "1990"}])
async def test_a_nir_that_cannot_be_asked_for_leaves_the_number(partner, unusable: dict) -> None:
    ft = partner()
    assert len(await ft.pull("statut_usager", ft.person() | unusable | {"ft_numero": "00000000101"})) == 1
    assert len(ft.app.calls("recherche_numero")) == 1


async def test_a_corsican_nir_is_text(partner) -> None:
    corse = Usager("00000000201", "190012A999201", "1990-01-01", statut={"m_contrat": {"m_statut": "Inscrit"}})
    ft = partner(usagers=[corse])
    assert len(await ft.pull("statut_usager", {"nir": "1 90 01 2A 999 201", "date_naissance": "1990-01-01"})) == 1


async def test_only_a_certified_identity_is_acted_on(partner) -> None:
    ft = partner()
    assert await ft.refusal("dossier_diagnostic", ft.person("00000000104")) == ("waiting", "not_certified", None)
    assert ft.app.calls("dossier") == []


# Tokens and jetons


async def test_concurrent_calls_share_one_token_and_one_api_has_its_own(partner) -> None:
    ft = partner()
    await asyncio.gather(*(ft.pull("dossier_diagnostic") for _ in range(8)))
    scopes = [call.body["scope"] for call in ft.app.calls("token")]
    assert len(scopes) == len(set(scopes)) == 2
    assert all(call.query == {"realm": "/agent"} for call in ft.app.calls("token"))


async def test_a_token_is_renewed_a_minute_before_its_end(partner, clock) -> None:
    ft = partner()
    await ft.pull("statut_usager")
    clock.forward(seconds=1439)
    await ft.pull("statut_usager")
    assert len(ft.app.calls("token")) == 2
    clock.forward(seconds=1)
    await ft.pull("statut_usager")
    assert len(ft.app.calls("token")) == 3, "the business token; the jeton was still good, so no search"


async def test_a_jeton_serves_a_day_and_no_more(partner, clock) -> None:
    ft = partner()
    for _ in range(3):
        await ft.pull("dossier_diagnostic")
        await ft.pull("statut_usager")
    assert len(ft.app.calls("recherche_nir")) == 1
    clock.forward(hours=24)
    await ft.pull("dossier_diagnostic")
    assert len(ft.app.calls("recherche_nir")) == 2


async def test_a_refused_call_renews_the_token_then_the_jeton_once(partner) -> None:
    ft = partner("jeton_expire")
    assert len(await ft.pull("dossier_diagnostic")) == 1
    order = [call.name for call in ft.app.received]
    assert order == ["token", "token", "recherche_nir", "dossier", "token", "recherche_nir", "dossier"]


async def test_a_call_refused_twice_stops(partner) -> None:
    ft = partner()
    ft.app._tokens.clear()
    ft.app._issue = lambda realm, scopes: {"access_token": "inconnu", "expires_in": 1500}
    assert await ft.refusal("dossier_diagnostic") == ("refused", "unauthorized", None)
    assert len(ft.app.calls("recherche_nir")) == 2


# Headers and configuration


async def test_every_call_names_who_acts(partner) -> None:
    ft = partner(agent_identifiant="AGT42", agent_nom="Éxèmple", agent_prenom="Zoé")
    await ft.pull("dossier_diagnostic")
    headers = ft.app.calls("dossier")[0].headers
    assert (headers["pa-identifiant-agent"], headers["pa-nom-agent"], headers["pa-prenom-agent"]) == (
        "AGT42", "Exemple", "Zoe",
    )  # fmt: skip
    assert "ft-jeton-usager" in headers
    assert "ft-jeton-usager" not in ft.app.calls("recherche_nir")[0].headers


@pytest.mark.parametrize("wrong", [{"agent_nom": "A|B"}, {"agent_prenom": "  "}])
async def test_an_agent_that_france_travail_would_refuse_is_a_configuration_fault(partner, wrong: dict) -> None:
    ft = partner(**wrong)
    assert await ft.refusal("dossier_diagnostic") in (("refused", "agent_misconfigured", None),)
    assert ft.app.calls("dossier") == []


async def test_an_api_whose_scope_is_not_known_is_not_called(partner) -> None:
    ft = partner(scope_contrat="")
    answer = await ft.send("contrat_engagement", {"contrats[departement:3].etat": "signe",
                                                  "contrats[departement:3].signe_le": "2026-11-21"})  # fmt: skip
    assert (answer.outcome, answer.code) == ("refused", "scope_not_configured")


async def test_without_hosts_and_credentials_nothing_leaves(partner) -> None:
    ft = partner(client_secret="")
    assert await ft.refusal("dossier_diagnostic") == ("refused", "not_configured", None)
    assert ft.app.received == []


async def test_a_quota_silences_every_later_call(partner, clock) -> None:
    ft = partner("quota_sans_delai")
    assert (await ft.refusal("dossier_diagnostic"))[0] == "retry"
    before = len(ft.app.received)
    clock.forward(seconds=59)
    assert await ft.refusal("dossier_diagnostic") == ("retry", "paused", 1.0)
    assert len(ft.app.received) == before
    clock.forward(seconds=1)
    assert len(await ft.pull("dossier_diagnostic")) == 1


async def test_losing_one_api_does_not_stop_the_others(partner, clock) -> None:
    ft = partner()
    ft.app.subscribed = frozenset(
        ["api_rechercher-usagerv2", "rechercheusager", "profil_accedant", "api_contrat-usagerv2", "statutcontratusager"]
    )
    assert await ft.refusal("dossier_diagnostic") == ("refused", "invalid_scope", None)
    assert len(await ft.pull("statut_usager")) == 1


async def test_nothing_personal_and_no_secret_is_logged_or_shown(partner, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    ft = partner("reponse_tronquee")
    person = ft.person()
    shown = repr(await ft.refusal("dossier_diagnostic"))
    shown += caplog.text + repr(ft.connector) + repr(ft.connector._client._tokens._held) + repr(ft.app.received)
    shown += repr(ft.connector._client._jetons._held) + repr(ft.connector._settings)
    for secret in (person["nir"], person["date_naissance"], "secret-du-bac-a-sable", "jeton-fictif"):
        assert secret not in shown
