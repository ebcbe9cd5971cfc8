"""The OAuth endpoints over HTTP: forms read strictly, answers never stored, every refusal reported.

| path | text |
|---|---|
| `/.well-known/oauth-authorization-server` | RFC 8414 |
| `/.well-known/oauth-protected-resource` | RFC 9728 |
| `/oauth/jwks.json` | RFC 7517 |
| `/oauth/token` | RFC 6749 §4.4, 7523, 8705, 8707, 9068, 9396, 9449 |
| `/oauth/introspect`, `/oauth/revoke` | RFC 7662, RFC 7009 |
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.access import mtls
from gateway.access.details import TYPE
from gateway.access.jose import ASSERTION_ALGORITHMS, PROOF_ALGORITHMS, Refused
from gateway.access.server import AUTH_METHODS, SCOPES, Answer, Denied, FormRequest
from gateway.problems import Unavailable

if TYPE_CHECKING:
    from gateway.access import Access

MAX_FORM = 65_536
MAX_FIELDS = 40
FORM = "application/x-www-form-urlencoded"


class _BadForm(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def routes(access: Access) -> list[Route]:
    doors = _Doors(access)
    return [
        Route("/.well-known/oauth-authorization-server", doors.server_metadata, methods=["GET"]),
        Route("/.well-known/oauth-protected-resource", doors.resource_metadata, methods=["GET"]),
        Route("/oauth/jwks.json", doors.jwks, methods=["GET"]),
        Route("/oauth/token", doors.token, methods=["POST"]),
        Route("/oauth/introspect", doors.introspect, methods=["POST"]),
        Route("/oauth/revoke", doors.revoke, methods=["POST"]),
    ]


class _Doors:
    def __init__(self, access: Access) -> None:
        self.access = access

    # --- documents

    async def server_metadata(self, _request: Request) -> Response:
        return self._document(server_metadata(self.access.issuer))

    async def resource_metadata(self, _request: Request) -> Response:
        return self._document(resource_metadata(self.access.issuer))

    async def jwks(self, _request: Request) -> Response:
        return self._document(self.access.keys.jwks())

    def _document(self, content: dict[str, Any]) -> Response:
        headers = self._headers() | {"Cache-Control": "public, max-age=300"}
        del headers["Pragma"]  # an older cache would believe it
        return JSONResponse(content, headers=headers)

    # --- endpoints

    async def token(self, request: Request) -> Response:
        return await self._answer(request, "/oauth/token", "token")

    async def introspect(self, request: Request) -> Response:
        return await self._answer(request, "/oauth/introspect", "introspection")

    async def revoke(self, request: Request) -> Response:
        response = await self._answer(request, "/oauth/revoke", "revocation")
        if response.status_code == 200:
            self.access.live.forget()
        return response

    async def _answer(self, request: Request, path: str, endpoint: str) -> Response:
        access, peer = self.access, self.access.trust.peer(request.scope)
        journaled = True
        if wait := access.rates.exceeded("token-address", peer):
            answer = self._denied("temporarily_unavailable", "address-rate", 429)
            answer.headers["Retry-After"] = str(wait)
            journaled = access.rates.first_excess("token-address", peer)
        else:
            answer = await self._ask(request, path, endpoint)
        if answer.refusal is not None and journaled:
            await asyncio.to_thread(
                access.on_refusal,
                "token.refused",
                reason=answer.refusal,
                client_id=answer.client_id,
                instance=request.state.instance,
            )
        refused_client = answer.client_id if answer.refusal == "client-rate" else None
        counted = ("token-client", refused_client) if refused_client else ("token-address", peer)
        headers = access.rates.headers(*counted)
        if access.nonces is not None:
            headers["DPoP-Nonce"] = access.nonces.give()
        told = {} if answer.refusal is None else {"instance": request.state.instance}
        return JSONResponse(answer.body | told, answer.status, self._headers() | headers | answer.headers)

    async def _ask(self, request: Request, path: str, endpoint: str) -> Answer:
        access = self.access
        try:
            access.require_tls(request.scope)
            form = await _read_form(request)
            found = mtls.certificate(request.scope, access.trust)
        except _BadForm as bad:
            return self._denied("invalid_request", bad.reason, bad.status)
        except Refused as refused:
            return self._denied("invalid_request", refused.reason, 400)
        proofs = [value for name, value in request.scope["headers"] if name == b"dpop"]
        oauth = FormRequest(access.endpoint(path), form, dict(request.headers), proofs, found)
        try:
            return await asyncio.to_thread(access.server.ask, endpoint, oauth)
        except SQLAlchemyError as error:
            raise Unavailable("registry-unavailable", "The registry of partners cannot be read or written.") from error

    def _denied(self, error: str, reason: str, status: int) -> Answer:
        request = FormRequest(self.access.endpoint("/oauth/token"), {}, {}, [], None)
        answer = self.access.server.handle_error_response(request, Denied(error, reason))
        return Answer(status, answer.body | {"status": status}, answer.headers, reason)

    def _headers(self) -> dict[str, str]:
        headers = {"Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff"}
        if self.access.https:
            headers["Strict-Transport-Security"] = "max-age=63072000"
        return headers


async def _read_form(request: Request) -> dict[str, str]:
    """The form, each parameter once, nothing in the URL. Raises `_BadForm`."""
    if request.scope.get("query_string"):
        raise _BadForm(400, "query-parameters")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise _BadForm(415, "not-a-form")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _BadForm(415, "encoded-body")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_FORM:
        raise _BadForm(413, "too-large")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM:
                raise _BadForm(413, "too-large")
    except ClientDisconnect as gone:
        raise _BadForm(400, "disconnected") from gone
    try:
        pairs = parse_qsl(body.decode("ascii"), True, True, errors="strict", max_num_fields=MAX_FIELDS) if body else []
    except ValueError as error:
        raise _BadForm(400, "form-malformed") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _BadForm(400, "parameter-repeated")
    return form


def server_metadata(issuer: str) -> dict[str, Any]:
    """RFC 8414 §2, with the members of RFC 8705, 9396, 9449."""
    base = issuer.rstrip("/")
    authentication = {
        f"{name}_endpoint{suffix}": value
        for name in ("token", "introspection", "revocation")
        for suffix, value in (
            ("_auth_methods_supported", AUTH_METHODS),
            ("_auth_signing_alg_values_supported", list(ASSERTION_ALGORITHMS)),
        )
    }
    return {
        "issuer": issuer,
        "token_endpoint": f"{base}/oauth/token",
        "introspection_endpoint": f"{base}/oauth/introspect",
        "revocation_endpoint": f"{base}/oauth/revoke",
        "jwks_uri": f"{base}/oauth/jwks.json",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": list(SCOPES),
        **authentication,
        "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
        "tls_client_certificate_bound_access_tokens": True,
        "authorization_details_types_supported": [TYPE],
        "protected_resources": [issuer],
        "service_documentation": f"{base}/docs",
    }


def resource_metadata(issuer: str) -> dict[str, Any]:
    """RFC 9728 §2: this gateway is the one resource of its own authorization server."""
    base = issuer.rstrip("/")
    return {
        "resource": issuer,
        "authorization_servers": [issuer],
        "jwks_uri": f"{base}/oauth/jwks.json",
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
        "dpop_bound_access_tokens_required": False,
        "tls_client_certificate_bound_access_tokens": True,
        "authorization_details_types_supported": [TYPE],
        "resource_documentation": f"{base}/docs",
    }
