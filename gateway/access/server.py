"""The authorization server: authlib's core with the client authentication, grant and answers of this profile.

authlib is synchronous and so is this module: `endpoints.py` calls it in a thread. One error table gives each code its
status and its one sentence, so that nothing of a request is ever echoed and two causes of one code look alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientCredentialsGrant, OAuth2Request
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from cryptography import x509
from sqlalchemy import Engine, delete, select

from gateway.access import assertion, details, dpop, mtls, tokens
from gateway.access.jose import PROOF_ALGORITHMS, Refused
from gateway.access.partners import Client, load, note_end
from gateway.access.replay import ReplayMemory
from gateway.storage import upsert
from gateway.storage.tables.access import revoked_token

AUTH_METHODS = ["private_key_jwt", "tls_client_auth"]

SCOPES = ("exchange", "journal", "audit")
"""`exchange`: the data endpoints. `journal`: checkpoints and tiles. `audit`: the DPO's endpoints."""


def scopes_of(role: str) -> tuple[str, ...]:
    """What a role may ask for: a DPO audits and never reads the data, a partner the reverse."""
    return ("journal", "audit") if role == "dpo" else ("exchange", "journal")


ERRORS: dict[str, tuple[int, str]] = {
    "invalid_client": (
        401,
        "The client is not authenticated. Check kid and signature, iss and sub (the client id), aud (the issuer, one "
        "string), exp (at most 60 s ahead) and iat against server_time, and send each jti once.",
    ),
    "invalid_request": (400, "A parameter is missing, repeated or malformed; send an url-encoded form."),
    "invalid_scope": (400, "A scope is unknown or not open to this client."),
    "invalid_target": (400, "Send resource once, equal to the issuer (RFC 8707)."),
    "invalid_authorization_details": (
        400,
        "authorization_details is malformed, or asks for what no convention in force allows this client.",
    ),
    "invalid_dpop_proof": (400, "Send one DPoP proof (RFC 9449) for this request, or connect with a certificate."),
    "use_dpop_nonce": (400, "Send the proof again with the nonce of the DPoP-Nonce header."),
    "unsupported_grant_type": (400, "The grant type is client_credentials."),
    "unauthorized_client": (400, "This client may not use this grant."),
    "unsupported_token_type": (400, "Only access tokens exist here."),
    "temporarily_unavailable": (429, "Too many requests; try again after the delay of Retry-After."),
}


class Denied(OAuth2Error):
    """An OAuth error of the table above, with the reason that only the journal sees, and what to add to the answer."""

    def __init__(self, error: str, reason: str, retry_after: int | None = None) -> None:
        super().__init__(error=error)  # type: ignore[no-untyped-call]
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answers; `refusal` is set when it refused."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    client_id: str | None = None


class FormRequest(OAuth2Request):
    """One POST to an OAuth endpoint, its form already read and found without repeated parameters."""

    payload: Any
    client: Any

    def __init__(
        self,
        url: str,
        form: dict[str, str],
        headers: dict[str, str],
        proofs: list[bytes],
        found: x509.Certificate | None,
    ) -> None:
        super().__init__("POST", url, headers=headers)
        self.payload = BasicOAuth2Payload(form)  # type: ignore[no-untyped-call]
        self.fields = form
        self.proofs = proofs
        self.certificate = found
        self.credential_ends: int | None = None
        self.granted_scopes: list[str] = []
        self.granted_details: list[dict[str, Any]] = []
        self.cnf: dict[str, str] = {}

    @property
    def form(self) -> dict[str, str]:
        return self.fields


