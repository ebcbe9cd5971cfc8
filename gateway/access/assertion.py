"""Client authentication by a signed assertion (RFC 7523 §3, private_key_jwt), as strict as FAPI 2.0 asks.

Audience is the issuer and nothing else, life is a minute, the identifier serves once. No key comes from anywhere but
the registry: `jku`, `x5u`, `jwk` and `x5c` headers are not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.access.jose import ASSERTION_ALGORITHMS, Jwt, Refused, number, parse, short_text, verify
from gateway.access.partners import Client, RegisteredKey
from gateway.access.replay import Used

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME = 60.0
SKEW = 10.0
OLDEST = 300.0
"""Since `iat`: an assertion made long before it serves was kept somewhere (RFC 7523 §3, 6). More than a minute, for
libraries and clocks that set it back."""
_TYPS = (None, "JWT", "jwt", "client-authentication+jwt")

_DECOY = ec.generate_private_key(ec.SECP256R1())
"""Signs nothing. An unknown client's assertion is checked with its key, to take the time a known client's takes."""


def check(
    assertion: str, issuer: str, query_client: Callable[[str], Client | None]
) -> tuple[Client, RegisteredKey, Used]:
    """The client this assertion authenticates, by which of its keys, and the use of its `jti`, still to be burned.

    Raises `Refused`. Its reason is for the journal: the caller answers every one of them alike.
    """
    jwt = parse(assertion)
    if jwt.header.get("alg") not in ASSERTION_ALGORITHMS:
        raise Refused("assertion-alg")
    if jwt.header.get("typ") not in _TYPS:
        raise Refused("assertion-typ")
    subject = jwt.claims.get("sub")
    if not short_text(subject, 64):
        raise Refused("assertion-sub")
    client = query_client(str(subject))
    signed = _signed_by(jwt, client)
    if signed is None:
        raise Refused("client-unknown" if client is None else "assertion-signature")
    assert client is not None
    if not client.active:
        raise Refused("client-suspended", client)
    expires_at = _check_claims(jwt.claims, issuer)
    return client, signed, Used.of("assertion", client.client_id, jwt.claims["jti"], expires_at + SKEW)


def _signed_by(jwt: Jwt, client: Client | None) -> RegisteredKey | None:
    kid = jwt.header.get("kid")
    candidates = [key for key in client.keys if kid in (None, key.kid)] if client else []
    if not candidates:
        verify(jwt, _DECOY.public_key())
    return next((key for key in candidates if verify(jwt, key.key)), None)


def _check_claims(claims: dict[str, Any], issuer: str) -> float:
    now = time.time()
    if claims.get("iss") != claims["sub"]:
        raise Refused("assertion-iss")
    if claims.get("aud") != issuer:
        raise Refused("assertion-aud")
    expires_at, issued_at = number(claims.get("exp")), number(claims.get("iat"))
    if expires_at is None or expires_at <= now - SKEW:
        raise Refused("assertion-expired")
    if expires_at > now + LIFETIME + SKEW:
        raise Refused("assertion-too-long")
    if issued_at is None or not now - OLDEST <= issued_at <= now + SKEW:
        raise Refused("assertion-iat")
    if "nbf" in claims and ((not_before := number(claims["nbf"])) is None or not_before > now + SKEW):
        raise Refused("assertion-nbf")
    if not short_text(claims.get("jti")):
        raise Refused("assertion-jti")
    return expires_at
