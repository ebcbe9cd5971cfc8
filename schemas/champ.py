"""What every canonical field says of itself: category, sensitivity level and authority.

A field is declared once, in its pydantic model; the categories, the legal filter, the DPO's page, the resolver and
the lint all read it from there. Four declarations: `champ` for a field, `detail` for a part of a compound field
(it inherits everything from it), `collection` for a list whose items are named by their own key, `bloc` for a part of
the dossier that always exists.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as _PydanticField

Niveau = Literal["T0", "T1", "T2", "T3", "T4", "TF"]
Sujet = Literal["personne", "foyer"]

CATEGORIES = (
    "identite", "nir", "identifiants", "contact", "adresse", "foyer", "droit_rsa", "ressources",
    "inscription_emploi", "orientation", "referent", "accompagnement", "rendez_vous", "entretien", "frein_theme",
    "frein_situation", "sante", "logement", "finances", "justice", "parcours_pro", "objectif_action", "contrat",
    "prescription", "aide", "resultat", "fse", "fse_sensible", "annuaire",
)  # fmt: skip


class Modele(BaseModel):
    """Base of the canonical models: unknown fields refused, no silent conversion of types, content never shown."""

    model_config = ConfigDict(
        extra="forbid", strict=True, validate_default=False, hide_input_in_errors=True, defer_build=True
    )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(•••)"

    __str__ = __repr__


def champ(
    categorie: str,
    niveau: Niveau,
    autorite: str,
    description: str,
    *,
    default: Any = None,
    liste: str | None = None,
    cle: bool = False,
    sujet: Sujet = "personne",
    **constraints: Any,
) -> Any:
    """Declare a canonical field.

    `autorite` lists one letter per authority, strongest first (`"CL"`): D Département, F France Travail, C CAF or MSA,
    S CCAS, P the person, E the side that explored, L the lead, M us. `liste` names the code list in
    `schemas.nomenclatures` (several joined by `|`). `cle` marks the field that repeats the key of its item. `sujet`
    says whether the fact belongs to the person or to the household she lives in.
    """
    if categorie not in CATEGORIES:
        raise ValueError(f"unknown category {categorie}")
    extra = {"categorie": categorie, "niveau": niveau, "autorite": autorite, "sujet": sujet}
    if liste is not None:
        extra["liste"] = liste
    if cle:
        extra["cle"] = "oui"
    return _PydanticField(default=default, description=description, json_schema_extra=dict(extra), **constraints)


def detail(description: str, *, liste: str | None = None, default: Any = None, **constraints: Any) -> Any:
    """Declare a part of a compound field: its category, level, authority and subject are the compound's."""
    extra: dict[str, Any] = {"liste": liste} if liste is not None else {}
    return _PydanticField(default=default, description=description, json_schema_extra=extra, **constraints)


def bloc(description: str, modele: type[BaseModel]) -> Any:
    """Declare a part of the dossier that always exists, empty at first."""
    return _PydanticField(default_factory=modele, description=description)


ORGANISME_ID = r"[a-z0-9][a-z0-9._-]*:[^\[\]\r\n]{1,200}"
"""Key of an item that a body named: `<body id>:<the body's own id>`."""


def collection(
    nom_cle: str,
    description: str,
    *,
    motif: str = r"[^\[\]\r\n]{1,200}",
    liste: str | None = None,
    personnelle: bool = False,
) -> Any:
    """Declare a list of items named by their own key, held as a dict.

    `nom_cle` says in French what the key is, `motif` is its form, `liste` its code list. `personnelle`: the key itself
    identifies someone (a number, an address) and never goes into a message.
    """
    extra: dict[str, Any] = {"nom_cle": nom_cle, "motif": motif, "propertyNames": {"pattern": f"^({motif})$"}}
    if liste is not None:
        extra["liste"] = liste
    if personnelle:
        extra["personnelle"] = "oui"
    return _PydanticField(default_factory=dict, description=description, json_schema_extra=extra)
