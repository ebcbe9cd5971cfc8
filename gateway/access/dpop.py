"""Proof of possession (RFC 9449): the caller holds the key its token is bound to, for this very request.

Times: a proof is good from 10 s before to 60 s after its `iat` by our clock, or, when a nonce is asked for, as long as
the nonce we gave is (90 s): a partner whose clock is wrong still gets through by its nonce.
"""

from __future__ import annotations

import hmac
import re
import struct
import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from gateway.access.jose import (
    PRIVATE_MEMBERS,
    PROOF_ALGORITHMS,
    PublicKey,
    Refused,
    import_public,
    number,
    parse,
    short_text,
    verify,
)
from gateway.access.replay import Used

PAST, FUTURE = 60.0, 10.0
NONCE_LIFE = 90.0
MEMORY = 100.0
"""Seconds after which no accepted proof would be accepted again: more than PAST + FUTURE and than NONCE_LIFE."""

_DEFAULT_PORT = {"https": 443, "http": 80}
_TRIPLET = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds: the thumbprint of its key, and its identifier, still to be used once."""

    jkt: str
    use: Used


class Nonces:
    """Nonces without memory: the second they were given and its HMAC, so that any worker knows another's."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def give(self) -> str:
        stamp = struct.pack(">Q", int(time.time()))
        return urlsafe_b64encode(stamp + self._mac(stamp)).decode()

    def good(self, nonce: object) -> bool:
        if not isinstance(nonce, str) or len(nonce) != 32 or not nonce.isascii():
            return False
        try:
            raw = urlsafe_b64decode(nonce.encode())
        except ValueError:
            return False
        age = time.time() - struct.unpack(">Q", raw[:8])[0]
        return hmac.compare_digest(self._mac(raw[:8]), raw[8:]) and -FUTURE <= age <= NONCE_LIFE

    def _mac(self, stamp: bytes) -> bytes:
        return hmac.digest(self._key, b"dpop-nonce" + stamp, "sha256")[:16]


def _unescape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


@lru_cache(maxsize=4096)
def normal_url(url: str) -> str:
    """A URL as RFC 9449 §4.3 compares it: no query, no fragment, RFC 3986 §6.2.2 and §6.2.3 applied.

    Raises `ValueError` for what is not an http or https URL, or names a user.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORT or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an http URL")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORT[scheme]) else f":{parts.port}"
    path = _TRIPLET.sub(_unescape, parts.path) if "%" in parts.path else parts.path
    return f"{scheme}://{host}{port}{path or '/'}"


@lru_cache(maxsize=1024)
def _ec_key(x: str, y: str) -> tuple[PublicKey, str]:
    # Importing a key costs as much as checking a signature, and a partner uses the same one for months.
    return import_public({"kty": "EC", "crv": "P-256", "x": x, "y": y})


def _key(jwk: object) -> tuple[PublicKey, str]:
    if isinstance(jwk, dict) and not PRIVATE_MEMBERS & jwk.keys() and jwk.get("use", "sig") == "sig":
        kind, curve, x, y = jwk.get("kty"), jwk.get("crv"), jwk.get("x"), jwk.get("y")
        if kind == "EC" and curve == "P-256" and isinstance(x, str) and isinstance(y, str):
            return _ec_key(x, y)
    return import_public(jwk)


def check(proof: str | bytes, method: str, url: str, *, ath: str | None = None, nonces: Nonces | None = None) -> Proof:
    """Check a DPoP proof for `method` and `url` (already normal), per RFC 9449 §4.3; its single use is the caller's.

    `ath` is the digest of the access token at a resource, None at the token endpoint. With `nonces`, one of ours is
    demanded. Raises `Refused` with the reason (`use-dpop-nonce` when only a fresh nonce is missing).
    """
    jwt = parse(proof)
    header, claims = jwt.header, jwt.claims
    if header.get("typ") != "dpop+jwt":
        raise Refused("proof-typ")
    if header.get("alg") not in PROOF_ALGORITHMS:
        raise Refused("proof-alg")
    key, jkt = _key(header.get("jwk"))
    if not verify(jwt, key):
        raise Refused("proof-signature")
    if claims.get("htm") != method:
        raise Refused("proof-htm")
    _check_url(claims.get("htu"), url)
    if ath is not None and claims.get("ath") != ath:
        raise Refused("proof-ath")
    if not short_text(claims.get("jti")):
        raise Refused("proof-jti")
    now = time.time()
    _check_times(claims, now, nonces)
    return Proof(jkt, Used.of("dpop", jkt, claims["jti"], now + MEMORY))


def _check_url(htu: object, url: str) -> None:
    try:
        same = isinstance(htu, str) and len(htu) <= 2048 and normal_url(htu) == url
    except ValueError:
        same = False
    if not same:
        raise Refused("proof-htu")


def _check_times(claims: dict[str, object], now: float, nonces: Nonces | None) -> None:
    iat = number(claims.get("iat"))
    if iat is None:
        raise Refused("proof-iat")
    if nonces is not None and not nonces.good(claims.get("nonce")):
        raise Refused("use-dpop-nonce")
    if nonces is None and not now - PAST <= iat <= now + FUTURE:
        raise Refused("proof-iat")
    if "exp" in claims and ((exp := number(claims["exp"])) is None or exp <= now - FUTURE):
        raise Refused("proof-expired")
    if "nbf" in claims and ((nbf := number(claims["nbf"])) is None or nbf > now + FUTURE):
        raise Refused("proof-not-yet-valid")
