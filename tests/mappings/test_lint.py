"""Each lint on a mapping that has this one fault, and the tree itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import cli
from mappings import all_mappings, files
from mappings.explain import explain
from mappings.lint import explained, lint
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


SOUND_TABLE = """\
id = "essai.document"
version = 1
title = "Essai"
direction = "read"
partner = { system = "essai", format = "table" }

[table]
required = ["Nom de naissance"]

[table.aliases]
"Date de naissance" = ["Né le"]

[[section]]
title = "Identité"
category = "identite"
canonical = "personne"
fields = [
  { canonical = "nom_naissance", partner = "Nom de naissance" },
  { canonical = "date_naissance", partner = "Date de naissance", type = "date" },
]

[[example]]
name = "une personne"
partner = "examples/une.json"
"""
BASES = {"": SOUND, "table": SOUND_TABLE}
ACTIONS = """\
[[section]]
title = "Actions"
category = "objectif_action"
canonical = "actions[]"
partner = "actions[]"
"""
PAGES = explained()
LINES = {
    "unknown-path": 12, "unknown-type": 12, "type-inputs": 12, "outside-category": 12, "unknown-table": 13,
    "undeclared-loss": 16, "uncovered-code": 16, "stranger-code": 16, "uncovered-value": 13, "not-canonical": 13,
    "missing-category": 7, "missing-title": 7, "missing-file": 22, "missing-example": 1, "duplicate": 12,
    "file-name": 1, "mapping-grammar": 1, "mapping-toml": 3, "unused-table": 20, "no-reason": 21,
}  # fmt: skip


@pytest.mark.parametrize("base", BASES)
def test_a_sound_mapping_has_no_fault(write, base):
    assert lint([write(BASES[base])]) == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_fault_of_each_page_is_told_with_its_line_and_code(write, page):
    sound = BASES[page.base]
    assert page.after in sound
    found = lint([write(sound.replace(page.after, page.before, 1))])
    assert page.code in [one.code for one in found], found
    if page.code in LINES:
        assert (LINES[page.code], page.code) in [(one.line, one.code) for one in found], found
    assert str(found[0]).startswith(f"{found[0].file}:{found[0].line}: ")


def test_a_key_of_an_unknown_type_is_a_fault_too(write):
    key = 'key = [{ partner = "numero", type = "numero" }]'
    for before, after in (
        ("[[section]]", f"[record]\n{key}\n\n[[section]]"),
        ("[codes.", f"{ACTIONS}{key}\n\n[codes."),
    ):
        found = lint([write(SOUND.replace(before, after, 1))])
        assert [one.code for one in found] == ["unknown-type"]


def test_a_path_that_is_nearly_one_is_told_with_the_one_it_is_near_to(write):
    (found,) = lint([write(SOUND_TABLE.replace('"nom_naissance"', '"nom_naisance"'))])
    assert found.message == "no canonical field is personne.nom_naisance; is it personne.nom_naissance?"


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


def test_explaining_a_mapping_that_does_not_exist_names_those_that_do():
    asked = CliRunner().invoke(cli.app, ["explain", "caf.flux_beneficaire"])
    assert asked.exit_code == 2
    assert "caf.flux_beneficiaire" in asked.output
