"""The household, its rights, and the registration as a jobseeker."""

from __future__ import annotations

from typing import Literal

from schemas.annuaire import OrganismeCite
from schemas.champ import ORGANISME_ID, Modele, champ, collection
from schemas.types import Code, Date, DatePartielle, Decimale, Texte


class Membre(Modele):
    role: Literal["demandeur", "conjoint", "enfant", "autre", "responsable_dossier"] | None = champ(
        "foyer", "T1", "C", "Rôle dans le foyer", sujet="foyer"
    )
    depuis: Date | None = champ("foyer", "T1", "C", "Membre depuis", sujet="foyer")
    jusqua: Date | None = champ("foyer", "T1", "C", "Membre jusqu'à", sujet="foyer")


class Foyer(Modele):
    """Facts of the household: read through each person, never copied to each member."""

    organisme: Literal["caf", "msa"] | None = champ("foyer", "T1", "C", "Organisme payeur", sujet="foyer")
    code_organisme: Texte | None = champ("foyer", "T1", "C", "Numéro de la caisse", sujet="foyer")
    matricule: Texte | None = champ("identifiants", "T1", "C", "Matricule du dossier, normalisé", sujet="foyer")
    situation_familiale: Code | None = champ(
        "foyer", "T1", "C", "Situation familiale", liste="crosswalk/situation_familiale", sujet="foyer"
    )
    situation_familiale_depuis: Date | None = champ("foyer", "T1", "C", "Situation familiale depuis", sujet="foyer")
    nb_enfants_mineurs: int | None = champ("foyer", "T1", "C", "Enfants mineurs", sujet="foyer", ge=0, le=99)
    nb_enfants_majeurs: int | None = champ("foyer", "T1", "C", "Enfants majeurs", sujet="foyer", ge=0, le=99)
    nb_personnes_a_charge: int | None = champ("foyer", "T1", "C", "Personnes à charge", sujet="foyer", ge=0, le=99)
    logement_statut: Code | None = champ(
        "logement", "T3", "E", "Statut d'occupation du logement", liste="crosswalk/logement", sujet="foyer"
    )
    membres: dict[str, Membre] = collection("<organisme>:<son identifiant>", "Membres du foyer", motif=ORGANISME_ID)


class Suspension(Modele):
    nature: Literal["droit", "versement", "reduction", "suppression"] | None = champ(
        "droit_rsa", "T3", "C", "Ce qui est suspendu : le droit ou le versement", sujet="foyer"
    )
    motif: Code | None = champ(
        "droit_rsa", "T3", "C", "Motif, code de l'organisme payeur",
        liste="cnaf/MOTISUSDRORSA|cnaf/MOTISUSVERSRSA", sujet="foyer",
    )  # fmt: skip
    debut: Date | None = champ("droit_rsa", "T3", "C", "Début", sujet="foyer")
    fin: Date | None = champ("droit_rsa", "T3", "C", "Fin", sujet="foyer")


class Montant(Modele):
    montant: Decimale | None = champ("ressources", "T3", "C", "Montant en euros", sujet="foyer")
    debut: Date | None = champ("ressources", "T3", "C", "Période : début", sujet="foyer")
    fin: Date | None = champ("ressources", "T3", "C", "Période : fin", sujet="foyer")


