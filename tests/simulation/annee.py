"""A year of a Département's caisses: the files they send through HubEE, and the gateway that takes them there."""

from __future__ import annotations

import asyncio
import io
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from connectors.caf.synthese.foyers import FoyerRsa, copie
from connectors.caf.synthese.monde import Monde
from connectors.hubee.sandbox import sandbox
from connectors.transport import Limits, Transport
from gateway.app import build
from gateway.collect import CollectedFile, collect
from gateway.demo.stage import Served
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import identity_case, person
from schemas import paths
from tests.browser.conftest import enter, send
from tests.simulation.verite import faits, foyer_de_chacun

RESEAUX = ("caf", "msa")
DEMARCHES = {
    ("caf", "mensuel"): ("RSABEM-RSABAM", "RSABEM"),
    ("caf", "quotidien"): ("RSABEI-RSABAI", "RSABEI"),
    ("msa", "mensuel"): ("MSABEM", "MSABEM"),
    ("msa", "quotidien"): ("MSABEI", "MSABEI"),
}
"""Network and flow to the démarche that carries the file and the type of its attachment."""
REFERENCE = "droit_rsa.date_reference"
HUBEE = "https://hubee.exemple.org"


@dataclass
class Fichier:
    nom: str
    flux: str
    octets: bytes
    mois: int
    reseau: str = "caf"


@dataclass
class Version:
    """What the files tell of a household as long as nothing changes in it, and their reference dates, in order."""

    faits: dict[str, Any]
    references: list[str] = field(default_factory=list)
    avant: list[str] = field(default_factory=list)
    """Reference dates of older files that told it just so, before it changed and came back."""


