"""Social-security numbers for synthetic people: right key, impossible commune.

The commune part runs from 990 to 999 inside the Département, numbers the official geographic code never used, so that
no generated NIR can be somebody's. Shape: 13 characters and a key of 2; Corsica is 2A or 2B.
"""

from __future__ import annotations

DEPARTEMENTS = (*(f"{n:02d}" for n in range(1, 96) if n != 20), "2A", "2B")
OUTRE_MER = ("971", "972", "973", "974")


def cle(nir13: str) -> str:
    """The two-digit key of a 13-character NIR; Corsican letters count as 19 and 18."""
    nombre = nir13[:5] + nir13[5:7].replace("2A", "19").replace("2B", "18") + nir13[7:]
    return f"{97 - int(nombre) % 97:02d}"


def compose(sexe: str, annee: int, mois: int, lieu: str, rang: int) -> str:
    """13 characters: sex digit, year, month, place of five characters, order."""
    return f"{sexe}{annee % 100:02d}{mois:02d}{lieu}{rang:03d}"


def lieu(numero: int, origine: str = "") -> str:
    """An unattributed place of birth on five characters. `origine`: corse, outre_mer, etranger or empty (mainland)."""
    commune = 990 + numero % 10
    if origine == "corse":
        return f"{('2A', '2B')[numero % 2]}{commune}"
    if origine == "outre_mer":
        return f"{OUTRE_MER[numero % 4]}{90 + numero % 10}"
    if origine == "etranger":
        return f"99{commune}"
    return f"{DEPARTEMENTS[numero // 10 % len(DEPARTEMENTS)]}{commune}"
