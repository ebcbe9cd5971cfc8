"""The invented people the stand-in knows, and the dossier each generation of the diagnostic API shows of them.

Identifiers are impossible on purpose: the place of birth of every NIR is 99999, numbers start with nine zeros,
domains end in `.invalid`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.nomenclatures import Code, codes

_AGENT = {"id": "agent-fictif", "nom": "AGENT", "prenom": "Fictif", "structure": "Structure fictive"}
_EXPLORED = "2026-03-01T10:00:00.000+02:00"
_EXPLORED_V1 = "2026-03-01T08:00:00+00:00"


@dataclass(slots=True)
class Contrainte:
    """What was explored with the person under one of the eight contraintes (22 to 29)."""

    valeur: str = "OUI"
    impact: str = "FAIBLE"
    prioritaire: bool = False
    situations: dict[str, str] = field(default_factory=dict)
    objectifs: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Usager:
    """One person as France Travail knows her, with everything the calls may change."""

    numero: str
    nir: str
    date_naissance: str
    prenom: str = "USAGERE"
    nom: str = "FICTIVE"
    retour: str = "S001"
    """What a search for this person answers (S001, S003, R001, R002, R998…)."""
    certifiee: bool = True
    scenario: str = ""
    contraintes: dict[str, Contrainte] = field(default_factory=dict)
    besoins: dict[str, str] = field(default_factory=dict)
    statut: dict[str, Any] | None = None
    rqth: dict[str, Any] | None = None
    dossier: bool = True
    orientations: list[dict[str, Any]] = field(default_factory=list)
    contrat: dict[str, Any] | None = None
    rendez_vous: dict[str, dict[str, Any]] = field(default_factory=dict)
    sanctions: dict[str, dict[str, Any]] = field(default_factory=dict)
    diagnostics: list[dict[str, Any]] = field(default_factory=list)


def liste(name: str) -> tuple[Code, ...]:
    """One of France Travail's code lists, in its own order."""
    return tuple(codes(f"france_travail/{name}").values())


def _enfants(name: str, contrainte: str) -> Iterator[Code]:
    return (row for row in liste(name) if row.parent == contrainte)


def _explored(valeur: str) -> dict[str, Any]:
    if valeur.startswith("NON_"):
        return {"agent": None, "dateExploration": None}
    return {"agent": {"id": _AGENT["id"]}, "dateExploration": _EXPLORED}


def _contrainte_v4(row: Code, found: Contrainte | None) -> dict[str, Any]:
    frein = found or Contrainte(valeur="NON_ABORDEE", impact="")
    shown: dict[str, Any] = {
        "code": row.code,
        "libelle": row.libelle,
        "valeur": frein.valeur,
        "estPrioritaire": frein.prioritaire,
        "dateExploration": _explored(frein.valeur)["dateExploration"],
    }
    if frein.impact:
        shown["impact"] = frein.impact
    for name, told, silent in (
        ("situations", frein.situations, "NON_ABORDEE"),
        ("objectifs", frein.objectifs, "NON_ABORDE"),
    ):
        shown[name] = [
            {
                "code": item.code,
                "libelle": item.libelle,
                "valeur": (valeur := told.get(item.code, silent)),
                **_explored(valeur),
            }
            for item in _enfants(name, row.code)
        ]
    return shown


def _besoin_v4(row: Code, besoins: dict[str, str]) -> dict[str, Any]:
    valeur = besoins.get(row.code, "NON_EXPLORE")
    return {"code": row.code, "libelle": row.libelle, "valeur": valeur, **_explored(valeur)}


def _projet() -> dict[str, Any]:
    return {
        "idDiagnostic": "diag-fictif-1",
        "idMetierChiffre": "uuid-fictif#chiffre-fictif",
        "nomMetier": "Boulanger / Boulangère",
        "typologie": "métier recherché",
        "codeTypologie": "MR",
        "codeSousTypologie": "MR",
        "codeRome": "D1102",
        "codeAppellation": "11573",
        "statut": "EN_COURS",
        "estPrioritaire": True,
        "agent": dict(_AGENT),
        "dateMiseAJour": _EXPLORED,
        "dateMiseAJourProjet": None,
        "estCreationPartenaire": False,
    }


