"""The accompaniment: orientation, référent, actions, contract, rendez-vous, interviews, prescriptions, aid, results.

Private notes and private syntheses have no field: they never enter the record.
"""

from __future__ import annotations

from typing import Literal

from schemas.annuaire import OrganismeCite, ProfessionnelCite
from schemas.champ import ORGANISME_ID, Modele, champ, collection, detail
from schemas.types import Code, Date, Decimale, Instant, Ref, Texte, TexteCourt

Cote = Literal["social", "emploi"]
TempsTravail = Literal["plein", "partiel"]


class TypeLocal(Modele):
    departement: Texte | None = detail("Département", pattern=r"^(\d{2,3}|2[AB])$")
    identifiant: Texte | None = detail("Identifiant du type dans ce Département")
    libelle: Texte | None = detail("Libellé du type")


class Orientation(Modele):
    """A decision of an authority: the gateway carries it and never creates one."""

    categorie: Code | None = champ(
        "orientation", "T2", "D", "Catégorie légale", liste="crosswalk/categories_orientation"
    )
    type_local: TypeLocal | None = champ("orientation", "T2", "D", "Type d'orientation propre au Département")
    parcours: Code | None = champ(
        "orientation", "T2", "F", "Parcours, code France Travail", liste="france_travail/orientation_parcours"
    )
    organisme_accueil: OrganismeCite | None = champ("orientation", "T2", "D", "Organisme d'accueil")
    organisme_decision: OrganismeCite | None = champ("orientation", "T2", "DF", "Organisme qui décide")
    referent_pressenti: ProfessionnelCite | None = champ("referent", "T2", "D", "Référent pressenti")
    origine: (
        Literal["manuelle", "cohorte", "reorientation", "demenagement", "entretien_diagnostic", "inscription"] | None
    ) = champ("orientation", "T2", "DF", "Origine")
    origine_inscription: Code | None = champ(
        "orientation", "T2", "F", "Origine de l'inscription, code France Travail",
        liste="france_travail/orientation_origine",
    )  # fmt: skip
    rang: int | None = champ("orientation", "T2", "D", "Rang de l'orientation", ge=1)
    etat: Code | None = champ("orientation", "T2", "DF", "État", liste="crosswalk/statuts_orientation")
    decide_par: Ref | None = champ("orientation", "T2", "DF", "Autorité qui a décidé")
    date_proposition: Date | None = champ("orientation", "T2", "DF", "Proposée le")
    date_decision: Date | None = champ("orientation", "T2", "DF", "Décidée le")
    motif_refus: Code | None = champ(
        "orientation", "T2", "DF", "Motif du refus de la préconisation", liste="france_travail/orientation_motif_refus"
    )
    notifie_le: Date | None = champ("orientation", "T2", "DF", "Notifiée à la personne le")
    debut: Date | None = champ("orientation", "T2", "D", "Début")
    fin: Date | None = champ("orientation", "T2", "D", "Fin")
    motif: TexteCourt | None = champ("orientation", "T2", "D", "Motif")
    maj_le: Instant | None = champ("orientation", "T2", "DF", "Modifiée à la source le")


class DemandeReorientation(Modele):
    demandeur: Ref | None = champ("orientation", "T2", "D", "Qui demande")
    demandee_le: Date | None = champ("orientation", "T2", "D", "Demandée le")
    motif: TexteCourt | None = champ("orientation", "T2", "D", "Motif")
    accord_referent: bool | None = champ("orientation", "T2", "D", "Accord du référent")
    accord_personne: bool | None = champ("orientation", "T2", "P", "Accord de la personne")
    urgente: bool | None = champ("orientation", "T2", "D", "Urgente")
    categorie_demandee: Code | None = champ(
        "orientation", "T2", "D", "Catégorie demandée", liste="crosswalk/categories_orientation"
    )
    type_demande: TypeLocal | None = champ("orientation", "T2", "D", "Type d'orientation demandé")
    organisme_demande: OrganismeCite | None = champ("orientation", "T2", "D", "Organisme d'accueil demandé")
    referent_demande: ProfessionnelCite | None = champ("referent", "T2", "D", "Référent demandé")
    etat: Literal["en_attente", "acceptee", "refusee"] | None = champ("orientation", "T2", "D", "État")
    motif_decision: TexteCourt | None = champ("orientation", "T2", "D", "Motif de la décision")
    decide_le: Date | None = champ("orientation", "T2", "D", "Décidée le")


