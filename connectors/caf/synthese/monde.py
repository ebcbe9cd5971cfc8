"""Time passing over synthetic households: births, moves, closures, reopenings, suspensions, separations, transfers.

`Monde` keeps the true state of every household. `avancer` makes days pass, `quotidien` and `mensuel` write what the
caisse would send at that moment; a simulation compares what the gateway then holds with `etat_vrai`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random
from typing import BinaryIO

from connectors.caf.generator import Flux, contexte, write_foyers
from connectors.caf.synthese.foyers import (
    Contexte,
    FoyerRsa,
    Individu,
    Mutation,
    Organisme,
    copie,
    individu,
    naissance_foyer,
    nouvelle_adresse,
    numero_de_dossier,
    poser_etat,
)

PREMIERS_JOURS = 10
"""A monthly file is made in the first days of the month that follows."""
Fait = Callable[["Monde", FoyerRsa], str | None]
"""Changes a household; returns the trigger code the daily file carries, or None when it does not apply to it."""


@dataclass(slots=True)
class Monde:
    """A Département's households. `jour` is today; everything is decided by the seed."""

    seed: int = 1
    n: int = 200
    departement: str = "040"
    jour: date = date(2026, 1, 31)
    part_msa: float = 0.1
    rythme: float = 0.08
    """Share of households to which something happens in a month."""
    foyers: list[FoyerRsa] = field(default_factory=list)
    touches: dict[int, FoyerRsa] = field(default_factory=dict)
    rng: Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        for rang in range(self.n):
            self.foyers.append(naissance_foyer(self.seed, rang, self.ou("msa" if self._en_msa() else "caf")))

    def _en_msa(self) -> bool:
        return self.rng.random() < self.part_msa

    def ou(self, organisme: Organisme) -> Contexte:
        return contexte(organisme, self.jour.isoformat(), self.departement)

    def avancer(self, jours: int = 1) -> None:
        """Let days pass; what happens is remembered until the next daily file."""
        for _ in range(jours):
            self.jour += timedelta(days=1)
            attendus = len(self.foyers) * self.rythme / 30
            for _ in range(int(attendus) + (self.rng.random() < attendus % 1)):
                self._un_fait()
            if self.rng.random() < attendus / 4:
                self._noter(self._arrivee(), "DEMRSA")

    def _un_fait(self) -> None:
        foyer = self.rng.choice(self.foyers)
        if foyer.etat == "5" and foyer.prenant:
            return
        fait = self.rng.choice(FAITS)(self, foyer)
        if fait:
            self._noter(foyer, fait)

    def _noter(self, foyer: FoyerRsa, fait: str) -> None:
        if id(foyer) not in self.touches:
            foyer.evenements = []
        foyer.evenements.append((self.jour, fait))
        self.touches[id(foyer)] = foyer

    def _arrivee(self, source: FoyerRsa | None = None) -> FoyerRsa:
        """A new file: an unknown household, or one that leaves `source`."""
        organisme = source.organisme if source else "msa" if self._en_msa() else "caf"
        neuf = naissance_foyer(self.seed, self.n + 10_000 + len(self.foyers), self.ou(organisme))
        neuf.etat, neuf.prenant, neuf.date_demande = "2", None, self.jour
        poser_etat(self.rng, neuf, self.jour)
        self.foyers.append(neuf)
        return neuf

    def quotidien(self, cible: BinaryIO, organisme: Organisme = "caf") -> int:
        """Write the households touched since the last daily file of this network; returns how many."""
        partants = [foyer for foyer in self.touches.values() if foyer.organisme == organisme]
        for foyer in partants:
            del self.touches[id(foyer)]
        return write_foyers(cible, partants, self.ou(organisme), "quotidien", heure="21:40:12.0000")

    def mensuel(self, cible: BinaryIO, organisme: Organisme = "caf") -> int:
        """Write the stock: every open file, and those closed that no monthly file has told yet.

        In the first days of a month it is made that day and refers to the end of the month before.
        """
        stock = [f for f in self.foyers if f.organisme == organisme and not f.notifie]
        ou = self.ou(organisme)
        if self.jour.day <= PREMIERS_JOURS:
            ou = contexte(organisme, (self.jour.replace(day=1) - timedelta(days=1)).isoformat(), self.departement)
        cree_le = self.jour if self.jour.day <= PREMIERS_JOURS else None
        compte = write_foyers(cible, stock, ou, "mensuel", cree_le=cree_le)
        for foyer in stock:
            foyer.notifie = foyer.etat == "5"
        return compte

    def mois_passent(self, mois: int, jours: Collection[int] = range(1, 32)) -> Iterator[tuple[Flux, int]]:
        """Let months pass, stopping where a caisse makes its files: a monthly one today, daily ones on these days of
        the month, a monthly one on the same day of each next month. Yields the kind of file and the rank of its month.
        """
        yield "mensuel", 0
        depart = self.jour.day
        for rang in range(mois):
            debut = self.jour
            while self.jour == debut or self.jour.day != depart:
                self.avancer(1)
                if self.jour.day in jours:
                    yield "quotidien", rang
            yield "mensuel", rang + 1

    def a_dire(self, organisme: Organisme) -> bool:
        """Whether something happened that no daily file of this network has told."""
        return any(foyer.organisme == organisme for foyer in self.touches.values())

    def etat_vrai(self) -> Iterable[FoyerRsa]:
        """The households as they are now; the caller must not change them."""
        return tuple(self.foyers)


