"""Each lint on a mapping that has this one fault, and the tree itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mappings import all_mappings, files
from mappings.explain import explain
from mappings.lint import lint
from mappings.types import TYPES

SOUND = """\
id = "essai.document"
version = 1
title = "Essai"
direction = "both"
partner = { system = "essai", format = "json", record = "fiche" }

[[section]]
title = "Identité"
category = "identite"
canonical = "personne"
fields = [
  { canonical = "nom_naissance", partner = "nom" },
  { canonical = "civilite", partner = "civ", type = "code", codes = "civilite" },
]

[codes.civilite]
source = "essai"
values = { MME = "madame", MR = "monsieur" }

[[example]]
name = "une personne"
partner = "examples/une.json"
"""


@pytest.fixture
def write(tmp_path: Path):
    def make(text: str) -> Path:
        folder = tmp_path / "essai"
        (folder / "examples").mkdir(parents=True, exist_ok=True)
        (folder / "examples" / "une.json").write_text("{}")
        path = folder / "document.v1.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return make


FAULTS = [
    ('"nom_naissance"', '"nom_de_naissance"', 12, "unknown-path"),
    ('partner = "nom" }', 'partner = "nom", type = "texte" }', 12, "unknown-type"),
    ('partner = "nom" }', 'partner = ["nom", "prenom"], type = "date" }', 12, "type-inputs"),
    ('"nom_naissance"', '"rqth.etat"', 12, "outside-category"),
    ('codes = "civilite"', 'codes = "civilites"', 13, "unknown-table"),
    ('MR = "monsieur"', 'MR = "monsieur", MLE = "madame"', 16, "undeclared-loss"),
    ('source = "essai"\n', 'source = "essai"\nlist = "cnaf/QUAL"\n', 16, "uncovered-code"),
    ('source = "essai"\n', 'source = "essai"\nlist = "cnaf/SEXE"\n', 16, "stranger-code"),
    (', MR = "monsieur"', "", 13, "uncovered-value"),
    ('MR = "monsieur"', 'MR = "sieur"', 13, "not-canonical"),
    ('category = "identite"\n', "", 7, "missing-category"),
    ('title = "Identité"\n', "", 7, "missing-title"),
    ("examples/une.json", "examples/deux.json", 22, "missing-file"),
    ('[[example]]\nname = "une personne"\npartner = "examples/une.json"\n', "", 1, "missing-example"),
    ('{ canonical = "nom_naissance", partner = "nom" },', '{ canonical = "nom_naissance", partner = "nom" },\n' * 2, 12,
     "duplicate"),
    ("version = 1", "version = 2", 1, "file-name"),
    ('partner = "nom" }', 'partner = "nom", obligatoire = true }', 1, "mapping-grammar"),
    ('title = "Essai"', 'title = Essai', 3, "mapping-toml"),
    ('[[example]]', '[codes.vide]\nsource = "essai"\n\n[[example]]', 20, "unused-table"),
    ('[[example]]', '[[not_shared]]\npath = "age"\nreason = " "\n\n[[example]]', 21, "no-reason"),
]  # fmt: skip


def test_a_sound_mapping_has_no_fault(write):
    assert lint([write(SOUND)]) == []


@pytest.mark.parametrize(("before", "after", "line", "code"), FAULTS, ids=[fault[3] for fault in FAULTS])
def test_a_fault_is_told_with_its_line_and_code(write, before, after, line, code):
    assert before in SOUND
    found = lint([write(SOUND.replace(before, after, 1))])
    assert (line, code) in [(one.line, one.code) for one in found], found
    assert str(found[0]).startswith(f"{found[0].file}:{found[0].line}: ")


def test_sensitive_codes_kept_verbatim_are_a_fault(write):
    text = SOUND.replace(
        'values = { MME = "madame", MR = "monsieur" }', 'list = "cnaf/MOTISUSVERSRSA"\nidentity = true'
    )
    assert "sensitive-codes" in [one.code for one in lint([write(text)])]


def test_an_element_of_the_schema_left_out_is_a_fault(write):
    text = SOUND.replace(
        'format = "json", record = "fiche"',
        'format = "xml", schema = "caf/vrsb0801", root = "Racine", record = "InfosFoyerRSA"',
    )
    found = lint([write(text)])
    assert any(one.code == "unmapped-element" and one.message.endswith("not shared") for one in found)
    assert [one.code for one in found if one.code == "unknown-element"] == ["unknown-element"] * 2


def test_the_caf_flux_is_without_a_fault():
    assert lint([path for path in files() if path.name.startswith("flux_beneficiaire")]) == []


@pytest.mark.parametrize("mapping", all_mappings(), ids=lambda one: f"{one.id} v{one.version}")
def test_each_mapping_has_a_page_that_names_its_categories_and_its_refusals(mapping):
    page = explain(mapping)
    assert page.startswith(f"# {mapping.title}\n")
    assert all(f"`{category}`" in page for category in mapping.categories)
    assert all(declared.reason.replace("|", "\\|") in page for declared in mapping.file.not_shared)
    assert all(table.lossy in page for table in mapping.file.codes.values() if table.lossy)


def test_the_guide_lists_every_type():
    guide = (Path(__file__).parents[2] / "mappings" / "README.md").read_text(encoding="utf-8")
    assert [name for name in TYPES if f"| `{name}` | {TYPES[name].label} | {TYPES[name].inputs} |" not in guide] == []
