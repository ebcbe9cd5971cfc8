"""What France Travail's forms are filled with: every field, from facts alone, nothing when they are withheld."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mappings
from mappings.lint import lint
from schemas import nomenclatures, paths
from schemas.record import Fact, Written

FOLDER = Path(mappings.__file__).parent / "france_travail"
CALCUL = mappings.load("france_travail.calcul_orientation")
FIELDS = {
    "brsa", "date_naissance", "adresse/code_commune", "adresse/libelle_commune", "adresse/code_postal",
    "adresse/numero_type_libelle_voie", "situation_professionnelle", "type_emploi", "niveau_etude",
    "capacite_a_travailler", "projet_pro", "contrainte_sante", "contrainte_logement", "contrainte_mobilite",
    "contrainte_familiale", "contrainte_financiere", "contrainte_numerique", "contrainte_administrative_juridique",
    "contrainte_francais_calcul", "boe", "baeeh", "scolarite_etablissement_specialise", "esat",
    "boe_souhait_accompagnement", "msa_autonomie_recherche_emploi", "msa_demarches_professionnelles",
}  # fmt: skip
"""Every field of the published example of calculOrientation."""
THEMES = {
    "contrainte_sante": "sante", "contrainte_logement": "logement", "contrainte_mobilite": "mobilite",
    "contrainte_familiale": "famille", "contrainte_financiere": "finances", "contrainte_numerique": "numerique",
    "contrainte_administrative_juridique": "administratif_juridique",
    "contrainte_francais_calcul": "lecture_ecriture_calcul",
}  # fmt: skip


def write(values: dict[str, Any]) -> Written:
    return CALCUL.write({path: Fact(value, "ccas", "essai", "2026-11-20T08:00:00Z") for path, value in values.items()})


def complete() -> dict[str, Any]:
    return json.loads((FOLDER / "examples" / "calcul_orientation" / "complet.faits.json").read_text(encoding="utf-8"))


def test_the_mappings_are_without_fault() -> None:
    assert [str(fault) for fault in lint([FOLDER])] == []


def test_every_field_of_the_form_can_be_filled_and_is_counted() -> None:
    written = write(complete())
    assert written.filled.keys() == FIELDS
    assert written.empty == []
    assert write({}).filled == {}
    assert set(write({}).empty) == FIELDS


def test_the_themes_of_the_criteria_are_those_of_the_crosswalk() -> None:
    rows = {row["ft_orientation_champ"]: row["theme_canonique"] for row in nomenclatures.crosswalk("freins")}
    for field, theme in THEMES.items():
        assert rows[field] == theme
        looked_at = CALCUL.file.decision[field].paths
        assert {paths.keys(path)[0] for path in looked_at if path.startswith("freins[")} == {theme}


@pytest.mark.parametrize("name", sorted(CALCUL.file.decision))
def test_a_table_gives_codes_of_its_list_and_looks_at_canonical_facts(name: str) -> None:
    decision = CALCUL.file.decision[name]
    given_codes = {rule.code for rule in decision.rules if rule.code != ""}
    if decision.list:
        known = set(nomenclatures.codes(decision.list))
        assert given_codes <= known
        assert (known == given_codes) or decision.lossy
    for rule in decision.rules:
        assert paths.check(rule.when) == []


def frein(theme: str, **said: Any) -> dict[str, Any]:
    return {f"freins[{theme}].{name}": value for name, value in said.items()}


def situation(theme: str, code: str) -> dict[str, Any]:
    return {f"freins[{theme}].situations[{code}].valeur": "oui"}


@pytest.mark.parametrize(
    ("facts", "field", "code"),
    [
        (situation("sante", "sante_ne_permet_plus_activite"), "contrainte_sante", "INCAPACITE_RECHERCHE_ACTIVITE_PRO"),
        (situation("logement", "logement_sans_hebergement"), "contrainte_logement", "SANS_LOGEMENT"),
        (situation("logement", "logement_doit_quitter"), "contrainte_logement", None),
        (situation("mobilite", "mobilite_aucun_moyen_transport"), "contrainte_mobilite", "AUCUN_MOYEN_DE_TRANSPORT"),
        (situation("mobilite", "mobilite_permis_non_valide"), "contrainte_mobilite", "AUTRE"),
        (situation("famille", "famille_garde_enfant"), "contrainte_familiale", "ENFANT_SANS_SOLUTION_GARDE"),
        (situation("numerique", "numerique_sans_connexion_refus"), "contrainte_numerique", "REFUS"),
        (situation("numerique", "numerique_demarches_en_ligne"), "contrainte_numerique", "NON_MAITRISE"),
        (situation("numerique", "numerique_absence_equipement"), "contrainte_numerique", None),
    ],
)
def test_a_situation_gives_its_code_only_under_a_present_frein(facts: dict, field: str, code: str | None) -> None:
    theme = THEMES[field]
    assert write(facts | frein(theme, valeur="present")).document.get(field) == code
    assert field not in write(facts).document
    assert field not in write(facts | frein(theme, valeur="cloture")).document
    assert field not in write(facts | frein(theme, valeur="non_aborde")).document


@pytest.mark.parametrize("field", sorted(THEMES))
def test_none_needs_someone_s_word(field: str) -> None:
    theme, declared = THEMES[field], {"diagnostic.declare_sans_frein.valeur": True}
    assert write(frein(theme, valeur="absent")).document[field] == "AUCUNE"
    # A health frein may be withheld while the declaration is not: silence on health is never « aucune ».
    assert write(declared).document.get(field) == (None if theme == "sante" else "AUCUNE")
    assert field not in write(declared | frein(theme, valeur="cloture")).document
    assert field not in write(declared | frein(theme, valeur="present")).document
    assert field not in write(frein(theme, valeur="non_aborde")).document
    assert field not in write({"diagnostic.declare_sans_frein.valeur": False}).document


@pytest.mark.parametrize(("impact", "code"), [("fort", "IMPACT_FORT_RECHERCHE_EMPLOI"), ("moyen", None),
                                              ("faible", "IMPACT_FAIBLE_RECHERCHE_EMPLOI")])  # fmt: skip
def test_an_impact_is_carried_where_the_form_has_it(impact: str, code: str | None) -> None:
    for field, theme in THEMES.items():
        expected = None if field in {"contrainte_mobilite", "contrainte_numerique"} else code
        assert write(frein(theme, valeur="present", impact=impact)).document.get(field) == expected


@pytest.mark.parametrize(
    "category", ["sante", "logement", "frein_situation", "frein_theme", "parcours_pro", "identite"]
)
def test_a_withheld_category_leaves_its_fields_empty_or_coarser(category: str) -> None:
    values = (
        complete()
        | situation("sante", "sante_ne_permet_plus_activite")
        | frein("sante", valeur="present", impact="fort")
    )
    shown = {path: value for path, value in values.items() if paths.categorie(path, value) != category}
    whole, less = write(values), write(shown)
    assert less.filled.keys() <= whole.filled.keys()
    if category == "sante":
        assert whole.document["contrainte_sante"] == "INCAPACITE_RECHERCHE_ACTIVITE_PRO"
        assert less.document["contrainte_sante"] == "IMPACT_FORT_RECHERCHE_EMPLOI"
        assert not {"boe", "esat", "capacite_a_travailler"} & less.document.keys()
    if category == "frein_theme":
        assert not THEMES.keys() & less.document.keys()


SITUATIONS = [row for row in nomenclatures.crosswalk("freins_situations") if row["theme_canonique"] in THEMES.values()]
CODES = {field: set(nomenclatures.codes(f"france_travail/orientation_{field}")) for field in THEMES}


@given(
    st.dictionaries(st.sampled_from(sorted(THEMES.values())), st.tuples(
        st.sampled_from(["present", "absent", "cloture", "non_aborde"]),
        st.sampled_from(["fort", "moyen", "faible", "non_renseigne", None]))),
    st.dictionaries(st.integers(0, len(SITUATIONS) - 1), st.sampled_from(["oui", "non", "non_aborde"])),
    st.sampled_from([True, False, None]),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_whatever_is_known_the_form_holds_codes_of_its_lists(
    freins: dict, situations: dict, declared: bool | None
) -> None:
    values: dict[str, Any] = {}
    for theme, (valeur, impact) in freins.items():
        values |= frein(theme, valeur=valeur) | (frein(theme, impact=impact) if impact else {})
    for number, valeur in situations.items():
        row = SITUATIONS[number]
        values[f"freins[{row['theme_canonique']}].situations[{row['situation_canonique']}].valeur"] = valeur
    if declared is not None:
        values["diagnostic.declare_sans_frein.valeur"] = declared
    written = write(values)
    for field, codes in CODES.items():
        code = written.document.get(field)
        assert code is None or code in codes
        if code not in {None, "AUCUNE"}:
            assert values[f"freins[{THEMES[field]}].valeur"] == "present"


@pytest.mark.parametrize(
    ("etat", "brsa"),
    [
        ("ouvert_versable", True), ("ouvert_suspendu", True), ("ouvert_versement_suspendu", True), ("refuse", False),
        ("clos", False), ("clos_anterieur", False), ("demande_en_attente", None),
    ],
)  # fmt: skip
def test_a_pending_claim_is_neither_yes_nor_no(etat: str, brsa: bool | None) -> None:
    assert write({"droit_rsa.etat": etat}).document.get("brsa") is brsa


def test_the_disputed_parcours_stand_in_one_table() -> None:
    places = [
        (mapping.id, name)
        for mapping in mappings.all_mappings()
        if mapping.id.startswith("france_travail.")
        for name, codes in mapping.file.codes.items()
        if {"PSP", "PSO"} & codes.disputed.keys()
    ]
    assert places == [("france_travail.decision_orientation", "parcours")]
    table = mappings.load("france_travail.decision_orientation").tables["parcours"]
    assert {"PSP", "PSO"}.isdisjoint(table.reverse.values())


MOTIFS = nomenclatures.codes("france_travail/rendez_vous_motif")


@pytest.mark.parametrize(
    ("statut", "code"),
    [
        ("prevu", "PRIS"), ("a_renseigner", "PRIS"), ("honore", "EFFECTUE"), ("absent", "ABSENT"),
        ("excuse_usager", "ANNULE"), ("annule_service", "ANNULE"),
    ],
)  # fmt: skip
def test_every_state_of_a_rendez_vous_has_its_code(statut: str, code: str) -> None:
    rdv = "rendez_vous[ccas:1]"
    values = {f"{rdv}.statut": statut, f"{rdv}.motif": "accompagnement", f"{rdv}.premier_accompagnement": False}
    written = mappings.load("france_travail.rendez_vous").write(
        {path: Fact(value, "ccas", "essai", "") for path, value in values.items()}
    )
    assert written.document["statut"] == code
    assert written.document["motif"] == "AUT", "ACC is for the first rendez-vous alone"
    assert written.document["motif"] in MOTIFS
