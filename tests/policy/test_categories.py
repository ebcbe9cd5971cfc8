"""From a dossier to what may leave of it: every fact is either sent or counted among those withheld."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest

from gateway import categories
from gateway.categories import Withheld, bridge, codes_of, legal_code, told
from gateway.merge import Assertions, Portrait
from gateway.policy import Decision, Policy, Question
from gateway.policy_table import FOLDER
from schemas import paths
from schemas.record import Current, Fact

Ask = Callable[..., Question]
ROLES = {"caf": "caf_msa", "ccas_voisin": "ccas"}


def split(
    current: Current, decision: Decision, role: Callable[[str], str] = lambda body: ROLES.get(body, body)
) -> tuple[dict[str, Fact], list[Withheld]]:
    return categories.split(current, decision, role)


CODES = {
    "personne.nom_naissance": "C1",
    "identifiants[si_departement:40].valeur": "C1",
    "identifiants[nir].valeur": "C3",
    "personne.telephones[+33601020304].numero": "C2",
    "personne.adresses[residence].code_postal": "C2",
    "personne.adresses[residence].sans_domicile_fixe": "C11",
    "foyer.nb_enfants_mineurs": "C4",
    "droit_rsa.soumis_droits_devoirs": "C6",
    "droit_rsa.prestation": "C6",
    "droit_rsa.etat": "C5",
    "droit_rsa.suspensions[01:2026-01-01].motif": "C5",
    "droit_rsa.montants[rsa].montant": "C5",
    "inscription_emploi.inscrit": "C6",
    "parcours_pro.niveau_etude": "C6",
    "parcours_pro.permis": "C12",
    "parcours_pro.boe": "C14",
    "personne.rqth.etat": "C14",
    "parcours_pro.esat": "C15",
    "parcours_pro.capacite_a_travailler": "C13",
    "freins[mobilite].valeur": "C9",
    "freins[sante].valeur": "C13",
    "freins[sante].impact": "C13",
    "freins[mobilite].situations[mobilite_aucun_moyen_transport].valeur": "C12",
    "freins[mobilite].situations[mobilite_sante_incompatible_conduite].valeur": "C13",
    "freins[logement].situations[logement_sans_hebergement].valeur": "C11",
    "freins[finances].situations[finances_surendettement].valeur": "C20",
    "freins[numerique].situations[numerique_sans_equipement].valeur": None,
    "objectifs[mobilite_point_complet].statut": "C8",
    "objectifs[finances_endettement].statut": "C20",
    "objectifs[sante_acces_droits_soins].statut": "C13",
    "objectifs[mobilite_point_complet].texte": "C21",
    "orientations[departement:1].categorie": "C7",
    "orientations[departement:1].motif": "C21",
    "rendez_vous[ccas:42].statut": "C7",
    "entretiens[ccas:42].synthese": "C21",
    "contrats[departement:1].signe_le": "C8",
    "demandes_aide[ccas:1].statut": "C5",
    "demandes_aide[ccas:1].nature": "C21",
    "demandes_aide[ccas:1].organisme_instructeur.nom": "C21",
    "personne.nationalite_groupe": "C16",
    "participations[departement:1].reponses_sensibles.handicap": None,
}


@pytest.mark.parametrize(("path", "code"), CODES.items(), ids=CODES)
def test_the_legal_category_of_a_path(path: str, code: str | None) -> None:
    if "numerique_sans_equipement" in path:
        assert legal_code(path) == "C13", "an unknown situation takes the strictest category"
    else:
        assert legal_code(path) == code
        assert legal_code(path) == code, "the same when remembered"


def test_every_field_of_the_model_has_a_legal_category(policy: Policy) -> None:
    known = set(policy.table.categories) | {None}
    for shape in paths.FIELDS:
        assert legal_code(shape.replace("[]", "[x]")) in known, shape


def test_values_that_reveal_a_stricter_category() -> None:
    assert legal_code("entretiens[c:1].themes", ["logement", "mobilite"]) == "C9"
    assert legal_code("entretiens[c:1].themes", ["logement", "sante"]) == "C13"
    assert legal_code("prescriptions[c:1].frein", "mobilite") == "C9"
    assert legal_code("prescriptions[c:1].frein", "sante") == "C13"
    assert legal_code("prescriptions[c:1].frein") == "C13", "without the value, the strictest"
    assert legal_code("identifiants[msa_numero].valeur", "1840775123456") in ("C1", "C3")


NAMED = {
    "rendez_vous[ccas:42].lieu": {
        "CMP de Dax": "C13",
        "C.S.A.P.A. La Source": "C13",
        "Centre médico-social de Dax": "C7",
    },
    "rendez_vous[ccas:42].organisme.nom": {
        "Hôpital de jour": "C13",
        "France Travail Dax": "C7",
        "Club de prévention": "C19",
    },
    "orientations[departement:1].organisme_accueil.nom": {
        "csapa la source": "C13",
        "Cap emploi 40": "C7",
        "SPIP": "C18",
    },
    "orientations[departement:1].type_local.libelle": {"Parcours santé mentale": "C13", "Social": "C7"},
    "accompagnements[d:1].membres[d:2].professionnel.courriel": {"a@chu-dax.invalid": "C13", "a@dax.invalid": "C7"},
    "contrats[departement:1].organisme.nom": {"Foyer CHRS Les Pins": "C11", "Mission locale": "C8"},
    "actions[ccas:1].libelle": {"Premier accueil au CSAPA": "C13", "Formation d'infirmière": "C8"},
}


@pytest.mark.parametrize(
    ("path", "name", "code"), [(path, name, code) for path, names in NAMED.items() for name, code in names.items()]
)
def test_a_structure_whose_name_reveals_health_or_more_is_of_that_category(path: str, name: str, code: str) -> None:
    assert legal_code(path, name) == code
    assert codes_of(told({path: Fact(name, "ccas", "essai", "2026-11-21")})) == {code}


def test_an_appointment_at_a_hospital_leaves_without_what_tells_where(policy: Policy, ask: Ask) -> None:
    def meeting(key: str, structure: str) -> dict[str, Fact]:
        said = {"organisme.nom": structure, "organisme.siret": "1" * 14, "lieu": "Salle 2", "statut": "honore"}
        return {
            f"rendez_vous[ccas:{key}].{name}": Fact(value, "ccas", "d", "2026-11-21") for name, value in said.items()
        }

    current = meeting("1", "Centre hospitalier") | meeting("2", "CCAS de Dax")
    question = ask("departement", "ccas", "PIE", "accompagnement", " ".join(codes_of(told(current))), art9_gate="none")
    permitted, withheld = split(current, policy.decide(question))
    assert set(permitted) == {"rendez_vous[ccas:1].statut", *meeting("2", "CCAS de Dax")}
    assert [(row.code, row.count, row.rule, row.article) for row in withheld] == [("C13", 3, "D09", "RGPD 9")]
    opened = ask(
        "departement", "ccas", "L121-6-2", "accompagnement", " ".join(codes_of(told(current))), art9_gate="9.2.h"
    )
    assert policy.decide(opened).sent == {"C7", "C13"}
    assert set(split(current, policy.decide(opened))[0]) == set(permitted), (
        "a need of health goes coded, and no further"
    )


def test_what_a_structure_is_known_by_never_leaves_more_than_it_did_without_its_name() -> None:
    source = tomllib.loads((FOLDER / "categories.toml").read_text())
    for row in source["structure"]:
        for within in row["dans"]:
            known_by = tuple(within + name for name in row.get("avec", ("",)))
            shapes = [shape for shape in paths.FIELDS if shape.startswith(known_by)]
            assert shapes
            assert {bridge().code(shape.replace("[]", "[x]")) for shape in shapes} <= {"C6", "C7", "C8"}
            assert all(paths.field(within + name).path.startswith(known_by) for name in row["nommee"])
    assert {row["code"] for row in source["nature_sensible"]}.isdisjoint({"C6", "C7", "C8"})
    assert {shape for row in source["nature_sensible"] for shape in row.get("sauf", ())} <= set(paths.FIELDS)


def test_no_personal_key_is_remembered() -> None:
    legal_code("personne.telephones[+33699887766].numero")
    legal_code("personne.courriels[camille@exemple.fr].adresse")
    assert not [name for name in bridge()._known if "+33" in name or "@" in name]


def facts(*said: str, source: str = "departement") -> dict[str, Fact]:
    return {path: Fact("oui", source, "essai", "2026-11-21") for path in said}


def test_what_is_sent_and_what_is_withheld_add_up(policy: Policy, ask: Ask) -> None:
    current = facts(*(path for path in CODES if "numerique" not in path))
    unknown = {"champ.inconnu": Fact("oui", "departement", "essai", "2026-11-21")}
    question = ask(
        "departement",
        "france_travail",
        "SIFT",
        "orientation",
        " ".join(sorted(codes_of(told(current)) - {"C3"})),
        art9_gate="none",
    )
    current |= unknown
    permitted, withheld = split(current, policy.decide(question))
    assert len(permitted) + sum(row.count for row in withheld) == len(current)
    assert {legal_code(path) for path in permitted} == {"C1", "C2", "C6", "C7", "C9"}
    rules = {(row.code, row.rule): row.article for row in withheld}
    assert rules["C13", "D09"] == "RGPD 9"
    assert rules["C21", "D11"] == "CASF L121-6-2"
    assert rules["C5", "D05"] == "RGPD 5(1)(c)"
    assert ("jamais", "D10") in rules
    assert [row.code for row in withheld][-1] == "jamais"


def test_only_what_is_there_and_what_the_document_writes_is_asked_for() -> None:
    current = facts(
        "freins[mobilite].valeur", "personne.nom_naissance", "participations[d:1].reponses_sensibles.handicap"
    )
    assert codes_of(told(current)) == {"C1", "C9"}
    assert codes_of(told(current), {"frein_theme"}) == {"C9"}


def test_a_refusal_withholds_everything_with_its_article(policy: Policy, ask: Ask) -> None:
    current = facts("personne.nom_naissance", "freins[mobilite].valeur")
    decision = policy.decide(ask("france_travail", "ccas", "SIFT", "accompagnement", "C1 C9"))
    permitted, withheld = split(current, decision)
    assert permitted == {}
    assert [(row.code, row.count, row.rule, row.article) for row in withheld] == [
        ("C1", 1, "D02", "CT R5312-42-1 II"),
        ("C9", 1, "D02", "CT R5312-42-1 II"),
    ]


def test_what_france_travail_said_is_not_relayed_to_a_ccas(policy: Policy, ask: Ask) -> None:
    current = facts("personne.nom_naissance") | facts("freins[mobilite].valeur", source="france_travail")
    decision = policy.decide(ask("departement", "ccas", "PIE", "accompagnement", "C1 C9"))
    permitted, withheld = split(current, decision)
    assert set(permitted) == {"personne.nom_naissance"}
    assert [(row.code, row.rule, row.article) for row in withheld] == [("C9", "O1", "CT R5312-42-1 IV 2°")]


BORN = "personne.date_naissance"


def born(told: dict[str, str]) -> Portrait:
    """Her birth date as each of these bodies knows it."""
    roles = {one: ROLES.get(one, one) for one in told}
    return Portrait([Assertions(one, roles[one], "d", "2026-11-01", "2026-11-01", {BORN: told[one]}) for one in told])


@pytest.mark.parametrize(
    ("told", "sent", "kept_back"),
    [
        ({"caf": "1985", "ccas": "1985-06-12"}, [("1985", "caf")], ["O3"]),
        ({"caf": "1985", "departement": "1985-06", "ccas": "1985-06-12"}, [("1985-06", "departement")], ["O3"]),
        ({"ccas": "1985-06-12", "ccas_voisin": "1985-06"}, [], ["O3"]),
        ({"ccas_voisin": "1985-06-12", "departement": "1985-06-12"}, [("1985-06-12", "departement")], []),
        ({"ccas": "1985-06-12", "departement": "1985-07-12"}, [("1985-07-12", "departement")], []),
    ],
    ids=["the year of the caisse", "the finest of others", "another CCAS", "said by both", "another date"],
)
def test_a_birth_date_that_a_ccas_completed_goes_as_others_know_it(
    policy: Policy, ask: Ask, told: dict[str, str], sent: list[tuple[str, str]], kept_back: list[str]
) -> None:
    decision = policy.decide(ask("departement", "france_travail", "SIFT", "orientation", "C1"))
    permitted, withheld = split(born(told), decision)
    assert [(fact.value, fact.source) for fact in permitted.values()] == sent
    assert [row.rule for row in withheld] == kept_back


def test_the_caf_file_stays_at_the_departement(policy: Policy, ask: Ask) -> None:
    current = facts("foyer.nb_enfants_mineurs", "personne.nom_naissance", source="caf")
    decision = policy.decide(ask("departement", "ccas", "L121-6-2", "accompagnement", "C1 C4"))
    permitted, withheld = split(current, decision, lambda body: "caf_msa")
    assert set(permitted) == {"personne.nom_naissance"}
    assert withheld[0].code == "C4"


def test_what_a_ccas_said_never_serves_a_control_of_the_rsa(policy: Policy, ask: Ask) -> None:
    current = facts("orientations[o].referent_pressenti.nom", source="ccas") | facts("personne.nom_naissance")
    (code,) = codes_of(told(current)) - {"C1"}
    decision = policy.decide(ask("departement", "caf_msa", "RSA", "liquidation_controle_rsa", f"C1 {code}"))
    permitted, withheld = split(current, decision)
    assert set(permitted) == {"personne.nom_naissance"}
    assert [(row.rule, row.article) for row in withheld] == [("O5", "CASF L263-4-1")]
    assert "O5" in decision.proposed
    used = policy.decide(ask("departement", "caf_msa", "RSA", "instruction_rsa", f"C1 {code}"))
    assert set(split(current, used)[0]) == set(current)


def test_the_nir_is_for_matching_and_never_in_the_document(with_rules: Callable[..., Policy], ask: Ask) -> None:
    current = facts("personne.nom_naissance", "identifiants[nir].valeur")
    decision = with_rules("A13").decide(ask("departement", "france_travail", "SIFT", "identification", "C1 C3"))
    permitted, withheld = split(current, decision)
    assert set(permitted) == {"personne.nom_naissance"}
    assert withheld == []


def test_only_the_level_of_health_leaves(with_rules: Callable[..., Policy], ask: Ask) -> None:
    current = facts(
        "freins[sante].impact", "freins[sante].situations[sante_dossier_mdph].valeur", "freins[sante].anciennete"
    )
    decision = with_rules("A19").decide(ask("departement", "france_travail", "SIFT", "orientation", "C13"))
    permitted, withheld = split(current, decision)
    assert set(permitted) == {"freins[sante].impact"}
    assert [(row.code, row.count) for row in withheld] == [("C13", 2)]
