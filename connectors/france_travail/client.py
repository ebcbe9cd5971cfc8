"""Calls to France Travail: token, jeton, headers, one renewal, and a verdict for everything that comes back."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connectors.contract import DocumentRefused
from connectors.france_travail import apis
from connectors.france_travail.answers import SEARCH, Stopped, Verdict, body, heard, passing, unsent
from connectors.france_travail.apis import Api
from connectors.france_travail.tokens import Jetons, Tokens
from connectors.manifest import Settings
from connectors.transport import Answer, Transport, TransportError
from schemas import normalisation

_JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Person:
    """What the person can be found by. NIR with birth date is preferred; the numéro France Travail comes next."""

    nir: str = field(default="", repr=False)
    date_naissance: str = field(default="", repr=False)
    numero: str = field(default="", repr=False)

    @classmethod
    def of(cls, identifiers: Mapping[str, str]) -> Person:
        """From identifiers by system: `nir`, `ft_numero`, and `date_naissance`.

        Raises `Stopped`: `waiting` when there is none, `refused` when none has a right shape and key.
        """
        nir, naissance = identifiers.get("nir", ""), identifiers.get("date_naissance", "")
        read = normalisation.nir(nir)
        if nir and read.controle != "invalide" and normalisation.full_date(naissance):
            return cls(nir=read.valeur.valeur, date_naissance=naissance)
        told = identifiers.get("ft_numero", "")
        if numero := normalisation.ft_numero(told):
            return cls(numero=numero)
        if told or (nir and naissance):
            raise Stopped(Verdict("refused", "invalid_input"))
        raise Stopped(Verdict("waiting", "identifier_missing"))

    @property
    def key(self) -> tuple[str, ...]:
        return (self.nir, self.date_naissance, self.numero)

    def search(self) -> tuple[str, dict[str, str]]:
        if self.nir:
            return "/usagers/par-datenaissance-et-nir", {"dateNaissance": self.date_naissance, "nir": self.nir}
        return "/usagers/par-numero-francetravail", {"numeroFranceTravail": self.numero}


class Client:
    """One client of France Travail: one set of settings, one token cache, one jeton cache."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._tokens = Tokens(settings["auth_url"], settings["client_id"], settings["client_secret"], now)
        self._jetons = Jetons(now)

    async def call(self, api: Api, method: str, path: str, transport: Transport, **how: Any) -> Any:
        """One business call (see `exchange`): its JSON, or None when there is nothing."""
        answer = await self.exchange(api, method, path, transport, **how)
        if answer is None:
            return None
        try:
            return body(answer)
        except DocumentRefused:
            reading = method == "GET" or how.get("repeatable")
            raise Stopped(Verdict("retry" if reading else "unknown", "answer_unreadable")) from None

    async def exchange(
        self,
        api: Api,
        method: str,
        path: str,
        transport: Transport,
        *,
        person: Person | None = None,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> Answer | None:
        """One call about nobody or about `person`; None when France Travail has nothing to say (204).

        A refused token or jeton is renewed once, the token first, then the jeton. Raises `Stopped` for everything
        else; after a write whose outcome is `unknown`, the caller reads the remote state.
        """
        writing = method != "GET" and not repeatable
        renewed = False
        while True:
            token = await self._tokens.get(self._settings[api.realm], self._scope(api), transport)
            headers = self._headers(api, token)
            if person and api.jeton:
                headers["ft-jeton-usager"] = await self._jeton(person, transport)
            url = self._settings["api_url"].rstrip("/") + api.base + path
            try:
                answer = await transport.request(
                    method, url, headers=headers, params=params, json=json, repeatable=not writing, again=passing
                )
            except TransportError as error:
                raise Stopped(unsent(error, writing=writing)) from None
            verdict = heard(answer, transport)
            if verdict.outcome == "ok":
                return answer
            if verdict.outcome == "nothing":
                return None
            if verdict.outcome != "renew":
                raise Stopped(verdict)
            if renewed:
                raise Stopped(Verdict("refused", "unauthorized"))
            renewed = True
            self._tokens.forget(self._settings[api.realm], self._scope(api), token)
            if person:
                self._jetons.forget(person.key)

    async def subscription(self, api: Api, transport: Transport) -> str:
        """A token for the scope of this API: why there is none, or nothing."""
        try:
            await self._tokens.get(self._settings[api.realm], self._scope(api), transport)
        except Stopped as stopped:
            return stopped.verdict.code
        return ""

    async def raw(self, api: Api, path: str, transport: Transport, person: Person) -> bytes | None:
        """A document as it stands; None when there is none. Raises `Stopped`."""
        answer = await self.exchange(api, "GET", path, transport, person=person)
        return answer.content if answer else None

    async def identifiant_v1(self, person: Person, transport: Transport) -> str:
        """The encrypted id of the 2023 generation. Raises `Stopped`."""
        if not person.nir:
            raise Stopped(Verdict("waiting", "identifier_missing"))
        sent = {"nir": person.nir, "dateNaissance": person.date_naissance}
        return await self._search(apis.RECHERCHE_V1, "/usagers/recherche", sent, "identifiant", transport)

    def _scope(self, api: Api) -> str:
        if not all(self._settings.get(name) for name in ("auth_url", "api_url", "client_id", "client_secret")):
            raise Stopped(Verdict("refused", "not_configured"))
        scope = self._settings.get(api.scope, "")
        if not scope:
            raise Stopped(Verdict("refused", "scope_not_configured"))
        return scope

    async def _jeton(self, person: Person, transport: Transport) -> str:
        if held := self._jetons.get(person.key):
            return held
        path, sent = person.search()
        jeton = await self._search(apis.RECHERCHE, path, sent, "jetonUsager", transport)
        self._jetons.keep(person.key, jeton)
        return jeton

    async def _search(self, api: Api, path: str, sent: dict[str, str], field_: str, transport: Transport) -> str:
        """The capability that a search gives, on a certified identity only. Raises `Stopped`."""
        try:
            told = await self.call(api, "POST", path, transport, json=sent, repeatable=True)
        except Stopped as stopped:
            if stopped.verdict.status == 404:
                raise Stopped(Verdict(*SEARCH.get(stopped.verdict.code, SEARCH["S002"]))) from None
            if stopped.verdict.outcome == "unknown":
                raise Stopped(Verdict("retry", stopped.verdict.code)) from None
            raise
        if told is None:
            raise Stopped(Verdict(*SEARCH["S002"]))
        told = told if isinstance(told, dict) else {}
        outcome, code = SEARCH.get(str(told.get("codeRetour")), ("refused", "unexpected"))
        if outcome != "ok":
            raise Stopped(Verdict(outcome, code))
        capability = told.get(field_)
        if told.get("topIdentiteCertifiee") != "O":
            raise Stopped(Verdict("waiting", "not_certified"))
        if not isinstance(capability, str) or capability in {"", "null"}:
            raise Stopped(Verdict("refused", "unexpected"))
        return capability

    def _headers(self, api: Api, token: str) -> dict[str, str]:
        """Who asks and who acts: the named agent, or the named batch. France Travail refuses `|` in these values."""
        headers = {"Authorization": f"Bearer {token}", "Accept": _JSON}
        if api.realm == "realm_agent":
            for name in ("identifiant", "nom", "prenom"):
                value = normalisation.clean(self._settings[f"agent_{name}"])
                value = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
                if not value or "|" in value:
                    raise Stopped(Verdict("refused", "agent_misconfigured"))
                headers[f"pa-{name}-agent"] = value
        return headers