class Server(AuthorizationServer):
    """Answers the token, introspection and revocation endpoints."""

    def __init__(
        self,
        engine: Engine,
        issuer: str,
        keys: tokens.TokenKeys,
        replay: ReplayMemory,
        nonces: dpop.Nonces | None,
        allowed_purposes: Callable[[str], details.Allowed],
        admit: Callable[[str], int | None],
    ) -> None:
        super().__init__(scopes_supported=list(SCOPES))  # type: ignore[no-untyped-call]
        self.engine, self.issuer, self.keys, self.replay, self.nonces = engine, issuer, keys, replay, nonces
        self.allowed_purposes = allowed_purposes
        self.admit = admit
        self.register_client_auth_method("private_key_jwt", self._by_assertion)  # type: ignore[no-untyped-call]
        self.register_client_auth_method("tls_client_auth", self._by_certificate)  # type: ignore[no-untyped-call]
        self.register_grant(Grant)  # type: ignore[no-untyped-call]
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)

    def query_client(self, client_id: str) -> Client | None:
        with self.engine.connect().execution_options(read_only=True) as connection:
            return load(connection, client_id)

    def ask(self, endpoint: str, request: FormRequest) -> Answer:
        """Answer one request to `token`, `introspection` or `revocation`."""
        answer: Answer
        if endpoint == "token":
            answer = self.create_token_response(request)  # type: ignore[no-untyped-call]
        else:
            answer = self.create_endpoint_response(endpoint, request)  # type: ignore[no-untyped-call]
        return answer

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Tokens carry their own content; only revocations are kept."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nothing listens: refusals are reported by `endpoints.py`."""

    def create_oauth2_request(self, request: FormRequest) -> FormRequest:
        return request

    def handle_response(self, status: int, body: dict[str, Any], headers: Any) -> Answer:
        return Answer(status, body)

    def handle_error_response(self, request: FormRequest, error: OAuth2Error) -> Answer:
        code = error.error if error.error in ERRORS else "invalid_request"
        status, sentence = ERRORS[code]
        reason = getattr(error, "reason", code.replace("_", "-"))
        if code in ("invalid_dpop_proof", "invalid_request"):
            sentence = (dpop.SENTENCES | mtls.SENTENCES).get(reason, sentence)
        problem = {"type": f"urn:maillon:problem:{code.replace('_', '-')}", "title": "The token request was refused"}
        body: dict[str, Any] = {"error": code, "error_description": sentence, **problem, "status": status}
        headers: dict[str, str] = {}
        if code == "invalid_client":
            body["server_time"] = int(time.time())
            headers["WWW-Authenticate"] = f'DPoP error="invalid_client", algs="{" ".join(PROOF_ALGORITHMS)}"'
        if retry_after := getattr(error, "retry_after", None):
            headers["Retry-After"] = str(retry_after)
        known = request.client.client_id if request.client else None
        return Answer(status, body, headers, reason, known)

    def _by_assertion(self, query_client: Callable[[str], Client | None], request: FormRequest) -> Client | None:
        form = request.form
        if "client_secret" in form or "authorization" in request.headers:
            raise Denied("invalid_client", "client-secret")
        if "client_assertion" not in form and "client_assertion_type" not in form:
            return None
        if form.get("client_assertion_type") != assertion.TYPE:
            raise Denied("invalid_client", "assertion-type")
        try:
            client, key, use = assertion.check(form.get("client_assertion", ""), self.issuer, query_client)
        except Refused as refused:
            request.client = refused.client  # for the journal: nothing is answered to it
            raise Denied("invalid_client", refused.reason) from refused
        if form.get("client_id", client.client_id) != client.client_id:
            raise Denied("invalid_client", "client-id-differs")
        if not client.check_endpoint_auth_method("private_key_jwt", "token"):
            raise Denied("invalid_client", "auth-method")
        # Last: an assertion that failed any check above may still be corrected; from here on it has been used.
        if not self.replay.burn(use):
            request.client = client
            raise Denied("invalid_client", "assertion-replayed")
        request.credential_ends = key.valid_until
        return client

    def _by_certificate(self, query_client: Callable[[str], Client | None], request: FormRequest) -> Client | None:
        client_id = request.form.get("client_id")
        if request.certificate is None or not client_id or "client_assertion" in request.form:
            return None
        client = query_client(client_id)
        if client is None or not client.tls_client_auth or not mtls.names(request.certificate, client.tls_client_auth):
            raise Denied("invalid_client", "certificate-not-registered")
        if not client.active:
            request.client = client
            raise Denied("invalid_client", "client-suspended")
        request.credential_ends = int(request.certificate.not_valid_after_utc.timestamp())
        return client

    def authenticate_client(self, request: FormRequest, methods: list[str], endpoint: str = "token") -> Client:
        client: Client = super().authenticate_client(request, methods, endpoint)  # type: ignore[no-untyped-call]
        request.client = client
        if request.credential_ends != client.credential_ends:
            note_end(self.engine, client.client_id, request.credential_ends)
        if retry_after := self.admit(client.client_id):
            raise Denied("temporarily_unavailable", "client-rate", retry_after)
        return client

    def revoked(self, jti: str) -> bool:
        with self.engine.connect().execution_options(read_only=True) as connection:
            return connection.execute(select(revoked_token.c.jti).where(revoked_token.c.jti == jti)).first() is not None


