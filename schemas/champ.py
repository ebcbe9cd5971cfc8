"""What every canonical field says of itself: category, sensitivity level and authority.

A field is declared once, in its pydantic model; the categories, the legal filter, the DPO's page, the resolver and
the lint all read it from there.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as _PydanticField

Niveau = Literal["T0", "T1", "T2", "T3", "T4", "TF"]
Autorite = Literal["D", "F", "C", "S", "P", "E", "L", "M"]
"""D Département, F France Travail, C CAF or MSA, S CCAS, P the person, E the side that explored, L the lead, M us."""

CATEGORIES = (
    "identite", "nir", "identifiants", "contact", "adresse", "foyer", "droit_rsa", "ressources",
    "inscription_emploi", "orientation", "referent", "accompagnement", "rendez_vous", "entretien", "frein_theme",
    "frein_situation", "sante", "logement", "finances", "justice", "parcours_pro", "objectif_action", "contrat",
    "prescription", "aide", "resultat", "fse", "fse_sensible", "annuaire",
)  # fmt: skip


class Modele(BaseModel):
    """Base of the canonical models: unknown fields refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_default=False)


def champ(
    categorie: str,
    niveau: Niveau,
    autorite: str,
    description: str,
    *,
    default: Any = None,
    liste: str | None = None,
    cle: bool = False,
    sujet: Literal["personne", "foyer"] = "personne",
    **constraints: Any,
) -> Any:
    """Declare a canonical field.

    `autorite` lists one letter per authority, strongest first (`"CL"`). `liste` names the code list in
    `schemas.nomenclatures`. `cle` marks the field that names an item inside its list. `sujet` says whether the fact
    belongs to the person or to the household she lives in.
    """
    if categorie not in CATEGORIES:
        raise ValueError(f"unknown category {categorie}")
    extra = {"categorie": categorie, "niveau": niveau, "autorite": autorite, "sujet": sujet}
    if liste is not None:
        extra["liste"] = liste
    if cle:
        extra["cle"] = "oui"
    return _PydanticField(default=default, description=description, json_schema_extra=dict(extra), **constraints)