def dossier_v4(usager: Usager) -> dict[str, Any]:
    """The aggregate of `GET diagnosticargumente/v4/dossiers`: every item of the referential, explored or not."""
    rows = {row.code: row for row in liste("contraintes")}
    thematiques = [
        {
            "code": thematique.code,
            "libelle": thematique.libelle,
            "besoins": [_besoin_v4(row, usager.besoins) for row in _enfants("besoins", thematique.code)],
        }
        for thematique in liste("thematiques")
        if thematique.code in {"1", "2"}
    ]
    numerique = usager.contraintes.get("22")
    besoin = next(row for row in liste("besoins") if row.code == "7")
    return {
        "besoinsParDiagnostic": [
            {
                "diagnostic": _projet(),
                "dateDerniereExplorationBesoin": _EXPLORED,
                "agentDerniereExplorationBesoin": {"id": _AGENT["id"]},
                "thematiquesBesoins": thematiques,
            }
        ],
        "thematiqueContrainte": {
            "code": "7",
            "libelle": "Résoudre ses contraintes personnelles",
            "agent": {"id": _AGENT["id"]},
            "dateExploration": _EXPLORED,
            "declareSansContrainte": {"flag": False, "date": _EXPLORED},
            "contraintes": [
                _contrainte_v4(row, usager.contraintes.get(code)) for code, row in rows.items() if code != "22"
            ],
        },
        "pouvoirAgir": {
            "confiance": "NON",
            "accompagnement": "NE_SAIT_PAS",
            "resultatAnalyse": "",
            "agent": {"id": _AGENT["id"]},
            "dateExploration": _EXPLORED,
        },
        "autonomieNumerique": {
            "dateExploration": _EXPLORED if numerique else None,
            "agent": {"id": _AGENT["id"]} if numerique else None,
            "contrainte": _contrainte_v4(rows["22"], numerique),
            "besoin": _besoin_v4(besoin, usager.besoins),
        },
    }


def dossier_v1(usager: Usager) -> dict[str, Any]:
    """The 2023 shape of the same person: no contrainte 22, no impact, a date per contrainte and one adviser."""

    def items(name: str, code: str, told: dict[str, str], silent: str) -> list[dict[str, str]]:
        return [
            {"code": row.code, "libelle": row.libelle, "valeur": told.get(row.code, silent)}
            for row in _enfants(name, code)
        ]

    contraintes = []
    for row in liste("contraintes"):
        if row.code == "22":
            continue
        frein = usager.contraintes.get(row.code, Contrainte(valeur="NON_ABORDEE"))
        contraintes.append(
            {
                "code": row.code,
                "libelle": row.libelle,
                "valeur": frein.valeur,
                "date": None if frein.valeur == "NON_ABORDEE" else _EXPLORED_V1,
                "situations": items("situations", row.code, frein.situations, "NON_ABORDEE"),
                "objectifs": items("objectifs", row.code, frein.objectifs, "NON_ABORDE"),
            }
        )
    besoins = [
        {"code": row.code, "libelle": row.libelle, "valeur": usager.besoins.get(row.code, "NON_EXPLORE")}
        for row in liste("besoins")
        if row.code != "7"
    ]
    return {
        "contraintesIndividusDto": {
            "code": "7",
            "libelle": "Résoudre ses contraintes personnelles",
            "conseiller": _AGENT["id"],
            "dateDeModification": "2026-03-01T08:00:00.000+00:00",
            "contraintes": contraintes,
        },
        "besoinsParDiagnosticIndividuDtos": [
            {
                "idMetierChiffre": "uuid-fictif#chiffre-fictif",
                "nomMetier": "Boulanger / Boulangère",
                "typologie": "métier recherché",
                "statut": "EN_COURS",
                "estPrioritaire": True,
                "dateMiseAJour": _EXPLORED,
                "besoins": besoins,
            }
        ],
    }


def informations_administratives(usager: Usager) -> dict[str, Any]:
    """`GET informations-administratives/v1/usager`: it shows the NIR, whether it is needed or not."""
    return {
        "numeroFranceTravail": usager.numero,
        "etatCivil": {
            "civilite": "MME" if usager.nir.startswith("2") else "M.",
            "nom": usager.nom,
            "nomCorrespondance": usager.nom,
            "prenom": usager.prenom,
            "prenomCorrespondance": usager.prenom,
            "dateNaissance": usager.date_naissance,
            "nir": usager.nir,
        },
        "adresses": [
            {
                "numeroTypeLibelleVoie": "1 RUE DE L EXEMPLE",
                "complementAdresse": "",
                "complementDestinataire": "",
                "complementDistribution": "",
                "codePostal": "40990",
                "codeInseeCommune": "40999",
                "libelleCommune": "VILLE FICTIVE",
                "libellePays": "FRANCE",
                "indicateurResidentQPV": "NQ",
            }
        ],
        "emails": [{"adresseEmail": "usagere@exemple.invalid"}],
        "telephones": [{"numeroTelephone": "0199000000"}],
    }


