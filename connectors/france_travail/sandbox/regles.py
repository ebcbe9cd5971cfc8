"""What the stand-in's business calls do to a person: orientations, rendez-vous, contract, sanctions, activities.

Where France Travail publishes no answer, the shape is ours and kept as small as possible.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from connectors.france_travail.sandbox.usagers import Usager, liste, orientation_initiale

Reply = tuple[int, Any]
MAX_ACTIVITES = 1000

_SANCTION_DECIDEE = (
    "typeConsequenceSanctionValide",
    "modaliteDecisionValidee",
    "montantValide",
    "dureeValidee",
)
_PARTENAIRE = (
    "dateNotificationDecisionSanction",
    "natureManquement",
    "rangManquement",
    "typeSanctionValide",
    "modaliteDecisionValidee",
    "montantValide",
    "dureeValidee",
)
_SUITES = {"SAISIE_SANCTION": "ACT367"}
_CONTRAINTES = (
    "sante", "logement", "mobilite", "familiale", "financiere", "numerique", "administrative_juridique",
    "francais_calcul",
)  # fmt: skip
_LISTES = {
    "situation_professionnelle": "orientation_situation_professionnelle",
    "type_emploi": "orientation_type_emploi",
    "niveau_etude": "orientation_niveau_etude",
    "projet_pro": "orientation_projet_pro",
    **{f"contrainte_{name}": f"orientation_contrainte_{name}" for name in _CONTRAINTES},
}
_BOOLEENS = (
    "brsa", "capacite_a_travailler", "boe", "baeeh", "scolarite_etablissement_specialise", "esat",
    "boe_souhait_accompagnement",
)  # fmt: skip
_CRITERES = frozenset(_LISTES) | {*_BOOLEENS, "date_naissance", "adresse"}
_FACULTATIFS = {"msa_autonomie_recherche_emploi", "msa_demarches_professionnelles"}
_RDV = {
    "motif": "rendez_vous_motif",
    "statut": "rendez_vous_statut",
    "initiateur": "rendez_vous_initiateur",
    "modaliteContact": "rendez_vous_modalite_contact",
    "typeReception": "rendez_vous_type_reception",
}
_RDV_OBLIGATOIRES = ("date", "motif", "statut", "modaliteContact", "typeReception", "organisme")


def refusal(code: str, message: str, status: int = 400) -> Reply:
    return status, {"codeHttp": status, "codeErreur": code, "message": message}


def _codes(name: str) -> frozenset[str]:
    return frozenset(row.code for row in liste(name))


def _date(text: Any) -> bool:
    return isinstance(text, str) and bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text))


def courante(usager: Usager) -> dict[str, Any] | None:
    """The orientation under way: not yet decided."""
    return next((o for o in usager.orientations if o["etat"] in {"BROUILLON", "EN_ATTENTE"}), None)


def calcul(usager: Usager, criteres: Any, now: datetime) -> Reply:
    """Store the criteria; conclude when all are there (a rule of ours: the true one is not published)."""
    if not isinstance(criteres, dict) or criteres.keys() - _CRITERES - _FACULTATIFS:
        return refusal("CRITERE_INCONNU", "Corps illisible ou champ inconnu")
    for name, codelist in _LISTES.items():
        if name in criteres and criteres[name] not in _codes(codelist):
            return refusal("VALEUR_INCONNUE", name)
    if any(name in criteres and not isinstance(criteres[name], bool) for name in _BOOLEENS):
        return refusal("VALEUR_INCONNUE", "booléen attendu")
    orientation = courante(usager)
    if orientation is None:
        orientation = orientation_initiale() | {"origine": "INSCRIPTION_CONSEILLER_CD"}
        usager.orientations.append(orientation)
    orientation["criteres_orientation"] = {**criteres, "date_saisie_donnees": now.isoformat()}
    forts = [value for name, value in criteres.items() if name.startswith("contrainte_") and _fort(str(value))]
    complete = criteres.keys() >= _CRITERES
    orientation["parcours"] = ("PSO" if len(forts) > 2 else "PSP" if forts else "PED") if complete else "IND"
    orientation["organisme"] = ("CD" if forts else "FT") if complete else "IND"
    orientation["etat"], orientation["statut"] = ("EN_ATTENTE" if complete else "BROUILLON"), "PRECONISE"
    return 200, {name: orientation[name] for name in ("parcours", "organisme", "structure")}


def _fort(value: str) -> bool:
    return value.startswith(("IMPACT_FORT", "SANS_", "PROCEDURE_", "INCAPACITE", "AUCUN_MOYEN"))


def decision(usager: Usager, body: Any, now: datetime) -> Reply:
    """Accept or refuse the préconisation; an accepted or refused contract is to be signed again."""
    orientation = courante(usager)
    if orientation is None or orientation["etat"] != "EN_ATTENTE" or orientation["parcours"] == "IND":
        return refusal("ORIENTATION_NON_DECIDABLE", "Aucune préconisation en attente")
    etat = body.get("etat_decision") if isinstance(body, dict) else None
    if etat not in _codes("orientation_etat_decision") or not _date(body.get("date_decision")):
        return refusal("VALEUR_INCONNUE", "etat_decision, date_decision")
    if body.get("organisme_decision") not in _codes("orientation_organisme"):
        return refusal("VALEUR_INCONNUE", "organisme_decision")
    if etat == "REFUSEE":
        for name in ("motif_refus", "parcours", "organisme"):
            if body.get(name) not in _codes(f"orientation_{name}"):
                return refusal("VALEUR_INCONNUE", name)
        orientation |= {"parcours": body["parcours"], "organisme": body["organisme"]}
    _ouvrir(usager, orientation, dict(body), now)
    return 201, orientation


def _ouvrir(usager: Usager, orientation: dict[str, Any], taken: dict[str, Any], now: datetime) -> None:
    for earlier in usager.orientations:
        if earlier["etat"] == "OUVERT" and earlier is not orientation:
            earlier |= {"etat": "CLOTURE", "date_sortie_parcours": now.date().isoformat()}
    orientation |= {"etat": "OUVERT", "statut": "DECIDE", "decision": taken, "date_modification": now.isoformat()}
    if usager.contrat and usager.contrat["etat"] in {"SIGNE", "REFUSE"}:
        usager.contrat["etat"] = "A_SIGNER"


def forcer(usager: Usager, body: Any, now: datetime) -> Reply:
    """`POST orientation`: without criteria, discouraged by France Travail."""
    for name in ("organisme", "origine", "parcours"):
        if not isinstance(body, dict) or body.get(name) not in _codes(f"orientation_{name}"):
            return refusal("VALEUR_INCONNUE", name)
    orientation = orientation_initiale() | {name: body[name] for name in ("organisme", "origine", "parcours")}
    usager.orientations.append(orientation)
    _ouvrir(usager, orientation, {}, now)
    return 201, orientation


def _rendez_vous_refuse(body: Any) -> Reply | None:
    if not isinstance(body, dict):
        return refusal("CORPS_INVALIDE", "Corps illisible")
    for name in _RDV_OBLIGATOIRES:
        if not body.get(name):
            return refusal("CHAMP_OBLIGATOIRE", name)
    for name, codelist in _RDV.items():
        if name in body and body[name] not in _codes(codelist):
            return refusal("VALEUR_INCONNUE", name)
    if not isinstance(body["organisme"], dict) or body["organisme"].get("code") not in _codes("rendez_vous_organisme"):
        return refusal("VALEUR_INCONNUE", "organisme.code")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(body["date"])):
        return refusal("VALEUR_INCONNUE", "date")
    return None


def creer_rendez_vous(usager: Usager, body: Any, number: int) -> Reply:
    if refused := _rendez_vous_refuse(body):
        return refused
    if body.get("id"):
        return refusal("ID_INATTENDU", "id")
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"rendez-vous/{usager.numero}/{number}"))
    usager.rendez_vous[identifier] = {**body, "id": identifier}
    return 202, {"id": identifier}


def modifier_rendez_vous(usager: Usager, body: Any) -> Reply:
    if refused := _rendez_vous_refuse(body):
        return refused
    if body.get("id") not in usager.rendez_vous:
        return refusal("ID_NON_RECONNU", "Identifiant non reconnu")
    usager.rendez_vous[body["id"]] = dict(body)
    return 200, {"id": body["id"]}


def annuler_rendez_vous(usager: Usager, identifier: str) -> Reply:
    if usager.rendez_vous.pop(identifier, None) is None:
        return refusal("ID_NON_RECONNU", "Identifiant non reconnu")
    return 204, None


_CONTRAT: dict[tuple[str, str], tuple[str, tuple[str | None, ...], str]] = {
    ("POST", "signer"): ("dateSignature", (None,), "SIGNE"),
    ("PATCH", "signer"): ("dateSignature", ("A_SIGNER", "REFUSE"), "SIGNE"),
    ("PATCH", "refuser"): ("dateRefus", ("A_SIGNER",), "REFUSE"),
}


def contrat(usager: Usager, method: str, act: str, body: Any) -> Reply:
    """Sign or refuse: whether a contract exists decides between POST and PATCH."""
    name, before, after = _CONTRAT[method, act]
    if not isinstance(body, dict) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(body.get(name))):
        return refusal("CHAMP_OBLIGATOIRE", name)
    if (usager.contrat["etat"] if usager.contrat else None) not in before:
        return refusal("TRANSITION_IMPOSSIBLE", "L'état du contrat ne le permet pas", 409)
    usager.contrat = {"etat": after, name: body[name]}
    return 200, dict(usager.contrat)


def evenement_sanction(usager: Usager, body: Any) -> Reply:
    """One event of a conséquence de sanction; mandatory fields and order as France Travail documents them."""
    event = body.get("evenement") if isinstance(body, dict) else None
    consequence = (
        usager.sanctions.get(body.get("identifiantConsequenceSanction", "")) if isinstance(body, dict) else None
    )
    if consequence is None or not isinstance(event, dict):
        return refusal("ID_NON_RECONNU", "Conséquence de sanction inconnue")
    kind, activite = event.get("typeEvenement"), consequence["activite"]
    known = {(row.code, row.parent) for row in liste("sanctions_evenements")}
    if (kind, activite or "") not in known or not _date(event.get("dateEvenement")):
        return refusal("EVENEMENT_IMPOSSIBLE", "Événement impossible à ce stade")
    if kind == "VALID_SANCTION" and any(event.get(name) in {None, ""} for name in _SANCTION_DECIDEE):
        return refusal("CHAMP_OBLIGATOIRE", ", ".join(_SANCTION_DECIDEE))
    if kind == "ANNULATION_SANCTION" and not all(
        event.get(name) for name in ("typeConsequenceSanctionValide", "motifEvenement")
    ):
        return refusal("CHAMP_OBLIGATOIRE", "typeConsequenceSanctionValide, motifEvenement")
    consequence["activite"] = _SUITES.get(str(kind), "")
    consequence["evenements"].append(dict(event))
    return 200, {"code": "0", "libelle": "OK"}


def decision_sanction(usager: Usager, body: Any) -> Reply:
    if not isinstance(body, dict) or any(body.get(name) in {None, ""} for name in _PARTENAIRE):
        return refusal("CHAMP_OBLIGATOIRE", ", ".join(_PARTENAIRE))
    identifier = f"csq-{usager.numero}-{len(usager.sanctions)}"
    usager.sanctions[identifier] = {"activite": "", "evenements": [dict(body)]}
    return 200, {"code": "0", "libelle": "OK", "identifiantConsequenceSanction": identifier}


def activites(usagers: list[Usager], keep: Callable[[str, str], bool], now: datetime) -> list[dict[str, Any]]:
    """The worklist of the structure, by due date, a thousand at most; what was acted on is no longer there."""
    families = {row.code: row.parent for row in liste("activites")}
    found = []
    for usager in usagers:
        waiting = courante(usager)
        decided = any(o["etat"] == "OUVERT" and o["statut"] == "DECIDE" for o in usager.orientations)
        first = any(rdv.get("motif") == "ACC" for rdv in usager.rendez_vous.values())
        due: list[tuple[str, dict[str, str]]] = [("ACT382", {})] if waiting and waiting["parcours"] != "IND" else []
        due += [("ACT380", {"motif": "ACC"})] if decided and not first else []
        due += [(c["activite"], {"idConsequenceSanction": i}) for i, c in usager.sanctions.items() if c["activite"]]
        found += [_activite(usager, code, attributs, now) for code, attributs in due if keep(code, families[code])]
    return sorted(found, key=lambda item: (item["dateEcheance"], item["identifiantActivite"]))[:MAX_ACTIVITES]


def _activite(usager: Usager, code: str, attributs: dict[str, str], now: datetime) -> dict[str, Any]:
    due = now + timedelta(days=int(usager.numero) % 40)
    return {
        "identifiantActivite": f"act-{code}-{usager.numero}",
        "codeActivite": code,
        "usager": {"identifiant": usager.numero, "typeIdentifiant": "numeroFranceTravail"},
        "dateCreation": "2026-11-02T08:00:00Z",
        "dateEcheance": due.strftime("%Y-%m-%dT00:00:00Z"),
        "dateEcheanceProche": (due - timedelta(days=7)).strftime("%Y-%m-%dT00:00:00Z"),
        "attributsSpecifiques": [
            {"nom": "codeInseeCommune", "valeur": "40999"},
            *({"nom": name, "valeur": value} for name, value in attributs.items()),
        ],
    }


def new_jeton(number: int, expire: datetime) -> str:
    """Base64 of a JSON, as seen; whoever reads it is meant to find it opaque."""
    content = {
        "vers": "0.1",
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"jeton/{number}")),
        "expire": int(expire.timestamp() * 1000),
        "type": "/partenaire",
        "data": f"{uuid.uuid5(uuid.NAMESPACE_URL, f'usager/{number}')}#chiffre-fictif",
    }
    return base64.b64encode(json.dumps(content).encode()).decode()
