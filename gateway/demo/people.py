"""The households of the demonstration: those of the synthetic CAF file, as the other bodies know them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from connectors.caf import generator
from connectors.caf.synthese.foyers import FoyerRsa, Individu
from connectors.departement.synthetic import Allocataire
from connectors.france_travail.sandbox import Contrainte, Usager

SEED, FOYERS, MOIS, DEPARTEMENT = 20, 40, "2026-10", "040"
FOLLOWED = 6
"""How many of them the Département has oriented, the CCAS follows and France Travail has met."""


@dataclass(frozen=True, slots=True)
class Followed:
    """One person whom several bodies follow."""

    foyer: FoyerRsa
    person: Individu
    number: str
    """Her France Travail number."""

    @property
    def born(self) -> str:
        return self.person.naissance.isoformat()


def write_caf_file(path: Path) -> int:
    """The monthly CAF file, with one unknown code on purpose; returns its size in bytes."""
    generator.write_file(path, FOYERS, seed=SEED, mois=MOIS, departement=DEPARTEMENT, oddities=("code_inconnu",))
    return path.stat().st_size


def followed() -> list[Followed]:
    """Adults with a definitive NIR, a full birth date and an address in the Département, whose right is open."""
    found = []
    ou = generator.contexte("caf", MOIS, DEPARTEMENT)
    for foyer in generator.foyers(FOYERS, SEED, ou=ou):
        home = foyer.adresses[0] if foyer.adresses else None
        for person in foyer.personnes:
            if (
                person.role == "DEM"
                and person.nir[:1] in ("1", "2")
                and person.precision == "N"
                and foyer.etat in ("2", "3", "4")
                and home is not None
                and home.commune.startswith("40")
            ):
                found.append(Followed(foyer, person, f"{900_000_000 + foyer.rang:011d}"))
    return found[:FOLLOWED]


def as_usager(one: Followed, rank: int) -> Usager:
    """The same person at France Travail, with what its adviser explored with her."""
    explored = (
        {"23": Contrainte(impact="FORT", prioritaire=True, situations={"7": "OUI"}, objectifs={"29": "EN_COURS"})},
        {"27": Contrainte(impact="FAIBLE", situations={"24": "OUI"}, objectifs={"18": "EN_COURS"}),
         "25": Contrainte(impact="FORT", situations={"15": "OUI"})},
        {"28": Contrainte(impact="FORT", situations={"29": "OUI"}, objectifs={"22": "EN_COURS"})},
    )  # fmt: skip
    return Usager(
        numero=one.number,
        nir=one.person.nir,
        date_naissance=one.born,
        prenom=one.person.prenom,
        nom=one.person.nom_naissance,
        contraintes=dict(explored[rank % len(explored)]),
        besoins={"3": "BESOIN"},
    )


def as_allocataire(one: Followed, rank: int) -> Allocataire:
    """The same person in the Département's software, oriented and given a référent."""
    home = one.foyer.adresses[0]
    return Allocataire(
        nom=one.person.nom_naissance,
        prenom=one.person.prenom,
        date_naissance=one.born,
        matricule=one.foyer.matricule,
        nir=one.person.nir,
        id_personne=4_700 + rank,
        civilite="MME" if one.person.sexe == "2" else "MR",
        role="DEM",
        etat_droit=one.foyer.etat,
        nb_enfants=sum(member.role == "ENF" for member in one.foyer.personnes),
        numero_demande=one.foyer.demande,
        date_demande=one.foyer.date_demande.isoformat(),
        code_postal=home.code_postal,
        ville=home.libelle_commune,
        voie=(home.numero, home.type_voie, home.voie),
        telephone=f"06580000{rank:02d}",
        email=f"personne{rank}@exemple.invalid",
    )
