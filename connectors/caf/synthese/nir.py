"""Social-security numbers for synthetic people: right key, impossible place of birth, one number per person.

The place is one that the official geographic code never used: communes 990 to 999 of the mainland, 70 to 99 overseas,
700 to 999 in Corsica, countries 600 to 999. So no generated NIR can be somebody's, and a hundred thousand persons
born in one same month still have a number each. Shape: 13 characters and a key of 2; Corsica is 2A or 2B.
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
    if origine == "corse":
        return f"{('2A', '2B')[numero % 2]}{700 + (290 + numero) % 300}"
    if origine == "outre_mer":  # one more each round, so that every number meets every Département
        return f"{OUTRE_MER[numero % 4]}{70 + (20 + numero + numero // 60) % 30}"
    if origine == "etranger":
        return f"99{600 + (390 + numero) % 400}"
    return f"{DEPARTEMENTS[numero // 10 % len(DEPARTEMENTS)]}{990 + numero % 10}"