def _statut() -> dict[str, Any]:
    return {
        "m_contrat": {
            "m_statut": "Inscrit",
            "m_date_effet_statut": "2026-01-05",
            "m_duree_inscription_12": 9,
            "m_duree_inscription_24": 16,
            "m_duree_inscription_36": 28,
            "m_motif_inscription_code": "11",
            "m_motif_inscription_lib": "Motif fictif",
            "m_categ_inscription_code": "1",
            "m_categ_inscription_lib": "Catégorie fictive",
            "m_situation_reg_emp_code": "ADR",
            "m_situation_reg_emp_lib": "Situation fictive",
        }
    }


def orientation_initiale() -> dict[str, Any]:
    """What a CAF registration leaves: criteria complete, a préconisation to decide on."""
    structure = {"code_aurore": "FIC0000", "code_safir": "00000", "libelle_structure": "Structure fictive"}
    return {
        "parcours": "PED",
        "organisme": "CD",
        "statut": "PRECONISE",
        "etat": "EN_ATTENTE",
        "structure": structure,
        "structure_decision": None,
        "agent_creation": "AGENT-FICTIF",
        "agent_derniere_modification": "AGENT-FICTIF",
        "date_entree_parcours": "2026-11-01",
        "date_sortie_parcours": None,
        "motif_sortie_parcours": None,
        "date_creation": "2026-11-01T09:00:00Z",
        "date_modification": "2026-11-02T09:00:00Z",
        "origine": "INSCRIPTION_AUTO_CAF",
        "criteres_orientation": {
            "origine": "INSCRIPTION_AUTO_CAF",
            "situation_professionnelle": "JAMAIS",
            "brsa": True,
            "date_saisie_donnees": "2026-11-01T09:00:00Z",
        },
        "decision": None,
    }


def _rqth() -> dict[str, Any]:
    return {
        "dateDebutRqth": "2026-01-01",
        "dateFinRqth": "9999-12-31",
        "source": "FRANCE TRAVAIL",
        "topValiditeRQTH": True,
    }


def seeds() -> list[Usager]:
    """One person per row of the search contract, and two with a full file. New objects at each call."""
    complet = Usager(
        "00000000101", "2900199999101", "1990-01-01", prenom="ALIX", nom="EXEMPLE",
        contraintes={
            "22": Contrainte(situations={"49": "OUI", "44": "OUI"}, objectifs={"2": "EN_COURS"}),
            "23": Contrainte(prioritaire=True, situations={"7": "OUI"}, objectifs={"29": "EN_COURS", "6": "REALISE"}),
            "24": Contrainte(valeur="CLOTUREE", impact="", situations={"13": "OUI"}, objectifs={"9": "REALISE"}),
            "28": Contrainte(impact="FORT", situations={"32": "OUI", "30": "NON"}, objectifs={"23": "ABANDONNE"}),
        },
        besoins={"1": "POINT_FORT", "3": "BESOIN", "7": "BESOIN"},
        statut=_statut(), orientations=[orientation_initiale()], contrat={"etat": "A_SIGNER"}, rqth=_rqth(),
        sanctions={"csq-fictive-1": {"activite": "ACT366", "evenements": []}},
    )  # fmt: skip
    sans_rien = Usager("00000000102", "1850299999102", "1985-02-02", prenom="CAMILLE", nom="MODELE", dossier=False)
    return [
        complet,
        sans_rien,
        Usager("00000000103", "2800399999103", "1980-03-03", retour="S003"),
        Usager("00000000104", "1750499999104", "1975-04-04", certifiee=False),
        Usager("00000000105", "2700599999105", "1970-05-05", retour="R001"),
        Usager("00000000106", "1690699999106", "1969-06-06", retour="R002"),
        Usager("00000000107", "2950799999107", "1995-07-07", retour="R998"),
        Usager("00000000108", "1960899999108", "1996-08-08", retour="R999"),
    ]
