"""Asking the CAF or MSA about one person: found, not found, partly allowed, or not now."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.api_particulier.connector import QUOTIENT, RSA, ApiParticulier, create
from connectors.api_particulier.sandbox import DOSSIERS, JETON, SCENARIOS, sandbox
from connectors.contract import DocumentRefused, NotObtained
from connectors.transport import Limits, Transport
from schemas import paths

URL = "https://particulier.sandbox.test"
SOLANGE = {
    "nom_naissance": "ARBELIER", "prenoms": "SOLANGE", "sexe": "feminin", "date_naissance": "1985-06-12",
    "commune_naissance": "40901",
}  # fmt: skip
HAMID = SOLANGE | {
    "nom_naissance": "TASTOULEZAC",
    "prenoms": "HAMID",
    "sexe": "masculin",
    "date_naissance": "1990-01-31",
}
SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "caf" / "api_particulier"


@pytest.fixture
def api() -> ApiParticulier:
    return create({"api_url": URL, "jeton": JETON, "recipient": "22400001800016"})


def transport(scenario: str | None = None) -> Transport:
    wire = httpx.ASGITransport(sandbox(scenario))
    return Transport("api_particulier", [URL], limits=Limits(attempts=1), wire=wire)


async def demande(
    api: ApiParticulier, document: str, identity: dict[str, str], scenario: str | None = None
) -> list[bytes]:
    async with transport(scenario) as way:
        return [content async for name, content in api.pull(document, identity, way) if name == document]


async def test_le_quotient_familial_et_l_adresse_sont_lus(api: ApiParticulier) -> None:
    (content,) = await demande(api, QUOTIENT, SOLANGE)
    (record,) = api.read(QUOTIENT, io.BytesIO(content))
    (personne,) = record.personnes
    assert personne.facts["personne.nom_naissance"] == "ARBELIER"
    assert personne.facts["personne.adresses[residence].code_postal"] == "40100"
    assert record.foyer["droit_rsa.montants[quotient_familial].montant"] == "412"
    assert record.foyer["droit_rsa.montants[quotient_familial].debut"] == "2026-09-01"
    assert not record.quarantined
    assert paths.check(personne.facts) == paths.check(record.foyer) == []


async def test_d_un_couple_seule_la_personne_demandee_est_gardee_et_jamais_les_enfants(api: ApiParticulier) -> None:
    (content,) = await demande(api, QUOTIENT, SOLANGE)
    assert b"OSCAR" not in content
    assert b"THEO" not in content


async def test_une_personne_inconnue_n_apprend_rien(api: ApiParticulier) -> None:
    assert await demande(api, QUOTIENT, SOLANGE | {"nom_naissance": "PERSONNE"}) == []


@pytest.mark.parametrize("scenario", [name for name, said in SCENARIOS.items() if said.startswith("404")])
async def test_un_dossier_absent_n_est_jamais_un_fait_negatif(api: ApiParticulier, scenario: str) -> None:
    assert await demande(api, RSA, SOLANGE, scenario) == []


async def test_le_rsa_dit_sa_date_d_ouverture_et_un_non_beneficiaire_ne_dit_rien(api: ApiParticulier) -> None:
    (oui,) = await demande(api, RSA, SOLANGE)
    (non,) = await demande(api, RSA, HAMID)
    (record,) = api.read(RSA, io.BytesIO(oui))
    assert record.foyer["droit_rsa.date_ouverture"] == "2025-11-20"
    assert list(api.read(RSA, io.BytesIO(non))) == []


async def test_un_perimetre_reduit_fait_disparaitre_des_champs_sans_erreur(api: ApiParticulier) -> None:
    (content,) = await demande(api, QUOTIENT, SOLANGE, "perimetre_reduit")
    (record,) = api.read(QUOTIENT, io.BytesIO(content))
    assert record.personnes == []
    assert record.foyer["foyer.organisme"] == "caf"
    assert not record.quarantined


@pytest.mark.parametrize(
    ("scenario", "outcome", "code"),
    [
        ("jeton_refuse", "refused", "token-refused"),
        ("perimetre_insuffisant", "refused", "scope-missing"),
        ("appel_en_double", "retry", "http-409"),
        ("quota", "retry", "http-429"),
        ("reponse_invalide", "retry", "http-502"),
        ("maintenance", "retry", "http-503"),
        ("delai_depasse", "retry", "http-504"),
    ],
)
async def test_chaque_panne_dit_qui_doit_agir(api: ApiParticulier, scenario: str, outcome: str, code: str) -> None:
    with pytest.raises(NotObtained) as told:
        await demande(api, QUOTIENT, SOLANGE, scenario)
    assert (told.value.outcome, told.value.code) == (outcome, code)
    assert (told.value.retry_after == 30.0) == (scenario == "quota")
    assert "ARBELIER" not in f"{told.value!r}{told.value}"


@pytest.mark.parametrize("absent", ["nom_naissance", "prenoms", "sexe", "commune_naissance"])
async def test_une_identite_incomplete_attend(api: ApiParticulier, absent: str) -> None:
    with pytest.raises(NotObtained) as told:
        await demande(api, QUOTIENT, SOLANGE | {absent: ""})
    assert told.value.outcome == "waiting"


async def test_une_personne_nee_a_l_etranger_se_demande_par_son_pays(api: ApiParticulier) -> None:
    identity = SOLANGE | {"commune_naissance": "", "pays_naissance": "99350"}
    assert len(await demande(api, QUOTIENT, identity)) == 1


async def test_une_personne_nee_en_france_attend_sa_commune_de_naissance(api: ApiParticulier) -> None:
    with pytest.raises(NotObtained) as told:
        await demande(api, QUOTIENT, SOLANGE | {"commune_naissance": "", "pays_naissance": "99100"})
    assert (told.value.outcome, told.value.code) == ("waiting", "identity-incomplete")


async def test_une_adresse_qui_n_est_pas_enregistree_attend_l_exploitant(api: ApiParticulier) -> None:
    async with Transport("api_particulier", ["https://ailleurs.exemple.test"], limits=Limits(attempts=1)) as way:
        with pytest.raises(NotObtained) as told:
            [one async for one in api.pull(QUOTIENT, SOLANGE, way)]
    assert told.value.outcome == "refused"


async def test_la_reponse_qui_nomme_quelqu_un_d_autre_n_est_pas_prise(api: ApiParticulier) -> None:
    with pytest.raises(NotObtained) as told:
        await demande(api, QUOTIENT, SOLANGE, "orthographe_corrigee")
    assert (told.value.outcome, told.value.code) == ("refused", "person-unclear")


def test_une_adresse_sans_les_allocataires_est_celle_de_la_personne_demandee(api: ApiParticulier) -> None:
    data = {name: DOSSIERS[0][name] for name in ("adresse", "quotient_familial")}
    (record,) = api.read(QUOTIENT, io.BytesIO(json.dumps({"data": data}).encode()))
    assert [one.facts["personne.adresses[residence].code_postal"] for one in record.personnes] == ["40100"]
    assert record.findings == []


async def test_un_parametre_refuse_par_le_service_ne_se_rejoue_pas(api: ApiParticulier) -> None:
    with pytest.raises(NotObtained) as told:
        await demande(api, QUOTIENT, SOLANGE | {"nom_naissance": "ARB3LIER"})
    assert (told.value.outcome, told.value.code) == ("refused", "invalid-input")


async def test_un_document_qui_n_existe_pas_est_refuse(api: ApiParticulier) -> None:
    with pytest.raises(NotObtained):
        await demande(api, "api_particulier.impots", SOLANGE)


@pytest.mark.parametrize("corps", [b"", b"[]", b'{"data": 3}', b'{"data": {}, "data": {}}', b'{"data": NaN}'])
def test_une_reponse_sans_forme_est_refusee(api: ApiParticulier, corps: bytes) -> None:
    with pytest.raises(DocumentRefused):
        api.read(QUOTIENT, io.BytesIO(corps))


def test_un_code_inconnu_attend_un_humain(api: ApiParticulier) -> None:
    corps = {"data": {"allocataires": [{"nom_naissance": "X", "prenoms": "Y", "sexe": "Z"}]}}
    (record,) = api.read(QUOTIENT, io.BytesIO(json.dumps(corps).encode()))
    assert {f.code for f in record.findings if f.severity != "notice"} == {"unknown-code"}


def _cases() -> list[Any]:
    return sorted(SAMPLES.glob("v3_quotient_familial/200*.yaml")) if SAMPLES.is_dir() else []


@pytest.mark.parametrize("case", _cases(), ids=lambda path: path.stem)
def test_les_reponses_publiees_par_l_etat_sont_lues(api: ApiParticulier, case: Path) -> None:
    yaml = pytest.importorskip("yaml")
    payload = yaml.safe_load(case.read_text(encoding="utf-8"))["payload"]
    (record,) = api.read(QUOTIENT, io.BytesIO(payload.encode()))
    assert not record.quarantined
    assert record.foyer["droit_rsa.montants[quotient_familial].montant"]
    for facts in (record.foyer, *(p.facts for p in record.personnes)):
        assert paths.check(facts) == []
