"""The stand-in of France Travail: its real paths, its guard, its answers, its failures, in one ASGI application."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connectors.france_travail.sandbox import regles
from connectors.france_travail.sandbox.appels import AGENT, CALLS, SCOPES, Call
from connectors.france_travail.sandbox.scenarios import SCENARIOS, Scenario, body
from connectors.france_travail.sandbox.usagers import (
    Usager,
    dossier_v1,
    dossier_v4,
    informations_administratives,
    seeds,
)

CLIENT_ID = "PAR_bac_a_sable_0000"
CLIENT_SECRET = "secret-du-bac-a-sable"  # noqa: S105 (the stand-in has no other)
_HEADERS = ("pa-identifiant-agent", "pa-nom-agent", "pa-prenom-agent")


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived, and what it was answered."""

    name: str
    """Name of the call; `unmatched` when no documented call has this path and method."""
    method: str
    path: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)


@dataclass(slots=True)
class _Token:
    expire: datetime
    realm: str
    scopes: frozenset[str]


class _Ending(Response):
    """An answer that never ends well: more is announced than sent, or nothing is ever said."""

    def __init__(self, silent: bool, content: bytes, status: int) -> None:
        super().__init__(content, status)
        self._silent, self._given = silent, content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._silent:
            await asyncio.Event().wait()
        length = str(len(self._given) + 64).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self._given[: len(self._given) // 2]})


class Sandbox:
    """A fake France Travail with invented people, an injectable clock and failures on demand.

    `received` lists what came in, `unmatched` the calls no documented path answers. Token and jeton lives follow
    `now`. Persons are in `usagers`, by numéro France Travail; add others with `add`.
    """

    def __init__(
        self,
        scenario: str | None = None,
        *,
        usagers: Iterable[Usager] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        expires_in: int = 1500,
        subscribed: frozenset[str] | None = None,
    ) -> None:
        if scenario is not None and scenario not in SCENARIOS:
            raise KeyError(scenario)
        self.scenario = scenario
        self.now, self.expires_in = now, expires_in
        self.subscribed = subscribed
        """Scopes this client may ask for; None: all that exist."""
        self.usagers = {usager.numero: usager for usager in (seeds() if usagers is None else usagers)}
        self.received: list[Received] = []
        self._tokens: dict[str, _Token] = {}
        self._jetons: dict[str, tuple[str, datetime]] = {}
        self._used: Counter[str] = Counter()
        routes = [Route(call.path, self._endpoint(call), methods=[call.method]) for call in CALLS]
        token = Route("/connexion/oauth2/access_token", self._token, methods=["POST"])
        handlers = {404: self._nothing, 405: self._nothing}
        self._app = Starlette(routes=[token, *routes], exception_handlers=handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    token_path = "/connexion/oauth2/access_token?realm=%2Fagent"  # noqa: S105 (a path)

    def credentials(self, base_url: str) -> dict[str, str]:
        """The connector's settings against this stand-in, the scopes that France Travail does not publish included."""
        unpublished = {"scope_contrat": "contrat_lecture", "scope_sanctions": "sanction"}
        scopes = {call.name: " ".join(call.scopes) for call in CALLS}
        return {
            "auth_url": base_url,
            "api_url": base_url,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        } | {setting: scopes[name] for setting, name in unpublished.items()}

    def add(self, *usagers: Usager) -> None:
        self.usagers |= {usager.numero: usager for usager in usagers}

    @property
    def unmatched(self) -> list[Received]:
        return [call for call in self.received if call.name == "unmatched"]

    def calls(self, name: str) -> list[Received]:
        """What was received for one documented call."""
        return [call for call in self.received if call.name == name]

    def fusionner(self, numero: str) -> None:
        """Merge two files of this person: her rendez-vous lose the ids partners know."""
        usager = self.usagers[numero]
        moved = [rdv | {"id": f"fusionne-{key}"} for key, rdv in usager.rendez_vous.items()]
        usager.rendez_vous = {rdv["id"]: rdv for rdv in moved}

    def _record(self, name: str, request: Request, content: Any, status: int) -> None:
        headers, query = dict(request.headers), dict(request.query_params)
        self.received.append(Received(name, request.method, request.url.path, status, headers, query, content))

    async def _nothing(self, request: Request, _error: Exception) -> Response:
        self._record("unmatched", request, None, 404)
        return _json(404, {"codeHttp": 404, "codeErreur": "NON_TROUVE", "message": "Ressource inconnue"})

    # Tokens

    async def _token(self, request: Request) -> Response:
        raw = (await request.body()).decode("utf-8", "replace")
        form = {name: values[0] for name, values in parse_qs(raw, keep_blank_values=True).items()}
        realm = request.query_params.get("realm", "")
        faulty = self._faulty("token", None)
        scopes = frozenset(form.get("scope", "").split())
        known = SCOPES.get(realm, set()) & (
            self.subscribed if self.subscribed is not None else SCOPES.get(realm, set())
        )
        if faulty and faulty.answer:
            status, _, content = faulty.answer
        elif not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            status, content = 400, _oauth("invalid_request", "Form expected.")
        elif realm not in SCOPES:
            status, content = 400, _oauth("invalid_request", "Unknown realm.")
        elif form.get("grant_type") != "client_credentials":
            status, content = 400, _oauth("unsupported_grant_type", "Unsupported grant.")
        elif (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            status, content = 400, _oauth("invalid_client", "Client authentication failed")
        elif not scopes or scopes - known:
            status, content = 400, _oauth("invalid_scope", "Unknown/invalid scope(s).")
        else:
            status, content = 200, self._issue(realm, scopes)
        self._record("token", request, {k: v for k, v in form.items() if k != "client_secret"}, status)
        return _json(status, content, {"cache-control": "no-store"})

    def _issue(self, realm: str, scopes: frozenset[str]) -> dict[str, Any]:
        value = f"jeton-fictif-{len(self._tokens) + 1}"
        self._tokens[value] = _Token(self.now() + timedelta(seconds=self.expires_in), realm, scopes)
        return {
            "access_token": value,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": " ".join(sorted(scopes)),
        }

    # Business calls

    def _endpoint(self, call: Call) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            try:
                content = json.loads(raw) if raw else None
            except ValueError:
                content = raw
            response = self._answer(call, request, content)
            self._record(call.name, request, content, response.status_code)
            return response

        return endpoint

    def _answer(self, call: Call, request: Request, content: Any) -> Response:
        if refused := self._guard(call, request):
            return refused
        usager = self._person(call, request, content)
        faulty = self._faulty(call.name, usager, jeton=call.jeton, writes=call.method != "GET")
        if faulty and faulty.answer:
            status, headers, told = faulty.answer
            return _json(status, told, headers)
        if call.jeton and usager is None:
            return _json(401, {"codeHttp": 401, "codeErreur": "JETON_INVALIDE", "message": "Jeton usager invalide"})
        if faulty and faulty.effect == "fusion" and usager:
            self.fusionner(usager.numero)
        if faulty and faulty.effect == "fusion_perte" and usager:
            usager.rendez_vous.clear()
        status, told = self._act(call, request, content, usager)
        if faulty and faulty.effect == "code_200" and status == 202:
            status = 200
        if faulty and faulty.alter and told is not None:
            told = faulty.alter(told)
        if faulty and faulty.ending:
            return _Ending(faulty.ending == "silent", body(told), status)
        return _json(status, told)

    def _guard(self, call: Call, request: Request) -> Response | None:
        """Token, agent headers and scopes, in the order in which France Travail was seen to check them."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        token = self._tokens.get(bearer)
        if token is None or token.realm != call.realm or token.expire <= self.now():
            return _json(401, {"codeHttp": 401, "codeErreur": "NON_AUTHENTIFIE", "message": "Jeton d'accès refusé"})
        if call.realm == AGENT:
            values = [request.headers.get(name) for name in _HEADERS]
            if None in values:
                return _json(302, None, {"location": "https://connexion.exemple.invalid/"})
            if "" in [value and value.strip() for value in values]:
                return _json(401, {"codeHttp": 401, "codeErreur": "AGENT_ABSENT", "message": "Agent absent"})
            if any("|" in (value or "") for value in values):
                return _json(400, {"codeHttp": 400, "codeErreur": "AGENT_INVALIDE", "message": "Caractère interdit"})
        if set(call.scopes) - {"profil_accedant"} - token.scopes:
            return _json(403, {"codeHttp": 403, "codeErreur": "PORTEE_ABSENTE", "message": "Portée absente"})
        return None

    def _person(self, call: Call, request: Request, content: Any) -> Usager | None:
        """Whom the call is about: by jeton, by the identifiers searched for, or by the older encrypted id."""
        if call.jeton:
            numero, expire = self._jetons.get(request.headers.get("ft-jeton-usager", ""), ("", self.now()))
            return self.usagers.get(numero) if expire > self.now() else None
        if call.name == "dossier_v1":
            return self.usagers.get(str(request.path_params["identifiant"]).removeprefix("uuid-fictif#"))
        told = content if isinstance(content, dict) else {}
        if call.name == "recherche_numero":
            return self.usagers.get(str(told.get("numeroFranceTravail")))
        nir, naissance = str(told.get("nir", ""))[:13], told.get("dateNaissance")
        same = (u for u in self.usagers.values() if (u.nir, u.date_naissance) == (nir, naissance))
        return next(same, None)

    def _faulty(
        self, name: str, usager: Usager | None, *, jeton: bool = False, writes: bool = False
    ) -> Scenario | None:
        """The scenario that touches this call, the person's own before the general one, as often as it says."""
        chosen = [(f"{usager.numero}/", usager.scenario)] if usager and usager.scenario else []
        chosen += [("", self.scenario)] if self.scenario else []
        for prefix, key in chosen:
            scenario = SCENARIOS[key]
            kinds = {name, "recherche" if name.startswith("recherche_") else name}
            kinds |= {"metier"} if jeton else set()
            kinds |= {"*"} if name != "token" else set()
            if scenario.route not in kinds or (scenario.effect == "jeton_expire"):
                continue
            if scenario.times is not None and self._used[prefix + key] >= scenario.times:
                continue
            if scenario.ending == "cut" and not writes:
                continue
            self._used[prefix + key] += 1
            return scenario
        return None

    def _act(self, call: Call, request: Request, content: Any, usager: Usager | None) -> tuple[int, Any]:
        if call.name.startswith("recherche"):
            return self._search(call.name, content, usager)
        if call.name == "activites":
            return self._worklist(request)
        if usager is None:
            return 404, {"codeHttp": 404, "codeErreur": "NON_TROUVE", "message": "Individu inconnu"}
        reading: dict[str, Callable[[], Any]] = {
            "dossier": lambda: dossier_v4(usager) if usager.dossier else None,
            "dossier_v1": lambda: dossier_v1(usager) if usager.dossier else None,
            "infos": lambda: informations_administratives(usager),
            "statut": lambda: usager.statut,
            "diagnostics": lambda: {"diagnostics": usager.diagnostics} if usager.diagnostics else None,
            "rdv_liste": lambda: list(usager.rendez_vous.values()) or None,
            "contrat_lecture": lambda: usager.contrat,
            "manquement": lambda: usager.sanctions.get(request.query_params.get("identifiantSanction", "")),
            "rqth": lambda: usager.rqth or {"dateDebutRqth": "", "dateFinRqth": "", "topValiditeRQTH": False},
        }
        if call.name in reading:
            told = reading[call.name]()
            return (204, None) if told is None else (200, told)
        return self._write(call, request, content, usager)

    def _write(self, call: Call, request: Request, content: Any, usager: Usager) -> tuple[int, Any]:
        now, identifier = self.now(), str(request.path_params.get("identifiant", ""))
        writing: dict[str, Callable[[], tuple[int, Any]]] = {
            "lecture": lambda: self._orientations(usager, request.query_params.get("etatOrientation")),
            "calcul": lambda: regles.calcul(usager, content, now),
            "decision": lambda: regles.decision(usager, content, now),
            "forcer": lambda: regles.forcer(usager, content, now),
            "rdv_post": lambda: regles.creer_rendez_vous(usager, content, len(self.calls("rdv_post"))),
            "rdv_put": lambda: regles.modifier_rendez_vous(usager, content),
            "rdv_delete": lambda: regles.annuler_rendez_vous(usager, identifier),
            "contrat_creer": lambda: regles.contrat(usager, "POST", "signer", content),
            "contrat_signer": lambda: regles.contrat(usager, "PATCH", "signer", content),
            "contrat_refuser": lambda: regles.contrat(usager, "PATCH", "refuser", content),
            "sanction": lambda: regles.evenement_sanction(usager, content),
            "sanction_partenaire": lambda: regles.decision_sanction(usager, content),
            "diagnostic_post": lambda: self._diagnostic(usager, content),
            "diagnostic_delete": lambda: self._forget_diagnostic(usager, identifier),
        }
        return writing[call.name]()

    def _orientations(self, usager: Usager, etat: str | None) -> tuple[int, Any]:
        found = [item for item in usager.orientations if etat in {None, item["etat"]}]
        return (200, found) if usager.orientations else (204, None)

    def _diagnostic(self, usager: Usager, content: Any) -> tuple[int, Any]:
        if not isinstance(content, dict) or not content.get("codeRome") or not content.get("codeTypologie"):
            return regles.refusal("CHAMP_OBLIGATOIRE", "codeRome, codeTypologie")
        made = {"idDiagnostic": f"diag-{usager.numero}-{len(usager.diagnostics) + 1}", **content}
        usager.diagnostics.append(made)
        return 201, made

    def _forget_diagnostic(self, usager: Usager, identifier: str) -> tuple[int, Any]:
        kept = [item for item in usager.diagnostics if item["idDiagnostic"] != identifier]
        if len(kept) == len(usager.diagnostics):
            return regles.refusal("ID_NON_RECONNU", "Diagnostic inconnu")
        usager.diagnostics = kept
        return 204, None

    def _search(self, name: str, content: Any, usager: Usager | None) -> tuple[int, Any]:
        told = content if isinstance(content, dict) else {}
        valid = (
            re.fullmatch(r"\d{11}", str(told.get("numeroFranceTravail")))
            if name == "recherche_numero"
            else re.fullmatch(r"\d{5}[0-9AB]{2}\d{6}(\d{2})?", str(told.get("nir")))
            and re.fullmatch(r"\d{4}-\d\d-\d\d", str(told.get("dateNaissance")))
        )
        code = "R997" if not valid else usager.retour if usager else "S002"
        messages = {
            "S001": (200, "Approchant trouvé"), "S002": (200, "Aucun approchant trouvé"),
            "S003": (200, "Plusieurs usagers trouvés"), "R001": (403, "Accès non autorisé"),
            "R002": (403, "L'usager n'est pas rattaché à la structure de l'accédant"),
            "R997": (400, "Une erreur de validation s'est produite"),
            "R998": (500, "Un service a répondu en erreur"), "R999": (503, "Service indisponible"),
        }  # fmt: skip
        status, message = messages[code]
        if code != "S001" or usager is None:
            empty = None if code in {"S002", "S003"} else "null"
            key = "identifiant" if name == "recherche_v1" else "jetonUsager"
            return status, {"codeRetour": code, "message": message, "topIdentiteCertifiee": empty, key: empty}
        found = {"codeRetour": code, "message": message, "topIdentiteCertifiee": "O" if usager.certifiee else "N"}
        if name == "recherche_v1":
            return status, found | {"identifiant": f"uuid-fictif#{usager.numero}"}
        return status, found | {"jetonUsager": self._jeton(usager)}

    def _jeton(self, usager: Usager) -> str:
        number = len(self._jetons) + 1
        expire = self.now() + timedelta(hours=24)
        for key in (usager.scenario, self.scenario):
            if key == "jeton_expire" and not self._used[f"{usager.numero}/jeton"]:
                self._used[f"{usager.numero}/jeton"] += 1
                expire = self.now()
        jeton = regles.new_jeton(number, expire)
        self._jetons[jeton] = (usager.numero, expire)
        return jeton

    def _worklist(self, request: Request) -> tuple[int, Any]:
        asked = {name: request.query_params.get(name) for name in ("codeActivite", "codeFamille", "codeDomaine")}
        if sum(value is not None for value in asked.values()) != 1:
            return 400, [{"code": "A001", "message": "Un critère et un seul est attendu", "details": ""}]

        def keep(code: str, family: str) -> bool:
            domaine = asked["codeDomaine"]
            return (
                code == asked["codeActivite"]
                or family == asked["codeFamille"]
                or (domaine is not None and family.startswith(domaine))
            )

        found = regles.activites(list(self.usagers.values()), keep, self.now())
        return (200, found) if found else (204, None)


def _oauth(error: str, description: str) -> dict[str, str]:
    return {"error": error, "error_description": description}


def _json(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    raw = body(content)
    kind = "text/html" if isinstance(content, bytes) else "application/json; charset=utf-8"
    return Response(raw, status, headers=dict(headers or {}), media_type=kind if raw else None)
