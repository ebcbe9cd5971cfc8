"""An OpenID provider as a public administration's is: another process's address, RS256, a client secret, user
information signed apart, levels of assurance, a session of its own that is left by an address. It can be told to lie.
"""

from __future__ import annotations

import secrets
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.api.house import running

CLIENT, SECRET = "console-maillon", "un-secret-d-essai-de-la-console"
Bend = Callable[[dict[str, Any]], dict[str, Any]]


class AccountProvider:
    """`bent` holds what to change before it is answered: `metadata`, `id_token`, `userinfo`, `callback`."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = RSAKey.generate_key(2048, auto_kid=True)
        self.signing = self.key
        self.header: dict[str, Any] = {"alg": "RS256", "kid": self.key.kid}
        self.account: dict[str, Any] = {"sub": "agent-1", "roles": ["dpo"]}
        self.signed_in_at = time.time()
        """When the account last typed its password here."""
        self.level = "un-facteur"
        self.bent: dict[str, Bend] = {}
        self.asked: list[dict[str, str]] = []
        self.left: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, dict[str, Any]] = {}
        self.app = Starlette(routes=[
            Route("/.well-known/openid-configuration", self.metadata), Route("/jwks", self.jwks),
            Route("/authorize", self.authorize), Route("/token", self.token, methods=["POST"]),
            Route("/userinfo", self.userinfo), Route("/session/end", self.end),
        ])  # fmt: skip

    def _told(self, what: str, content: dict[str, Any]) -> dict[str, Any]:
        return self.bent[what](content) if what in self.bent else content

    async def metadata(self, _: Request) -> Response:
        at = self.issuer
        return JSONResponse(self._told("metadata", {
            "issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/jwks", "userinfo_endpoint": f"{at}/userinfo",
            "end_session_endpoint": f"{at}/session/end", "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "authorization_response_iss_parameter_supported": True,
        }))  # fmt: skip

    async def jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        """The account is known already and enters at once; with `prompt=login` it types its password again."""
        asked = dict(request.query_params)
        self.asked.append(asked)
        if "login" in asked.get("prompt", ""):
            self.signed_in_at = time.time()
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        answer = self._told("callback", {"code": code, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return JSONResponse({"error": "invalid_grant"}, 400)
        challenge = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if asked["code_challenge"] != challenge or asked["redirect_uri"] != form.get("redirect_uri"):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": self.account["sub"], "aud": CLIENT, "iat": now, "exp": now + 60,
            "nonce": asked["nonce"], "auth_time": int(self.signed_in_at), "acr": self.level,
        }  # fmt: skip
        access = secrets.token_urlsafe(16)
        self._tokens[access] = self.account
        signed = jwt.encode(self.header, self._told("id_token", claims), self.signing, algorithms=[self.header["alg"]])
        return JSONResponse({"access_token": access, "token_type": "Bearer", "expires_in": 60, "id_token": signed})

    async def userinfo(self, request: Request) -> Response:
        account = self._tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if account is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        claims = self._told("userinfo", account | {"iss": self.issuer, "aud": CLIENT})
        return Response(
            jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key), media_type="application/jwt"
        )

    async def end(self, request: Request) -> Response:
        self.left.append(dict(request.query_params))
        return RedirectResponse(request.query_params["post_logout_redirect_uri"], 303)


@contextmanager
def served() -> Iterator[AccountProvider]:
    """The provider on a loopback port."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    provider = AccountProvider(f"http://127.0.0.1:{listening.getsockname()[1]}")
    with running(uvicorn.Config(provider.app, log_level="error", access_log=False, lifespan="off"), listening):
        yield provider