def _demenagement(monde: Monde, foyer: FoyerRsa) -> str | None:
    foyer.adresses = [nouvelle_adresse(monde.rng, monde.departement, monde.jour), *foyer.adresses][:3]
    foyer.sans_domicile = False
    return "ADR"


def _naissance(monde: Monde, foyer: FoyerRsa) -> str | None:
    mere = next((p for p in foyer.adultes if p.sexe == "2" and monde.jour.year - p.naissance.year < 45), None)
    if mere is None or len(foyer.personnes) > 7:
        return None
    numero = foyer.rang * 9 + len(foyer.personnes)
    enfant = individu(monde.rng, numero, "ENF", foyer.personnes[0].nom, monde.jour, monde.jour)
    enfant.nir, enfant.certifie, enfant.parente = "", None, "LEG"
    mere.enceinte_depuis = None
    foyer.personnes.append(enfant)
    return "SITENFAUT"


def _changer_etat(etat: str, depuis: str, fait: str) -> Fait:
    def change(monde: Monde, foyer: FoyerRsa) -> str | None:
        if foyer.etat not in depuis:
            return None
        foyer.etat = etat
        poser_etat(monde.rng, foyer, monde.jour)
        return fait

    return change


def _entree_en_devoirs(monde: Monde, foyer: FoyerRsa) -> str | None:
    adulte = foyer.adultes[0]
    if adulte.soumis or foyer.etat not in "234":
        return None
    adulte.soumis = adulte.entrant = True
    return "ENTDED"


def _emploi(monde: Monde, foyer: FoyerRsa) -> str | None:
    adulte = foyer.adultes[0]
    if not adulte.activites:
        return None
    adulte.activites[-1].fin = monde.jour - timedelta(days=1)
    adulte.activites.append(replace(adulte.activites[-1], code="SAL", debut=monde.jour, fin=None, contrat="CDD"))
    adulte.activites = adulte.activites[-3:]
    adulte.revenu, adulte.soumis, adulte.entrant = 640, False, None
    return "SITPRO"


def _separation(monde: Monde, foyer: FoyerRsa) -> str | None:
    """The partner leaves with a request of her own that names the former one; the household goes on without her."""
    conjoint = next((p for p in foyer.personnes if p.role == "CJT"), None)
    if conjoint is None or foyer.etat not in "234":
        return None
    ancienne = foyer.demande
    foyer.personnes = [p for p in foyer.personnes if p is not conjoint]
    foyer.situation, foyer.situation_depuis = "SEF", monde.jour
    neuf = monde._arrivee(foyer)
    parti: Individu = replace(conjoint, role="DEM", responsable=True, depuis=monde.jour, demande_precedente=ancienne)
    neuf.personnes, neuf.matricule = [parti], numero_de_dossier(monde.rng, neuf.rang, parti, neuf.organisme)
    neuf.situation, neuf.situation_depuis, neuf.cedant = "SEF", monde.jour, None
    neuf.adresses = [nouvelle_adresse(monde.rng, monde.departement, monde.jour)]
    monde._noter(neuf, "DEMRSA")
    return "SITFAM"


def _changement_de_caisse(monde: Monde, foyer: FoyerRsa) -> str | None:
    """From CAF to MSA or back: the request number stays, the matricule changes, the old caisse closes its file."""
    if foyer.etat not in "234" or foyer.cedant or foyer.prenant:
        return None
    suite = copie(foyer)
    suite.organisme = "msa" if foyer.organisme == "caf" else "caf"
    suite.matricule = f"{foyer.rang * 11 + 40_000_000_000:015d}"
    if suite.organisme == "caf":
        suite.matricule = f"{(foyer.rang * 7 + 8_000_001) % 10_000_000:07d}".ljust(15, "0")
    suite.cedant = Mutation(foyer.organisme.upper(), foyer.caisse, monde.jour, foyer.matricule)
    suite.evenements = []
    foyer.etat = "5"
    poser_etat(monde.rng, foyer, monde.jour)
    foyer.cloture = ("MUT", monde.jour)
    foyer.prenant = Mutation(suite.organisme.upper(), suite.caisse, monde.jour)
    monde.foyers.append(suite)
    monde._noter(suite, "MUT")
    return "MUT"


def _immatriculation(monde: Monde, foyer: FoyerRsa) -> str | None:
    """Somebody's civil status is validated: the name stays, the identity becomes certified."""
    attente = next((p for p in foyer.personnes if p.nir and p.certifie is False), None)
    if attente is None:
        return None
    attente.certifie = True
    attente.nir = attente.sexe + attente.nir[1:]
    return "ETACIV"


FAITS: tuple[Fait, ...] = (
    _demenagement,
    _demenagement,
    _naissance,
    _changer_etat("5", "234", "RAD"),
    _changer_etat("2", "56", "REA"),
    _changer_etat("4", "2", "SUS"),
    _changer_etat("3", "2", "SUS"),
    _changer_etat("2", "34", "RESTRIRSA"),
    _changer_etat("2", "0", "DECDEMPCG"),
    _entree_en_devoirs,
    _emploi,
    _separation,
    _changement_de_caisse,
    _immatriculation,
)
