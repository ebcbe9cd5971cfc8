"""Filling the documents that France Travail receives, each about one thing: a decision, a rendez-vous, a contract.

What an item is not concerned by is taken out before the mapping sees it: an accepted préconisation carries no other
organisme, a signed contract no date of refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mappings
from schemas.record import Current, Fact, Finding, Written, value_of

LISTS = {
    "france_travail.decision_orientation": "orientations",
    "france_travail.rendez_vous": "rendez_vous",
    "france_travail.contrat_engagement": "contrats",
}
"""Documents about one item of a list of the dossier."""

_WITHOUT_CODE = frozenset({"siae", "autre"})
"""Bodies that a Département's tool names beside its own, and that France Travail's list does not know."""
_RESIDENCE = "personne.adresses[residence]"

_ONLY_WHEN: dict[tuple[str, str], tuple[str, ...]] = {
    ("orientations", "decidee"): ("motif_refus", "parcours", "organisme_accueil.code_organisme_ft"),
    ("contrats", "signe"): ("refuse_le",),
    ("contrats", "refuse"): ("signe_le",),
}
"""(list, state of the item) to the fields that have no place in its document."""


def items(current: Current, name: str) -> list[str]:
    """Keys of the items that the facts tell of in a list."""
    prefix = f"{name}["
    found = (path[len(prefix) :].partition("]")[0] for path in current if path.startswith(prefix))
    return list(dict.fromkeys(found))


def write(document: str, current: Current, settings: Mapping[str, str], context: Mapping[str, Any]) -> Written:
    """One document. `context`: `item` names the item of a list; `sanction` and `validations` come from agents."""
    if document == "france_travail.sanction_rsa":
        return _sanction(document, context)
    name = LISTS.get(document)
    if name is None:
        street = _street(current)
        return mappings.load(document).write({**current, **street} if street else current, {})
    item = str(context.get("item") or "") or next(iter(items(current, name)), "")
    base = f"{name}[{item}]"
    state = str(value_of(current, f"{base}.etat") or value_of(current, f"{base}.statut") or "")
    inside = {path: fact for path, fact in current.items() if path.startswith(f"{base}.")}
    left_out = {f"{base}.{field}" for field in _ONLY_WHEN.get((name, state), ())}
    shown: dict[str, Fact] = {path: fact for path, fact in inside.items() if path not in left_out}
    if name == "rendez_vous":
        shown |= _organisme(base, shown, item, settings)
    words = {"agent": settings.get("agent_identifiant"), "organisme_email": settings.get("organisme_email") or None}
    written = mappings.load(document).write(shown, words)
    written.metadata |= {
        "item": item,
        "etat": state,
        "categorie": value_of(current, f"{base}.categorie"),
        "parcours": value_of(current, f"{base}.parcours"),
        "organisme": value_of(current, f"{base}.organisme_accueil.code_organisme_ft"),
    }
    if len(items(current, name)) > 1 and not context.get("item"):
        written.findings.append(Finding("several-items", name, "quarantine"))
    return written


def _street(current: Current) -> dict[str, Fact]:
    """The one line of an address that France Travail has room for (`numero_type_libelle_voie`), from the parts of it
    that most bodies tell apart; a complement and a locality have no place in it."""
    parts = [current.get(f"{_RESIDENCE}.{name}") for name in ("numero_voie", "type_voie", "nom_voie")]
    if (street := parts[-1]) is None:
        return {}
    return {f"{_RESIDENCE}.lignes": replace(street, value=[" ".join(str(one.value) for one in parts if one)])}


def _organisme(base: str, shown: Mapping[str, Fact], item: str, settings: Mapping[str, str]) -> dict[str, Fact]:
    """France Travail's code of the body that receives, from the operator's table, when the fact does not say it."""
    path = f"{base}.organisme.code_organisme_ft"
    known = dict(pair.split("=", 1) for pair in settings.get("organismes", "").split(",") if "=" in pair)
    body = item.partition(":")[0]
    nature = value_of(shown, f"{base}.organisme.nature")
    if path in shown or body not in known or nature in _WITHOUT_CODE:
        return {}
    return {path: Fact(known[body].strip(), body, "", "")}


def _sanction(document: str, context: Mapping[str, Any]) -> Written:
    """An event that agents decided, as they wrote it. Nothing of the dossier enters it."""
    told = dict(context.get("sanction") or {})
    written = mappings.load(document).write({}, told)
    written.metadata |= {"validations": list(context.get("validations") or ()), "activite": told.get("activite")}
    return written