class Grant(ClientCredentialsGrant):
    """client_credentials, for one known resource, bound to a key, for purposes that a convention allows."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    request: FormRequest
    server: Server

    def validate_token_request(self) -> None:
        super().validate_token_request()  # type: ignore[no-untyped-call]
        request = self.request
        request.granted_scopes = self._scopes(request.client)
        if request.form.get("resource") != self.server.issuer:
            raise Denied("invalid_target", "resource-unknown" if "resource" in request.form else "resource-missing")
        request.cnf = self._binding(request.client)
        request.granted_details = self._details(request.client)

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        # The library's own would write the token to its debug log.
        request, server = self.request, self.server
        token = tokens.issue(
            server.keys, server.issuer, request.client, request.granted_scopes, request.granted_details, request.cnf
        )
        return 200, token, []

    def _scopes(self, client: Client) -> list[str]:
        allowed = scopes_of(client.role)
        asked = self.request.form.get("scope")
        if asked is None:
            return list(allowed)
        wanted = list(dict.fromkeys(asked.split()))
        if not wanted or not set(wanted) <= set(allowed):
            raise Denied("invalid_scope", "scope-not-open")
        return wanted

    def _binding(self, client: Client) -> dict[str, str]:
        request = self.request
        if not request.proofs:
            if request.certificate is None:
                raise Denied("invalid_dpop_proof", "not-bound")
            return {"x5t#S256": mtls.thumbprint(request.certificate)}
        if len(request.proofs) > 1:
            raise Denied("invalid_dpop_proof", "proof-repeated")
        try:
            proof = dpop.check(request.proofs[0], "POST", dpop.normal_url(request.uri), nonces=self.server.nonces)
        except Refused as refused:
            code = "use_dpop_nonce" if refused.reason == "use-dpop-nonce" else "invalid_dpop_proof"
            raise Denied(code, refused.reason) from refused
        if any(wanted not in (None, proof.jkt) for wanted in (request.form.get("dpop_jkt"), client.dpop_jkt)):
            raise Denied("invalid_dpop_proof", "proof-other-key")
        if not self.server.replay.burn(proof.use):
            raise Denied("invalid_dpop_proof", "proof-replayed")
        return {"jkt": proof.jkt}

    def _details(self, client: Client) -> list[dict[str, Any]]:
        text = self.request.form.get("authorization_details")
        if text is None:
            return []
        server = self.server
        try:
            asked = details.requested(text)
            return details.grant(asked, server.allowed_purposes(client.body), client.purposes, server.issuer)
        except Refused as refused:
            raise Denied("invalid_authorization_details", refused.reason) from refused


@dataclass(frozen=True, slots=True)
class _Known:
    """A token shown to the introspection or revocation endpoint, in authlib's words."""

    token: tokens.AccessToken
    server: Server

    def check_client(self, client: Client) -> bool:
        return self.token.client_id == client.client_id

    def is_expired(self) -> bool:
        return self.token.expires_at <= time.time()

    def is_revoked(self) -> bool:
        client = self.server.query_client(self.token.client_id)
        gone = client is None or not client.active or self.token.issued_at < client.tokens_from
        return gone or self.server.revoked(self.token.jti)


class _TokenLookup:
    CLIENT_AUTH_METHODS = AUTH_METHODS
    SUPPORTED_TOKEN_TYPES = ("access_token", "refresh_token")
    server: Server

    def query_token(self, token: str, _hint: str | None) -> _Known | None:
        try:
            return _Known(tokens.read(self.server.keys, self.server.issuer, token), self.server)
        except Refused:
            return None


class Introspection(_TokenLookup, IntrospectionEndpoint):
    """RFC 7662: a client learns of its own tokens only; another's is `active: false`, like no token at all."""

    def check_permission(self, token: _Known, client: Client, request: FormRequest) -> bool:
        return token.check_client(client)

    def introspect_token(self, token: _Known) -> dict[str, Any]:
        return {**token.token.claims, "active": True, "token_type": "DPoP" if token.token.jkt else "Bearer"}


class Revocation(_TokenLookup, RevocationEndpoint):
    """RFC 7009: answers 200 whatever the token; only the client's own is revoked."""

    def authenticate_token(self, request: FormRequest, client: Client) -> _Known | None:
        self.check_params(request, client)  # type: ignore[no-untyped-call]
        found = self.query_token(request.form["token"], None)
        return found if found and found.check_client(client) else None

    def revoke_token(self, token: _Known, request: FormRequest) -> None:
        row = {"jti": token.token.jti, "client_id": token.token.client_id, "revoked_at": int(time.time())}
        row["expires_at"] = int(token.token.expires_at) + 1
        statement = upsert(self.server.engine.dialect.name, revoked_token).values(**row)
        with self.server.engine.begin() as connection:
            connection.execute(delete(revoked_token).where(revoked_token.c.expires_at < row["revoked_at"]))
            connection.execute(statement.on_conflict_do_nothing())
