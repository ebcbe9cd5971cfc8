"""The documented failures of HubEE, by name: each is one or more faults, and any fault may be set alone by a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "status",  # another answer, nothing done
    "cut_before",  # the connection closes, nothing done
    "cut_after",  # done, then the connection closes
    "silent",  # no answer ever comes
    "slow",  # the body comes in small pieces
    "truncated",  # half of the body
    "digest_wrong",
    "digest_omitted",
    "digest_rfc3230",
    "expired",  # the token is over before its time
    "hidden",  # the case cannot be read yet
    "duplicate",  # each waiting notification exists twice
]


@dataclass(slots=True)
class Fault:
    """One failure of one call (`*`: any but the token), `times` times (None: always), for one démarche or all."""

    kind: Kind
    call: str = "*"
    times: int | None = 1
    process: str = ""
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "technical error"


@dataclass(frozen=True, slots=True)
class Scenario:
    title: str
    faults: tuple[Fault, ...]


def _scenario(title: str, kind: Kind, call: str = "*", times: int | None = 1, **more: object) -> Scenario:
    return Scenario(title, (Fault(kind, call, times, **more),))  # type: ignore[arg-type]


_DOWNLOAD = "attachment"

SCENARIOS: dict[str, Scenario] = {
    "quota": _scenario("Trop de requêtes, délai annoncé", "status", status=429, headers={"retry-after": "30"}),
    "quota_sans_delai": _scenario("Trop de requêtes, sans délai annoncé", "status", status=429),
    "panne": _scenario("Erreur technique 500, une fois", "status"),
    "panne_durable": _scenario("Erreur technique 500, sans fin", "status", times=None),
    "indisponible": _scenario("Plateforme indisponible (503), sans fin", "status", times=None, status=503),
    "demarche_revoquee": _scenario("Accès d'une démarche retiré", "status", "token", None, status=401),
    "jeton_expire": _scenario("Jeton expiré avant son terme (900901)", "expired"),
    "jeton_expire_au_telechargement": _scenario("Jeton expiré au moment de télécharger", "expired", _DOWNLOAD),
    "coupure_avant_statut": _scenario("Connexion fermée avant le changement de statut", "cut_before", "case_patch"),
    "coupure_apres_statut": _scenario("Connexion fermée après le changement de statut", "cut_after", "case_patch"),
    "coupure_avant_evenement": _scenario("Connexion fermée avant l'événement", "cut_before", "event_create"),
    "coupure_apres_evenement": _scenario("Connexion fermée après l'événement", "cut_after", "event_create"),
    "coupure_apres_suppression": _scenario(
        "Connexion fermée après la suppression de la notification", "cut_after", "notification_delete"
    ),
    "coupure_apres_creation": _scenario("Connexion fermée après la création du dossier", "cut_after", "folder_create"),
    "coupure_apres_depot": _scenario("Connexion fermée après le dépôt d'un fichier", "cut_after", "folder_upload"),
    "muet": _scenario("Aucune réponse", "silent", times=None),
    "corps_lent": _scenario("Fichier servi par petits morceaux", "slow", _DOWNLOAD, None),
    "corps_coupe": _scenario("Fichier coupé au milieu, une fois", "truncated", _DOWNLOAD),
    "corps_coupe_toujours": _scenario("Fichier coupé au milieu, toujours", "truncated", _DOWNLOAD, None),
    "empreinte_fausse": _scenario("Empreinte fausse, toujours", "digest_wrong", _DOWNLOAD, None),
    "empreinte_fausse_une_fois": _scenario("Empreinte fausse, une fois", "digest_wrong", _DOWNLOAD),
    "empreinte_absente": _scenario("Empreinte absente", "digest_omitted", _DOWNLOAD, None),
    "empreinte_rfc3230": _scenario("Empreinte écrite SHA-256=…", "digest_rfc3230", _DOWNLOAD, None),
    "notification_double": _scenario("Chaque notification existe deux fois", "duplicate", "notifications"),
    "dossier_pas_encore_lisible": _scenario("La notification précède le dossier", "hidden", "case"),
}
"""Names for `sandbox(scenario=…)` and `maillon sandbox hubee --scenario …`."""
