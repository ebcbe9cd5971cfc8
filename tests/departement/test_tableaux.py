"""The Département's tables and the accompagnement global, with what a human must decide."""

from __future__ import annotations

import copy
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.contract import DocumentRefused
from connectors.departement import accompagnement
from connectors.departement.connector import Departement
from connectors.table import to_csv, to_xlsx
from schemas.partner.tables import FOLDER
from schemas.record import Record

CARNET = Path(__file__).parents[2].parent / "shared" / "samples" / "carnet_de_bord"
DROME = Departement({"departement": "026"})


def codes(record: Record) -> list[str]:
    return sorted(finding.code for finding in record.findings)


def read(document: str, data: bytes) -> list[Record]:
    return list(DROME.read(document, io.BytesIO(data)))


@pytest.mark.parametrize("name", ["import_beneficiaires.csv", "import_beneficiaires_with_all_date_formats.csv"])
def test_the_carnet_de_bord_import_gives_four_rows_two_of_which_wait(name: str) -> None:
    if not CARNET.is_dir():
        pytest.skip("the real import samples are not on this machine (../shared/samples/carnet_de_bord)")
    charlotte, charlie, again, charlot = read("departement.beneficiaires_csv", (CARNET / name).read_bytes())
    assert codes(charlotte) == ["bad-idassedic", "bad-phone"]
    assert codes(charlie) == []
    assert codes(again) == ["same-person-other-id"]
    assert codes(charlot) == []
    facts = charlotte.personnes[0].facts
    assert facts["identifiants[si_departement:26].valeur"] == "1234"
    assert facts["personne.date_naissance"] == "1998-05-25"
    assert facts["personne.telephones[+33601234567].numero"] == "+33601234567"
    assert facts["personne.adresses[residence].complement"] == 'Lieu-dit "Le sandwich"'
    assert facts["projets[departement:26:1234].rome"] == "N1104"
    assert facts["parcours_pro.niveau_etude"] == "cap_bep"
    assert "personne.rqth.etat" not in facts, "an empty cell is not a no"
    assert charlotte.foyer["droit_rsa.etat"] == "ouvert_suspendu"
    assert charlotte.foyer["foyer.matricule"] == charlie.foyer["foyer.matricule"] == "2055990"
    assert len(charlot.personnes[0].facts) == 4
    assert not any(record.rejected for record in (charlotte, charlie, again, charlot))


ORIENTATION = [
    "MATRICULE", "CIVILITE", "NOM", "NOMNAI", "PRENOM", "DTNAI", "ORGANISME_ORIENTATION_REFERENT",
    "ORGANISME_ORIENTATION_SIRET", "NATURE_ORIENTATION", "NOM_REFERENT", "PRENOM_REFERENT", "DATE_DEBUT_ORIENTATION",
    "CIBLE", "EMAIL", "TELEPHONE_FIXE", "TELEPHONE_PORTABLE", "ID_CD",
]  # fmt: skip
ROW = [
    "56789", "MME", "NOUGARENT", "ORTHOLIER", "ZOE", "1990-02-03", "CCAS de Valmarense", "", "Socioprofessionnelle",
    "Lauret", "Camille", "2026-01-15", "O", "zoe@exemple.invalid", "", "0611223344", "26-77",
]  # fmt: skip


def orientation(**changes: str) -> Record:
    row = [changes.get(name, text) for name, text in zip(ORIENTATION, ROW, strict=True)]
    (record,) = read("departement.orientation_csv", to_csv(ORIENTATION, [row]))
    return record


def test_the_columns_of_a_table_are_reported_before_its_rows() -> None:
    titles = [*(name for name in ORIENTATION if name != "EMAIL"), "COULEUR PRÉFÉRÉE"]
    table = to_csv(["Export IODAS du 3 novembre 2026"], [titles, [*ROW[:13], *ROW[14:], "vert"]])
    reading = DROME.read("departement.orientation_csv", io.BytesIO(table))
    assert {(f.code, f.path) for f in reading.envelope.findings if f.code != "absent-column" or f.path == "EMAIL"} == {
        ("lines-above-headers", "1"), ("unread-column", "couleur preferee"), ("absent-column", "EMAIL"),
    }  # fmt: skip
    (record,) = reading
    assert {f.path.rpartition(" ")[2] for f in record.findings} == {"preferee"}, "it waits for a human"
    assert record.personnes[0].facts["personne.nom_naissance"] == "ORTHOLIER"
    whole = DROME.read("departement.orientation_csv", io.BytesIO(to_csv(ORIENTATION, [ROW])))
    assert whole.envelope.findings == ()


def test_the_orientation_export_says_who_goes_where() -> None:
    record = orientation()
    facts = record.personnes[0].facts
    assert codes(record) == []
    path = "orientations[departement:26:26-77:2026-01-15]"
    assert facts[f"{path}.categorie"] == "socio_professionnelle"
    assert facts[f"{path}.organisme_accueil.nom"] == "CCAS de Valmarense"
    assert facts[f"{path}.referent_pressenti.nom"] == "Lauret"
    assert facts[f"{path}.etat"] == "decidee"
    assert record.foyer["foyer.matricule"] == "0056789"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"NATURE_ORIENTATION": "Autre chose"}, "unknown-code"),
        ({"DTNAI": ""}, "identity-missing"),
        ({"DTNAI": "1990-02-30"}, "bad-date"),
        ({"DTNAI": "1900-01-01"}, "missing-required"),
        ({"NATURE_ORIENTATION": ""}, "missing-required"),
        ({"DATE_DEBUT_ORIENTATION": ""}, "missing-required"),
        ({"DATE_DEBUT_ORIENTATION": "9999-12-31"}, "missing-required"),
        ({"ID_CD": "2,6E+12"}, "number-lost-digits"),
        ({"TELEPHONE_PORTABLE": "12"}, "bad-phone"),
    ],
)
def test_a_doubtful_cell_is_named_by_line(changes: dict[str, str], code: str) -> None:
    record = orientation(**changes)
    (finding,) = [finding for finding in record.findings if finding.code == code]
    assert finding.path.startswith("ligne 2")


