"""The documented failures and oddities of France Travail, by name.

A scenario touches one kind of call (`route`: the name of a route, `metier` for every call that carries a jeton,
`*` for all but the token), either by answering in its place or by altering the true answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Answer = tuple[int, dict[str, str], Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way France Travail has been seen, or is documented, to behave."""

    title: str
    route: str = "metier"
    answer: Answer | None = None
    """Status, headers and body given instead of the true answer."""
    alter: Callable[[Any], Any] | None = None
    """Changes the JSON of the true answer."""
    ending: Literal["", "cut", "truncated", "silent"] = ""
    """`cut`: the work is done, then the connection drops. `truncated`: half a body. `silent`: no answer at all."""
    times: int | None = None
    """How many calls it touches; None: all of them."""
    effect: str = ""
    """A behaviour of the stand-in's state, by name (see `application.py`)."""


_TECHNIQUE: Answer = 500, {}, {"codeErreur": "JCS0011G", "codeHttp": 500, "message": "Erreur technique"}


def _retour(code: str, status: int, message: str, empty: Any = "null") -> Answer:
    body = {"codeRetour": code, "message": message, "topIdentiteCertifiee": empty, "jetonUsager": empty}
    return status, {}, body


def _oauth(error: str, description: str) -> Answer:
    return 400, {}, {"error": error, "error_description": description}


def _contraintes(dossier: Any) -> list[dict[str, Any]]:
    block = dossier.get("thematiqueContrainte") or dossier.get("contraintesIndividusDto") or {}
    found = list(block.get("contraintes", []))
    numerique = dossier.get("autonomieNumerique") or {}
    return found + ([numerique["contrainte"]] if "contrainte" in numerique else [])


def _mobilite(dossier: Any) -> dict[str, Any]:
    return next(contrainte for contrainte in _contraintes(dossier) if contrainte["code"] == "23")


def _sans_impact(dossier: Any) -> Any:
    for contrainte in _contraintes(dossier):
        contrainte.pop("impact", None)
    return dossier


def _mojibake(dossier: Any) -> Any:
    def damage(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: value.encode().decode("latin-1")
                if key in {"libelle", "nomMetier", "typologie"} and isinstance(value, str)
                else damage(value)
                for key, value in node.items()
            }
        return [damage(item) for item in node] if isinstance(node, list) else node

    return damage(dossier)


def _situation(code: str, libelle: str) -> Callable[[Any], Any]:
    def alter(dossier: Any) -> Any:
        _mobilite(dossier)["situations"].append({"code": code, "libelle": libelle, "valeur": "OUI"})
        return dossier

    return alter


def _valeur_inconnue(dossier: Any) -> Any:
    _mobilite(dossier)["valeur"] = "PEUT_ETRE"
    return dossier


def _objectifs_inventes(dossier: Any) -> Any:
    """The objectif codes of a widely copied test fixture: right labels, wrong numbers."""
    for objectif, code in zip(_mobilite(dossier)["objectifs"], ("25", "26", "27", "28", "29", "30"), strict=True):
        objectif["code"] = code
    return dossier


def _champs_nouveaux(dossier: Any) -> Any:
    dossier["blocNouveau"] = {"indice": 1}
    _mobilite(dossier)["champNouveau"] = "valeur"
    return dossier


def _cles_absentes(dossier: Any) -> Any:
    for key in ("pouvoirAgir", "autonomieNumerique", "besoinsParDiagnostic"):
        dossier.pop(key, None)
    for contrainte in _contraintes(dossier):
        contrainte.pop("estPrioritaire", None)
        contrainte.pop("libelle", None)
    return dossier


def _anciennes_cles(orientations: Any) -> Any:
    for item in orientations:
        criteres = item.get("criteres_orientation") or {}
        for block in (item, criteres):
            for key, value in list(block.items()):
                if isinstance(value, str) and value.endswith("Z") and key.startswith("date_"):
                    block[key] = value.removesuffix("Z")
        if "date_saisie_donnees" in criteres:
            criteres["date_saise_données"] = criteres.pop("date_saisie_donnees")
        if "origine" in criteres:
            criteres["origine_calcul"] = criteres.pop("origine")
            item.pop("origine", None)
    return orientations