class MembreAccompagnement(Modele):
    professionnel: ProfessionnelCite | None = champ("referent", "T2", "L", "Professionnel")
    organisation: OrganismeCite | None = champ("referent", "T2", "L", "Organisation")
    cote: Cote | None = champ("referent", "T2", "L", "Côté social ou emploi")
    est_referent: bool | None = champ("referent", "T2", "L", "Est le référent de son côté")
    certifie: bool | None = champ("referent", "T2", "L", "Désignation certifiée par l'autorité")
    depuis: Date | None = champ("referent", "T2", "L", "Désigné depuis")
    jusqua: Date | None = champ("referent", "T2", "L", "Jusqu'à")
    dernier_contact_le: Date | None = champ("referent", "T2", "L", "Dernier contact")
    identite_visible: bool | None = champ("referent", "T2", "L", "Son identité peut être montrée aux autres")


class Accompagnement(Modele):
    nature: Literal["global", "social", "professionnel", "socio_professionnel", "rsa_ccas", "cae"] | None = champ(
        "accompagnement", "T2", "L", "Nature"
    )
    convention: Ref | None = champ("accompagnement", "T2", "M", "Convention qui le fonde")
    operation_financee: Ref | None = champ("accompagnement", "T2", "M", "Opération qui le finance")
    debut: Date | None = champ("accompagnement", "T2", "L", "Début")
    fin_prevue: Date | None = champ("accompagnement", "T2", "L", "Fin prévue")
    fin: Date | None = champ("accompagnement", "T2", "L", "Fin")
    duree_mois: int | None = champ("accompagnement", "T2", "L", "Durée prévue en mois", ge=1, le=120)
    renouvelable: bool | None = champ("accompagnement", "T2", "L", "Renouvelable")
    renouvellements: list[Date] | None = champ("accompagnement", "T2", "L", "Renouvelé le")
    intensite: Literal["leger", "regulier", "intensif"] | None = champ("accompagnement", "T2", "L", "Intensité")
    volontaire: bool | None = champ("accompagnement", "T2", "L", "Choisi librement par la personne")
    motif_fin: (
        Literal[
            "emploi", "formation", "reorientation", "abandon", "demenagement", "deces", "changement_situation",
            "refus", "sortie_droit",
        ]
        | None
    ) = champ("accompagnement", "T2", "L", "Motif de fin")  # fmt: skip
    membres: dict[str, MembreAccompagnement] = collection(
        "<organisme>:<son identifiant>", "Ceux qui accompagnent", motif=ORGANISME_ID
    )


class Action(Modele):
    nature: (
        Literal[
            "rendez_vous", "action_individuelle", "action_collective", "mise_en_relation", "job_dating",
            "positionnement_offre", "formation", "demarche",
        ]
        | None
    ) = champ("objectif_action", "T2", "E", "Nature")  # fmt: skip
    libelle: TexteCourt | None = champ("objectif_action", "T2", "E", "Action, en clair")
    objectif: Code | None = champ("objectif_action", "T2", "E", "Objectif qu'elle sert", liste="crosswalk/objectifs")
    statut: Code | None = champ("objectif_action", "T2", "E", "Statut", liste="crosswalk/statuts_action")
    cote: Cote | None = champ("objectif_action", "T2", "E", "Côté qui la porte")
    debut_prevu: Date | None = champ("objectif_action", "T2", "E", "Début prévu")
    debut: Date | None = champ("objectif_action", "T2", "E", "Début")
    fin: Date | None = champ("objectif_action", "T2", "E", "Fin")
    echeance: Date | None = champ("objectif_action", "T2", "E", "Échéance")
    heures_semaine: Decimale | None = champ("objectif_action", "T2", "E", "Heures par semaine")
    service: Ref | None = champ("objectif_action", "T2", "E", "Service qui la réalise")
    financeur: Ref | None = champ("objectif_action", "T2", "E", "Financeur")


class ContratEngagement(Modele):
    nature: Literal["contrat_engagement", "cer", "ppae", "cej", "pacea"] | None = champ(
        "contrat", "T2", "DF", "Nature du contrat"
    )
    numero_ordre: Literal["premier", "renouvellement"] | None = champ("contrat", "T2", "D", "Premier ou renouvellement")
    rang: int | None = champ("contrat", "T2", "D", "Rang du contrat", ge=1)
    type_insertion: Literal["social", "emploi"] | None = champ("contrat", "T2", "D", "Insertion sociale ou emploi")
    forme: Literal["simple", "complexe"] | None = champ("contrat", "T2", "D", "Forme")
    organisme: OrganismeCite | None = champ("contrat", "T2", "DF", "Organisme référent du contrat")
    signe_le: Date | None = champ("contrat", "T2", "DF", "Signé le")
    refuse_le: Date | None = champ("contrat", "T2", "DF", "Refusé par la personne le")
    debut: Date | None = champ("contrat", "T2", "DF", "Début")
    fin: Date | None = champ("contrat", "T2", "DF", "Fin")
    duree_mois: int | None = champ("contrat", "T2", "D", "Durée en mois", ge=1, le=120)
    heures_semaine: Decimale | None = champ("contrat", "T2", "DF", "Heures d'activité par semaine")
    objectifs: list[Code] | None = champ("contrat", "T2", "D", "Objectifs", liste="crosswalk/objectifs")
    engagements: Texte | None = champ("contrat", "T2", "D", "Engagements pris, en clair")
    point_parcours: Literal["a_la_fin", "a_la_date", "en_cours"] | None = champ(
        "contrat", "T2", "D", "Quand faire le point"
    )
    point_parcours_le: Date | None = champ("contrat", "T2", "D", "Point prévu le")
    decision: Literal["en_attente", "valide", "non_valide", "annule"] | None = champ(
        "contrat", "T2", "D", "Décision du Département"
    )
    decision_le: Date | None = champ("contrat", "T2", "D", "Décidé le")
    etat: Literal["a_signer", "signe", "refuse", "suspendu", "clos"] | None = champ("contrat", "T2", "DF", "État")


