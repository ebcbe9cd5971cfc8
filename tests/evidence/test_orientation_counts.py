"""What whoever orients reports of its decisions, without telling of anybody."""

from __future__ import annotations

from typing import Any

from gateway import orientation_counts
from tests.worklist.conftest import Territory


def who(rank: int) -> dict[str, Any]:
    return {
        "personne.nom_naissance": f"NOM{chr(65 + rank)}", "personne.prenoms": ["Ana"],
        "personne.date_naissance": f"19{60 + rank}-01-01", "identifiants[si_departement:40].valeur": f"P{rank}",
    }  # fmt: skip


def orientation(key: str, **said: Any) -> dict[str, Any]:
    return {f"orientations[{key}].{name.replace('__', '.')}": value for name, value in said.items()}


def oriented(landes: Territory, rank: int, **said: Any) -> str:
    """One more person, whose orientation the Département decided."""
    told = {"etat": "decidee", "date_decision": "2026-03-31", "categorie": "sociale"} | said
    facts = who(rank) | orientation(f"departement:40:{rank}", **told)
    return landes.tell("departement", f"P{rank}", facts).persons[0]


def test_decisions_are_counted_by_body_and_category_and_few_of_them_are_hidden_with_one_more(landes: Territory) -> None:
    for rank in range(6):
        oriented(landes, rank)
    for rank in range(6, 13):
        oriented(landes, rank, categorie="professionnelle", etat="terminee")
    oriented(landes, 13, etat="refusee", motif_refus="AUTRE")
    oriented(landes, 14, date_decision="2026-04-01")
    oriented(landes, 15, etat="proposee")
    told = orientation_counts.counts(landes.gateway, "2026-01-01", "2026-03-31")
    assert [(one["decide_par"], one["categorie"], one["decision"], one["nombre"]) for one in told["decisions"]] == [
        ("departement", "professionnelle", "decidee", 7),
        ("departement", "sociale", "decidee", None),
        ("departement", "sociale", "refusee", None),
    ]


def test_a_decision_that_france_travail_repeats_is_counted_once(landes: Territory) -> None:
    for rank in range(5):
        her = oriented(landes, rank)
        repeated = orientation(
            f"france_travail:{rank}", etat="decidee", date_decision="2026-03-31", parcours="PSP",
            organisme_decision__code_organisme_ft="CD",
        )  # fmt: skip
        assert landes.tell("france_travail", f"F{rank}", who(rank) | repeated).persons == [her]
    told = orientation_counts.counts(landes.gateway, "2026-03-31", "2026-03-31")
    assert [(one["decide_par"], one["categorie"], one["nombre"]) for one in told["decisions"]] == [
        ("departement", "sociale", 5)
    ]


def test_the_criteria_known_are_counted_where_neither_who_has_one_nor_who_has_not_is_few(landes: Territory) -> None:
    for rank in range(10):
        known = {"parcours_pro.niveau_etude": "cap_bep"} if rank < 5 else {}
        few = {"parcours_pro.type_emploi": "AUTRE"} if rank < 2 else {}
        oriented(landes, rank)
        landes.tell("departement", f"S{rank}", who(rank) | known | few)
    told = orientation_counts.counts(landes.gateway, "2026-01-01", "2026-12-31")
    criteria = {one["critere"]: one["nombre"] for one in told["criteres"]}
    assert (criteria["niveau_etude"], criteria["type_emploi"], criteria["projet_pro"]) == (5, None, 0)
