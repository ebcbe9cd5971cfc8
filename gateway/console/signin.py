"""Signing in: OpenID Connect authorization code with PKCE, state and nonce, against the operator's provider.

Without one, the demo and test profiles use the local provider, in the same process; production keeps the console shut.
Roles come from a claim of the ID token or of the user information (`console_oidc_roles_claim`), or from the list of
accounts in the settings (`console_agents`) for providers that only say who someone is.

An account proved who it is when the provider says so (`auth_time`), at a level the settings demand
(`console_oidc_acr`, none by default): a session that the provider opened hours ago, without asking, proves nothing now.
"""

from __future__ import annotations

import json
import secrets
import time
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import httpx
from authlib.integrations.base_client.errors import OAuthError
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from connectors import service
from gateway.console.provider import CLIENT, PATH
from gateway.console.session import FRESH, same
from gateway.problems import Forbidden, Misconfigured, Unauthenticated, Unavailable
from gateway.settings import Settings

ROLES = ("dpo", "integration", "operateur")
RETURN = "/console/retour"
ENTRANCE = "/console/entree"
_ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA"]


@dataclass(frozen=True, slots=True)
class Account:
    """Who signed in, as the provider says."""

    issuer: str
    subject: str
    roles: frozenset[str]
    id_token: str = field(repr=False)
    """What names the session to the provider when the account leaves."""
    proved_at: float | None
    """When the account last proved who it is, in seconds since 1970; None: the provider does not say, or at a level
    below the one demanded."""


