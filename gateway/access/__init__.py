"""Who may call, and for what: the gateway's OAuth authorization server and the check at each resource.

Modelled on FAPI 2.0 Security Profile for machines: client credentials with a signed assertion or a certificate, tokens
bound to a key (DPoP) or a certificate, a purpose in each token, five minutes of life.

    app.router.routes.extend(access.routes(gateway))
    caller = await access.authenticate(request)
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Engine
from starlette.requests import HTTPConnection
from starlette.routing import Route

from gateway.access import endpoints
from gateway.access.details import PURPOSES, Action, Allowed, Perimeter
from gateway.access.dpop import Nonces
from gateway.access.live import Live
from gateway.access.mtls import ProxyTrust
from gateway.access.partners import Client, list_partners, pin, register_partner, resume, rotate, suspend
from gateway.access.rates import Quota, Rates
from gateway.access.replay import ReplayMemory
from gateway.access.resource import Caller, Resource, burn, foresee
from gateway.access.server import SCOPES, Server
from gateway.access.tokens import TokenKeys, rotate_signing_key
from gateway.keys import Keyring
from gateway.problems import Misconfigured
from gateway.settings import Settings

__all__ = [
    "PURPOSES",
    "SCOPES",
    "Access",
    "Allowed",
    "Caller",
    "Client",
    "Perimeter",
    "ProxyTrust",
    "QueryFreeLog",
    "Quota",
    "Rates",
    "authenticate",
    "burn",
    "foresee",
    "list_partners",
    "pin",
    "register_partner",
    "resume",
    "rotate",
    "rotate_signing_key",
    "routes",
    "suspend",
]

log = structlog.get_logger(__name__)


class GatewayLike(Protocol):
    """What access needs of a gateway."""

    @property
    def engine(self) -> Engine: ...
    @property
    def keys(self) -> Keyring: ...
    @property
    def settings(self) -> Settings: ...

    def allowed_purposes(self, body: str) -> Allowed:
        """The purposes that the conventions in force allow a body, as names or each with its `Perimeter`; asked at each
        token without any memory, and every five seconds for the tokens alive. In threads."""
        ...

    def on_refusal(self, event: str, *, reason: str, client_id: str | None, instance: str) -> None:
        """Told of every refused attempt, in a thread, under the `instance` of its answer; `client_id` is None unless it
        is a registered client's, and nothing else of the request is passed."""
        ...


class Access:
    """The authorization server and the resource check of one process.

    Raises `Misconfigured` for an issuer that is not https, except on loopback in the demo and test profiles, and for
    proxies that are not addresses.
    """

    def __init__(self, gateway: GatewayLike, *, trust: ProxyTrust | None = None, rates: Rates | None = None) -> None:
        self.issuer = checked_issuer(gateway.settings.issuer, gateway.settings.profile)
        self.https = self.issuer.startswith("https:")
        self.trust = trust or ProxyTrust.of(gateway.settings.proxies, gateway.settings.proxy_certificate)
        self.rates = rates or Rates()
        self.keys = TokenKeys(gateway.keys)
        self.nonces = Nonces(gateway.keys.secret("dpop-nonce")) if gateway.settings.dpop_nonce else None
        self.replay = ReplayMemory(gateway.engine)
        self.live = Live(gateway.engine, gateway.allowed_purposes)
        self._journal = gateway.on_refusal
        self.server = Server(
            gateway.engine,
            self.issuer,
            self.keys,
            self.replay,
            self.nonces,
            gateway.allowed_purposes,
            lambda client_id: self.rates.exceeded("token-client", client_id),
        )
        self.resource = Resource(
            self.issuer, self.keys, self.replay, self.live, self.nonces, self.trust, self.rates, self.on_refusal
        )

    def require_tls(self, scope: Mapping[str, Any]) -> None:
        """Raises `Refused` unless the call came over TLS, where the issuer is https."""
        if self.https:
            self.trust.require_tls(scope)

    def endpoint(self, path: str) -> str:
        return self.issuer.rstrip("/") + path

    def on_refusal(self, event: str, *, reason: str, client_id: str | None, instance: str) -> None:
        """Report a refused attempt. It stays refused even when it cannot be journaled; that is an operator's alarm."""
        if reason == "proxy-silent":
            log.error("access.proxy_silent", add="X-Forwarded-Proto", see="deploy/nginx.conf")
        try:
            self._journal(event, reason=reason, client_id=client_id, instance=instance)
        except Exception as error:
            log.error("access.refusal_not_journaled", kind=type(error).__name__, refused=event, reason=reason)

    def routes(self) -> list[Route]:
        return endpoints.routes(self)

    async def authenticate(
        self,
        request: HTTPConnection,
        *,
        scope: str = "exchange",
        purpose: bool = True,
        later: bool = False,
        action: Action = "read",
    ) -> Caller:
        """The caller of this request, every proof checked.

        `purpose` demands at least one that was granted for this `action`; endpoints that give no personal data ask for
        none. `later` leaves the proof's single use to be recorded by
        `burn(work, caller)` in the call's own transaction, which saves one commit.

        Raises `Unauthenticated`, `Forbidden` (each with `WWW-Authenticate`), `CallerProblem` (400), `TooMany`, and
        `Unavailable` when the registry or the replay memory cannot be read.
        """
        caller = await self.resource.admit(request, scope, purpose, later, action)
        # Told to what frames every answer: its RateLimit headers, and who sent an input that is refused.
        request.state.caller = caller
        self.rates.require("calls", caller.client_id)
        return caller

    def rate_headers(self, caller: Caller) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` for the answer to this caller."""
        return self.rates.headers("calls", caller.client_id)


def routes(gateway: Any, *, trust: ProxyTrust | None = None, rates: Rates | None = None) -> list[Route]:
    """Open the access of `gateway` (kept as `gateway.access`) and give its routes. Query strings leave uvicorn's access
    log."""
    logging.getLogger("uvicorn.access").addFilter(_query_free)
    gateway.access = Access(gateway, trust=trust, rates=rates)
    routes: list[Route] = gateway.access.routes()
    return routes


async def authenticate(
    request: HTTPConnection,
    *,
    scope: str = "exchange",
    purpose: bool = True,
    later: bool = False,
    action: Action = "read",
) -> Caller:
    """`Access.authenticate` of the gateway in `request.app.state.gateway`."""
    access: Access = request.app.state.gateway.access
    return await access.authenticate(request, scope=scope, purpose=purpose, later=later, action=action)


def checked_issuer(issuer: str, profile: str) -> str:
    """The issuer, if it may be one (RFC 8414 §2: https, no query, no fragment). Raises `Misconfigured`."""
    parts = urlsplit(issuer)
    plain = parts.scheme == "http" and profile in ("demo", "test") and _loopback(parts.hostname or "")
    if (parts.scheme != "https" and not plain) or not parts.hostname or parts.query or parts.fragment or "@" in issuer:
        raise Misconfigured(
            "issuer", "Set MAILLON_ISSUER to an https URL without query or fragment (http on loopback in a demo only)."
        )
    return issuer


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class QueryFreeLog(logging.Filter):
    """Keeps query strings out of the server's access log: somebody may put a token there against all advice."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and len(record.args) == 5:
            address, method, path, version, status = record.args
            record.args = (address, method, str(path).partition("?")[0], version, status)
        return True


_query_free = QueryFreeLog()
