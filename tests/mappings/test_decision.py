"""Decision tables, sections that count from the root, and the types of employment documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mappings.engine import Mapping, compile_file
from mappings.grammar import MappingError, Row
from mappings.types import Bad, codec
from schemas.record import Fact

HEAD = """
id = "essai.document"
version = 1
title = "Essai"
direction = "{direction}"
partner = {{ system = "essai", format = "json" }}
"""

TABLE = """
[[section]]
title = "Contraintes"
category = ["frein_theme", "logement"]
fields = [ { partner = "contrainte_logement", decision = "logement" } ]

[decision.logement]
source = "essai"
rules = [
  { code = "SANS", when = { "freins[logement].valeur" = "present", "SITUATION" = "oui" } },
  { code = "FORT", when = { "freins[logement].valeur" = "present", "freins[logement].impact" = "fort" } },
  { when = { "freins[logement].valeur" = "present" } },
  { code = "AUCUNE", when = { "diagnostic.declare_sans_frein.valeur" = true } },
]
"""

TABLE = TABLE.replace("SITUATION", "freins[logement].situations[logement_sans_hebergement].valeur")

OBJECTIFS = """
[[section]]
title = "Freins"
category = "frein_theme"
canonical = "freins[]"
partner = "contraintes[]"
key = [ { partner = "code", type = "code", codes = "contrainte" } ]
fields = [ { canonical = "valeur", partner = "valeur", type = "code", codes = "valeur" } ]
[[section.section]]
title = "Objectifs"
category = ["objectif_action", "sante", "logement", "finances", "justice"]
canonical = "/objectifs[]"
partner = "objectifs[]"
key = [ { partner = "code", type = "code", codes = "objectif" } ]
fields = [ { canonical = "statut", partner = "valeur", type = "code", codes = "statut" } ]

[codes.contrainte]
source = "essai"
crosswalk = "freins"
canonical = "theme_canonique"
partner = "ft_contrainte_code"
[codes.valeur]
source = "essai"
values = { OUI = "present" }
[codes.objectif]
source = "essai"
crosswalk = "objectifs"
canonical = "objectif_canonique"
partner = "ft_objectif_code"
parent = "ft_contrainte_code"
[codes.statut]
source = "essai"
values = { EN_COURS = "en_cours" }
"""


@pytest.fixture
def made(tmp_path: Path):
    def make(text: str, direction: str) -> Mapping:
        path = tmp_path / "document.v1.toml"
        path.write_text(HEAD.format(direction=direction) + text, encoding="utf-8")
        return compile_file(path)

    return make


def said(facts: dict[str, Any]) -> dict[str, Fact]:
    return {path: Fact(value, "ccas", "ccas.suivi", "2026-11-01T00:00:00Z") for path, value in facts.items()}


SANS = {"freins[logement].situations[logement_sans_hebergement].valeur": "oui"}


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"freins[logement].valeur": "present", "freins[logement].impact": "fort"} | SANS, "SANS"),
        ({"freins[logement].valeur": "present", "freins[logement].impact": "fort"}, "FORT"),
        ({"freins[logement].valeur": "present", "freins[logement].impact": "moyen"}, None),
        ({"freins[logement].valeur": "present", "diagnostic.declare_sans_frein.valeur": True}, None),
        ({"diagnostic.declare_sans_frein.valeur": True}, "AUCUNE"),
        ({"diagnostic.declare_sans_frein.valeur": False}, None),
        (SANS, None),
        ({}, None),
    ],
)
def test_the_first_rule_that_holds_decides_and_nothing_is_guessed(made, facts: dict, code: str | None) -> None:
    written = made(TABLE, "write").write(said(facts))
    assert written.document.get("contrainte_logement") == code
    assert list(written.filled) == (["contrainte_logement"] if code else [])
    assert written.empty == ([] if code else ["contrainte_logement"])


def test_permission_is_asked_for_every_fact_that_a_table_looks_at(made) -> None:
    assert made(TABLE, "write").categories == {"frein_theme", "logement"}


def test_a_table_that_does_not_exist_refuses_the_file(made) -> None:
    with pytest.raises(MappingError, match="mapping-decision"):
        made(TABLE.replace('decision = "logement"', 'decision = "autre"'), "write")


def test_an_objective_is_read_and_written_under_its_frein(made) -> None:
    mapping = made(OBJECTIFS, "both")
    document = {
        "contraintes": [
            {"code": "23", "valeur": "OUI", "objectifs": [{"code": "29", "valeur": "EN_COURS"}]},
            {"code": "27", "valeur": "OUI", "objectifs": [{"code": "35", "valeur": "EN_COURS"}]},
        ]
    }
    record = mapping.read(document)
    assert record.findings == []
    assert record.personnes[0].facts == {
        "freins[mobilite].valeur": "present",
        "objectifs[mobilite_acceder_vehicule].statut": "en_cours",
        "freins[logement].valeur": "present",
        "objectifs[logement_reduire_impayes].statut": "en_cours",
    }
    written = mapping.write(said(record.personnes[0].facts))
    assert written.findings == []
    assert sorted(written.document["contraintes"], key=lambda c: c["code"]) == document["contraintes"]
    assert "logement" in mapping.categories, "the category of an objective follows its theme"


def test_an_objective_under_a_foreign_frein_is_told_never_read(made) -> None:
    wrong = {"contraintes": [{"code": "24", "valeur": "OUI", "objectifs": [{"code": "29", "valeur": "EN_COURS"}]}]}
    record = made(OBJECTIFS, "both").read(wrong)
    assert [finding.code for finding in record.findings] == ["unknown-code"]
    assert list(record.personnes[0].facts) == ["freins[famille].valeur"]


def read(kind: str, *texts: str | None) -> Any:
    return codec(Row(type=kind, partner=("a",)), "UTC").read(*texts)


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        (("BROUILLON", "PRECONISE", None), "brouillon"),
        (("EN_ATTENTE", "PRECONISE", None), "en_attente"),
        (("EN_ATTENTE", "PRECONISE", "REFUSEE"), "refusee"),
        (("OUVERT", "PRECONISE", None), "proposee"),
        (("OUVERT", "DECIDE", "ACCEPTEE"), "decidee"),
        (("OUVERT", "DECIDE", "REFUSEE"), "decidee"),
        (("CLOTURE", "DECIDE", "ACCEPTEE"), "terminee"),
        ((None, None, None), None),
    ],
)
def test_three_fields_make_one_state_of_an_orientation(texts: tuple, state: str | None) -> None:
    assert read("etat_orientation", *texts) == state


def test_an_unknown_state_is_never_guessed() -> None:
    with pytest.raises(Bad, match="unknown-code"):
        read("etat_orientation", "SUSPENDU", "DECIDE", None)
    with pytest.raises(Bad, match="unknown-code"):
        read("etat_orientation", "CLOTURE", "DECIDE", "A_REVOIR")
    with pytest.raises(Bad, match="not-reversible"):
        codec(Row(type="etat_orientation", partner=("a",)), "UTC").write("decidee")


def test_a_metier_and_a_locality_are_read_in_their_form_only() -> None:
    assert read("rome", " A1101 ") == "A1101"
    assert (read("locality_postcode", "08300 RETHEL"), read("locality_name", "08300 RETHEL")) == ("08300", "RETHEL")
    for kind, text in (("rome", "A11"), ("locality_postcode", "RETHEL"), ("locality_name", "8300 RETHEL")):
        with pytest.raises(Bad):
            read(kind, text)
