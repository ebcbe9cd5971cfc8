"""What the bodies send in the demonstration, in their own formats."""

from __future__ import annotations

from typing import Any

from gateway import clock
from gateway.demo.people import Followed
from gateway.registry import Gateway

_RESPONSIBLE = {
    "nom": "Département (démonstration)",
    "adresse": "1 rue de l'Exemple, 40000 Ville-Fictive",
    "contact": "dpo@exemple.invalid",
    "siren": "000000000",
    "role": "departement",
}


def global_accompaniment(people: list[tuple[Followed, int]], end: str = "2027-04-30") -> dict[str, Any]:
    """`departement.accompagnement`: one social worker and one adviser, for volunteers who were told."""
    return {
        "emisLe": clock.instant()[:19] + "Z",
        "accompagnements": [
            {
                "id": f"AG-{number}",
                "personne": {
                    "idDepartement": str(number),
                    "nir": one.person.nir,
                    "nomNaissance": one.person.nom_naissance,
                    "prenom": one.person.prenom,
                    "dateNaissance": one.born,
                },
                "nature": "global",
                "volontaire": True,
                "debut": "2026-11-02",
                "finPrevue": end,
                "dureeMois": 6,
                "renouvelable": True,
                "intensite": "intensif",
                "membres": [
                    {
                        "id": "social",
                        "cote": "social",
                        "referent": True,
                        "professionnel": {"nom": "TRAVAILLEUSE", "prenom": "Sociale", "role": "referent_social_ag"},
                        "organisation": {"nom": "CCAS de Saint-Aventin-les-Sables", "nature": "ccas"},
                        "depuis": "2026-11-02",
                    },
                    {
                        "id": "emploi",
                        "cote": "emploi",
                        "referent": False,
                        "professionnel": {"nom": "CONSEILLERE", "prenom": "Emploi", "role": "conseiller_emploi"},
                        "organisation": {"nom": "France Travail", "nature": "france_travail"},
                        "depuis": "2026-11-02",
                    },
                ],
                "information": {"donneeLe": "2026-11-02", "canal": "oral"},
            }
            for one, number in people
        ],
    }


def ccas_beneficiary(one: Followed) -> dict[str, Any]:
    """`ccas.suivi`: what the delegated référent found, and the first appointment held together."""
    return {
        "fileNumber": f"SA-{one.foyer.rang:04d}",
        "usualName": one.person.nom,
        "birthName": one.person.nom_naissance,
        "firstName": one.person.prenom,
        "birthDate": one.born,
        "socialSecurityNumber": one.person.nir,
        "phone1": "0611223344",
        "accomodationMode": "SocialRenting",
        "mobility": "PublicTransport",
        "freins": [
            {"theme": "logement", "valeur": "present", "impact": "fort", "exploreLe": "2026-11-05T09:00:00Z"},
            {"theme": "finances", "valeur": "present", "impact": "faible", "exploreLe": "2026-11-05T09:00:00Z"},
            {"theme": "famille", "valeur": "present", "impact": "fort", "exploreLe": "2026-11-05T09:00:00Z",
             "situations": [{"code": "famille_garde_enfant_moins_3_ans", "valeur": "oui"}]},
            {"theme": "sante", "valeur": "present", "impact": "fort", "exploreLe": "2026-11-05T09:00:00Z"},
        ],
        "rendezVous": [
            {"id": f"RDV-{one.foyer.rang}", "debut": "2026-12-01T10:30:00+01:00", "dureeMin": 60,
             "motif": "accompagnement", "modalite": "presentiel", "premierAccompagnement": True, "conjoint": True,
             "statut": "prevu"},
        ],
        "followups": [
            {"date": "2026-11-05", "medium": "PlannedInPerson", "types": ["Accompagnement social"], "status": "Done",
             "firstFollowup": True, "privateSynthesis": "Cette synthèse privée ne doit apparaître nulle part."},
        ],
    }  # fmt: skip


def neighbour_beneficiary(one: Followed) -> dict[str, Any]:
    """`ccas.beneficiaires`: a neighbouring CCAS, without delegation, knows this person too."""
    return {
        "fileNumber": f"PA-{one.foyer.rang:04d}",
        "birthName": one.person.nom_naissance,
        "firstName": one.person.prenom,
        "birthDate": one.born,
        "socialSecurityNumber": one.person.nir,
        "accomodationMode": "SocialRenting",
    }


def _basis(gateway: Gateway, person: str, kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "person_id": person,
        "subject_ref": gateway.keys.pseudonym("departement", person),
        "notice_id": "parcours-insertion",
        "notice_version": 1,
        "regime": "PIE",
        "purpose": "accompagnement",
        "purpose_text": "Partage entre les professionnels qui vous accompagnent",
        "legal_basis": "e",
        "article": ["CASF L263-4-1", "CASF R263-5"],
        "categories": ["C1", "C2", "C7", "C9", "C11", "C12"],
        "controllers": [_RESPONSIBLE],
        "channel": "face_to_face",
        "collection_method": "entretien au CCAS",
        "storage_location": "hébergement du Département",
        "retention": "P2Y",
        "withdrawal_method": "dire non à son référent, ou écrire à dpo@exemple.invalid",
        "rights": ["acces", "rectification", "opposition"],
    }


def information(gateway: Gateway, person: str) -> dict[str, Any]:
    """The person was told of the sharing, notice in hand."""
    return _basis(gateway, person, "information")


def objection(gateway: Gateway, person: str) -> dict[str, Any]:
    """The person objects to the sharing."""
    return _basis(gateway, person, "objection")