class DroitRsa(Modele):
    """Read-only copy of the right: state, suspension and closure are the household's, the duties are the person's."""

    prestation: Literal["rsa", "prime_activite", "ass", "aah", "autre"] | None = champ(
        "droit_rsa", "T2", "C", "Prestation", sujet="foyer"
    )
    etat: (
        Literal[
            "demande_en_attente", "refuse", "ouvert_versable", "ouvert_suspendu", "ouvert_versement_suspendu",
            "clos", "clos_anterieur",
        ]
        | None
    ) = champ("droit_rsa", "T2", "C", "État du droit", sujet="foyer")  # fmt: skip
    motif_suspension: Code | None = champ(
        "droit_rsa", "T3", "C", "Motif de la suspension en cours",
        liste="cnaf/MOTISUSDRORSA|cnaf/MOTISUSVERSRSA", sujet="foyer",
    )  # fmt: skip
    motif_cloture: Code | None = champ(
        "droit_rsa", "T3", "C", "Motif de la clôture", liste="cnaf/MOTICLORSA", sujet="foyer"
    )
    motif_refus: Code | None = champ("droit_rsa", "T3", "C", "Motif du refus", liste="cnaf/MOTIREFURSA", sujet="foyer")
    date_demande: Date | None = champ("droit_rsa", "T2", "C", "Date de la demande", sujet="foyer")
    date_ouverture: Date | None = champ("droit_rsa", "T2", "C", "Ouverture du droit", sujet="foyer")
    date_refus: Date | None = champ("droit_rsa", "T2", "C", "Date du refus", sujet="foyer")
    date_cloture: Date | None = champ("droit_rsa", "T2", "C", "Clôture du droit", sujet="foyer")
    date_reference: Date | None = champ(
        "droit_rsa", "T2", "C", "Date à laquelle l'état est vrai (référence du flux)", sujet="foyer"
    )
    numero_demande: Texte | None = champ("identifiants", "T2", "C", "Numéro de la demande de RSA", sujet="foyer")
    numero_demande_precedent: Texte | None = champ("identifiants", "T2", "C", "Demande précédente de la personne")
    foyer_soumis_droits_devoirs: bool | None = champ(
        "droit_rsa", "T2", "C", "Le foyer est dans le champ des droits et devoirs", sujet="foyer"
    )
    soumis_droits_devoirs: bool | None = champ("droit_rsa", "T2", "C", "La personne est soumise aux droits et devoirs")
    entree_droits_devoirs: bool | None = champ(
        "droit_rsa", "T2", "C", "La personne entre dans les droits et devoirs à la date de référence"
    )
    date_droits_devoirs: Date | None = champ("droit_rsa", "T2", "C", "Soumise aux droits et devoirs depuis")
    mutation_vers: Texte | None = champ(
        "droit_rsa", "T2", "C", "Caisse où part le dossier (mutation sortante)", sujet="foyer"
    )
    mutation_vers_le: Date | None = champ("droit_rsa", "T2", "C", "Départ vers cette caisse", sujet="foyer")
    mutation_depuis: Texte | None = champ(
        "droit_rsa", "T2", "C", "Caisse d'où vient le dossier (mutation entrante)", sujet="foyer"
    )
    mutation_depuis_le: Date | None = champ("droit_rsa", "T2", "C", "Arrivée depuis cette caisse", sujet="foyer")
    suspensions: dict[str, Suspension] = collection("<motif>:<date>", "Suspensions du droit ou du versement")
    montants: dict[str, Montant] = collection("nature du montant", "Montants, jamais transmis à France Travail")


class InscriptionEmploi(Modele):
    inscrit: bool | None = champ("inscription_emploi", "T2", "F", "Inscrite sur la liste des demandeurs d'emploi")
    date_inscription: Date | None = champ("inscription_emploi", "T2", "F", "Date d'inscription")
    date_cessation: Date | None = champ("inscription_emploi", "T2", "F", "Date de cessation d'inscription")
    motif_cessation: Code | None = champ("inscription_emploi", "T2", "F", "Motif de cessation, code France Travail")
    motif_inscription: Code | None = champ("inscription_emploi", "T2", "F", "Motif d'inscription, code France Travail")
    categorie: Code | None = champ("inscription_emploi", "T2", "F", "Catégorie, code France Travail")
    duree_mois_12: int | None = champ("inscription_emploi", "T2", "F", "Mois d'inscription sur 12", ge=0, le=12)
    duree_mois_24: int | None = champ("inscription_emploi", "T2", "F", "Mois d'inscription sur 24", ge=0, le=24)
    duree_mois_36: int | None = champ("inscription_emploi", "T2", "F", "Mois d'inscription sur 36", ge=0, le=36)
    anciennete: Code | None = champ(
        "inscription_emploi", "T2", "F", "Ancienneté d'inscription déclarée", liste="dsp/INSCDEMEMPLOI"
    )
    modalite_accompagnement: Code | None = champ(
        "accompagnement", "T2", "F", "Modalité d'accompagnement, code France Travail"
    )
    derniere_activite: DatePartielle | None = champ("inscription_emploi", "T2", "F", "Fin de la dernière activité")
    structure: OrganismeCite | None = champ("referent", "T2", "F", "Structure France Travail qui suit la personne")
