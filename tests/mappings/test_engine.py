"""The engine on small mappings of its own: each word of the grammar, both ways, for XML, JSON and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from mappings.engine import Mapping, compile_file
from mappings.grammar import MappingError
from schemas.record import Fact


@pytest.fixture
def mapping(tmp_path: Path):
    def make(text: str, *, format: str = "json", direction: str = "both", **header: str) -> Mapping:
        words = "".join(f'{name} = "{value}"\n' for name, value in header.items())
        head = (
            f'id = "essai.document"\nversion = 1\ntitle = "Essai"\ndirection = "{direction}"\n{words}'
            f'partner = {{ system = "essai", format = "{format}", record = "fiche" }}\n'
        )
        path = tmp_path / "document.v1.toml"
        path.write_text(head + text, encoding="utf-8")
        return compile_file(path)

    return make


def said(facts: dict[str, Any], source: str = "caf") -> dict[str, Fact]:
    return {path: Fact(value, source, "caf.essai", "2026-11-01T00:00:00Z") for path, value in facts.items()}


NAMES = """
[[section]]
title = "Identité"
category = "identite"
canonical = "personne"
partner = "usager"
fields = [
  { canonical = "nom_naissance", partner = "nom", type = "name", required = true },
  { canonical = "date_naissance", partner = "naissance", type = "date" },
]
"""

FREINS = """
[[section]]
title = "Freins"
category = "frein_theme"
canonical = "freins[]"
partner = "contraintes[]"
key = [ { partner = "code", type = "code", codes = "contrainte", label = "libelle" } ]
fields = [
  { canonical = "valeur", partner = "valeur", type = "code", codes = "valeur" },
  { canonical = "prioritaire", partner = "estPrioritaire", type = "boolean" },
]
[[section.section]]
title = "Situations"
category = ["frein_situation", "sante", "logement", "finances", "justice"]
canonical = "situations[]"
partner = "situations[]"
key = [ { partner = "code", type = "code", codes = "situation", label = "libelle" } ]
fields = [ { canonical = "valeur", partner = "valeur", type = "code", codes = "situation_valeur" } ]

[codes.contrainte]
source = "contraintes v4"
crosswalk = "freins"
canonical = "theme_canonique"
partner = "ft_contrainte_code"
list = "france_travail/contraintes"
label = "theme_canonique"
[codes.situation]
source = "situations v4"
crosswalk = "freins_situations"
canonical = "situation_canonique"
partner = "ft_situation_code"
parent = "ft_contrainte_code"
label = "ft_libelle"
[codes.valeur]
source = "valeurs"
values = { OUI = "present", CLOTUREE = "cloture", NON_ABORDEE = "" }
[codes.situation_valeur]
source = "valeurs"
values = { OUI = "oui", NON = "non", NON_ABORDEE = "" }
"""


def test_a_json_object_is_read_into_facts(mapping):
    record = mapping(NAMES).read({"usager": {"nom": " Durand ", "naissance": "1985-06-14"}})
    assert record.personnes[0].facts == {"personne.nom_naissance": "Durand", "personne.date_naissance": "1985-06-14"}
    assert record.findings == []


def test_an_absent_required_field_and_a_bad_date_are_told_without_any_value(mapping):
    record = mapping(NAMES).read({"usager": {"naissance": "14/06/1985"}})
    assert [(f.code, f.path, f.raw) for f in record.findings] == [
        ("missing-required", "usager/nom", ""),
        ("bad-date", "usager/naissance", ""),
    ]
    assert record.quarantined
    assert record.personnes[0].facts == {}


def test_a_required_date_that_says_nothing_is_told(mapping):
    told = NAMES.replace('type = "date" }', 'type = "date", required = true }')
    record = mapping(told).read({"usager": {"nom": "Durand", "naissance": "1900-01-01"}})
    assert [(f.code, f.path) for f in record.findings] == [("missing-required", "usager/naissance")]
    assert record.quarantined


NUMBERED = (
    NAMES
    + """
