"""The status of a participation in our words, read from `crosswalk/statuts_rendez_vous.csv`."""

from __future__ import annotations

from functools import cache

from schemas import nomenclatures


@cache
def meanings() -> dict[str, frozenset[str]]:
    """Each word of rdv-insertion and all the canonical statuses it can mean."""
    found: dict[str, set[str]] = {}
    for row in nomenclatures.crosswalk("statuts_rendez_vous"):
        for word in filter(None, row["rdv_insertion_participation"].split("|")):
            found.setdefault(word, set()).add(row["statut_canonique"])
    return {word: frozenset(statuses) for word, statuses in found.items()}


def canonical(word: str, past: bool) -> str:
    """The status of an rdv-insertion participation; `unknown` depends on whether the rendez-vous is over.

    An unknown word is returned as it is, for the mapping to quarantine.
    """
    if word == "unknown":
        return "a_renseigner" if past else "prevu"
    found = meanings().get(word, frozenset())
    return next(iter(found)) if len(found) == 1 else word
