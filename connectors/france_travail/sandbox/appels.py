"""The documented calls, as a table: name, method, path, scopes, realm, and whether they are about one person."""

from __future__ import annotations

from dataclasses import dataclass

AGENT, PARTENAIRE = "/agent", "/partenaire"
_ORI, _RDV = "/partenaire/orientationusager/v1", "/partenaire/rendez-vous-partenaire/v1"
_CE, _GSR = "/partenaire/contrat-engagement/v1", "/partenaire/gestion-sanctions-rsa/v1"
_DIAG, _RU = "/partenaire/diagnosticargumente", "/partenaire/rechercher-usager"
_DIAGNOSTIC = ("api_diagnosticargumentev4", "diagnosticusageragent")
_ORIENTATION = ("api_orientationusagerv1", "orientationusager", "profil_accedant")
_RENDEZ_VOUS = ("api_rendez-vous-partenairev1", "gererRDV", "profil_accedant")
_CONTRAT = ("api_contrat-engagementv1", "contratengagement", "profil_accedant")
_SANCTIONS = ("api_gestion-sanctions-rsav1", "sanctionsrsa", "profil_accedant")
"""The scopes of the last two are not published: these names are ours."""


@dataclass(frozen=True, slots=True)
class Call:
    """One documented call: its name, method, path, scopes, and whether it needs a jeton."""

    name: str
    method: str
    path: str
    scopes: tuple[str, ...]
    jeton: bool = True
    realm: str = AGENT


CALLS = (
    Call("recherche_nir", "POST", f"{_RU}/v2/usagers/par-datenaissance-et-nir",
          ("api_rechercher-usagerv2", "rechercheusager", "profil_accedant"), jeton=False),
    Call("recherche_numero", "POST", f"{_RU}/v2/usagers/par-numero-francetravail",
          ("api_rechercher-usagerv2", "rechercheusager", "profil_accedant"), jeton=False),
    Call("recherche_v1", "POST", f"{_RU}/v1/usagers/recherche", ("api_rechercher-usagerv1",), False, PARTENAIRE),
    Call("dossier_v1", "GET", f"{_DIAG}/v1/individus/{{identifiant}}", ("api_diagnosticargumentev1",), False,
          PARTENAIRE),
    Call("infos", "GET", "/partenaire/informations-administratives/v1/usager",
          ("api_informations-administrativesv1", "informationsadministrativesusager")),
    Call("statut", "GET", "/partenaire/contrat-usager/v2/contrat",
          ("api_contrat-usagerv2", "statutcontratusager", "profil_accedant")),
    Call("activites", "GET", "/partenaire/activites-operationnelles/v2/activites/chercher",
          ("api_activites-operationnellesv1", "activitesCD", "referentielCD", "profil_accedant"), jeton=False),
    Call("lecture", "GET", f"{_ORI}/lectureOrientation", _ORIENTATION),
    Call("calcul", "POST", f"{_ORI}/calculOrientation", _ORIENTATION),
    Call("decision", "POST", f"{_ORI}/decisionOrientation", _ORIENTATION),
    Call("forcer", "POST", f"{_ORI}/orientation", _ORIENTATION),
    Call("dossier", "GET", f"{_DIAG}/v4/dossiers", _DIAGNOSTIC),
    Call("diagnostics", "GET", f"{_DIAG}/v4/diagnostics", _DIAGNOSTIC),
    Call("diagnostic_post", "POST", f"{_DIAG}/v4/diagnostics", _DIAGNOSTIC),
    Call("diagnostic_delete", "DELETE", f"{_DIAG}/v4/diagnostics/{{identifiant}}/supprime", _DIAGNOSTIC),
    Call("rdv_post", "POST", f"{_RDV}/rendez-vous", _RENDEZ_VOUS),
    Call("rdv_put", "PUT", f"{_RDV}/rendez-vous", _RENDEZ_VOUS),
    Call("rdv_delete", "DELETE", f"{_RDV}/rendez-vous/{{identifiant}}", _RENDEZ_VOUS),
    Call("rdv_liste", "GET", f"{_RDV}/rendez-vous-usager", _RENDEZ_VOUS),
    Call("contrat_lecture", "GET", f"{_CE}/lecture", _CONTRAT),
    Call("contrat_creer", "POST", f"{_CE}/signer", _CONTRAT),
    Call("contrat_signer", "PATCH", f"{_CE}/signer", _CONTRAT),
    Call("contrat_refuser", "PATCH", f"{_CE}/refuser", _CONTRAT),
    Call("manquement", "GET", f"{_GSR}/detailManquement", _SANCTIONS),
    Call("sanction", "POST", f"{_GSR}/evenementSanctionRSA", _SANCTIONS),
    Call("sanction_partenaire", "POST", f"{_GSR}/decisionSanctionRSAPartenaire", _SANCTIONS),
    Call("rqth", "GET", "/partenaire/donnees-rqth/v1/rqth", ("api_donnees-rqthv1", "h2a")),
)  # fmt: skip
SCOPES = {realm: {s for call in CALLS if call.realm == realm for s in call.scopes} for realm in (AGENT, PARTENAIRE)}
"""Every scope of a realm."""