[[section]]
title = "NIR"
category = "nir"
fields = [ { canonical = "identifiants[nir].valeur", partner = "usager.nir", type = "nir" } ]
[[section]]
title = "Civilité"
category = "identite"
fields = [ { canonical = "personne.civilite", partner = "usager.civilite", type = "code", codes = "civilite" } ]
[codes.civilite]
source = "essai"
values = { MME = "madame", MR = "monsieur" }
"""
)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"naissance": "1958-06-14"}, [("quarantine", "annee")]),
        ({"naissance": "1985-07-14"}, [("quarantine", "mois")]),
        ({"naissance": ""}, []),
        ({"civilite": "MR"}, [("notice", "sexe")]),
        ({"civilite": ""}, []),
        ({"nir": "2854299999999"}, []),
    ],
)
def test_a_nir_beside_the_wrong_person_is_told(mapping, changes, told):
    person = {"nom": "Durand", "naissance": "1985-06-14", "nir": "2850699999999", "civilite": "MME"}
    record = mapping(NUMBERED).read({"usager": person | changes})
    assert {(f.code, f.path) for f in record.findings} == ({("nir-disagrees", "usager/nir")} if told else set())
    assert [(f.severity, f.detail) for f in record.findings] == told
    assert "identifiants[nir].valeur" in record.personnes[0].facts


@pytest.mark.parametrize(("born", "code"), [("2199-01-01", "birth-to-come"), ("1885-06-14", "birth-too-old")])
def test_a_birth_date_of_nobody_alive_names_nobody(mapping, born, code):
    record = mapping(NUMBERED).read({"usager": {"nom": "Durand", "naissance": born, "nir": "2850699999999"}})
    assert [(f.code, f.path, f.severity) for f in record.findings] == [(code, "usager/naissance", "quarantine")]
    facts = record.personnes[0].facts
    assert "personne.date_naissance" not in facts
    assert facts["personne.nom_naissance"] == "Durand"


@pytest.mark.parametrize("name", ["DurÃ©", "FranÃ§ois", "PrÃªtre", "Lâ€™Hermite", "DUPRÃ‰"])
def test_a_text_decoded_in_another_encoding_than_its_own_is_left_out_and_told(mapping, name):
    record = mapping(NAMES).read({"usager": {"nom": name, "naissance": "1985-06-14"}})
    assert [(f.code, f.path, f.severity) for f in record.findings] == [("twice-encoded", "usager/nom", "quarantine")]
    assert record.personnes[0].facts == {"personne.date_naissance": "1985-06-14"}


@pytest.mark.parametrize("name", ["ÂGÉ", "João", "CONCEIÇÃO", "IRMÃ MARIA", "Åse", "Château d’If", "Zoë"])
def test_a_name_of_another_country_is_not_taken_for_a_damaged_one(mapping, name):
    record = mapping(NAMES).read({"usager": {"nom": name, "naissance": "1985-06-14"}})
    assert record.findings == []
    assert record.personnes[0].facts["personne.nom_naissance"] == name


def test_a_mapping_reads_what_it_wrote(mapping):
    one = mapping(NAMES)
    facts = {"personne.nom_naissance": "DURAND", "personne.date_naissance": "1985-06-14"}
    written = one.write(said(facts))
    assert written.document == {"usager": {"nom": "DURAND", "naissance": "1985-06-14"}}
    assert written.sources == {"usager/nom": "caf", "usager/naissance": "caf"}
    assert one.read(written.document).personnes[0].facts == facts


def test_the_meter_counts_what_is_left_to_type(mapping):
    written = mapping(NAMES).write(said({"personne.date_naissance": "1985-06-14"}))
    assert written.empty == ["usager/nom"]
    assert written.fields_total == 2
    assert [f.code for f in written.findings] == ["missing-required"]


def test_xml_is_read_and_written_by_the_same_rows(mapping):
    one = mapping(NAMES, format="xml")
    facts = {"personne.nom_naissance": "DURAND", "personne.date_naissance": "1985-06-14"}
    written = one.write(said(facts))
    assert written.document == b"<fiche><usager><nom>DURAND</nom><naissance>1985-06-14</naissance></usager></fiche>"
    assert one.read(written.document).personnes[0].facts == facts
    assert one.read(etree.fromstring(written.document)).personnes[0].facts == facts


def test_a_table_row_is_read_by_column_name_verbatim(mapping):
    one = mapping(
        """