def test_the_same_table_reads_from_a_workbook() -> None:
    (record,) = read("departement.orientation_csv", to_xlsx({"export": (ORIENTATION, [ROW])}))
    assert record.personnes[0].facts == orientation().personnes[0].facts


def test_a_table_without_a_mandatory_column_is_refused() -> None:
    with pytest.raises(DocumentRefused) as refusal:
        read("departement.orientation_csv", to_csv(ORIENTATION[:-1], [ROW[:-1]]))
    assert (refusal.value.code, refusal.value.path) == ("missing-header", "ID_CD")


# --- accompagnement global --------------------------------------------------------------------------------------------

GLOBAL: dict[str, Any] = {
    "id": "AG-1",
    "personne": {"idDepartement": "4711", "nomNaissance": "NOUGARENT", "prenom": "ZOE", "dateNaissance": "1990-02-03"},
    "nature": "global",
    "volontaire": True,
    "debut": "2026-11-24",
    "dureeMois": 12,
    "renouvelable": True,
    "membres": [
        {"id": "m1", "cote": "social", "referent": True, "professionnel": {"nom": "Lauret"}, "depuis": "2026-11-24"},
        {"id": "m2", "cote": "emploi", "referent": True, "professionnel": {"nom": "Ferrand"}, "depuis": "2026-11-24"},
    ],
}


def opened(**changes: Any) -> Record:
    value = copy.deepcopy(GLOBAL) | changes
    (record,) = read("departement.accompagnement", json.dumps({"accompagnements": [value]}).encode())
    return record


def test_an_accompagnement_global_has_a_member_on_each_side_and_a_volunteer() -> None:
    record = opened(information={"donneeLe": "2026-11-20", "canal": "oral"})
    facts = record.personnes[0].facts
    path = "accompagnements[departement:26:AG-1]"
    assert facts[f"{path}.nature"] == "global"
    assert facts[f"{path}.volontaire"] is True
    assert facts[f"{path}.membres[departement:26:m1].cote"] == "social"
    assert facts[f"{path}.membres[departement:26:m2].professionnel.nom"] == "Ferrand"
    assert [(f.code, f.severity) for f in record.findings] == [("information-declared", "notice")]
    assert record.partial is False


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"membres": GLOBAL["membres"][:1]}, "binome-incomplete"),
        ({"membres": [GLOBAL["membres"][0], GLOBAL["membres"][1] | {"jusqua": "2026-12-01"}]}, "binome-incomplete"),
        ({"volontaire": None}, "volunteer-missing"),
        ({"volontaire": False}, "volunteer-missing"),
        ({"membres": [*GLOBAL["membres"], GLOBAL["membres"][0] | {"id": "m3"}]}, "several-referents"),
    ],
)
def test_what_a_binome_lacks_is_shown_to_a_human(changes: dict[str, Any], code: str) -> None:
    record = opened(**changes)
    assert codes(record) == [code]
    assert record.quarantined
    assert not record.rejected


def test_what_a_sending_says_counts_from_when_it_was_issued() -> None:
    sent = {"emisLe": "2026-11-20T09:30:00+01:00", "accompagnements": [GLOBAL]}
    (record,) = read("departement.accompagnement", json.dumps(sent).encode())
    assert record.asserted_at == datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    with pytest.raises(DocumentRefused) as refused:
        read("departement.accompagnement", json.dumps(sent | {"emisLe": "2026-11-31T09:30:00Z"}).encode())
    assert (refused.value.code, refused.value.path) == ("schema-invalid", "emisLe")


def test_an_ended_accompagnement_needs_nobody_any_more() -> None:
    ended = opened(fin="2027-01-31", motifFin="emploi", membres=GLOBAL["membres"][:1])
    assert codes(ended) == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"debut": "24/11/2026"}, "accompagnements[0].debut"),
        ({"membres": []}, "accompagnements[0].membres"),
        ({"score": 3}, "accompagnements[0]."),
        ({"dureeMois": "12"}, "accompagnements[0].dureeMois"),
        ({"personne": {"prenom": "ZOE"}}, "accompagnements[0].personne.dateNaissance"),
    ],
)
def test_one_that_breaks_the_schema_is_rejected_alone(changes: dict[str, Any], path: str) -> None:
    record = opened(**changes)
    assert [(f.code, f.severity, f.path) for f in record.findings] == [("schema-invalid", "reject", path)]


@pytest.mark.parametrize("data", [b"[]", b'{"accompagnements": 3}', b'"x"', b'{"accompagnements": [], "x": 1}'])
def test_a_sending_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentRefused):
        read("departement.accompagnement", data)


def test_the_published_schema_is_what_the_connector_checks() -> None:
    file = FOLDER / "departement" / "accompagnement.schema.json"
    assert json.loads(file.read_text(encoding="utf-8")) == accompagnement.schema(), (
        "run: python -m connectors.departement.accompagnement > schemas/partner/departement/accompagnement.schema.json"
    )
