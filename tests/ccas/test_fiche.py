"""What a delegated référent receives: the shared facts, who said them, never a NIR nor a note."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openpyxl import load_workbook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import mappings
from connectors.ccas import schema
from connectors.ccas.connector import Ccas
from connectors.ccas.fiche import render, tables
from connectors.ccas.sandbox import SCENARIOS, CcasSystem, describe, sandbox
from schemas import paths
from schemas.record import Current, Fact

CCAS = Ccas({"organisme": "ccas", "departement": "40", "nom_structure": ""})


def said(value: object, source: str) -> Fact:
    return Fact(value, source, "x", "2026-11-20T10:00:00Z")


CURRENT: Current = {
    "identifiants[nir].valeur": said("2880440901234", "caf"),
    "identifiants[si_departement:40].valeur": said("4711", "departement"),
    "personne.nom_naissance": said("ARBELIER", "caf"),
    "personne.prenoms": said(["AMELIA", "ROSE"], "caf"),
    "personne.date_naissance": said("1988-04-12", "caf"),
    "personne.civilite": said("madame", "caf"),
    "personne.telephones[+33611223344].numero": said("+33611223344", "ccas"),
    "personne.adresses[residence].code_postal": said("01000", "caf"),
    "foyer.nb_enfants_mineurs": said(2, "caf"),
    "foyer.situation_familiale": said("divorce", "caf"),
    "droit_rsa.etat": said("ouvert_versable", "caf"),
    "droit_rsa.soumis_droits_devoirs": said(True, "caf"),
    "droit_rsa.montants[rsa].montant": said("607.75", "caf"),
    "orientations[departement:40:1].categorie": said("sociale", "departement"),
    "orientations[departement:40:1].etat": said("decidee", "departement"),
    "accompagnements[departement:40:AG1].nature": said("global", "departement"),
    "accompagnements[departement:40:AG1].volontaire": said(True, "departement"),
    "accompagnements[departement:40:AG1].membres[departement:40:m1].cote": said("emploi", "departement"),
    "accompagnements[departement:40:AG1].membres[departement:40:m1].professionnel.nom": said("Ferrand", "departement"),
    "freins[mobilite].valeur": said("present", "france_travail"),
    "freins[mobilite].situations[mobilite_aucun_moyen_transport].valeur": said("oui", "france_travail"),
    "objectifs[mobilite_acceder_vehicule].statut": said("en_cours", "france_travail"),
    "rendez_vous[france_travail:9].debut": said("2026-11-24T08:30:00Z", "france_travail"),
    "rendez_vous[france_travail:9].lieu": said('=HYPERLINK("http://x.invalid")', "france_travail"),
    "entretiens[ccas:1].synthese": said("jamais", "ccas"),
}


def fiche() -> dict[str, Any]:
    document: dict[str, Any] = CCAS.write("ccas.beneficiaires", CURRENT).document
    return document


def test_the_sheet_gathers_what_the_others_said() -> None:
    written = CCAS.write("ccas.beneficiaires", CURRENT)
    sheet = written.document
    assert sheet["birthName"] == "ARBELIER"
    assert sheet["firstName"] == "AMELIA ROSE"
    assert sheet["phone1"] == "0611223344"
    assert sheet["zipcode"] == "01000"
    assert sheet["familySituation"] == "Divorced"
    assert sheet["droitRsa"] == {"etat": "ouvert_versable", "soumisDroitsDevoirs": True}
    assert sheet["accompagnements"][0]["membres"][0]["nom"] == "Ferrand"
    assert sheet["freins"][0]["situations"] == [{"code": "mobilite_aucun_moyen_transport", "valeur": "oui"}]
    assert sheet["objectifs"][0]["statut"] == "en_cours"
    assert sheet["sources"]["birthName"] == "caf"
    assert not written.findings
    assert len(written.filled) > 15


def test_every_code_of_a_sheet_is_read_in_french_words() -> None:
    mapping = mappings.load("ccas.fiche")
    written = {row.partners[0].removesuffix("[]"): path for path, row, _ in mapping.rows() if row.codes is None}
    for name, path in written.items():
        for code in paths.field(path).codes() or ():
            *_, (_, _, (cells,)) = tables({"freins": [{name: code}]})
            assert cells != [code], f"{name} {code}"
    shown = render(fiche(), "html").decode()
    assert "Aucun moyen de transport" in shown
    assert "Accéder à un véhicule" in shown


def test_a_ccas_never_receives_a_nir_an_amount_or_a_note() -> None:
    text = json.dumps(fiche())
    assert "2880440901234" not in text
    assert "607" not in text
    assert "jamais" not in text
    assert mappings.load("ccas.fiche").categories.isdisjoint({"nir", "ressources", "entretien", "fse", "fse_sensible"})


def test_the_identity_of_a_sheet_reads_back_as_it_was() -> None:
    sheet = fiche()
    (record,) = CCAS.read("ccas.beneficiaires", io.BytesIO(json.dumps(sheet).encode()))
    facts = {**record.personnes[0].facts, **record.foyer}
    for path in ("personne.nom_naissance", "personne.date_naissance", "personne.civilite", "foyer.situation_familiale"):
        assert facts[path] == CURRENT[path].value
    assert not any(path.startswith(("orientations", "accompagnements", "droit_rsa")) for path in facts)


@pytest.mark.parametrize("form", ["html", "xlsx", "csv"])
def test_the_readable_forms_hold_the_sheet_and_no_live_formula(form: str) -> None:
    data = render(fiche(), form)
    if form == "html":
        page = data.decode()
        assert "=HYPERLINK(&#34;" in page
        assert '<html lang="fr">' in page
        assert "<caption>" in page
        text = page
    elif form == "xlsx":
        book = load_workbook(io.BytesIO(data))
        cells = [str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row if cell]
        assert not any(cell.startswith("=") for cell in cells)
        text = " ".join(cells)
    else:
        assert data.startswith(b"\xef\xbb\xbf")
        text = data.decode()
        assert ";=HYPER" not in text
    for word in ("ARBELIER", "Divorcé", "Ferrand", "Mobilité", "Droit ouvert et versable"):
        assert word in text


def test_the_page_says_dates_as_french_does_and_the_tables_keep_what_can_be_sent_back() -> None:
    fiche = {"birthDate": "1988-04-12", "rendezVous": [{"debut": "2026-12-01T09:30:00Z"}]}
    page = render(fiche, "html").decode()
    assert "12/04/1988" in page
    assert "01/12/2026 à 10:30" in page
    assert "1988-04-12" in render(fiche, "csv").decode()


def test_a_hostile_name_stays_text() -> None:
    page = render({"birthName": "<script>alert(1)</script>"}, "html").decode()
    assert "<script>" not in page


@pytest.mark.parametrize("name", ["beneficiaires", "fiche"])
def test_the_published_schemas_are_what_the_connector_does(name: str) -> None:
    file = Path(schema.FOLDER) / f"{name}.schema.json"
    assert file.read_text(encoding="utf-8") == schema.text(name), "run: python -m connectors.ccas.schema"


async def test_a_ccas_fetches_its_mailbox_once_and_acknowledges() -> None:
    acknowledged: list[str] = []

    async def listing(request: Request) -> JSONResponse:
        waiting = [] if acknowledged else [{"id": "b1", "document": "ccas.beneficiaires"}]
        return JSONResponse({"letters": waiting})

    async def letter(request: Request) -> JSONResponse:
        return JSONResponse(fiche())

    async def acknowledge(request: Request) -> JSONResponse:
        acknowledged.append(request.path_params["id"])
        return JSONResponse({})

    gateway = Starlette(
        routes=[
            Route("/v1/inbox", listing),
            Route("/v1/inbox/{id}/document", letter),
            Route("/v1/inbox/{id}/ack", acknowledge, methods=["POST"]),
        ]
    )
    app = sandbox()
    ccas: CcasSystem = app.state.ccas
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="https://maillon.example") as client:
        assert await ccas.collect(client) == 1
        assert await ccas.collect(client) == 0
    assert acknowledged == ["b1"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://ccas.example") as client:
        assert (await client.get("/fiches")).json() == {"fiches": ["b1"]}
        assert "ARBELIER" in (await client.get("/fiches/b1.html")).text
        for form in ("json", "csv", "xlsx"):
            data = (await client.get(f"/export/beneficiaires.{form}")).content
            assert len(list(CCAS.read("ccas.beneficiaires", io.BytesIO(data)))) == 2


def test_every_scenario_of_the_sandbox_is_documented_and_an_unknown_one_refused() -> None:
    for name in SCENARIOS:
        assert describe(sandbox(name), "http://127.0.0.1:1")["scenario"] == name
    with pytest.raises(KeyError):
        sandbox("nothing-like-that")
