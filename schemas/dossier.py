"""The shared record of one person: everything the bodies that follow her have said, under canonical paths."""

from __future__ import annotations

from schemas.champ import ORGANISME_ID, Modele, bloc, collection
from schemas.diagnostic import Besoin, Diagnostic, Frein, Objectif, ParcoursPro, Projet
from schemas.foyer import DroitRsa, Foyer, InscriptionEmploi
from schemas.fse import ParticipationFinancee
from schemas.parcours import (
    Accompagnement,
    Action,
    ContratEngagement,
    DemandeAide,
    DemandeReorientation,
    Entretien,
    Orientation,
    Prescription,
    RendezVous,
    Resultat,
)
from schemas.personne import SYSTEMES, IdentifiantPersonne, Personne

_ID = "<organisme>:<son identifiant>"


class Dossier(Modele):
    """Top level of the paths (see `docs/architecture.md`, "Facts"). Every value is optional: absent is absent."""

    personne: Personne = bloc("La personne", Personne)
    identifiants: dict[str, IdentifiantPersonne] = collection(
        f"système ({', '.join(SYSTEMES)}), avec sa portée après deux-points",
        "Identifiants",
        motif=rf"({'|'.join(SYSTEMES)})(:[\w.-]{{1,60}})?",
    )
    foyer: Foyer = bloc("Le foyer", Foyer)
    droit_rsa: DroitRsa = bloc("Le droit au RSA, copie en lecture", DroitRsa)
    inscription_emploi: InscriptionEmploi = bloc("L'inscription à France Travail", InscriptionEmploi)
    diagnostic: Diagnostic = bloc("Le diagnostic", Diagnostic)
    parcours_pro: ParcoursPro = bloc("Le parcours professionnel", ParcoursPro)
    freins: dict[str, Frein] = collection("thème", "Freins", liste="crosswalk/freins")
    besoins: dict[str, Besoin] = collection("code du besoin", "Besoins", liste="crosswalk/besoins")
    objectifs: dict[str, Objectif] = collection("code de l'objectif", "Objectifs", liste="crosswalk/objectifs")
    orientations: dict[str, Orientation] = collection(_ID, "Orientations", motif=ORGANISME_ID)
    demandes_reorientation: dict[str, DemandeReorientation] = collection(
        _ID, "Demandes de réorientation", motif=ORGANISME_ID
    )
    accompagnements: dict[str, Accompagnement] = collection(_ID, "Accompagnements", motif=ORGANISME_ID)
    projets: dict[str, Projet] = collection(_ID, "Projets professionnels", motif=ORGANISME_ID)
    actions: dict[str, Action] = collection(_ID, "Actions", motif=ORGANISME_ID)
    contrats: dict[str, ContratEngagement] = collection(_ID, "Contrats d'engagement", motif=ORGANISME_ID)
    rendez_vous: dict[str, RendezVous] = collection(_ID, "Rendez-vous", motif=ORGANISME_ID)
    entretiens: dict[str, Entretien] = collection(_ID, "Entretiens", motif=ORGANISME_ID)
    prescriptions: dict[str, Prescription] = collection(_ID, "Prescriptions", motif=ORGANISME_ID)
    demandes_aide: dict[str, DemandeAide] = collection(_ID, "Demandes d'aide", motif=ORGANISME_ID)
    resultats: dict[str, Resultat] = collection(_ID, "Résultats", motif=ORGANISME_ID)
    participations: dict[str, ParticipationFinancee] = collection(_ID, "Participations financées", motif=ORGANISME_ID)
