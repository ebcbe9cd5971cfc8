"""The family of files a caisse sends to a Département: which one this is, and whether it is for us.

A file is identified by its envelope (NATFLUX and the element of its records), never by its name or declared schema.
"""

from __future__ import annotations

from dataclasses import dataclass

from connectors.contract import DocumentRefused


@dataclass(frozen=True, slots=True)
class Genre:
    """One kind of file that is read: its records, its header rules and the total that ends it."""

    document: str
    record: str
    natures: frozenset[str]
    periodicites: dict[str, str]
    """TYPEFLUX to the kind of the envelope: `stock` (monthly) or `delta` (daily, exceptional)."""
    total: str
    total_anomalies: str | None
    dated: bool
    """Whether the header carries a reference date."""
    whole: bool
    """Each record tells the whole dossier, so that the last one of a file replaces the others."""


BENEFICIAIRES = Genre(
    "caf.flux_beneficiaire",
    "InfosFoyerRSA",
    frozenset("D"),
    {"M": "stock", "I": "delta"},
    "NBTOTDOSRSATRANSM",
    "NBTOTDOSRSATRANSMANO",
    dated=True,
    whole=True,
)
INSTRUCTION = Genre(
    "caf.instruction",
    "InfoDemandeRSA",
    frozenset("R"),
    {"I": "message"},
    "NBTOTDEMRSATRANSM",
    None,
    dated=False,
    whole=False,
)
GENRES = {genre.document: genre for genre in (BENEFICIAIRES, INSTRUCTION)}

VOISINS = {
    "InfosFinancieresFoyerRSA": "this is the financial file (RSAFIM, RSAFIX, MSAFIM): send it to the paying department",
    "InfosCreanceFoyerRSA": "this is the file of transferred debts (RSACTM): send it to the paying department",
    "InfoSuiviGrossessePMI": "this is the pregnancy file (GRO) of the PMI service: it is never opened here",
    "InfosFoyerRSA": "this is the beneficiary file: announce it as caf.flux_beneficiaire",
    "InfoDemandeRSA": "this is an application file (IRSACG or IRSDCG): announce IRSDCG as caf.instruction",
}
"""Element of the records to the word said when such a file comes under another name."""
NATURES = {
    "F": VOISINS["InfosFinancieresFoyerRSA"],
    "C": VOISINS["InfosCreanceFoyerRSA"],
    "G": VOISINS["InfoSuiviGrossessePMI"],
    "I": "this is the administrative part of applications (IRSACG): only its companion IRSDCG is read",
    "D": VOISINS["InfosFoyerRSA"],
    "R": VOISINS["InfoDemandeRSA"],
}
"""NATFLUX to the same word, for files without records."""
RACINES = {"Agregat": "this is a pregnancy declaration (DSG): it is never opened here"}
ANOMALIES = "this is an anomaly file (RSABAM, RSABAI, RSABAX): a work list for the Département, never an update"


def check_nature(genre: Genre, nature: str, record: str | None) -> None:
    """Refuse a sister file with the word that tells its sender where it belongs."""
    if record is not None and record != genre.record:
        raise DocumentRefused("wrong-flux", VOISINS.get(record, "this is not a file of RSA households"), record)
    if nature not in genre.natures:
        raise DocumentRefused("wrong-flux", NATURES.get(nature, "NATFLUX is not a known kind of file"), "NATFLUX")


def departement(code: str) -> str:
    """Département on three positions, as the files write it: `40` and `040 ` are `040`."""
    return code.strip().upper().rjust(3, "0")
