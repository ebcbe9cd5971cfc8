"""The row of one participation; the contract suite is run by `tests/kit/test_our_connectors.py`."""

from __future__ import annotations

import csv
import io

import pytest

from connectors import kit
from connectors.contract import DocumentRefused
from connectors.kit.subject import current
from connectors.manifest import installed
from mappings import examples, load
from schemas import paths
from schemas.record import Facts

CONNECTOR = installed()["fse"].create()
SECOND = {
    "participations[departement:2].operation_financee": "FSE-2024-002",
    "participations[departement:2].date_entree": "2026-09-01",
}


@pytest.fixture
def facts() -> Facts:
    persons, _ = examples.canonical(load("fse.participant"), "examples/participant/ouverte.facts.json")
    return persons[0]


def row(facts: Facts, item: str) -> dict[str, str]:
    written = CONNECTOR.write("fse.participant", current(facts), item=item)
    (found,) = csv.DictReader(io.StringIO(kit.row(written).decode("utf-8-sig")), delimiter=";")
    return found


def test_a_person_with_two_participations_has_two_rows(facts: Facts) -> None:
    first, second = (row(facts | SECOND, f"departement:{rank}") for rank in (1, 2))
    assert (first["operation"], second["operation"]) == ("FSE-2024-001", "FSE-2024-002")
    assert (second["nom_naissance"], second["marche_travail"]) == ("ARBELIER", "")


def test_every_answer_that_is_kept_is_in_the_statement() -> None:
    """Elsewhere: the day of a questionnaire is that of the entry or exit, the notice and the papers are evidence."""
    elsewhere = ("etat", "pieces_eligibilite", "avis_publicite.texte", "rempli_le")
    kept = {path.partition("[].")[2] for path in paths.FIELDS if path.startswith("participations[].")}
    written = {path.partition("].")[2] for path, _, _ in load("fse.participant").rows()}
    assert {path for path in kept if not path.endswith(elsewhere)} <= written


def test_without_the_register_apart_no_sensitive_answer_is_written(facts: Facts) -> None:
    dossier = {path: value for path, value in facts.items() if ".reponses_sensibles." not in path}
    told = row(dossier, "departement:1")
    assert [told[name] for name in ("handicap", "origine_etrangere", "minorite")] == ["", "", ""]


def test_the_managing_authority_sends_nothing() -> None:
    with pytest.raises(DocumentRefused):
        CONNECTOR.read("fse.participant", io.BytesIO(b"a;b\n"))
