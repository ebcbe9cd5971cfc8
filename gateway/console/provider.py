"""A small OpenID Connect provider for development and demonstration: four accounts, no password, no network.

It speaks authorization code with PKCE (RFC 7636, S256 only) and signs its ID tokens (ES256), so that the console signs
in through the very code it uses with a real provider. It refuses to exist in the production profile, and under any
address but loopback: nothing there asks for a password.
"""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, Router

from gateway.keys import Keyring
from gateway.problems import Misconfigured

CLIENT = "maillon-console"
PATH = "/console/provider"
ACCOUNTS = {"dpo": ["dpo"], "dpo_adjoint": ["dpo"], "integration": ["integration"], "operateur": ["operateur"]}
"""Account → roles it claims."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CODE_LASTS, _TOKEN_LASTS = 60, 300
_MAX_FORM = 16_384


def provider(keys: Keyring, issuer: str, profile: str, render: Any) -> Router:
    """The provider, mounted in the gateway's application, which answers its refusals as all others; `render(asked,
    account)` draws its page. Raises `Misconfigured` in production or off loopback."""
    if profile == "production" or not on_loopback(issuer):
        raise Misconfigured("local-provider", "The local provider is for development; configure an OpenID provider.")
    own = _Provider(keys, issuer, render)
    return Router(
        [
            Route("/.well-known/openid-configuration", own.metadata, methods=["GET"]),
            Route("/jwks", own.jwks, methods=["GET"]),
            Route("/authorize", own.authorize, methods=["GET"]),
            Route("/authorize", own.confirm, methods=["POST"]),
            Route("/token", own.token, methods=["POST"]),
        ],
        redirect_slashes=False,
    )


def on_loopback(issuer: str) -> bool:
    """Whether an address is this machine's own, which nobody else can call."""
    return (urlsplit(issuer).hostname or "") in LOOPBACK


class _Provider:
    def __init__(self, keys: Keyring, issuer: str, render: Any) -> None:
        self._issuer, self._render = issuer, render
        private = keys.es256("provider")
        self._key = ECKey.import_key(private)
        self._key.ensure_kid()
        self._spent: dict[str, float] = {}

    async def metadata(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self._issuer}/authorize",
                "token_endpoint": f"{self._issuer}/token",
                "jwks_uri": f"{self._issuer}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
            }
        )

    async def jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        """An account named by `login_hint` enters at once; with `prompt=login`, or none named, it is asked."""
        asked = dict(request.query_params)
        if wrong := _wrong(asked):
            return JSONResponse({"error": "invalid_request", "error_description": wrong}, 400)
        account = asked.get("login_hint", "")
        if account in ACCOUNTS and asked.get("prompt") != "login":
            return self._grant(asked, account)
        page: Response = self._render(asked, account if account in ACCOUNTS else "")
        return page

    async def confirm(self, request: Request) -> Response:
        form = await _form(request)
        asked = {name: str(value) for name, value in form.items()}
        if (wrong := _wrong(asked)) or asked.get("account") not in ACCOUNTS:
            return JSONResponse({"error": "invalid_request", "error_description": wrong or "account"}, 400)
        return self._grant(asked, asked["account"])

    def _grant(self, asked: dict[str, str], account: str) -> Response:
        now = int(time.time())
        code = jwt.encode(
            {"alg": "ES256", "typ": "code"},
            {
                "sub": account,
                "nonce": asked["nonce"],
                "challenge": asked["code_challenge"],
                "iat": now,
                "exp": now + _CODE_LASTS,
                "jti": secrets.token_urlsafe(12),
            },
            self._key,
        )
        query = urlencode({"code": code, "state": asked["state"], "iss": self._issuer})
        return RedirectResponse(f"{asked['redirect_uri']}?{query}", 303)

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        now = int(time.time())
        try:
            read = jwt.decode(str(form.get("code", "")), self._key, algorithms=["ES256"])
        except (JoseError, ValueError):
            return JSONResponse({"error": "invalid_grant"}, 400)
        said = read.claims
        challenge = (
            urlsafe_b64encode(sha256(str(form.get("code_verifier", "")).encode()).digest()).rstrip(b"=").decode()
        )
        self._spent = {jti: until for jti, until in self._spent.items() if until > now}
        if (
            read.header.get("typ") != "code"
            or said["exp"] < now
            or said["challenge"] != challenge
            or said["jti"] in self._spent
            or form.get("grant_type") != "authorization_code"
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        self._spent[said["jti"]] = said["exp"]
        identity = jwt.encode(
            {"alg": "ES256", "kid": self._key.kid},
            {
                "iss": self._issuer,
                "sub": said["sub"],
                "aud": CLIENT,
                "iat": now,
                "exp": now + _TOKEN_LASTS,
                "auth_time": said["iat"],
                "nonce": said["nonce"],
                "roles": ACCOUNTS[said["sub"]],
            },
            self._key,
        )
        return JSONResponse(
            {
                "access_token": secrets.token_urlsafe(24),
                "token_type": "Bearer",
                "expires_in": _TOKEN_LASTS,
                "id_token": identity,
            }
        )


async def _form(request: Request) -> FormData:
    """Raises `HTTPException` (413): longer than any form of ours, or without its length."""
    announced = request.headers.get("content-length", "")
    if not announced.isdigit() or int(announced) > _MAX_FORM:
        raise HTTPException(413)
    return await request.form()


def _wrong(asked: dict[str, str]) -> str:
    if asked.get("client_id") != CLIENT or asked.get("response_type") != "code":
        return "client_id"
    if asked.get("redirect_uri") != "/console/retour":
        return "redirect_uri"
    if asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge"):
        return "code_challenge"
    return "" if asked.get("state") and asked.get("nonce") else "state"
