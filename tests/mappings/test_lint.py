"""Each lint on a mapping that has this one fault, and the tree itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import cli
from mappings import all_mappings, files, load
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
    "unknown-context": 12,
    "unknown-path": 12, "unknown-type": 12, "type-inputs": 12, "outside-category": 12, "unknown-table": 13,
    "undeclared-loss": 16, "uncovered-code": 16, "stranger-code": 16, "uncovered-value": 13, "not-canonical": 13,
    "missing-category": 7, "missing-title": 7, "missing-file": 22, "missing-example": 1, "duplicate": 12,
    "file-name": 1, "mapping-grammar": 12, "mapping-path": 12, "mapping-codes": 16, "mapping-toml": 3, "field-type": 12,
    "bad-constant": 12, "missing-key": 20, "unknown-key": 24, "wrong-example": 21, "unused-table": 20, "no-reason": 21,
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


def test_what_a_form_has_no_place_for_begins_a_canonical_path(write):
    for begins, codes in (
        ("objectifs[numerique_", []),
        ("freins[].impact", []),
        ("freinages[].impact", ["unknown-path"]),
    ):
        found = lint([write(SOUND.replace("[[section]]", f'[record]\nsilent = ["{begins}"]\n\n[[section]]', 1))])
        assert [one.code for one in found] == codes


def test_the_date_of_a_statement_is_read_by_a_type_that_tells_one(write):
    said = 'asserted_at = { partner = "maj", type = "%s" }'
    for kind, code in (("text", "field-type"), ("partial_date", "field-type"), ("datte", "unknown-type")):
        found = lint([write(SOUND.replace("[[section]]", f"[record]\n{said % kind}\n\n[[section]]", 1))])
        assert [one.code for one in found] == [code]
    assert lint([write(SOUND.replace("[[section]]", f"[record]\n{said % 'date'}\n\n[[section]]", 1))]) == []


ROW = '{ canonical = "nom_naissance", partner = "nom" }'
CODED = 'type = "code", codes = "civilite"'


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (ROW, '{ canonical = "identifiants[nir].valeur", partner = "nir" }', "field-type"),
        (ROW, '{ canonical = "prenoms", partner = "prenoms" }', "field-type"),
        (ROW, '{ canonical = "nom_naissance", partner = "noms", type = "words" }', "field-type"),
        (ROW, '{ canonical = "nom_naissance", partner = "nom[]" }', "field-type"),
        (ROW, '{ canonical = "rang_naissance", partner = "rang", type = "decimal" }', "field-type"),
        (ROW, '{ canonical = "identite_certifiee", partner = "certifiee", type = "integer" }', "field-type"),
        (ROW, '{ canonical = "telephones[].rang", partner = "rang", type = "instant" }', "field-type"),
        (CODED, 'codes = "civilite"', "unknown-table"),
        (CODED, 'type = "code"', "unknown-table"),
    ],
)
def test_a_row_has_a_type_that_can_tell_its_field(write, before, after, said):
    text = SOUND.replace(before, after, 1)
    if "identifiants" in after:
        text = text.replace('canonical = "personne"\n', "").replace('"civilite", p', '"personne.civilite", p')
    found = lint([write(text)])
    assert said in [one.code for one in found], found
    assert {one.line for one in found if one.code == said} <= {11, 12, 13}


@pytest.mark.parametrize(
    "row",
    [
        '{ canonical = "telephones[].numero", partner = "tels", type = "phones" }',
        '{ canonical = "telephones[].numero", partner = "tels[]", type = "phone" }',
        '{ canonical = "date_naissance", partner = "ne_le", type = "date_fr" }',
        '{ canonical = "prenoms", partner = ["un", "deux"], type = "list" }',
        '{ canonical = "date_naissance", partner = "ne_le", disputed = "le sens est discuté" }',
    ],
)
def test_a_type_that_can_tell_the_field_is_let_be(write, row):
    found = lint([write(SOUND.replace(ROW, row, 1))])
    assert "field-type" not in [one.code for one in found]


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ('crosswalk = "frein"\npartner = "a"\ncanonical = "b"', "schemas/nomenclatures has no crosswalk/frein"),
        ('list = "essai/inconnue"', "schemas/nomenclatures has no essai/inconnue"),
        ('crosswalk = "freins"\npartner = "them"\ncanonical = "note"', "crosswalk freins has no column them: "),
        ('crosswalk = "freins"\npartner = "theme_canonique"', "names its columns partner and canonical"),
        ("identity = true", "an identity table names its list"),
    ],
)
def test_what_a_table_borrows_and_is_not_there_is_named_at_the_table(write, declared, told):
    (found,) = lint([write(SOUND.replace('values = { MME = "madame", MR = "monsieur" }', declared, 1))])
    assert (found.line, found.code) == (16, "mapping-codes")
    assert told in found.message


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ('direction = "both"', 'direction = "toutes"', 4),
        ('format = "json"', 'format = "yaml"', 5),
        ('category = "identite"', 'categorie = "identite"', 9),
        ('partner = "civ", type', 'partner = "civ", max = "dix", type', 13),
        ('source = "essai"', 'origine = "essai"', 17),
        ('name = "une personne"', 'nom = "une personne"', 21),
        ('title = "Essai"\n', "", 1),
    ],
)
def test_what_the_grammar_refuses_is_told_at_its_line(write, before, after, line):
    (found,) = lint([write(SOUND.replace(before, after, 1))])
    assert (found.code, found.line) == ("mapping-grammar", line), found


def test_a_file_that_is_not_utf_8_says_so_at_its_line(write):
    path = write(SOUND)
    path.write_bytes(path.read_bytes().decode().encode("cp1252"))
    (found,) = lint([path])
    assert (found.line, found.code) == (8, "mapping-toml")
    assert "UTF-8" in found.message


@pytest.mark.parametrize("content", ['{"nom": "ARBELIER"', '{"nom": "ÉLOUARD"}'])
def test_an_example_that_cannot_be_read_says_where(write, content):
    path = write(SOUND)
    (path.parent / "examples" / "une.json").write_bytes(content.encode("latin-1"))
    (found,) = lint([path])
    assert (found.line, found.code) == (21, "wrong-example")
    assert found.message.startswith("une.json:")


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
    taken = page.partition("## Ce qui est repris")[2].partition("\n## ")[0]
    assert all(f"`{fact}`" in taken for decision in mapping.file.decision.values() for fact in decision.paths)


def test_the_guide_lists_every_type():
    guide = (Path(__file__).parents[2] / "mappings" / "README.md").read_text(encoding="utf-8")
    assert [name for name in TYPES if f"| `{name}` | {TYPES[name].label} | {TYPES[name].inputs} |" not in guide] == []


def test_explaining_a_mapping_that_does_not_exist_names_those_that_do():
    asked = CliRunner().invoke(cli.app, ["explain", "caf.flux_beneficaire"])
    assert asked.exit_code == 2
    assert "caf.flux_beneficiaire" in asked.output


def test_a_path_that_does_not_exist_is_wrong_usage():
    asked = CliRunner().invoke(cli.app, ["lint", "nulle_part.v1.toml"])
    assert (asked.exit_code, asked.stdout) == (2, "")


def test_a_file_that_is_not_utf_8_is_a_fault(write):
    path = write(SOUND)
    path.write_bytes('title = "Identité"'.encode("latin-1"))
    assert [one.code for one in lint([path])] == ["mapping-toml"]


@pytest.mark.parametrize(
    ("document", "element", "serves"),
    [
        ("departement.beneficiaires_csv", "identifiant dans le si", "clé de l'enregistrement, clé"),
        ("ccas.suivi", "rendezVous.professionnels.id", "clé"),
        ("caf.flux_beneficiaire", "Personne/Identification/RGNAI", "clé de la personne"),
        ("caf.flux_beneficiaire", "Personne/Prestations/ROLEPERS", "choix des personnes"),
    ],
)
def test_the_page_lists_the_columns_that_tell_persons_and_items_apart(document: str, element: str, serves: str) -> None:
    page = explain(load(document))
    assert f"| `{element}` | {serves} |" in page.partition("## Ce qui sert à reconnaître")[2].partition("##")[0]


def test_a_word_of_the_context_is_one_that_an_example_gives(write):
    text = SOUND.replace(
        '{ canonical = "nom_naissance", partner = "nom" }', '{ context = "organisme", partner = "nom" }'
    )
    given = text.replace('partner = "examples/une.json"', 'partner = "examples/une.json"\ncontext = { {} = "ccas" }')
    assert lint([write(given.replace("{}", "organisme"))]) == []
    (found,) = lint([write(given.replace("{}", "organismes"))])
    assert (found.line, found.code) == (12, "unknown-context")
    assert found.message == "no example gives organisme in its context; is it organismes?"


def test_a_code_that_names_no_item_of_its_list_is_told_with_what_it_may_be(write):
    freins = """\
[[section]]
title = "Freins"
category = "frein_theme"
canonical = "freins[]"
partner = "themes[]"
key = [{ partner = "code", type = "code", codes = "theme" }]
fields = [{ canonical = "valeur", constant = "present" }]

[codes.theme]
source = "essai"
values = { MOB = "mobilté" }

"""
    (found,) = lint([write(SOUND.replace("[codes.", f"{freins}[codes.", 1))])
    assert (found.code, found.message) == (
        "not-canonical", "[codes.theme] gives mobilté, which names no item of freins[]; is it mobilite?",
    )  # fmt: skip
