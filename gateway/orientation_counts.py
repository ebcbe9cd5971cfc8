"""Orientation decisions of a period, counted for the CNE, the CRPE and the CDPE, to which whoever orients reports them
and its use of the criteria (arrêté of 21 November 2024).

Aggregates only (CT R5312-38-1 III): a count of few persons is hidden, with what would give it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gateway.evidence import items
from gateway.fse import everyone, reading_all
from gateway.fse_indicators import K
from gateway.registry import Gateway
from schemas.record import Current, value_of

_BODIES = {
    "CD": "departement", "DCD": "delegataire", "FT": "france_travail", "ML": "mission_locale", "CE": "cap_emploi",
}  # fmt: skip
_DECIDED = {"decidee": "decidee", "terminee": "decidee", "refusee": "refusee"}
"""State of an orientation to what was decided: one that ended since was decided too."""
CRITERIA = {
    "situation_professionnelle": "parcours_pro.derniere_activite",
    "type_emploi": "parcours_pro.type_emploi",
    "niveau_etude": "parcours_pro.niveau_etude",
    "projet_pro": "parcours_pro.projet",
    "contrainte_sante": "freins[sante].valeur",
    "contrainte_logement": "freins[logement].valeur",
    "contrainte_mobilite": "freins[mobilite].valeur",
    "contrainte_familiale": "freins[famille].valeur",
    "contrainte_financiere": "freins[finances].valeur",
    "contrainte_numerique": "freins[numerique].valeur",
    "contrainte_administrative_juridique": "freins[administratif_juridique].valeur",
    "contrainte_francais_calcul": "freins[lecture_ecriture_calcul].valeur",
}
"""Criteria of the orientation, as France Travail names them, to the fact that answers each."""


class Decision(NamedTuple):
    decide_par: str
    categorie: str
    decision: str
    motif_refus: str


def counts(gateway: Gateway, first: str, last: str, k: int = K) -> dict[str, Any]:
    """Decisions from `first` to `last` (days included) and, of these persons, those of whom each criterion is known
    today. None stands for a count too small to be shown."""
    made: Counter[Decision] = Counter()
    known: Counter[str] = Counter()
    persons = 0
    with reading_all(gateway, "orientation-counts") as work:
        for _, current in everyone(work, gateway):
            if not (found := dict(_decisions(gateway, current, first, last))):
                continue
            persons += 1
            made.update(found.values())
            known.update(name for name, path in CRITERIA.items() if _said(current, path))
    shown = _shown(made, k)
    return {
        "premier_jour": first,
        "dernier_jour": last,
        "seuil": k,
        "decisions": [
            {"decide_par": one.decide_par, "categorie": one.categorie, "decision": one.decision,
             "motif_refus": one.motif_refus, "nombre": shown[one]}
            for one in sorted(made)
        ],
        "criteres": [{"critere": name, "nombre": _part(known[name], persons, k)} for name in CRITERIA],
    }  # fmt: skip


def _decisions(gateway: Gateway, current: Current, first: str, last: str) -> Iterator[tuple[str, Decision]]:
    """Each decision of one person under its day; the same one, told by two bodies, is that of whoever is told last:
    the body that decided it, when it speaks itself."""
    told = []
    for inside in items(current, "orientations").values():
        day, state = str(value_of(inside, "date_decision")), _DECIDED.get(str(value_of(inside, "etat")))
        if not state or not first <= day <= last:
            continue
        source = gateway.role(inside["date_decision"].source)
        body = _BODIES.get(str(value_of(inside, "organisme_decision.code_organisme_ft")), source)
        what = value_of(inside, "categorie") or value_of(inside, "parcours") or "indeterminee"
        told.append((source == body, day, Decision(body, what, state, value_of(inside, "motif_refus") or "")))
    return ((day, one) for _, day, one in sorted(told))


def _said(current: Current, path: str) -> bool:
    return path in current and current[path].value != "non_aborde"


def _shown(made: Mapping[Decision, int], k: int) -> dict[Decision, int | None]:
    """Hide what counts fewer than `k`, then the smallest of the others until what is hidden counts `k` together."""
    hidden: set[Decision] = set()
    for one in sorted(made, key=lambda one: (made[one], one)):
        if made[one] >= k and (not hidden or (len(hidden) > 1 and sum(made[other] for other in hidden) >= k)):
            break
        hidden.add(one)
    return {one: None if one in hidden else count for one, count in made.items()}


def _part(count: int, whole: int, k: int) -> int | None:
    """A part of a whole, hidden when it or what it leaves is small."""
    return None if 0 < count < k or 0 < whole - count < k else count
