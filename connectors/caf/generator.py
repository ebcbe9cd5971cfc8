"""Synthetic VRSB0801 files of any size, for tests, the demo and measurements.

`foyers` streams households, `write_file` streams a whole file (windows-1252, header, records, footer). Oddities, asked
for by name, reproduce what partners really send or an attacker would; `ODDITES` lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO, Literal

from connectors.caf.flux import departement as flux_departement
from connectors.caf.synthese import nir, oddites
from connectors.caf.synthese.ecriture import Noeud, lignes
from connectors.caf.synthese.foyers import Contexte, FoyerRsa, Organisme, naissance_foyer
from connectors.caf.synthese.oddites import ODDITES
from connectors.caf.synthese.vird0201 import info_demande

__all__ = [
    "ODDITES",
    "Flux",
    "contexte",
    "entete",
    "foyers",
    "pied",
    "write_contacts",
    "write_file",
    "write_foyers",
    "write_instruction",
]

Flux = Literal["mensuel", "quotidien"]
_BATCH = 64
_FAITS = ("ADR", "SITFAM", "SITPRO", "RESTRIRSA", "ENTDED", "SUS", "SITENFAUT", "DEMRSA")


def contexte(organisme: Organisme = "caf", mois: str = "2026-10", departement: str = "040") -> Contexte:
    """`mois` is AAAA-MM (reference: its last day) or AAAA-MM-JJ; `departement` on two or three positions."""
    departement = flux_departement(departement)
    annee, numero, *jour = (int(part) for part in mois.split("-"))
    fin = date(annee, numero, jour[0]) if jour else date(annee + numero // 12, numero % 12 + 1, 1) - timedelta(days=1)
    return Contexte(departement, organisme, fin)


def foyers(n: int, seed: int = 1, flux: Flux = "mensuel", *, debut: int = 0, ou: Contexte) -> Iterator[FoyerRsa]:
    """`n` households of this seed, from rank `debut`. In a daily file each carries the event that made it travel."""
    for rang in range(debut, debut + n):
        foyer = naissance_foyer(seed, rang, ou)
        if flux == "quotidien":
            foyer.evenements = [(ou.reference, _FAITS[rang % len(_FAITS)])]
        yield foyer


@dataclass(frozen=True, slots=True)
class Entete:
    """What the first block says. Times are local (Europe/Paris); a monthly file is made in the first days after."""

    flux: Flux
    ou: Contexte
    cree_le: date
    heure: str = "01:18:36.0000"
    encodage: str = "windows-1252"
    racine: str = "Racine"
    nature: str = "D"
    instruction: bool = False
    """Application files: another producer, three decimals of a second, no reference date."""

    def octets(self) -> bytes:
        msa = self.ou.organisme == "msa"
        bloc: Noeud = (
            "IdentificationFlux",
            [
                ("APPLIEME", "NRA" if self.instruction else "AGO" if msa else "CRI"),
                ("NUMVERSIONAPPLIEME", "0801" if msa else "6200"),
                ("TYPEFLUX", "M" if self.flux == "mensuel" else "I"),
                ("NATFLUX", self.nature),
                ("DTCREAFLUX", self.cree_le.isoformat()),
                ("HEUCREAFLUX", self.heure),
                ("DTREF", None if self.instruction else self.ou.reference.isoformat()),
            ],
        )
        ouverture = (
            f'<{self.racine} xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            f'xsi:noNamespaceSchemaLocation="{"vird0201" if self.instruction else "vrsb0801"}.xsd">\n'
        )
        return (f'<?xml version="1.0" encoding="{self.encodage}"?>\n' + ouverture + lignes([bloc])).encode("ascii")


def entete(flux: Flux, ou: Contexte, *, heure: str = "01:18:36.0000") -> Entete:
    """A monthly file is made on the fourth day after its reference date, a daily one on the evening of its day."""
    return Entete(flux, ou, ou.reference + timedelta(days=4 if flux == "mensuel" else 0), heure)


def pied(transmis: int, racine: str) -> bytes:
    totaux: list[Noeud] = [("NBTOTDOSRSATRANSM", f"{transmis:08d}"), ("NBTOTDOSRSATRANSMANO", "0" * 8)]
    bloc: Noeud = ("TransmissionFlux", totaux)
    return (lignes([bloc]) + f"</{racine}>\n").encode("ascii")


def write_file(
    cible: Path | BinaryIO,
    n: int,
    seed: int = 1,
    flux: Flux = "mensuel",
    organisme: Organisme = "caf",
    mois: str = "2026-10",
    departement: str = "040",
    oddities: Iterable[str] = (),
    debut: int = 0,
) -> int:
    """Write a file of `n` households; returns the number of records really in it. Memory does not grow with `n`.

    Raises `ValueError` for an oddity that is not in `ODDITES`.
    """
    ou = contexte(organisme, mois, departement)
    return write_foyers(cible, foyers(n, seed, flux, debut=debut, ou=ou), ou, flux, oddities)


def write_foyers(
    cible: Path | BinaryIO,
    menages: Iterable[FoyerRsa],
    ou: Contexte,
    flux: Flux = "mensuel",
    oddities: Iterable[str] = (),
    *,
    heure: str = "01:18:36.0000",
    cree_le: date | None = None,
) -> int:
    """Write these households, as they are now, in one file made on `cree_le`."""
    if isinstance(cible, Path):
        with cible.open("wb") as sortie:
            return write_foyers(sortie, menages, ou, flux, oddities, heure=heure, cree_le=cree_le)
    noms = oddites.connues(oddities)
    tete = entete(flux, ou, heure=heure)
    tete = replace(tete, cree_le=cree_le or tete.cree_le)
    tete = replace(tete, **{champ: valeur for nom in noms for champ, valeur in oddites.ENTETE.get(nom, {}).items()})
    pas = "\t" if ou.organisme == "caf" else ""
    cible.write(oddites.avant(noms, tete.octets()))
    compte = 0
    lot: list[Noeud] = []
    for noeud in oddites.records(noms, menages, ou, flux == "quotidien"):
        lot.append(noeud)
        compte += 1
        if len(lot) == _BATCH:
            cible.write(oddites.pendant(noms, lignes(lot, pas)))
            lot = []
    fin = oddites.pendant(noms, lignes(lot, pas)) + pied(compte - ("pied_faux" in noms), tete.racine)
    cible.write(oddites.apres(noms, fin))
    return compte


def write_instruction(cible: BinaryIO, n: int, seed: int = 1, *, variante: str = "") -> int:
    """Write a VIRD0201 file of `n` applications. `variante`: `contradictoire` (the second application says « none »
    and something else) or `sous_tete` (persons under the head, as documentation has it)."""
    ou = contexte()
    tete = Entete("quotidien", ou, ou.reference, "21:40:12.000", "ISO-8859-1", nature="R", instruction=True)
    cible.write(tete.octets())
    for position, foyer in enumerate(foyers(n, seed, ou=ou)):
        noeud = info_demande(
            foyer, ou, contradictoire=variante == "contradictoire" and position == 1, sous_tete=variante == "sous_tete"
        )
        cible.write(lignes([noeud]).encode("cp1252"))
    bloc: Noeud = ("TransmissionFlux", [("NBTOTDEMRSATRANSM", str(n))])
    cible.write((lignes([bloc]) + "</Racine>\n").encode("ascii"))
    return n


def write_contacts(cible: BinaryIO, n: int, seed: int = 1, *, separateur: str = ";", zeros_perdus: bool = False) -> int:
    """Write the contact file of `n` households, one row per adult, dossier's contacts on each; returns the rows.

    `zeros_perdus` writes numbers as a spreadsheet gives them back: without their leading zeros. Telephone numbers are
    those the numbering plan keeps for fiction.
    """
    colonnes = [titre for titre, _ in _COLONNES_CONTACTS]
    cible.write(b"\xef\xbb\xbf" + _ligne(colonnes, separateur))
    lignes_ecrites = 0
    for foyer in foyers(n, seed, ou=contexte()):
        dossier = {
            "matricule": foyer.matricule[:7],
            "demande": foyer.demande,
            "le": foyer.date_demande.strftime("%d/%m/%Y"),
            "nom": foyer.personnes[0].nom,
            "prenom": foyer.personnes[0].prenom,
            "telephone": f"06399801{foyer.rang % 100:02d}",
            "fixe": f"05364900{foyer.rang % 100:02d}" if foyer.rang % 3 == 0 else "",
            "courriel": f"foyer{foyer.rang}@exemple.test" if foyer.rang % 4 else "",
        }
        for adulte in foyer.adultes:
            ligne = dossier | {
                "role": "DEMANDEUR" if adulte.role == "DEM" else "CONJOINT",
                "type": "MADAME" if adulte.sexe == "2" else "MONSIEUR",
                "nir": adulte.nir + nir.cle(adulte.nir) if adulte.nir else "",
                "devoirs": foyer.date_demande.strftime("%d/%m/%Y") if adulte.soumis else "",
            }
            valeurs = [ligne[champ] for _, champ in _COLONNES_CONTACTS]
            if zeros_perdus:
                valeurs = [valeur.lstrip("0") if valeur.isdigit() else valeur for valeur in valeurs]
            cible.write(_ligne(valeurs, separateur))
            lignes_ecrites += 1
    return lignes_ecrites


_COLONNES_CONTACTS = (
    ("MATRICULE", "matricule"),
    ("ROLE PERSONNE", "role"),
    ("TYPE PERSONNE", "type"),
    ("NIR", "nir"),
    ("NUMERO DEMANDE RSA", "demande"),
    ("DATE DEMANDE RSA", "le"),
    ("DATE DEBUT DROITS - DEVOIRS", "devoirs"),
    ("NOM RESPONSABLE DOSSIER", "nom"),
    ("PRENOM RESPONSABLE DOSSIER", "prenom"),
    ("NUMERO TELEPHONE DOSSIER", "telephone"),
    ("NUMERO TELEPHONE 2 DOSSIER", "fixe"),
    ("ADRESSE ELECTRONIQUE DOSSIER", "courriel"),
)


def _ligne(valeurs: list[str], separateur: str) -> bytes:
    return (separateur.join(f'"{valeur}"' for valeur in valeurs) + "\r\n").encode()
