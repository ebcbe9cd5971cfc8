"""The connector's own files agree with its code, its mappings and its stand-in."""

from __future__ import annotations

from pathlib import Path

import mappings
from connectors.france_travail import apis
from connectors.france_travail.connector import _PULLED, FranceTravail, create
from connectors.france_travail.envois import SENT
from connectors.france_travail.lecture import _ONE, TABLES
from connectors.france_travail.sandbox.appels import CALLS
from connectors.manifest import installed, load_quality

ROOT = Path(__file__).parents[2]
MANIFEST = FranceTravail.manifest


def test_every_document_has_its_code_and_its_mapping() -> None:
    assert MANIFEST.ids("write") == SENT.keys()
    assert MANIFEST.ids("pull") == _PULLED.keys()
    assert MANIFEST.ids("read") == _ONE.keys() | TABLES.keys()
    for document in MANIFEST.document:
        for name in document.mapping:
            directions = {mappings.load(name).file.direction, "both"}
            assert directions & {"read" if "read" in document.direction else "write", "both"}


def test_documents_that_outside_checks_rely_on_exist() -> None:
    assert {
        "france_travail.dossier_diagnostic", "france_travail.calcul_orientation", "france_travail.decision_orientation",
        "france_travail.lecture_orientation", "france_travail.rendez_vous", "france_travail.contrat_engagement",
        "france_travail.sanction_rsa", "france_travail.flux_spie",
    } <= MANIFEST.documents.keys()  # fmt: skip


def test_no_host_is_written_in_the_code_and_every_api_has_its_settings() -> None:
    names = {setting.name for setting in MANIFEST.setting}
    for api in vars(apis).values():
        if isinstance(api, apis.Api):
            assert {api.scope, api.realm} <= names
            assert any(call.path.startswith(api.base) for call in CALLS)
    assert not any("://" in setting.default for setting in MANIFEST.setting)


def test_a_file_is_read_without_any_setting() -> None:
    assert create(MANIFEST.configure({})).manifest.id == "france_travail"


def test_the_connector_is_found_with_its_stand_in_and_its_grade() -> None:
    found = installed()["france_travail"]
    assert found.sandbox is not None
    assert found.sandbox.sandbox("quota").scenario == "quota"
    assert found.quality.grade == "exploite"


def test_the_evidence_of_the_grade_exists() -> None:
    for name, shown in load_quality(ROOT / "connectors" / "france_travail").criteria.items():
        for place in shown.evidence:
            assert (ROOT / place).exists(), f"{name}: {place}"