def _criteres_insuffisants(orientations: Any) -> Any:
    for item in orientations:
        item |= {"parcours": "IND", "organisme": "IND", "etat": "BROUILLON"}
    return orientations


def _mille(items: Any) -> Any:
    """As many as one answer holds: there may be more."""
    return [items[0] | {"identifiantActivite": f"{items[0]['identifiantActivite']}-{rank}"} for rank in range(1000)]


def _fonctionnelle(code: str, message: str, status: int = 400) -> Answer:
    return status, {}, {"codeErreur": code, "codeHttp": status, "message": message}


SCENARIOS: dict[str, Scenario] = {
    "client_refuse": Scenario(
        "Le couple identifiant et secret est refusé (invalid_client)", "token",
        _oauth("invalid_client", "Client authentication failed")),
    "portee_refusee": Scenario(
        "Une portée non souscrite fait refuser tout le jeton (invalid_scope)", "token",
        _oauth("invalid_scope", "Unknown/invalid scope(s).")),
    "jeton_acces_expire": Scenario(
        "Le jeton d'accès est refusé une fois avant son terme", "*", (401, {}, {"message": "Unauthorized"}), times=1),
    "jeton_acces_refuse": Scenario(
        "Le jeton d'accès est refusé, même renouvelé", "*", (401, {}, {"message": "Unauthorized"})),
    "jeton_expire": Scenario("Le premier jetonUsager est déjà expiré", effect="jeton_expire", times=1),
    "portee_absente": Scenario("Le jeton d'accès ne porte pas la portée de l'API", answer=(403, {}, {})),
    "redirection": Scenario(
        "L'API renvoie vers une page de connexion (en-tête d'agent manquant)", "*",
        (302, {"location": "https://connexion.exemple.invalid/"}, None)),
    "quota": Scenario("Quota dépassé, délai annoncé", "*", (429, {"retry-after": "30"}, {}), times=1),
    "quota_sans_delai": Scenario("Quota dépassé, sans délai annoncé", "*", (429, {}, {}), times=1),
    "panne_technique": Scenario("Erreur technique JCS0011G, une fois", "metier", _TECHNIQUE, times=1),
    "panne_durable": Scenario("Erreur technique JCS0011G, sans fin", "metier", _TECHNIQUE),
    "indisponible": Scenario("Passerelle indisponible (503)", "*", (503, {}, None)),
    "approchant_absent": Scenario(
        "Personne inconnue (S002)", "recherche", _retour("S002", 200, "Aucun approchant trouvé")),
    "approchant_absent_null": Scenario(
        "Personne inconnue, valeurs JSON null", "recherche", _retour("S002", 200, "Aucun approchant trouvé", None)),
    "approchant_absent_204": Scenario("Personne inconnue, réponse vide (204)", "recherche", (204, {}, None)),
    "approchant_absent_404": Scenario("Personne inconnue, 404", "recherche", (404, {}, {})),
    "approchant_absent_404_code": Scenario(
        "Personne inconnue, 404 avec un code", "recherche", _retour("S002", 404, "Aucun approchant trouvé")),
    "identite_non_certifiee": Scenario(
        "Personne trouvée, identité non certifiée", "recherche",
        alter=lambda told: told | {"topIdentiteCertifiee": "N"}),
    "homonymes": Scenario("Plusieurs personnes (S003)", "recherche", _retour("S003", 200, "Plusieurs usagers trouvés")),
    "hors_perimetre": Scenario(
        "Personne hors du périmètre (R001)", "recherche", _retour("R001", 403, "Accès non autorisé")),
    "non_rattachee": Scenario(
        "Personne non rattachée à la structure (R002)", "recherche", _retour("R002", 403, "Usager non rattaché")),
    "recherche_invalide": Scenario(
        "Erreur de validation (R997)", "recherche", _retour("R997", 400, "Une erreur de validation s'est produite")),
    "sans_adresse": Scenario(
        "Dossier sans adresse (R998)", "recherche", _retour("R998", 500, "Un service a répondu en erreur")),
    "recherche_indisponible": Scenario(
        "Recherche indisponible (R999)", "recherche", _retour("R999", 503, "Service indisponible")),
    "code_retour_inconnu": Scenario("Code retour inconnu", "recherche", _retour("X042", 200, "Code nouveau")),
    "rien": Scenario("Aucune donnée (204)", answer=(204, {}, None)),
    "reponse_non_json": Scenario("Réponse qui n'est pas du JSON", answer=(200, {}, b"<html>Maintenance</html>")),
    "reponse_tronquee": Scenario("Réponse tronquée", ending="truncated"),
    "coupure_apres_ecriture": Scenario("Connexion coupée une fois l'écriture faite", ending="cut", times=1),
    "muet": Scenario("Aucune réponse", ending="silent"),
    "impact_absent": Scenario("Dossier sans impact", "dossier", alter=_sans_impact),
    "libelles_mojibake": Scenario("Libellés mal décodés (UTF-8 lu en Latin-1)", "dossier", alter=_mojibake),
    "code_inconnu": Scenario(
        "Situation de code inconnu", "dossier", alter=_situation("99", "Situation toute nouvelle")),
    "libelle_contredit": Scenario(
        "Code connu, libellé d'un autre", "dossier", alter=_situation("8", "Logement insalubre")),
    "valeur_inconnue": Scenario("Contrainte de valeur inconnue", "dossier", alter=_valeur_inconnue),
    "objectifs_inventes": Scenario("Objectifs numérotés autrement", "dossier", alter=_objectifs_inventes),
    "champs_nouveaux": Scenario("Champs non documentés", "dossier", alter=_champs_nouveaux),
    "cles_absentes": Scenario("Blocs et champs facultatifs absents", "dossier", alter=_cles_absentes),
    "anciennes_cles": Scenario("Orientations aux anciennes clés, sans fuseau", "lecture", alter=_anciennes_cles),
    "orientations_vides": Scenario("Aucune orientation, tableau vide", "lecture", (200, {}, [])),
    "criteres_insuffisants": Scenario(
        "Orientation en brouillon : critères insuffisants (IND)", "lecture", alter=_criteres_insuffisants),
    "orientation_non_decidable": Scenario(
        "Décision refusée : aucune préconisation en attente", "decision",
        _fonctionnelle("ORIENTATION_NON_DECIDABLE", "Aucune préconisation en attente")),
    "contrat_transition_impossible": Scenario(
        "Contrat : l'état ne permet pas de signer", "contrat_signer",
        _fonctionnelle("TRANSITION_IMPOSSIBLE", "L'état du contrat ne le permet pas", 409)),
    "sanction_impossible": Scenario(
        "Sanction : événement impossible à ce stade", "sanction",
        _fonctionnelle("EVENEMENT_IMPOSSIBLE", "Événement impossible à ce stade")),
    "rendez_vous_sans_id": Scenario("Rendez-vous accepté sans identifiant", "rdv_post", (202, {}, {})),
    "rendez_vous_200": Scenario("Rendez-vous accepté en 200", "rdv_post", effect="code_200"),
    "fusion": Scenario("Deux dossiers fusionnés : les rendez-vous ont perdu leur numéro", effect="fusion", times=1),
    "fusion_perte": Scenario(
        "Deux dossiers fusionnés : les rendez-vous n'y sont plus (ID_NON_RECONNU)", effect="fusion_perte", times=1),
    "activites_enveloppe": Scenario(
        "Activités dans une enveloppe", "activites", alter=lambda items: {"activites": items}),
    "activites_inexploitables": Scenario(
        "Activités sans usager exploitable", "activites",
        alter=lambda items: [{**items[0], "usager": {"identifiant": "", "typeIdentifiant": "autre"}}, *items]),
    "activites_pleines": Scenario("Mille activités, le plus qu'une réponse porte", "activites", alter=_mille),
    "activites_refusees": Scenario(
        "Critère d'activité refusé", "activites", (400, {}, [{"code": "A001", "message": "Critère", "details": ""}])),
}  # fmt: skip
"""Names for `sandbox(scenario=…)`, for `maillon sandbox france_travail --scenario …` and for one person."""


def body(content: Any) -> bytes:
    """The bytes of an answer: JSON, unless they are bytes already."""
    if content is None:
        return b""
    return content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