[[section]]
title = "Usager"
category = ["identite", "contact"]
canonical = "personne"
fields = [
  { canonical = "nom_naissance", partner = "Nom / N° (usager)", type = "name" },
  { canonical = "telephones[].numero", partner = "Tél.", type = "phones" },
]
""",
        format="table",
    )
    record = one.read({"Nom / N° (usager)": "Durand", "Tél.": "06 12 34 56 78 / 0712345678"})
    assert record.personnes[0].facts == {
        "personne.nom_naissance": "Durand",
        "personne.telephones[+33612345678].numero": "+33612345678",
        "personne.telephones[+33712345678].numero": "+33712345678",
    }
    assert one.write(said(record.personnes[0].facts)).document == {
        "Nom / N° (usager)": "Durand",
        "Tél.": "+33612345678 / +33712345678",
    }


def contrainte(**changes: Any) -> dict[str, Any]:
    situation = {"code": "7", "libelle": "Dépendant des transports en commun", "valeur": "OUI"}
    return {
        "code": "23", "libelle": "mobilite", "valeur": "OUI", "estPrioritaire": True, "situations": [situation],
    } | changes  # fmt: skip


def test_repeated_objects_become_lists_named_by_their_own_key(mapping):
    record = mapping(FREINS).read({"contraintes": [contrainte()]})
    assert record.findings == []
    assert record.personnes[0].facts == {
        "freins[mobilite].valeur": "present",
        "freins[mobilite].prioritaire": True,
        "freins[mobilite].situations[mobilite_dependant_transports_communs].valeur": "oui",
    }


NAMED_AT_ONCE = """
[[section]]
title = "Freins"
category = "frein_theme"
canonical = "freins[]"
key = [{ partner = "FREINS", type = "TYPE", codes = "frein" }]
fields = [{ canonical = "valeur", constant = "present" }]
[codes.frein]
source = "essai"
values = { MOB = "mobilite", LOG = "logement", RAS = "" }
"""
PRESENT = {"freins[mobilite].valeur": "present", "freins[logement].valeur": "present"}


@pytest.mark.parametrize(
    ("format", "path", "type_", "told"),
    [("table", "Freins", "code_list", "MOB, LOG,RAS,ZUT"), ("json", "freins[]", "code", ["MOB", "LOG", "RAS", "ZUT"])],
)
def test_several_codes_in_one_place_each_name_an_item(mapping, format, path, type_, told):
    rows = NAMED_AT_ONCE.replace("FREINS", path).replace("TYPE", type_)
    one = mapping(rows, format=format, direction="read")
    record = one.read({path.removesuffix("[]"): told})
    assert record.personnes[0].facts == PRESENT
    assert [(finding.code, finding.raw) for finding in record.findings] == [("unknown-code", "ZUT")]
    assert one.read({path.removesuffix("[]"): told[:0]}).findings == []
    with pytest.raises(MappingError, match="names several items at once"):
        mapping(rows, format=format)


def test_lists_are_written_back_with_their_codes_and_labels(mapping):
    one = mapping(FREINS)
    record = one.read({"contraintes": [contrainte()]})
    assert one.write(said(record.personnes[0].facts)).document == {"contraintes": [contrainte()]}


def test_a_code_whose_label_disagrees_is_quarantined_and_never_read(mapping):
    wrong = {"code": "7", "libelle": "Permis non valide", "valeur": "OUI"}
    record = mapping(FREINS).read({"contraintes": [contrainte(situations=[wrong])]})
    assert [(f.code, f.path, f.raw) for f in record.findings] == [
        ("label-disagrees", "contraintes[1]/situations[1]/code", "7")
    ]
    assert not any("situations" in path for path in record.personnes[0].facts)


def test_a_code_of_another_contrainte_is_unknown_here(mapping):
    record = mapping(FREINS).read({"contraintes": [contrainte(code="24", libelle="famille")]})
    assert [f.code for f in record.findings] == ["unknown-code"]


def test_an_unknown_word_in_a_mapping_refuses_the_file(mapping):
    with pytest.raises(MappingError) as error:
        mapping(NAMES.replace("required", "obligatory"))
    assert error.value.code == "mapping-grammar"


@pytest.mark.parametrize(("format", "path"), [("json", ""), ("table", "Qualité")])
def test_a_choice_of_persons_where_none_repeats_refuses_the_file(mapping, format, path):
    words = f'[record.personne]\npath = "{path}"\nonly = {{ partner = "Qualité" }}\nvalues = ["adulte"]\n'
    with pytest.raises(MappingError, match="mapping-path"):
        mapping(words + NAMES, format=format, direction="read")


def test_an_unknown_canonical_path_refuses_the_file(mapping):
    with pytest.raises(MappingError) as error:
        mapping(NAMES.replace("nom_naissance", "nom_de_jeune_fille"))
    assert error.value.code == "mapping-canonical"


def test_what_the_mapping_does_not_know_is_told_as_its_policy_says(mapping):
    document = {"usager": {"nom": "Durand", "taille": 180}}
    assert [(f.code, f.severity) for f in mapping(NAMES).read(document).findings] == [("unknown-element", "notice")]
    strict = mapping(NAMES, unknown="quarantine").read(document)
    assert [(f.path, f.severity) for f in strict.findings] == [("usager/taille", "quarantine")]


PLACES = """
[record]
key = [ { constant = "essai" }, { partner = "id", type = "identifier" } ]
asserted_at = { partner = "maj", type = "instant" }
[[section]]
title = "Numéros"
category = "identifiants"
canonical = "identifiants[si_departement:{departement}]"
fields = [ { canonical = "valeur", partner = "id", type = "identifier" } ]
[[section]]
title = "Droit"
category = "droit_rsa"
canonical = "droit_rsa"
fields = [
  { canonical = "prestation", constant = "rsa" },
  { canonical = "date_reference", context = "date_reference" },
  { partner = "motif", constant = "ORI" },
  { partner = "jour", context = "today", type = "date_fr" },
]
[[section]]
title = "Contact"
category = "contact"
canonical = "personne"
fields = [
  { canonical = "telephones[].numero", partner = "tel1", type = "phone", width = 10 },
  { canonical = "telephones[].numero", partner = "tel2", type = "phone", width = 10, rank = 2 },
]
[[section]]
title = "Adresse"
category = "adresse"
canonical = "personne.adresses[residence]"
partner = "adresses[type=PRINCIPALE|P]"
fields = [ { canonical = "code_postal", partner = "cp", type = "postcode" } ]
[[section]]
title = "Contesté"
category = "identite"
canonical = "personne"
fields = [ { canonical = "nom_usage", partner = "nomUsage", disputed = "deux sens possibles" } ]
"""
CONTEXT = {"departement": "40", "date_reference": "2026-10-31", "today": "2026-11-21"}


def test_constants_context_ranks_and_conditions_are_read(mapping):
    record = mapping(PLACES).read(
        {
            "id": "42", "maj": "2026-11-01T08:00:00Z", "tel1": "0612345678", "tel2": "0558000000", "nomUsage": "X",
            "adresses": [{"type": "AUTRE", "cp": "33000"}, {"type": "P", "cp": "40000"}],
        },
        **CONTEXT,
    )  # fmt: skip
    assert record.key == "essai:42"
    assert record.asserted_at is not None
    assert record.asserted_at.isoformat() == "2026-11-01T08:00:00+00:00"
    assert record.foyer == {"droit_rsa.prestation": "rsa", "droit_rsa.date_reference": "2026-10-31"}
    assert record.personnes[0].facts == {
        "identifiants[si_departement:40].valeur": "42",
        "personne.telephones[+33612345678].numero": "+33612345678",
        "personne.telephones[+33558000000].numero": "+33558000000",
        "personne.adresses[residence].code_postal": "40000",
    }


def test_constants_context_ranks_and_conditions_are_written(mapping):
    facts = {
        "identifiants[si_departement:40].valeur": "42",
        "personne.telephones[+33558000000].numero": "+33558000000",
        "personne.telephones[+33612345678].numero": "+33612345678",
        "personne.adresses[residence].code_postal": "40000",
        "personne.nom_usage": "DURAND",
    }
    written = mapping(PLACES).write(said(facts), CONTEXT)
    assert written.document == {
        "id": "42", "motif": "ORI", "jour": "21/11/2026", "tel1": "0558000000", "tel2": "0612345678",
        "adresses": [{"type": "PRINCIPALE", "cp": "40000"}],
    }  # fmt: skip
    assert written.empty == ["nomUsage"]
    assert "motif" not in written.filled


def test_two_siblings_under_one_condition_are_told_and_not_chosen(mapping):
    both = {"adresses": [{"type": "P", "cp": "40000"}, {"type": "P", "cp": "33000"}]}
    record = mapping(PLACES).read(both, **CONTEXT)
    assert [(f.code, f.path) for f in record.findings] == [("repeated-element", "adresses[2]")]


def test_a_fact_without_counterpart_leaves_its_field_empty_and_is_told(mapping):
    written = mapping(FREINS).write(said({"freins[mobilite].valeur": "absent"}))
    assert [(f.code, f.path) for f in written.findings] == [("no-counterpart", "contraintes[mobilite]/valeur")]
    assert "contraintes[mobilite]/valeur" in written.empty


def test_two_items_under_one_name_that_disagree_are_told(mapping):
    record = mapping(FREINS).read({"contraintes": [contrainte(), contrainte(estPrioritaire=False)]})
    assert [(f.code, f.path) for f in record.findings] == [("contradiction", "contraintes[2]/estPrioritaire")]


def test_a_name_is_never_the_word_true(mapping):
    record = mapping(PLACES).read({"id": True, "adresses": [{"type": "PRINCIPALE", "cp": 40000}]}, **CONTEXT)
    assert ("bad-type", "id") in [(f.code, f.path) for f in record.findings]
    facts = record.personnes[0].facts
    assert "true" not in facts.values()
    assert facts["personne.adresses[residence].code_postal"] == "40000"


def test_a_wrong_json_type_is_told_and_the_rest_is_read(mapping):
    record = mapping(FREINS).read({"contraintes": ["23", contrainte(estPrioritaire=["oui"])]})
    assert [(f.code, f.path) for f in record.findings][-1] == ("bad-type", "contraintes[2]/estPrioritaire")
    assert record.personnes[0].facts["freins[mobilite].valeur"] == "present"


def test_a_mapping_asks_for_the_categories_of_every_key_it_can_write(mapping):
    assert mapping(FREINS).categories == {
        "frein_theme", "frein_situation", "sante", "logement", "finances", "justice",
    }  # fmt: skip


def test_the_digest_follows_the_bytes_when_there_are_bytes_and_the_content_otherwise(mapping):
    one = mapping(NAMES)
    same = [
        one.read({"usager": {"nom": "A", "naissance": None}}),
        one.read({"usager": {"naissance": None, "nom": "A"}}),
    ]
    assert same[0].digest == same[1].digest
    assert one.read({"usager": {"nom": "B"}}).digest != same[0].digest
    assert one.read({"usager": {"nom": "A"}}, raw=b"a").digest != one.read({"usager": {"nom": "A"}}, raw=b"b").digest


ROW = """
[record]
key = [ { partner = "dossier", type = "identifier" } ]

[[section]]
title = "Identité"
category = "identite"
canonical = "personne"
fields = [ { canonical = "nom_naissance", partner = "nom", type = "name" } ]

[[section]]
title = "Demande"
category = "aide"
canonical = "demandes_aide[]"
key = [ { partner = "dossier", type = "identifier" } ]
fields = [ { canonical = "nature", partner = "nature" } ]
"""


@pytest.mark.parametrize("format", ["json", "table"])
def test_what_nobody_described_is_told_once_however_many_sections_look_at_its_container(mapping, format):
    record = mapping(ROW, format=format, direction="read").read({"dossier": "7", "nom": "LABORDE", "avis": "x"})
    assert [(one.code, one.path) for one in record.findings] == [("unknown-element", "avis")]
