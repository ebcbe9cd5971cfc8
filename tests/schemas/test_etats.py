"""Which state may follow which, and what cannot all be true."""

from __future__ import annotations

import pytest

from schemas.etats import MACHINES, Machine, incoherences, legal
from schemas.paths import FIELDS, build


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_les_etats_sont_ceux_du_champ(machine: Machine) -> None:
    known = set(FIELDS[machine.path].codes() or ())
    assert machine.states == known - {"declare_sans_frein"}
    for after in machine.steps.values():
        assert after <= machine.states


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_tout_etat_est_atteignable(machine: Machine) -> None:
    first = next(iter(machine.steps))
    reached, frontier = {first}, {first}
    while frontier:
        frontier = set().union(*(machine.steps[state] for state in frontier)) - reached
        reached |= frontier
    assert reached == machine.states


@pytest.mark.parametrize(
    ("path", "before", "after", "expected"),
    [
        ("orientations[].etat", "en_attente", "proposee", True),
        ("orientations[].etat", "proposee", "decidee", True),
        ("orientations[].etat", "decidee", "terminee", True),
        ("orientations[].etat", "proposee", "refusee", True),
        ("orientations[].etat", "terminee", "decidee", False),
        ("orientations[].etat", "refusee", "decidee", False),
        ("orientations[].etat", "brouillon", "decidee", False),
        ("orientations[].etat", None, "terminee", True),
        ("orientations[].etat", "decidee", "decidee", True),
        ("orientations[].etat", "decidee", "inventee", False),
        ("prescriptions[].statut_metier", "brouillon", "signee", True),
        ("prescriptions[].statut_metier", "en_cours", "en_pause", True),
        ("prescriptions[].statut_metier", "en_pause", "en_cours", True),
        ("prescriptions[].statut_metier", "non_presente", "en_cours", True),
        ("prescriptions[].statut_metier", "envoyee", "terminee", False),
        ("prescriptions[].statut_metier", "refusee", "acceptee", False),
        ("prescriptions[].statut_metier", "terminee", "annulee", False),
        ("prescriptions[].statut_metier", "terminee", "saisie_par_erreur", True),
        ("contrats[].etat", "signe", "a_signer", True),
        ("contrats[].etat", "refuse", "signe", True),
        ("contrats[].etat", "clos", "signe", False),
        ("rendez_vous[].statut", "prevu", "absent", True),
        ("rendez_vous[].statut", "absent", "honore", True),
        ("rendez_vous[].statut", "efface_source", "prevu", False),
        ("freins[].valeur", "present", "non_aborde", False),
        ("participations[].etat", "close", "ouverte", False),
    ],
)
def test_un_pas_est_permis_ou_non(path: str, before: str | None, after: str, expected: bool) -> None:
    assert legal(path, before, after) is expected


def test_toute_prescription_ouverte_peut_etre_annulee() -> None:
    machine = MACHINES["prescriptions[].statut_metier"]
    closed = {"refusee", "expiree", "terminee", "non_aboutie", "annulee", "saisie_par_erreur"}
    for state in machine.states:
        assert ("annulee" in machine.steps[state]) == (state not in closed)
        assert state == "saisie_par_erreur" or "saisie_par_erreur" in machine.steps[state]
    assert machine.final() == {"saisie_par_erreur"}


def test_un_champ_sans_cycle_de_vie_n_a_pas_de_pas() -> None:
    with pytest.raises(KeyError):
        legal("personne.nom_naissance", None, "x")


COHERENT = {
    "orientations[departement:1].etat": "decidee",
    "orientations[departement:1].debut": "2026-01-01",
    "orientations[departement:1].fin": "2026-05-31",
    "orientations[departement:1].rang": 1,
    "orientations[departement:1].origine": "manuelle",
    "orientations[departement:2].etat": "decidee",
    "orientations[departement:2].debut": "2026-06-01",
    "orientations[departement:2].rang": 2,
    "orientations[departement:2].origine": "reorientation",
    "accompagnements[ccas:1].nature": "global",
    "accompagnements[ccas:1].membres[ccas:7].cote": "social",
    "accompagnements[ccas:1].membres[ccas:7].est_referent": True,
    "accompagnements[ccas:1].membres[france_travail:8].cote": "emploi",
    "contrats[departement:3].decision": "valide",
    "contrats[departement:3].decision_le": "2026-06-15",
    "contrats[departement:3].etat": "signe",
    "contrats[departement:3].signe_le": "2026-06-10",
    "prescriptions[ccas:4].statut_metier": "terminee",
    "prescriptions[ccas:4].retour": "Atelier suivi jusqu'au bout",
    "objectifs[mobilite_acceder_vehicule].contrat": "departement:3",
    "objectifs[mobilite_acceder_vehicule].accord_personne_le": "2026-06-10",
}


def test_un_parcours_ordinaire_est_coherent() -> None:
    assert incoherences(build(COHERENT)) == []


def test_un_parcours_clos_au_deces_est_coherent() -> None:
    clos = {
        "personne.date_deces": "2026-07-01",
        "orientations[departement:2].fin": "2026-07-01",
        "accompagnements[ccas:1].fin": "2026-07-01",
    }
    assert incoherences(build(COHERENT | clos)) == []
    vu = {"rendez_vous[ccas:9].debut": "2026-08-03T09:00:00Z", "rendez_vous[ccas:9].statut": "honore"}
    assert [one.code for one in incoherences(build(COHERENT | clos | vu))] == ["followed-after-death"]
    lendemain = vu | {"rendez_vous[ccas:9].debut": "2026-07-01T22:00:00Z"}  # minuit, à Paris
    assert [one.code for one in incoherences(build(COHERENT | clos | lendemain))] == ["followed-after-death"]
    assert incoherences(build(COHERENT | clos | vu | {"rendez_vous[ccas:9].debut": "2026-07-01T21:30:00Z"})) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"orientations[departement:1].fin": "2026-06-01"}, "overlap"),
        ({"orientations[departement:1].fin": None}, "overlap"),
        ({"orientations[departement:2].etat": "terminee"}, "missing-end"),
        ({"orientations[departement:2].origine": "cohorte"}, "rank-origin"),
        ({"orientations[departement:1].origine": "reorientation"}, "rank-origin"),
        ({"accompagnements[ccas:1].membres[france_travail:8].jusqua": "2026-02-01"}, "missing-side"),
        (
            {
                "accompagnements[ccas:1].membres[france_travail:8].cote": "social",
                "accompagnements[ccas:1].membres[france_travail:8].est_referent": True,
                "accompagnements[ccas:1].nature": "social",
            },
            "two-referents",
        ),
        ({"personne.date_deces": "2026-07-01"}, "followed-after-death"),
        ({"contrats[departement:3].decision_le": None}, "decision-date"),
        ({"contrats[departement:3].decision": "en_attente"}, "decision-date"),
        ({"contrats[departement:3].signe_le": None}, "missing-date"),
        ({"prescriptions[ccas:4].statut_metier": "refusee"}, "missing-reason"),
        ({"prescriptions[ccas:4].statut_metier": "non_aboutie"}, "missing-reason"),
        ({"prescriptions[ccas:4].retour": None}, "missing-feedback"),
        ({"objectifs[mobilite_acceder_vehicule].accord_personne_le": None}, "missing-agreement"),
    ],
)
def test_ce_qui_ne_peut_pas_etre_vrai_est_signale(change: dict[str, object], code: str) -> None:
    facts = {path: value for path, value in (COHERENT | change).items() if value is not None}
    (found,) = incoherences(build(facts))
    assert found.code == code
    assert found.severity == "notice"
