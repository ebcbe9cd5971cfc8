"""The APIs of France Travail as data: where each lives, in which realm, under which scope setting.

Hosts, realms and scopes are settings of the connector; only the paths that France Travail publishes are here. An API
whose scope is not set is not called: nothing is tried with a guess.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Api:
    """One API. `scope` names the setting that holds its scopes; `jeton`: its calls are about one person."""

    base: str
    scope: str
    jeton: bool = True
    realm: str = "realm_agent"


RECHERCHE = Api("/partenaire/rechercher-usager/v2", "scope_recherche", jeton=False)
ACTIVITES = Api("/partenaire/activites-operationnelles/v2", "scope_activites", jeton=False)
ORIENTATION = Api("/partenaire/orientationusager/v1", "scope_orientation")
RENDEZ_VOUS = Api("/partenaire/rendez-vous-partenaire/v1", "scope_rendez_vous")
INFORMATIONS = Api("/partenaire/informations-administratives/v1", "scope_informations")
STATUT = Api("/partenaire/contrat-usager/v2", "scope_statut")
DIAGNOSTIC = Api("/partenaire/diagnosticargumente/v4", "scope_diagnostic")
RQTH = Api("/partenaire/donnees-rqth/v1", "scope_rqth")
CONTRAT = Api("/partenaire/contrat-engagement/v1", "scope_contrat")
SANCTIONS = Api("/partenaire/gestion-sanctions-rsa/v1", "scope_sanctions")
RECHERCHE_V1 = Api("/partenaire/rechercher-usager/v1", "scope_diagnostic_v1", False, "realm_partenaire")
DIAGNOSTIC_V1 = Api("/partenaire/diagnosticargumente/v1", "scope_diagnostic_v1", False, "realm_partenaire")
ALL = (
    RECHERCHE, ACTIVITES, ORIENTATION, RENDEZ_VOUS, INFORMATIONS, STATUT, DIAGNOSTIC, RQTH, CONTRAT, SANCTIONS,
    DIAGNOSTIC_V1,
)  # fmt: skip
"""Every API, once for each scope."""
