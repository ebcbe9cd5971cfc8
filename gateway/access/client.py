"""The partner's side: tokens and proofs added to each request of an httpx client.

    key = ECKey.generate_key("P-256", auto_kid=True)           # its public half is in the JWKS given at registration
    auth = PartnerAuth("https://maillon.example", "ccas-dax", key, purpose="orientation")
    httpx.Client(auth=auth).post("https://maillon.example/v1/exchanges", …)

One token is asked for and kept until shortly before its end; each request carries its own proof. What a partner in
another language has to do is written in the methods: `assertion`, `proof`, `token_form`. Needs httpx and joserfc alone.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Generator
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey
from joserfc.util import urlsafe_b64encode

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class TokenRefused(Exception):
    """The token endpoint refused; `error` is its OAuth code."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(f"{error} ({status}): {description}")
        self.status, self.error, self.description = status, error, description


class IssuerMismatch(Exception):
    """The metadata are another server's (RFC 8414 §3.3): nothing in them may be used."""


def discover(client: httpx.Client, issuer: str) -> dict[str, Any]:
    """The authorization server's metadata, once they are its own. Raises `IssuerMismatch` and httpx's errors."""
    response = client.get(f"{issuer.rstrip('/')}/.well-known/oauth-authorization-server")
    return checked_metadata(issuer, response.raise_for_status().json())


def checked_metadata(issuer: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata, if they name exactly this issuer. Raises `IssuerMismatch`."""
    if metadata.get("issuer") != issuer:
        raise IssuerMismatch("the metadata name another issuer")
    return metadata


class PartnerAuth(httpx.Auth):
    """Authenticates one partner for one purpose (or for none: `purpose=None`).

    `proof_key` is the key tokens are bound to; a new one per instance by default. Answers are read whole before they
    are returned, so a large download should not go through `stream`.
    """

    requires_response_body = True

    def __init__(
        self,
        issuer: str,
        client_id: str,
        key: ECKey | OKPKey,
        *,
        purpose: str | None = None,
        scope: str | None = None,
        details: list[dict[str, Any]] | None = None,
        proof_key: ECKey | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer, self.client_id, self.key = issuer, client_id, key
        self.scope, self.clock = scope, clock
        self.details = details or ([{"type": "maillon_exchange", "purpose": purpose}] if purpose else None)
        self.proof_key = proof_key or ECKey.generate_key("P-256")
        self.token_endpoint = f"{issuer.rstrip('/')}/oauth/token"
        self._token = ""
        self._until = 0.0
        self._nonce: str | None = None
        self._ahead = 0.0
        """Seconds the gateway's clock is ahead of ours, learnt when an assertion was last refused."""

    # --- what is sent

    def assertion(self) -> str:
        """The signed statement that authenticates this client: for the issuer, for one minute, for one use."""
        now = int(self.clock() + self._ahead)
        header = {"alg": _alg(self.key), "typ": "JWT"} | ({"kid": self.key.kid} if self.key.kid else {})
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.issuer,
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_urlsafe(24),
        }
        return jwt.encode(header, claims, self.key, algorithms=[header["alg"]])

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        """A DPoP proof for one request: method, URL without query, time, one use, and the token it goes with."""
        claims: dict[str, Any] = {
            "htm": method,
            "htu": url.partition("?")[0].partition("#")[0],
            "iat": int(self.clock() + self._ahead),
            "jti": secrets.token_urlsafe(16),
        }
        if token is not None:
            claims["ath"] = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode()
        if self._nonce is not None:
            claims["nonce"] = self._nonce
        public = self.proof_key.as_dict(private=False)
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": {name: public[name] for name in ("kty", "crv", "x", "y")}}
        return jwt.encode(header, claims, self.proof_key, algorithms=["ES256"])

    def token_form(self) -> dict[str, str]:
        """The form of the token request."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion(),
            "resource": self.issuer,
        }
        if self.scope is not None:
            form["scope"] = self.scope
        if self.details is not None:
            form["authorization_details"] = json.dumps(self.details)
        return form

    # --- when it is sent

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.clock() > self._until:
            yield from self._fetch()
        response = yield self._signed(request)
        if response.status_code == 401 and self._again(response):
            if self.clock() > self._until:
                yield from self._fetch()
            yield self._signed(request)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"DPoP {self._token}"
        request.headers["DPoP"] = self.proof(request.method, str(request.url), self._token)
        return request

    def _again(self, response: httpx.Response) -> bool:
        """Whether a refused call deserves a second try: a new nonce was given, the token no longer counts, or the proof
        was not believed, as when a clock was set right meanwhile: the token endpoint tells the time."""
        challenge = response.headers.get("WWW-Authenticate", "")
        if 'error="use_dpop_nonce"' in challenge:
            return self._keep_nonce(response)
        if 'error="invalid_token"' in challenge or 'error="invalid_dpop_proof"' in challenge:
            self._until = 0.0
            return True
        return False

    def _keep_nonce(self, response: httpx.Response) -> bool:
        nonce = response.headers.get("DPoP-Nonce")
        changed = nonce is not None and nonce != self._nonce
        self._nonce = nonce or self._nonce
        return changed

    def _fetch(self) -> Generator[httpx.Request, httpx.Response, None]:
        for attempt in range(3):
            headers = {"DPoP": self.proof("POST", self.token_endpoint)}
            response = yield httpx.Request("POST", self.token_endpoint, headers=headers, data=self.token_form())
            answer = _json(response)
            changed = self._keep_nonce(response)
            if response.status_code == 200:
                self._token, self._until = answer["access_token"], self.clock() + answer["expires_in"] - 10
                return
            error = answer.get("error", "unknown")
            retry = (error == "use_dpop_nonce" and changed) or (error == "invalid_client" and self._set_clock(answer))
            if not retry or attempt == 2:
                raise TokenRefused(response.status_code, error, answer.get("error_description", ""))

    def _set_clock(self, answer: dict[str, Any]) -> bool:
        """Follow the gateway's clock when it is not where we believe it; where it is, something else is wrong."""
        server_time = answer.get("server_time")
        if not isinstance(server_time, int) or abs(server_time - self.clock() - self._ahead) < 5:
            return False
        self._ahead = server_time - self.clock()
        return True


def _alg(key: ECKey | OKPKey) -> str:
    return "ES256" if isinstance(key, ECKey) else "Ed25519"


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
