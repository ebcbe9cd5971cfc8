"""Which rendez-vous status may replace which: a poorer word never replaces a richer one it could come from.

France Travail says ANNULE both when the person excused herself and when the service cancelled; RDV Service Public says
`unknown` both before and after the date. Told by such a word, a status already known more precisely stays.
Source: `crosswalk/statuts_rendez_vous.csv`; the table below is computed from it, so that there is one list only.
"""

from __future__ import annotations

from functools import cache

from schemas import nomenclatures

COLUMNS = ("rdv_insertion_participation", "rdv_service_public", "ft_rendez_vous", "carnet", "mss_suivi")


@cache
def meanings(column: str) -> dict[str, frozenset[str]]:
    """Each word of a system and all the canonical statuses it can mean."""
    found: dict[str, set[str]] = {}
    for row in nomenclatures.crosswalk("statuts_rendez_vous"):
        for word in filter(None, row[column].split("|")):
            found.setdefault(word, set()).add(row["statut_canonique"])
    return {word: frozenset(statuses) for word, statuses in found.items()}


def may_replace(known: str, word: str, column: str) -> bool:
    """Whether a system's word brings news about a status already known: False when it could mean that very status."""
    return known not in meanings(column).get(word, frozenset())


def canonical(word: str, past: bool) -> str:
    """The status of an rdv-insertion participation; `unknown` depends on whether the rendez-vous is over.

    An unknown word is returned as it is, for the mapping to quarantine.
    """
    if word == "unknown":
        return "a_renseigner" if past else "prevu"
    found = meanings("rdv_insertion_participation").get(word, frozenset())
    return next(iter(found)) if len(found) == 1 else word
