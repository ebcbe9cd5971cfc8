"""`fse.participant` as a form: who would enter, and what the record already says of her answers.

The gateway's own form, like the shared record: the body that holds the operation asks for it, and it is filled from
what that body may see. What must be asked stays empty; a sensitive answer is never derived (see `fse_apart`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import mappings
from connectors.manifest import Document
from gateway.clock import day_of, today
from schemas import nomenclatures, paths
from schemas.fse import ReponsesSensibles
from schemas.record import Current, Fact, Written, value_of

ID = "fse.participant"
OPENED_BY = "maillon"
"""In whose name a participation stands that nobody has opened yet."""


@dataclass(frozen=True, slots=True)
class Derived:
    """An answer that nobody has to give again, and the facts it comes from."""

    value: Any
    inputs: tuple[str, ...]


_EMPLOI = {
    "en_emploi": "actif_non_independant", "independant": "actif_independant", "en_formation": "inactif_en_formation",
    "etudiant": "inactif_en_formation", "retraite": "inactif_hors_formation", "au_foyer": "inactif_hors_formation",
    "inactif": "inactif_hors_formation",
}  # fmt: skip
_CLOSED = frozenset({"refuse", "clos", "clos_anterieur", "demande_en_attente"})


def months(start: str, end: str) -> int:
    """Whole months between two dates or instants."""
    first, last = date.fromisoformat(day_of(start)), date.fromisoformat(day_of(end))
    return (last.year - first.year) * 12 + last.month - first.month - (last.day < first.day)


def _marche_travail(current: Current, day: str) -> Derived | None:
    """Registered: unemployed, long-term from twelve months. Otherwise her situation. Both at once: she is asked."""
    registered = value_of(current, "inscription_emploi.inscrit")
    since = value_of(current, "inscription_emploi.date_inscription")
    situation = _EMPLOI.get(str(value_of(current, "parcours_pro.situation_emploi")))
    if registered and not situation:
        if since is None or since > day:
            return None
        said = "chomeur_longue_duree" if months(since, day) >= 12 else "chomeur"
        return Derived(said, ("inscription_emploi.inscrit", "inscription_emploi.date_inscription"))
    if situation and not registered:
        return Derived(situation, ("parcours_pro.situation_emploi",))
    return None


def _minimas(current: Current, day: str) -> Derived | None:
    state = value_of(current, "droit_rsa.etat")
    if state == "ouvert_versable":
        return Derived(True, ("droit_rsa.etat",))
    return Derived(False, ("droit_rsa.etat",)) if state in _CLOSED else None


def _logement(current: Current, day: str) -> Derived | None:
    """The questionnaire's word, when the bridge has exactly one."""
    said = value_of(current, "foyer.logement_statut")
    for row in nomenclatures.crosswalk("logement"):
        words = row["fse_d1"].split("|")
        if row["valeur_canonique"] == said and len(words) == 1 and words[0]:
            return Derived(words[0], ("foyer.logement_statut",))
    return None


def _same(path: str) -> Callable[[Current, str], Derived | None]:
    def derive(current: Current, day: str) -> Derived | None:
        value = value_of(current, path)
        return None if value is None else Derived(value, (path,))

    return derive


ENTRY: Mapping[str, Callable[[Current, str], Derived | None]] = {
    "marche_travail": _marche_travail,
    "niveau_etude": _same("parcours_pro.niveau_etude"),
    "inscrit_emploi": _same("inscription_emploi.inscrit"),
    "minimas_sociaux": _minimas,
    "resident_qpv": _same("personne.adresses[residence].resident_qpv"),
    "conditions_logement": _logement,
}
"""Entry answers that the record may give. `commune_rurale` needs the density grid; the others are asked."""
INPUTS = (
    "inscription_emploi.inscrit", "inscription_emploi.date_inscription", "parcours_pro.situation_emploi",
    "parcours_pro.niveau_etude", "droit_rsa.etat", "personne.adresses[residence].resident_qpv",
    "foyer.logement_statut",
)  # fmt: skip
"""The facts that entry answers may come from."""
OFFERED = frozenset({"identite", "adresse"} | {paths.categorie(path) for path in INPUTS}) - {"fse"}
"""Categories that the form asks for: her identity, and those of the facts that answer. `resident_qpv`, alone of `fse`,
falls under the code of the registration."""
SENSITIVE = tuple(ReponsesSensibles.model_fields)


def derived(current: Current, day: str) -> dict[str, Derived]:
    """Entry answers known from the record on a day (`AAAA-MM-JJ`); never a sensitive one."""
    return {name: found for name, rule in ENTRY.items() if (found := rule(current, day)) is not None}


def write(current: Current, day: str = "", participation: str = f"{OPENED_BY}:1") -> Written:
    """The form for someone who would enter on a day (today when none is given), from these facts alone."""
    frozen: dict[str, Fact] = {path: fact for path, fact in current.items() if path.startswith("personne.")}
    for name, one in derived(current, day or today()).items():
        said = current[one.inputs[-1]]
        frozen[f"participations[{participation}].questionnaire_entree.{name}"] = replace(said, value=one.value)
    return mappings.load(ID).write(frozen, {"participation": participation})


DOCUMENT = Document(
    id=ID,
    title="FSE+ : questionnaire d'entrée prérempli",
    direction=("write",),
    format="json",
    mapping=(ID,),
    content_type=("application/json",),
    max_bytes=1_000_000,
    source="docs/decisions.md",
)