@dataclass
class Annee:
    """The files of `mois` months, in the order they were made, and the world as it is at their end."""

    n: int
    seed: int
    mois: int = 12
    fichiers: list[Fichier] = field(default_factory=list)
    fin: list[FoyerRsa] = field(default_factory=list)
    versions: dict[tuple[str, str], Version] = field(default_factory=dict)
    """Caisse's network and request number to what the files last told of that household."""
    _passees: list[tuple[tuple[str, str], Version]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.monde = Monde(seed=self.seed, n=self.n, jour=date(2026, 2, 4), rythme=0.12)
        for flux, mois in self.monde.mois_passent(self.mois, (4, 11, 18, 25)):
            self._ecrire(flux, mois)
        self.fin = [copie(foyer) for foyer in self.monde.etat_vrai()]

    def _ecrire(self, flux: str, mois: int) -> None:
        for reseau in RESEAUX:
            sortie = io.BytesIO()
            getattr(self.monde, flux)(sortie, reseau)
            nom = f"{self.monde.jour.isoformat()}-{reseau}-{flux}.xml"
            self.fichiers.append(Fichier(nom, flux, sortie.getvalue(), mois, reseau))
            self._retenir(reseau, sortie.getvalue())

    def _retenir(self, reseau: str, octets: bytes) -> None:
        (reference,) = re.findall(rb"<DTREF>(.*?)<", octets)
        dits = {numero.decode() for numero in re.findall(rb"<NUMDEMRSA>(.*?)<", octets)}
        for foyer in self.monde.etat_vrai():
            if foyer.organisme == reseau and foyer.demande in dits:
                dit = faits(foyer, foyer.adultes[0])
                du_foyer = {chemin: valeur for chemin, valeur in dit.items() if paths.field(chemin).sujet == "foyer"}
                version = self.versions.get((reseau, foyer.demande))
                if version is None or version.faits != du_foyer:
                    cle = reseau, foyer.demande
                    self._passees += [(cle, version)] if version else []
                    avant = [d for lui, passee in self._passees if lui == cle and passee.faits == du_foyer
                             for d in passee.references]  # fmt: skip
                    version = self.versions[cle] = Version(du_foyer, avant=avant)
                version.references.append(reference.decode())


class Passerelle:
    """A gateway of the Landes, at the receiving end of HubEE."""

    def __init__(self, home: Path) -> None:
        codes = {code for code, _ in DEMARCHES.values()}
        self.hubee = sandbox(now=lambda: datetime(2026, 2, 1, tzinfo=UTC))
        bodies = {"hubee": self.hubee.credentials(HUBEE, *sorted(codes))}
        self.home = home / "gateway"
        with socket.socket() as libre:
            libre.bind(("127.0.0.1", 0))
            self._port = libre.getsockname()[1]
        issuer = f"http://127.0.0.1:{self._port}"
        self.gateway = Gateway.open(
            Settings(home=self.home, profile="test", departement="040", issuer=issuer, bodies=bodies)
        )
        wire = httpx.ASGITransport(self.hubee)
        self.gateway.transports["hubee"] = Transport("hubee", [HUBEE], limits=Limits(backoff=0.0), wire=wire)

    def prendre(self, fichier: Fichier) -> CollectedFile:
        """The caisse drops the file, the gateway collects; HubEE knows the outcome and has nothing left to give."""
        code, piece = DEMARCHES[fichier.reseau, fichier.flux]
        case = self.hubee.drop.send(code, {piece: fichier.octets})
        (recu,) = asyncio.run(collect(self.gateway))
        assert asyncio.run(collect(self.gateway)) == []
        self.hubee.advance(timedelta(days=60))
        assert self.hubee.drop.case(case).status == recu.status.upper()
        assert self.hubee.drop.attachment(case, piece).status == "DELETED"
        assert not list(self.home.glob("hubee/*.fichier"))
        assert self.hubee.unmatched == []
        (lu,) = recu.files
        return lu

    def reconnaitre(self) -> int:
        """A human answers the doubts on identity in the console, rightly: here, same names and birth is the same
        person."""
        query = select(identity_case.c.id).where(identity_case.c.state == "open").order_by(identity_case.c.id)
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            cas = list(connection.scalars(query))
        if cas:
            with self._console() as agent:
                for un in cas:
                    dit = send(agent, f"/console/identites/{un}", f"/console/identites/{un}/meme")
                    assert dit.url.path == "/console/identites", (dit.status_code, dit.url)
        return len(cas)

    @contextmanager
    def _console(self) -> Iterator[httpx.Client]:
        """The console of this gateway, and an engineer signed in there."""
        served = Served(build(self.gateway, embedded_worker=False), self._port)
        served.start()
        try:
            with httpx.Client(base_url=served.url, follow_redirects=True, timeout=60, trust_env=False) as agent:
                yield enter(agent, "integration")
        finally:
            served.stop()

    def dossiers(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The current dossier of each person, by her names and birth date, without its sources."""
        trouves: dict[tuple[str, str, str], dict[str, Any]] = {}
        with self.gateway.unit_of_work() as work:
            ids = work.connection.execute(select(person.c.id).where(person.c.merged_into.is_(None))).scalars().all()
            for un in ids:
                dit = {chemin: fait.value for chemin, fait in self.gateway.dossiers.current(work, un).items()}
                if dit:
                    trouves[_qui(dit)] = dit
        return trouves


def _qui(dit: dict[str, Any]) -> tuple[str, str, str]:
    return dit["personne.nom_naissance"], dit["personne.prenoms"][0], dit["personne.date_naissance"]


def attendus(annee: Annee, recus: dict[Any, dict[str, Any]] | None = None) -> dict[Any, dict[str, Any]]:
    """Every field of every adult as the world is. The reference date is that of the first file that told the household
    as it is; when `recus` came in another order, that of any of them."""
    dits = {}
    for foyer, personne in foyer_de_chacun(annee.fin).values():
        dit = faits(foyer, personne)
        version = annee.versions[foyer.organisme, foyer.demande]
        recu = (recus or {}).get(_qui(dit), {}).get(REFERENCE)
        admis = recu in version.references + version.avant
        dits[_qui(dit)] = dit | {REFERENCE: recu if admis else version.references[0]}
    return dits


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
