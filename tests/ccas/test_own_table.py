"""The table of a CCAS's own software, in TOML alone: several codes and a moment in a cell, its own file number."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import mappings
from connectors import manifest

PASSERELLE = """
id        = "ccas.usagers"
version   = 1
title     = "CCAS : usagers, lus dans le dossier partagé"
direction = "read"
partner   = { system = "ccas", format = "table", record = "ligne" }
[table]
required = ["N° usager", "Nom", "Prénoms", "Né(e) le"]
purposes = ["accompagnement"]
source   = "export des usagers"
[record]
key = [{ partner = "N° usager", type = "identifier" }]
[[section]]
title    = "Numéro"
category = "identifiants"
fields   = [{ canonical = "identifiants[dossier:{organisme}].valeur", partner = "N° usager", type = "identifier" }]
[[section]]
title     = "Identité"
category  = "identite"
canonical = "personne"
fields    = [
  { canonical = "nom_naissance", partner = "Nom", type = "name" },
  { canonical = "prenoms", partner = "Prénoms", type = "words", separator = "," },
  { canonical = "date_naissance", partner = "Né(e) le", type = "date" },
]
[[section]]
title     = "Freins"
category  = "frein_theme"
canonical = "freins[]"
key       = [{ partner = "Freins", type = "code_list", codes = "frein", separator = "/" }]
fields    = [{ canonical = "valeur", constant = "present" }]
[[section]]
title     = "Rendez-vous"
category  = "rendez_vous"
canonical = "rendez_vous[]"
key       = [{ context = "organisme" }, { partner = "N° usager", type = "identifier" }]
fields    = [{ canonical = "debut", partner = "RDV le", type = "instant_local" }]
[codes.frein]
source = "export des usagers"
values = { MOB = "mobilite", LOG = "logement" }
"""
TABLE = """N° usager;Nom;Prénoms;Né(e) le;Freins;RDV le
U-1;Lestradier;Odile, Marie;03/02/1990;MOB / LOG;04/12/2026 à 9h30
U-2;Vergnole;Anselme;21/07/1985;MOB/ZUT;04/12/2026
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "ccas").mkdir()
    (tmp_path / "ccas" / "usagers.v1.toml").write_text(PASSERELLE, encoding="utf-8")
    monkeypatch.setenv("MAILLON_MAPPINGS", str(tmp_path))
    mappings.forget()
    manifest.installed.cache_clear()
    yield
    monkeypatch.undo()
    mappings.forget()
    manifest.installed.cache_clear()


@pytest.mark.usefixtures("added")
def test_a_table_of_its_own_is_read_without_python() -> None:
    ccas = manifest.installed()["ccas"].create({"organisme": "ccas-dax"})
    odile, anselme = ccas.read("ccas.usagers", io.BytesIO(TABLE.encode()))
    assert odile.findings == []
    assert odile.personnes[0].facts == {
        "identifiants[dossier:ccas-dax].valeur": "U-1",
        "personne.nom_naissance": "Lestradier",
        "personne.prenoms": ["Odile", "Marie"],
        "personne.date_naissance": "1990-02-03",
        "freins[mobilite].valeur": "present",
        "freins[logement].valeur": "present",
        "rendez_vous[ccas-dax:U-1].debut": "2026-12-04T08:30:00Z",
    }
    assert {finding.code for finding in anselme.findings} == {"unknown-code", "bad-instant"}
    assert anselme.personnes[0].facts["freins[mobilite].valeur"] == "present"
