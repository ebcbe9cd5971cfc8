"""France Travail's activités opérationnelles, as items of a worklist.

Codes and families: list `france_travail/activites`; what each asks for is the table below (reference §6, §7.1, §11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.worklist import Item, Kind
from schemas.nomenclatures import codes

FAMILIES = tuple(dict.fromkeys(row.parent for row in codes("france_travail/activites").values()))

_KINDS: dict[str, Kind] = {
    "ACT382": "decision_orientation",
    "ACT380": "premier_rendez_vous",
    "ACT366": "sanction",
    "ACT367": "sanction",
    "ACT368": "sanction",
    "ACT369": "sanction",
    "ACT370": "sanction",
}
_FETCH = ("france_travail.lecture_orientation", "france_travail.dossier_diagnostic")
_REPEATED = {"idConsequenceSanction": "identifiant_consequence"}
"""Attributes that the act repeats, under the name its mapping gives them."""


def item(told: Mapping[str, Any]) -> Item:
    """One activity. Its person was checked by the caller: `FranceTravail.activites` leaves the others aside."""
    code = str(told.get("codeActivite", ""))
    kind = _KINDS.get(code, "inconnu")
    attributes = {
        _REPEATED[one["nom"]]: str(one.get("valeur", ""))
        for one in told.get("attributsSpecifiques") or ()
        if isinstance(one, dict) and one.get("nom") in _REPEATED
    }
    if kind == "sanction":
        attributes["activite"] = code
    return Item(
        id=str(told["identifiantActivite"]),
        code=code,
        kind=kind,
        ft_numero=str(told["usager"]["identifiant"]),
        created_at=str(told.get("dateCreation") or ""),
        due_at=str(told.get("dateEcheance") or ""),
        fetch=_FETCH if kind == "decision_orientation" else (),
        transmits="france_travail.sanction_rsa" if kind == "sanction" else "",
        context=attributes,
    )
