"""A gateway in one process over real SQLite, its partners, and callers who may be told to do one thing wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway import access, clock
from gateway.access import partners
from gateway.keys import Keyring
from gateway.problems import Invalid, Problem, Unknown
from gateway.settings import Settings
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.unit_of_work import UnitOfWork

ISSUER = "https://maillon.example"
URL = f"{ISSUER}/v1/exchanges"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ABSENT: Any = object()


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def public(key: Any, **members: Any) -> dict[str, Any]:
    return dict(key.as_dict(private=False)) | members


def compact(header: dict[str, Any], payload: bytes | dict[str, Any], sign: Any) -> str:
    """Any JWT at all: `sign` is a key, or a function of the signing input."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{b64(json.dumps(header).encode())}.{b64(content)}"
    signature = sign(signed.encode()) if callable(sign) else ecdsa(sign, signed.encode())
    return f"{signed}.{b64(signature)}"


def ecdsa(key: ECKey, message: bytes) -> bytes:
    private = key.private_key
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def edited(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The members of `base`, changed; those set to ABSENT are left out."""
    return {name: value for name, value in (base | changes).items() if value is not ABSENT}


@dataclass
class Gateway:
    """What access needs of a gateway, and what its hooks were told."""

    settings: Settings
    engine: Any
    keys: Keyring
    conventions: dict[str, Any]
    refusals: list[dict[str, Any]] = field(default_factory=list)
    access: access.Access = field(init=False)
    dossiers: dict[tuple[str, str], Any] = field(default_factory=dict)
    written: dict[tuple[str, str], Any] = field(default_factory=dict)

    def allowed_purposes(self, body: str) -> Any:
        return self.conventions.get(body, frozenset())

    def on_refusal(self, event: str, **fields: Any) -> None:
        self.refusals.append({"event": event} | fields)


@dataclass
class Partner:
    """One registered partner: its key, and what it sends when nothing is wrong."""

    client_id: str
    key: Any
    proof_key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    issuer: str = ISSUER

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        base = {"iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "iat": now, "exp": now + 60}
        return edited(base | {"jti": secrets.token_urlsafe(16)}, **changes)

    def assertion(self, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        head = edited({"alg": "ES256", "typ": "JWT", "kid": self.key.kid}, **(header or {}))
        return compact(head, self.claims(**claims), key or self.key)

    def form(self, assertion: str | None = None, **changes: Any) -> dict[str, Any]:
        base = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": assertion or self.assertion(),
            "resource": self.issuer,
            "authorization_details": '[{"type":"maillon_exchange","purpose":"orientation"}]',
        }
        return edited(base, **changes)

    def proof(
        self,
        method: str = "POST",
        url: str | None = None,
        token: str | None = None,
        *,
        header: dict[str, Any] | None = None,
        key: Any = None,
        **claims: Any,
    ) -> str:
        url = url or f"{self.issuer}/oauth/token"
        base: dict[str, Any] = {"htm": method, "htu": url, "iat": int(time.time()), "jti": secrets.token_urlsafe(16)}
        if token is not None:
            base["ath"] = b64(hashlib.sha256(token.encode()).digest())
        head = edited({"alg": "ES256", "typ": "dpop+jwt", "jwk": public(self.proof_key)}, **(header or {}))
        return compact(head, edited(base, **claims), key or self.proof_key)


async def _exchanges(request: Request) -> JSONResponse:
    caller = await access.authenticate(request)
    content = {"body": caller.body, "client_id": caller.client_id, "purposes": sorted(caller.purposes)}
    return JSONResponse(content, headers=request.app.state.gateway.access.rate_headers(caller))


async def _audit(request: Request) -> JSONResponse:
    caller = await access.authenticate(request, scope="audit", purpose=False)
    return JSONResponse({"role": caller.role})


async def _dossier(request: Request) -> JSONResponse:
    caller = await access.authenticate(request)
    held = request.app.state.gateway.dossiers.get((caller.body, request.path_params["ref"]))
    if held is None:
        raise Unknown("person-unknown", "No person has this reference.")
    return JSONResponse(held)


async def _write_once(request: Request) -> JSONResponse:
    caller = await access.authenticate(request)
    key, body = (caller.client_id, request.headers["idempotency-key"]), await request.body()
    kept = request.app.state.gateway.written.setdefault(key, (body, clock.new_id()))
    if kept[0] != body:
        raise Invalid("idempotency-key-reused", "This key was used for another content.")
    return JSONResponse({"id": kept[1]}, 202)


async def _problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return JSONResponse(problem.body(), problem.status, problem.headers, media_type="application/problem+json")


class _Framed:
    """What the gateway's own frame gives each request, and all that access asks of it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["instance"] = f"urn:uuid:{uuid.uuid4()}"
        await self.app(scope, receive, send)


RESOURCES = [
    Route("/v1/exchanges", _exchanges, methods=["GET", "POST"]),
    Route("/v1/audit/search", _audit, methods=["GET"]),
    Route("/v1/persons/{ref}/dossier", _dossier, methods=["GET"]),
    Route("/v1/once", _write_once, methods=["POST"]),
]


@dataclass
class Office:
    """One gateway with its partners, called through its real ASGI application."""

    gateway: Gateway
    app: Starlette
    ccas: Partner
    departement: Partner
    dpo: Partner

    @property
    def issuer(self) -> str:
        return self.gateway.settings.issuer

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=self.issuer, **options)

    async def post(self, form: Any, *proofs: str, path: str = "/oauth/token", **options: Any) -> httpx.Response:
        headers = [*options.pop("headers", []), *(("DPoP", proof) for proof in proofs)]
        async with self.client() as client:
            return await client.post(path, data=form, headers=headers, **options)

    async def ask(self, partner: Partner, assertion: str | None = None, **changes: Any) -> httpx.Response:
        """A token request of `partner`, everything right but the changes."""
        return await self.post(partner.form(assertion, **changes), partner.proof())

    async def token(self, partner: Partner, **changes: Any) -> str:
        answer = await self.ask(partner, **changes)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    async def call(
        self,
        token: str | None,
        *proofs: str,
        scheme: str = "DPoP",
        url: str = URL,
        method: str = "GET",
        headers: list[tuple[str, str]] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        sent = [("Authorization", f"{scheme} {token}")] if token is not None else []
        sent += [("DPoP", proof) for proof in proofs] + (headers or [])
        async with self.client() as client:
            return await client.request(method, url, headers=sent, content=content)

    async def good_call(self, partner: Partner, token: str, **options: Any) -> httpx.Response:
        url = options.get("url", URL)
        return await self.call(token, partner.proof(options.get("method", "GET"), url, token), **options)

    def work(self) -> UnitOfWork:
        return UnitOfWork(self.gateway.engine)

    def restarted(self) -> Office:
        """The same database and keys in a new process's memory."""
        gateway = Gateway(
            self.gateway.settings, self.gateway.engine, Keyring(self.gateway.keys.folder), self.gateway.conventions
        )
        return Office(gateway, application(gateway), self.ccas, self.departement, self.dpo)

    def last_refusal(self) -> dict[str, Any]:
        return self.gateway.refusals[-1]


def certificate_of(key: Any, *names: x509.GeneralName, common_name: str = "partner", days: int = 2) -> x509.Certificate:
    """A self-signed certificate; `days` below zero makes it expired."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = datetime.now(UTC) - timedelta(days=10)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


@contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """The application behind a real uvicorn, on a port of its own; gives its base URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{'https' if options.get('ssl_certfile') else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def application(gateway: Gateway, **options: Any) -> Starlette:
    routes = access.routes(gateway, **options)
    app = Starlette(routes=[*routes, *RESOURCES], exception_handlers={Problem: _problem})
    app.state.gateway = gateway
    app.add_middleware(_Framed)
    return app


def open_gateway(folder: Path, **settings: Any) -> Gateway:
    values = {"profile": "test", "home": folder, "issuer": ISSUER} | settings
    given = Settings(**values)
    engine = open_engine(given.database)
    metadata.create_all(engine)
    purposes = {"orientation", "accompagnement", "diagnostic_global"}
    return Gateway(given, engine, Keyring(folder / "keys"), {"ccas": purposes, "departement": purposes})


def open_office(folder: Path, app: dict[str, Any] | None = None, **settings: Any) -> Office:
    gateway = open_gateway(folder, **settings)
    registered = []
    with UnitOfWork(gateway.engine) as work:
        for name in ("ccas", "departement", "dpo"):
            key = ECKey.generate_key("P-256", parameters={"kid": f"{name}-1"})
            jwks = {"keys": [public(key)]}
            told = access.register_partner(work, name, name, jwks, issuer=gateway.settings.issuer)
            registered.append(Partner(told["client_id"], key, issuer=gateway.settings.issuer))
    return Office(gateway, application(gateway, **(app or {})), *registered)


def refused(office: Office, answer: httpx.Response, status: int, error: str, reason: str) -> None:
    """Refused by an OAuth endpoint: no token in the answer, nothing to store, and the journal was told why."""
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == error
    assert "access_token" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    told = {"event": "token.refused", "reason": reason, "instance": answer.json()["instance"]}
    assert office.last_refusal() | told == office.last_refusal()


def unauthenticated(office: Office, answer: httpx.Response, reason: str) -> None:
    refused(office, answer, 401, "invalid_client", reason)


def credential_ends(office: Office, client: str) -> float | None:
    """What is exported of a client: when what it last asked a token with stops counting; None: it does not."""
    with office.gateway.engine.connect() as connection:
        partners.show(connection)
    return REGISTRY.get_sample_value("maillon_partner_credential_ends_timestamp_seconds", {"client": client})


def denied(office: Office, answer: httpx.Response, reason: str, status: int = 401) -> None:
    """Refused by a resource: a problem, a challenge, no data, and the journal was told why."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "body" not in answer.json()
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("DPoP ")
        assert 'algs="ES256' in answer.headers["www-authenticate"]
        assert (
            f'resource_metadata="{ISSUER}/.well-known/oauth-protected-resource"' in answer.headers["www-authenticate"]
        )
    assert office.last_refusal() | {"event": "resource.refused", "reason": reason} == office.last_refusal()
