"""A stand-in for API Particulier v3: its paths, its parameters, its scopes and its documented failures.

Its persons are invented (`DOSSIERS`). Base URL: the application's root. The token is `JETON`.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

JETON = "jeton-de-demonstration"
_ERREURS = {
    "jeton_refuse": (401, "00101", "Votre jeton est invalide"),
    "perimetre_insuffisant": (403, "00100", "Votre jeton n'est pas autorisé pour cette ressource"),
    "appel_en_double": (409, "00015", "Le même appel est en cours"),
    "quota": (429, "00429", "Vous avez effectué trop de requêtes"),
    "reponse_invalide": (502, "37999", "La réponse du fournisseur est invalide"),
    "maintenance": (503, "00503", "Service en maintenance"),
    "delai_depasse": (504, "37002", "Le fournisseur n'a pas répondu à temps"),
    "dossier_absent_cnaf": (404, "23003", "Dossier allocataire absent CNAF"),
    "dossier_absent_msa": (404, "10003", "Dossier allocataire absent MSA"),
    "identite_introuvable": (404, "35003", "Identité non trouvée"),
}
"""Scenario to (HTTP status, code, words): every call answers so."""
SCENARIOS = {name: f"{status} {code} : {titre}" for name, (status, code, titre) in _ERREURS.items()} | {
    "orthographe_corrigee": "l'identité est retrouvée malgré une faute, et répondue sous ses vrais prénoms",
    "perimetre_reduit": "les périmètres allocataires, enfants et adresse manquent : leurs champs disparaissent",
}

DOSSIERS: tuple[dict[str, Any], ...] = (
    {
        "allocataires": [
            {"nom_naissance": "ARBELIER", "nom_usage": "VIELLECORIN", "prenoms": "SOLANGE MARIE-ANGE",
             "date_naissance": "1985-06-12", "sexe": "F"},
            {"nom_naissance": "VIELLECORIN", "nom_usage": None, "prenoms": "OSCAR", "date_naissance": "1983-00-00",
             "sexe": "M"},
        ],
        "enfants": [{"nom_naissance": "VIELLECORIN", "nom_usage": None, "prenoms": "THEO",
                     "date_naissance": "2014-03-02", "sexe": "M"}],
        "adresse": {"destinataire": "Madame VIELLECORIN SOLANGE", "complement_information": None,
                    "complement_information_geographique": "Résidence du Lavoir",
                    "numero_libelle_voie": "7 RUE DU LAVOIR",
                    "lieu_dit": None, "code_postal_ville": "40100 SAINT-AVENTIN-LES-SABLES", "pays": "FRANCE"},
        "quotient_familial": {"fournisseur": "CNAF", "valeur": 412, "annee": 2026, "mois": 9, "annee_calcul": 2026,
                              "mois_calcul": 10},
        "rsa": {"est_beneficiaire": True, "avec_majoration": False, "date_debut_droit": "2025-11-20"},
    },
    {
        "allocataires": [{"nom_naissance": "TASTOULEZAC", "nom_usage": None, "prenoms": "HAMID",
                          "date_naissance": "1990-01-31", "sexe": "M"}],
        "enfants": [],
        "adresse": {"destinataire": "Monsieur TASTOULEZAC HAMID", "complement_information": None,
                    "complement_information_geographique": None, "numero_libelle_voie": "3 CHEMIN DES RESINIERS",
                    "lieu_dit": "LE BOURG", "code_postal_ville": "40110 VALMARENSE", "pays": "FRANCE"},
        "quotient_familial": {"fournisseur": "MSA", "valeur": 890, "annee": 2026, "mois": 10, "annee_calcul": 2026,
                              "mois_calcul": 10},
        "rsa": {"est_beneficiaire": False, "avec_majoration": None, "date_debut_droit": None},
    },
)  # fmt: skip
_NOM = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿ' -]+")


def _erreur(status: int, code: str, titre: str) -> JSONResponse:
    corps = {"errors": [{"code": code, "title": titre, "detail": titre, "source": None, "meta": {"provider": "CNAV"}}]}
    headers = {"Retry-After": "30"} if status == 429 else {}
    return JSONResponse(corps, status, headers)


def _fautes(request: Request) -> str:
    """What the real service refuses with 422; empty when the parameters are right."""
    params = request.query_params
    if not re.fullmatch(r"\d{14}", params.get("recipient", "")):
        return "00203"
    prenoms = params.getlist("prenoms[]")
    noms = [params.get("nomNaissance", ""), *prenoms]
    if not prenoms or len(prenoms) > 3 or not all(_NOM.fullmatch(nom) for nom in noms):
        return "00360"
    if params.get("sexeEtatCivil") not in ("M", "F"):
        return "00366"
    pays = params.get("codeCogInseePaysNaissance", "")
    if not re.fullmatch(r"99\d{3}", pays) or (pays == "99100" and not params.get("codeCogInseeCommuneNaissance")):
        return "00367"
    return ""


def sandbox(scenario: str | None = None) -> Starlette:
    """The stand-in as an ASGI application. Raises `ValueError` for an unknown scenario."""
    if scenario is not None and scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}")

    def trouve(request: Request) -> dict[str, Any] | None:
        params = request.query_params
        nom, prenom = params["nomNaissance"].upper(), params.getlist("prenoms[]")[0].upper()
        for dossier in DOSSIERS:
            for one in dossier["allocataires"]:
                if one["nom_naissance"] == nom and one["prenoms"].split()[0] == prenom:
                    return dossier
        return None

    async def repond(request: Request) -> JSONResponse:
        if request.headers.get("authorization") != f"Bearer {JETON}":
            return _erreur(*_ERREURS["jeton_refuse"])
        if scenario in _ERREURS:
            return _erreur(*_ERREURS[scenario])
        if faute := _fautes(request):
            return _erreur(422, faute, "Paramètre invalide")
        dossier = trouve(request)
        if dossier is None:
            return _erreur(404, "37003", "Dossier allocataire absent CNAV")
        if "revenu_solidarite_active" in request.url.path:
            data = dossier["rsa"]
        else:
            data = {key: value for key, value in dossier.items() if key != "rsa"}
            if scenario == "orthographe_corrigee":
                data["allocataires"] = [one | {"prenoms": "ALEXIS GÉRÔME"} for one in data["allocataires"]]
            if scenario == "perimetre_reduit":
                data = {"quotient_familial": data["quotient_familial"]}
        return JSONResponse({"data": data, "links": {}, "meta": {}})

    return Starlette(
        routes=[
            Route("/v3/dss/quotient_familial/identite", repond),
            Route("/v3/dss/revenu_solidarite_active/identite", repond),
        ]
    )


def describe(app: Starlette, base_url: str) -> dict[str, Any]:
    """What an engineer needs to call this stand-in: where, with what, and about whom."""
    return {
        "base_url": base_url,
        "token_url": None,
        "credentials": {"jeton": JETON},
        "settings": {"api_url": base_url, "jeton": JETON, "recipient": "13002526500013"},
        "identifiers": {
            "nom_naissance": "ARBELIER", "prenoms": "SOLANGE", "sexe": "feminin", "date_naissance": "1985-06-12",
            "commune_naissance": "40999",
        },
        "scenarios": SCENARIOS,
    }  # fmt: skip