class RendezVous(Modele):
    """A planned meeting: existence, date, place and presence, never its content."""

    identifiants: list[Ref] | None = champ("rendez_vous", "T2", "M", "Identifiants chez les autres (<organisme>:<id>)")
    debut: Instant | None = champ("rendez_vous", "T2", "SDF", "Début")
    duree_min: int | None = champ("rendez_vous", "T2", "SDF", "Durée en minutes", ge=1, le=1440)
    motif: Literal["orientation", "accompagnement", "contrat", "atelier", "autre"] | None = champ(
        "rendez_vous", "T2", "SDF", "Motif"
    )
    premier_accompagnement: bool | None = champ("rendez_vous", "T2", "SDF", "Premier rendez-vous d'accompagnement")
    modalite: Literal["presentiel", "telephone", "visio", "domicile"] | None = champ(
        "rendez_vous", "T2", "SDF", "Modalité"
    )
    lieu: Texte | None = champ("rendez_vous", "T2", "SDF", "Lieu, jamais le domicile de la personne")
    adresse_lieu: Texte | None = champ("rendez_vous", "T2", "SDF", "Adresse du lieu de réception")
    collectif: bool | None = champ("rendez_vous", "T2", "SDF", "Collectif")
    conjoint: bool | None = champ("rendez_vous", "T2", "SDF", "Tenu à deux organismes")
    organisme: OrganismeCite | None = champ("rendez_vous", "T2", "SDF", "Organisme qui reçoit")
    professionnels: dict[str, ProfessionnelRendezVous] = collection("identifiant du professionnel", "Professionnels")
    cree_par: Literal["personne", "agent", "prescripteur"] | None = champ("rendez_vous", "T2", "SDF", "Créé par")
    statut: Code | None = champ("rendez_vous", "T2", "SDF", "Statut", liste="crosswalk/statuts_rendez_vous")
    annule_le: Instant | None = champ("rendez_vous", "T2", "SDF", "Annulé le")
    maj_le: Instant | None = champ("rendez_vous", "T2", "SDF", "Modifié à la source le")


class ProfessionnelRendezVous(Modele):
    professionnel: ProfessionnelCite | None = champ("rendez_vous", "T2", "SDF", "Professionnel qui reçoit")


Medium = Literal[
    "accueil_rdv", "accueil_spontane", "telephone", "domicile", "exterieur", "courrier", "courriel", "visio", "tiers"
]


class Entretien(Modele):
    """A meeting that took place: the evidence. A joint one counts once for the person, once per professional."""

    rendez_vous: Ref | None = champ("entretien", "T2", "SD", "Rendez-vous dont il vient")
    date: Date | None = champ("entretien", "T2", "SD", "Date")
    medium: Medium | None = champ("entretien", "T2", "SD", "Comment la rencontre s'est faite")
    conjoint: bool | None = champ("entretien", "T2", "SD", "Tenu à deux organismes")
    premier: bool | None = champ("entretien", "T2", "SD", "Premier entretien")
    statut: Literal["a_faire", "en_cours", "fait"] | None = champ("entretien", "T2", "SD", "Avancement du suivi")
    duree_min: int | None = champ("entretien", "T2", "SD", "Durée en minutes", ge=1, le=1440)
    professionnels: list[Ref] | None = champ("entretien", "T2", "SD", "Professionnels présents")
    lieu_nature: (
        Literal["agence", "cms", "mairie", "france_services", "point_accueil", "domicile", "partenaire"] | None
    ) = champ("entretien", "T2", "SD", "Nature du lieu")
    themes: list[Code] | None = champ("frein_theme", "T2", "SD", "Thèmes abordés", liste="crosswalk/freins")
    reoriente_vers: Texte | None = champ("entretien", "T2", "SD", "Structure vers qui la personne est réorientée")
    echeance: Date | None = champ("entretien", "T2", "SD", "Échéance du suivi")
    synthese: Texte | None = champ("entretien", "T3", "SD", "Synthèse partageable, seulement si le flux le prévoit")
    atteste_par: Ref | None = champ("fse", "T2", "SD", "Attesté par")
    atteste_le: Instant | None = champ("fse", "T2", "SD", "Attesté le")