class SignIn:
    """The console as a client of one OpenID provider."""

    def __init__(self, settings: Settings, local: Any = None) -> None:
        """`local` is the local provider's application, when the profile allows it and no other is configured."""
        self._settings = settings
        self.local = bool(local is not None and not settings.console_oidc_issuer)
        self._wire = httpx.ASGITransport(app=local) if self.local else None
        self.issuer = f"{settings.issuer}{PATH}" if self.local else settings.console_oidc_issuer.rstrip("/")
        self._known: dict[str, Any] | None = None

    @property
    def configured(self) -> bool:
        return bool(self.issuer)

    def start(self, back: str, *, again: bool) -> dict[str, str]:
        """What to remember of a sign-in that begins. `again` asks the account to prove anew who it is."""
        return {
            "state": secrets.token_urlsafe(24),
            "nonce": secrets.token_urlsafe(24),
            "verifier": secrets.token_urlsafe(48),
            "back": back,
            "again": "1" if again else "",
        }

    async def address(self, pending: Mapping[str, str], hint: str) -> str:
        """Where the browser goes to sign in."""
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._return,
            "scope": "openid",
            "state": pending["state"],
            "nonce": pending["nonce"],
            "code_challenge": _challenge(pending["verifier"]),
            "code_challenge_method": "S256",
        }
        if hint:
            asked["login_hint"] = hint
        if pending["again"]:
            asked |= {"prompt": "login", "max_age": "0"}
            if self._levels:
                wanted = {"acr": {"essential": True, "values": self._levels}, "auth_time": {"essential": True}}
                asked["claims"] = json.dumps({"id_token": wanted})
        endpoint = f"{PATH}/authorize" if self.local else (await self._metadata())["authorization_endpoint"]
        return f"{endpoint}?{urlencode(asked)}"

    async def finish(self, pending: Mapping[str, str], answer: Mapping[str, str]) -> Account:
        """The account behind an authorization answer. Raises `Unauthenticated`, `Forbidden`, `Unavailable`."""
        if not same(answer.get("state", ""), pending["state"]):
            raise Unauthenticated("sign-in-state", "Start again from the sign-in page.")
        known = await self._metadata()
        named = known.get("authorization_response_iss_parameter_supported") is not True
        if answer.get("iss", self.issuer if named else "").rstrip("/") != self.issuer:
            raise Unauthenticated("sign-in-issuer", "The answer comes from another provider.")
        if "code" not in answer:
            raise Unauthenticated("sign-in-refused", "The provider did not let this account in.")
        try:
            async with self._client(known) as client:
                token = await client.fetch_token(
                    known["token_endpoint"],
                    grant_type="authorization_code",
                    code=answer["code"],
                    code_verifier=pending["verifier"],
                    redirect_uri=self._return,
                )
                id_token = str(token.get("id_token", ""))
                claims = await self._identity(client, known, id_token, pending)
                said = claims | await self._information(client, known, claims)
        except OAuthError:
            raise Unauthenticated("sign-in-code", "Start again from the sign-in page.") from None
        except (httpx.HTTPError, httpx.InvalidURL, JoseError, KeyError, TypeError, ValueError) as error:
            raise _unreachable() from error
        roles = self._roles(said)
        if not roles:
            raise Forbidden("no-role", "This account has no role on this console; ask its administrator.")
        return Account(self.issuer, str(claims["sub"]), roles, id_token, self._proved(claims))

    async def farewell(self, id_token: str) -> str:
        """Where an account that leaves goes on, to leave the provider too (OpenID Connect RP-Initiated Logout 1.0)."""
        try:
            endpoint = (await self._metadata()).get("end_session_endpoint") if not self.local and id_token else None
        except Unavailable:
            endpoint = None
        back = f"{self._settings.issuer}{ENTRANCE}"
        asked = {"id_token_hint": id_token, "post_logout_redirect_uri": back, "state": secrets.token_urlsafe(12)}
        return f"{endpoint}?{urlencode(asked)}" if endpoint else ENTRANCE

    def _roles(self, said: Mapping[str, Any]) -> frozenset[str]:
        claimed = said.get(self._settings.console_oidc_roles_claim, ())
        claimed = claimed.split() if isinstance(claimed, str) else claimed if isinstance(claimed, list) else ()
        listed = self._settings.console_agents.get(str(said["sub"]), "").replace(",", " ").split()
        return frozenset({*map(str, claimed), *listed}) & frozenset(ROLES)

    @property
    def _levels(self) -> list[str]:
        """Levels of assurance, one of which a sensitive reading demands."""
        return self._settings.console_oidc_acr.split()

    async def _identity(
        self, client: Any, known: Mapping[str, Any], token: str, pending: Mapping[str, str]
    ) -> dict[str, Any]:
        """The claims of the ID token, checked as OpenID Connect Core §3.1.3.7 asks."""
        keys = KeySet.import_key_set((await client.request("GET", known["jwks_uri"], withhold_token=True)).json())
        try:
            claims = dict(jwt.decode(token, keys, algorithms=_ALGORITHMS).claims)
            JWTClaimsRegistry(
                leeway=60,
                iss={"essential": True, "value": known["issuer"]},
                aud={"essential": True, "value": self._client_id},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": pending["nonce"]},
            ).validate(claims)
        except (JoseError, ValueError, TypeError):
            raise _unverified() from None
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if not isinstance(claims["sub"], str) or claims.get("azp", None if several else self._client_id) != (
            self._client_id
        ):
            raise _unverified()
        if pending["again"]:
            self._proved_now(claims)
        return claims

    def _proved(self, claims: Mapping[str, Any]) -> float | None:
        """When the account proved who it is, if that counts."""
        at = claims.get("auth_time")
        if isinstance(at, bool) or not isinstance(at, int | float) or (self._levels and not self._reached(claims)):
            return None
        return max(0.0, min(float(at), time.time()))

    def _reached(self, claims: Mapping[str, Any]) -> bool:
        return claims.get("acr") in self._levels

    def _proved_now(self, claims: Mapping[str, Any]) -> None:
        """A step-up counts only if the provider says that the account proved who it is just now, well enough."""
        if self._levels and not self._reached(claims):
            raise Unauthenticated("sign-in-weak", "The provider did not ask for the proof that this console demands.")
        if time.time() - (self._proved(claims) or 0.0) > FRESH.total_seconds():
            raise Unauthenticated("sign-in-old", "The provider did not ask this account to prove who it is.")

    async def _information(self, client: Any, known: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        """Claims of the user information endpoint, for providers that keep roles out of the ID token."""
        if "userinfo_endpoint" not in known or self._settings.console_oidc_roles_claim in claims:
            return {}
        answer = await client.request("GET", known["userinfo_endpoint"])
        if answer.headers.get("content-type", "").startswith("application/jwt"):
            keys = KeySet.import_key_set((await client.request("GET", known["jwks_uri"], withhold_token=True)).json())
            try:
                said = dict(jwt.decode(answer.text, keys, algorithms=_ALGORITHMS).claims)
                JWTClaimsRegistry(leeway=60, iss={"value": known["issuer"]}, aud={"value": self._client_id}).validate(
                    said
                )
            except (JoseError, ValueError, TypeError):
                raise Unauthenticated("sign-in-information", "The provider's answer could not be verified.") from None
        else:
            said = dict(answer.json())
        if said.get("sub") != claims["sub"]:
            raise Unauthenticated("sign-in-information", "The provider's answers are about two accounts.")
        return said

    async def _metadata(self) -> dict[str, Any]:
        if self._known is None:
            at = "http://provider.local" if self.local else self.issuer
            try:
                async with service.client(self._wire) as client:
                    answer = await client.get(f"{at}/.well-known/openid-configuration")
                answer.raise_for_status()
                known = dict(answer.json())
            except (httpx.HTTPError, httpx.InvalidURL, TypeError, ValueError) as error:
                raise _unreachable() from error
            if str(known.get("issuer", "")).rstrip("/") != self.issuer:
                raise Unavailable("provider-metadata", "The provider names itself otherwise than the settings do.")
            if self.local:
                known |= {name: f"http://provider.local/{path}" for name, path in _LOCAL.items()}
            self._known = known
        return self._known

    def _client(self, known: Mapping[str, Any]) -> Any:
        with warnings.catch_warnings():
            # Authlib 1.9 announces that it prefers httpx2; the console's few calls keep the client the project has.
            warnings.simplefilter("ignore")
            from authlib.integrations.httpx_client import AsyncOAuth2Client
        client: Any = AsyncOAuth2Client
        file = self._settings.console_oidc_secret_file
        secret = file.read_text(encoding="utf-8").strip() if file and not self.local else None
        offered = known.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "none" if secret is None else "client_secret_post" if "client_secret_post" in offered else offered[0]
        return client(
            self._client_id,
            secret,
            token_endpoint_auth_method=method,
            transport=service.Bounded(self._wire),
            leeway=0,  # providers give tokens of a minute: authlib would count them as past at once
            trust_env=False,
        )

    @property
    def _client_id(self) -> str:
        return CLIENT if self.local else self._settings.console_oidc_client_id

    @property
    def _return(self) -> str:
        return RETURN if self.local else f"{self._settings.issuer}{RETURN}"


_LOCAL = {"token_endpoint": "token", "jwks_uri": "jwks"}


def _unverified() -> Unauthenticated:
    return Unauthenticated("sign-in-token", "The provider's answer could not be verified.")


def _unreachable() -> Unavailable:
    return Unavailable("provider-unreachable", "The sign-in provider does not answer.")


def _challenge(verifier: str) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def require_complete(settings: Settings) -> None:
    """Raises `Misconfigured` for a provider named without what it takes to use it."""
    if settings.console_oidc_issuer and not settings.console_oidc_client_id:
        raise Misconfigured("console-sign-in", "Set MAILLON_CONSOLE_OIDC_CLIENT_ID with the issuer.")
    if settings.console_oidc_issuer and settings.profile == "production":
        if not settings.console_oidc_issuer.startswith("https://"):
            raise Misconfigured("console-sign-in", "The OpenID provider must be reached over https.")
        if settings.console_oidc_secret_file is None or not settings.console_oidc_secret_file.is_file():
            raise Misconfigured("console-sign-in", "Set MAILLON_CONSOLE_OIDC_SECRET_FILE to the client's secret file.")
