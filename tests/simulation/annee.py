"""A year of a Département's caisses: the files they send, and the gateway that takes them."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import select

from connectors.caf.synthese.foyers import FoyerRsa, copie
from connectors.caf.synthese.monde import Monde
from gateway.ingest import Counts, ingest
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import identity_case, person
from tests.simulation.verite import faits, foyer_de_chacun

DOCUMENT = "caf.flux_beneficiaire"
RESEAUX = ("caf", "msa")


@dataclass
class Fichier:
    nom: str
    flux: str
    octets: bytes
    mois: int


@dataclass
class Annee:
    """The files of `mois` months, in the order they were made, and the world as it is at their end."""

    n: int
    seed: int
    mois: int = 12
    fichiers: list[Fichier] = field(default_factory=list)
    fin: list[FoyerRsa] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.monde = Monde(seed=self.seed, n=self.n, jour=date(2026, 2, 4), rythme=0.12)
        for mois in range(self.mois):
            self._ecrire("mensuel", mois)
            debut = self.monde.jour
            while not (self.monde.jour > debut and self.monde.jour.day == 4):
                self.monde.avancer(1)
                if self.monde.jour.day in (4, 11, 18, 25):
                    self._ecrire("quotidien", mois)
        self._ecrire("mensuel", self.mois)
        self.fin = [copie(foyer) for foyer in self.monde.etat_vrai()]

    def _ecrire(self, flux: str, mois: int) -> None:
        for reseau in RESEAUX:
            sortie = io.BytesIO()
            getattr(self.monde, flux)(sortie, reseau)
            nom = f"{self.monde.jour.isoformat()}-{reseau}-{flux}.xml"
            self.fichiers.append(Fichier(nom, flux, sortie.getvalue(), mois))


class Passerelle:
    """A gateway of the Landes, in front of the files of a year."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.gateway = Gateway.open(Settings(home=home / "gateway", profile="test", departement="040"))

    def prendre(self, fichier: Fichier, **options: Any) -> Counts:
        chemin = self.home / fichier.nom
        chemin.write_bytes(fichier.octets)
        try:
            return ingest(self.gateway, chemin, "caf", DOCUMENT, **options)
        finally:
            chemin.unlink()

    def reconnaitre(self) -> int:
        """A human answers the doubts on identity, rightly: here, same names and birth is the same person."""
        with self.gateway.unit_of_work() as work:
            query = select(identity_case.c.id).where(identity_case.c.state == "open").order_by(identity_case.c.id)
            cas = list(work.connection.execute(query).scalars())
            for un in cas:
                self.gateway.identity.decide(work, un, True, "agent")
        return len(cas)

    def dossiers(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The current dossier of each person, by her names and birth date, without its sources."""
        trouves: dict[tuple[str, str, str], dict[str, Any]] = {}
        with self.gateway.unit_of_work() as work:
            ids = work.connection.execute(select(person.c.id).where(person.c.merged_into.is_(None))).scalars().all()
            for un in ids:
                courant = self.gateway.dossiers.current(work, un)
                dit = {chemin: fait.value for chemin, fait in courant.items() if chemin != "droit_rsa.date_reference"}
                if dit:
                    trouves[_qui(dit)] = dit
        return trouves


def _qui(dit: dict[str, Any]) -> tuple[str, str, str]:
    return dit["personne.nom_naissance"], dit["personne.prenoms"][0], dit["personne.date_naissance"]


def attendus(fin: list[FoyerRsa]) -> dict[tuple[str, str, str], dict[str, Any]]:
    dits = [faits(foyer, personne) for foyer, personne in foyer_de_chacun(fin).values()]
    return {_qui(dit): dit for dit in dits}


def ecarts(dossiers: dict[Any, dict[str, Any]], vrais: dict[Any, dict[str, Any]]) -> list[str]:
    """Every field that differs from the truth; empty when the dossiers are right."""
    trouves = [f"{qui}: absent" for qui in vrais.keys() - dossiers.keys()]
    trouves += [f"{qui}: inconnu du monde" for qui in dossiers.keys() - vrais.keys()]
    for qui in vrais.keys() & dossiers.keys():
        dit, vrai = dossiers[qui], vrais[qui]
        trouves += [
            f"{qui} {chemin}: {dit.get(chemin)!r} au lieu de {vrai.get(chemin)!r}"
            for chemin in sorted(dit.keys() | vrai.keys())
            if dit.get(chemin) != vrai.get(chemin)
        ]
    return trouves