class Prescription(Modele):
    """A referral to a service, with its answer. Technical and business states are two fields, never merged."""

    de: OrganismeCite | None = champ("prescription", "T2", "DS", "Qui prescrit")
    vers_service: Ref | None = champ("prescription", "T2", "DS", "Service visé")
    vers_organisation: OrganismeCite | None = champ("prescription", "T2", "DS", "Organisation visée")
    nature: Literal["interne", "vers_partenaire", "auto_orientation"] | None = champ(
        "prescription", "T2", "DS", "Nature"
    )
    frein: Code | None = champ("prescription", "T2", "DS", "Frein visé", liste="crosswalk/freins")
    motif: TexteCourt | None = champ("prescription", "T2", "DS", "Motif")
    disponibilites: TexteCourt | None = champ("prescription", "T2", "DS", "Disponibilités de la personne")
    pieces: list[Ref] | None = champ("prescription", "T2", "DS", "Pièces jointes")
    statut: Literal["brouillon", "en_file", "remise", "lue", "echec"] | None = champ(
        "prescription", "T2", "M", "Statut technique"
    )
    statut_metier: Code | None = champ(
        "prescription", "T2", "SD", "Statut métier", liste="crosswalk/statuts_prescription"
    )
    envoyee_le: Instant | None = champ("prescription", "T2", "DS", "Envoyée le")
    lue_le: Instant | None = champ("prescription", "T2", "SD", "Lue le")
    decidee_le: Instant | None = champ("prescription", "T2", "SD", "Décidée le")
    motif_decision: TexteCourt | None = champ("prescription", "T2", "SD", "Motif de la décision")
    presence: Literal["oui", "non", "excuse"] | None = champ("prescription", "T2", "SD", "La personne s'est présentée")
    premier_contact_le: Date | None = champ("prescription", "T2", "SD", "Premier contact")
    a_integre: bool | None = champ("prescription", "T2", "SD", "A intégré l'action")
    a_acheve: bool | None = champ("prescription", "T2", "SD", "A achevé l'action")
    motifs: list[Texte] | None = champ("prescription", "T2", "SD", "Motifs de non-intégration ou d'abandon")
    retour: TexteCourt | None = champ("prescription", "T2", "SD", "Retour du destinataire")
    expire_le: Instant | None = champ("prescription", "T2", "M", "Expire le")
    relances: list[Instant] | None = champ("prescription", "T2", "M", "Relances")


class DemandeAide(Modele):
    nature: Texte | None = champ("aide", "T2", "S", "Nature de l'aide")
    statut: (
        Literal[
            "en_attente_pieces", "instruction", "acceptee", "refusee", "ajournee", "close_personne", "classee"
        ]
        | None
    ) = champ("aide", "T2", "S", "Statut")  # fmt: skip
    ouverte_le: Date | None = champ("aide", "T2", "S", "Ouverte le")
    decidee_le: Date | None = champ("aide", "T2", "S", "Décidée le")
    financiere: bool | None = champ("aide", "T2", "S", "Aide financière")
    organisme_instructeur: OrganismeCite | None = champ("aide", "T2", "S", "Organisme instructeur")
    montant_demande: Decimale | None = champ("ressources", "T3", "S", "Montant demandé, en euros")
    montant_accorde: Decimale | None = champ("ressources", "T3", "S", "Montant accordé, en euros")
    motif: Literal["energie", "alimentation", "logement", "autre"] | None = champ("ressources", "T3", "S", "Motif")


class Resultat(Modele):
    nature: Literal["emploi", "formation", "creation", "sortie_rsa", "logement", "qualification", "autre"] | None = (
        champ("resultat", "T2", "FL", "Nature")
    )
    date: Date | None = champ("resultat", "T2", "FL", "Date")
    type_contrat: Texte | None = champ("resultat", "T2", "FL", "Type de contrat de travail")
    temps_travail: TempsTravail | None = champ("resultat", "T2", "FL", "Temps de travail")
    rome: Code | None = champ("resultat", "T2", "FL", "Métier (code ROME)", pattern=r"^[A-Z]\d{4}$")
    maintenu_6_mois: bool | None = champ("resultat", "T2", "FL", "Maintenu six mois après")


RendezVous.model_rebuild()
