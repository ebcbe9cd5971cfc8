"""Conventions between bodies, their flows, and the programmes and funds behind them.

Every exchange cites an active flow; expiry suspends the flows by itself.
"""

from __future__ import annotations

from typing import Literal

from schemas.champ import Modele, champ, detail
from schemas.types import Date, Decimale, Ref, Texte


class Flux(Modele):
    """One flow that a convention opens: who sends what to whom, for which purpose and under which article."""

    de: Ref = detail("Organisme qui envoie", default=...)
    vers: Ref = detail("Organisme qui reçoit", default=...)
    document: Texte = detail("Document", default=...)
    categories: list[Texte] = detail("Catégories de données", default=...)
    finalite: Texte = detail("Finalité", default=...)
    base_legale: Texte = detail("Base légale (article)", default=...)


class Convention(Modele):
    id: Ref = champ("annuaire", "T0", "D", "Identifiant", default=...)
    nature: Literal["accompagnement_global", "delegation_referent", "commune_departement", "echange_donnees"] | None = (
        champ("annuaire", "T0", "D", "Nature")
    )
    parties: list[Ref] | None = champ("annuaire", "T0", "D", "Organismes signataires")
    perimetre: list[Texte] | None = champ("annuaire", "T0", "D", "Territoire (codes COG)")
    debut: Date | None = champ("annuaire", "T0", "D", "Début")
    fin: Date | None = champ("annuaire", "T0", "D", "Fin")
    renouvelable: bool | None = champ("annuaire", "T0", "D", "Renouvelable")
    priorites: list[Texte] | None = champ("annuaire", "T0", "D", "Priorités")
    instances: list[Texte] | None = champ("annuaire", "T0", "D", "Instances de suivi")
    dates_revue: list[Date] | None = champ("annuaire", "T0", "D", "Dates de revue")
    flux: list[Flux] | None = champ("annuaire", "T0", "D", "Flux ouverts")
    etat: Literal["brouillon", "active", "suspendue", "expiree"] | None = champ("annuaire", "T0", "D", "État")


class Programme(Modele):
    id: Ref = champ("annuaire", "T0", "D", "Identifiant", default=...)
    nature: Literal["pti", "pdie", "ppi", "autre"] | None = champ("annuaire", "T0", "D", "Nature")
    libelle: Texte | None = champ("annuaire", "T0", "D", "Nom")
    debut: Date | None = champ("annuaire", "T0", "D", "Début")
    fin: Date | None = champ("annuaire", "T0", "D", "Fin")


class OperationFinancee(Modele):
    id: Ref = champ("annuaire", "T0", "D", "Identifiant", default=...)
    fonds: Literal["fse", "fse_plus", "autre"] | None = champ("annuaire", "T0", "D", "Fonds")
    appel: Texte | None = champ("annuaire", "T0", "D", "Appel à projets")
    numero: Texte | None = champ("annuaire", "T0", "D", "Numéro de l'opération")
    debut: Date | None = champ("annuaire", "T0", "D", "Début")
    fin: Date | None = champ("annuaire", "T0", "D", "Fin")
    cout_total: Decimale | None = champ("annuaire", "T0", "D", "Coût total en euros")
    taux_cofinancement: Decimale | None = champ("annuaire", "T0", "D", "Part de l'Union, de 0 à 1")
    cibles: dict[str, int] | None = champ("annuaire", "T0", "D", "Cibles, par indicateur")
    realise: dict[str, int] | None = champ("annuaire", "T0", "D", "Réalisé, par indicateur")
    texte_publicite: Texte | None = champ("annuaire", "T0", "D", "Texte d'information sur le cofinancement")


class PosteFinance(Modele):
    id: Ref = champ("annuaire", "T0", "D", "Identifiant", default=...)
    operation_financee: Ref | None = champ("annuaire", "T0", "D", "Opération")
    affectation: Ref | None = champ("annuaire", "T0", "D", "Affectation")
    file_active_cible: int | None = champ("annuaire", "T0", "D", "Personnes suivies en même temps, cible", ge=0)


class ActivationTerritoire(Modele):
    id: Ref = champ("annuaire", "T0", "D", "Identifiant", default=...)
    territoire: Texte | None = champ("annuaire", "T0", "D", "Territoire (code COG)")
    flux: list[Texte] | None = champ("annuaire", "T0", "D", "Flux activés")
    experimental: bool | None = champ("annuaire", "T0", "D", "À titre expérimental")
    debut: Date | None = champ("annuaire", "T0", "D", "Début")
    fin: Date | None = champ("annuaire", "T0", "D", "Fin")
    evaluation_prevue: Date | None = champ("annuaire", "T0", "D", "Évaluation prévue")
    etat: Literal["preparee", "active", "arretee"] | None = champ("annuaire", "T0", "D", "État")
