"""Proof for the European Social Fund: one participation per person and operation, frozen at its dates."""

from __future__ import annotations

from typing import Literal

from schemas.champ import Modele, champ, detail
from schemas.types import Code, Date, Instant, Ref, Texte

OuiNonNspp = Literal["oui", "non", "ne_souhaite_pas_repondre"]


class QuestionnaireEntree(Modele):
    """Answers at entry, frozen (WebRSA form D1; regulations 1304/2013 and 2021/1057, annex I)."""

    rempli_le: Date | None = detail("Rempli le")
    marche_travail: (
        Literal[
            "actif_non_independant", "actif_independant", "chomeur", "chomeur_longue_duree",
            "inactif_hors_formation", "inactif_en_formation",
        ]
        | None
    ) = detail("Statut sur le marché du travail")  # fmt: skip
    categorie_sociopro: (
        Literal[
            "agriculteur_exploitant", "artisan_commercant_chef", "cadre_intellectuel", "niveau_intermediaire",
            "employe", "ouvrier", "retraite", "autre",
        ]
        | None
    ) = detail("Catégorie socioprofessionnelle")  # fmt: skip
    autre_caracteristique: (
        Literal["beneficiaire_minimas", "contrat_aide", "jeunes_total", "jeunes_zus", "jeunes_handicapes", "autres"]
        | None
    ) = detail("Autre caractéristique")
    conditions_logement: Code | None = detail("Conditions de logement, liste du questionnaire")
    niveau_etude: Code | None = detail("Diplôme le plus élevé", liste="crosswalk/niveau_etude")
    diplome_etranger_reconnu: bool | None = detail("Diplôme étranger reconnu en France")
    inscrit_emploi: bool | None = detail("Inscrite comme demandeur d'emploi")
    minimas_sociaux: bool | None = detail("Perçoit un minimum social")
    resident_qpv: bool | None = detail("Habite un quartier prioritaire")
    commune_rurale: bool | None = detail("Habite une commune rurale")


class ReponsesSensibles(Modele):
    """Asked, never derived, kept apart under their own key, never joined to a decision."""

    handicap: OuiNonNspp | None = detail("Handicap déclaré")
    origine_etrangere: OuiNonNspp | None = detail("Origine étrangère")
    minorite: OuiNonNspp | None = detail("Appartenance à une minorité")
    vulnerable: list[Literal["migrant", "minorite", "handicape", "autre"]] | None = detail("Groupes vulnérables")


class QuestionnaireSortie(Modele):
    """Answers at exit (WebRSA forms D2 and B7)."""

    rempli_le: Date | None = detail("Rempli le")
    situation_accompagnement: (
        Literal[
            "maintien", "sortie_obligation", "abandon", "reorientation", "changement_situation",
            "reorientation_ent_diag",
        ]
        | None
    ) = detail("Fin de l'accompagnement")  # fmt: skip
    changement_administratif: (
        Literal["modif_sitfam", "modif_situ_cjt", "modif_departement", "modif_commune", "radiation", "autres"] | None
    ) = detail("Changement administratif")
    marche_travail: Texte | None = detail("Statut sur le marché du travail à la sortie")
    en_emploi: bool | None = detail("En emploi")
    en_formation: bool | None = detail("En formation")
    qualification_obtenue: bool | None = detail("Qualification obtenue")
    en_recherche: bool | None = detail("En recherche d'emploi")
    type_emploi: Texte | None = detail("Type d'emploi")
    temps_travail: Literal["plein", "partiel"] | None = detail("Temps de travail")
    date_embauche: Date | None = detail("Date d'embauche")
    rome: Texte | None = detail("Métier (code ROME)", pattern=r"^[A-Z]\d{4}$")


class Situation6Mois(Modele):
    observee_le: Date | None = detail("Observée le")
    en_emploi: bool | None = detail("En emploi")
    situation_amelioree: bool | None = detail("Situation améliorée")


class AvisPublicite(Modele):
    texte: Texte | None = detail("Texte de l'information sur le cofinancement")
    vu_le: Instant | None = detail("Vu par la personne le")


class ParticipationFinancee(Modele):
    """Immutable once closed; a re-entry is a new participation."""

    operation_financee: Ref | None = champ("fse", "T2", "D", "Opération financée")
    date_entree: Date | None = champ("fse", "T2", "D", "Entrée")
    questionnaire_entree: QuestionnaireEntree | None = champ("fse", "T2", "D", "Questionnaire d'entrée, figé")
    reponses_sensibles: ReponsesSensibles | None = champ("fse_sensible", "TF", "P", "Réponses sensibles, à part")
    date_sortie: Date | None = champ("fse", "T2", "D", "Sortie")
    questionnaire_sortie: QuestionnaireSortie | None = champ("fse", "T2", "D", "Questionnaire de sortie")
    situation_6_mois: Situation6Mois | None = champ("fse", "T2", "D", "Situation six mois après")
    pieces_eligibilite: list[Ref] | None = champ("fse", "T2", "D", "Pièces d'éligibilité")
    etat: Literal["ouverte", "close"] | None = champ("fse", "T2", "D", "État")
    avis_publicite: AvisPublicite | None = champ("fse", "T2", "D", "Information sur le cofinancement")
