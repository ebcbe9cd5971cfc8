"""What the person was told, and what she answered: information given, consent, refusal, withdrawal, objection.

Public social action mostly rests on a legal task, not on consent: both natures exist, the policy says which one a
flow needs.
"""

from __future__ import annotations

from typing import Literal

from schemas.champ import Modele, champ, detail
from schemas.types import Code, Instant, Ref, Texte


class Portee(Modele):
    """What the answer covers; an empty part covers everything of the flow."""

    themes: list[Code] | None = detail("Thèmes", liste="crosswalk/freins")
    niveaux: list[Literal["T1", "T2", "T3"]] | None = detail("Niveaux de sensibilité")
    categories: list[Texte] | None = detail("Catégories de données")
    destinataires: list[Ref] | None = detail("Organismes destinataires")


class AccordInformation(Modele):
    id: Ref = champ("accompagnement", "T2", "M", "Identifiant", default=...)
    personne: Ref = champ("accompagnement", "T2", "M", "Personne", default=...)
    finalite: Texte = champ("accompagnement", "T2", "M", "Finalité", default=...)
    flux: Ref | None = champ("accompagnement", "T2", "M", "Flux de la convention")
    nature: Literal["information_donnee", "accord", "refus", "retrait", "opposition"] = champ(
        "accompagnement", "T2", "M", "Nature", default=...
    )
    portee: Portee | None = champ("accompagnement", "T2", "M", "Portée")
    canal: Literal["oral", "ecrit", "en_ligne", "courrier", "telephone"] | None = champ(
        "accompagnement", "T2", "M", "Canal"
    )
    recueilli_par: Ref | None = champ("accompagnement", "T2", "M", "Recueilli par")
    preuve: Texte | None = champ("accompagnement", "T2", "M", "Preuve")
    le: Instant = champ("accompagnement", "T2", "M", "Donné le", default=...)
    expire_le: Instant | None = champ("accompagnement", "T2", "M", "Expire le")
