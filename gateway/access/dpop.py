"""Proof of possession (RFC 9449): the caller holds the key its token is bound to, for this very request.

Times: a proof is good from 10 s before to 60 s after its `iat` by our clock, or, when a nonce is asked for, as long as
the nonce we gave is (90 s): a partner whose clock is wrong still gets through by its nonce.
"""

from __future__ import annotations

import hmac
import re
import struct
import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from joserfc.util import urlsafe_b64encode

from gateway.access.jose import (
    PROOF_ALGORITHMS,
    Check,
    PublicKey,
    Refused,
    check_of,
    import_public,
    members,
    number,
    short_text,
    split,
    unbase64,
)
from gateway.access.replay import Used

PAST, FUTURE = 60.0, 10.0
NONCE_LIFE = 90.0
MEMORY = 100.0
"""Seconds after which no accepted proof would be accepted again: more than PAST + FUTURE and than NONCE_LIFE."""

SENTENCES = {
    "proof-missing": "Send one DPoP header with a proof for this request (RFC 9449).",
    "proof-repeated": "Send exactly one DPoP header.",
    "proof-not-a-jwt": "The DPoP header is one compact JWT.",
    "proof-not-a-jwk": "The jwk of the proof is not a public key.",
    "proof-weak-or-unknown-key": "The key of the proof is EC P-256 or OKP Ed25519.",
    "proof-typ": "The typ of the proof is dpop+jwt.",
    "proof-alg": "Sign the proof with ES256 or EdDSA.",
    "proof-private-key": "The jwk of the proof holds a private key: withdraw that key, and send public members only.",
    "proof-signature": "The proof is not signed by the key of its jwk.",
    "proof-htm": "The htm of the proof is not the method called.",
    "proof-htu": "The htu of the proof is not the URL called, under the scheme and host of the issuer.",
    "proof-ath": "The ath of the proof is not the base64url SHA-256 of the access token.",
    "proof-jti": "The proof needs a jti of 1 to 255 characters.",
    "proof-iat": "The iat of the proof is missing, or too far from the clock of this server.",
    "proof-replayed": "This proof was used before; sign one for each request.",
    "proof-other-key": "The key of the proof is not the one announced, registered or bound to the token.",
    "use-dpop-nonce": "Sign the proof again with the nonce of the DPoP-Nonce header.",
}
"""What the sender of a refused proof is told; it concerns nothing but the proof."""

_DEFAULT_PORT = {"https": 443, "http": 80}
_TRIPLET = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Proof(NamedTuple):
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
            raw = unbase64(nonce.encode())
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


@lru_cache(maxsize=2048)
def _head(head: bytes) -> tuple[Check, PublicKey, str]:
    """From the header of a proof: how it is checked, its key and the key's thumbprint.

    Remembered: a partner sends the same header for months, and importing its key costs as much as checking a signature.
    """
    header = members(head)
    if header.get("typ") != "dpop+jwt":
        raise Refused("typ")
    if header.get("alg") not in PROOF_ALGORITHMS:
        raise Refused("alg")
    key, jkt = import_public(header.get("jwk"))
    check = check_of(header["alg"], key)
    if check is None:
        raise Refused("alg")
    return check, key, jkt


def check(proof: str | bytes, method: str, url: str, *, ath: str | None = None, nonces: Nonces | None = None) -> Proof:
    """Check a DPoP proof for `method` and `url` (already normal), per RFC 9449 §4.3; its single use is the caller's.

    `ath` is the digest of the access token at a resource, None at the token endpoint. With `nonces`, one of ours is
    demanded. Raises `Refused` with the reason (`use-dpop-nonce` when only a fresh nonce is missing).
    """
    claims, jkt = _signed(proof)
    if claims.get("htm") != method:
        raise Refused("proof-htm")
    _check_url(claims.get("htu"), url)
    if ath is not None and claims.get("ath") != ath:
        raise Refused("proof-ath")
    jti = claims.get("jti")
    if not short_text(jti):
        raise Refused("proof-jti")
    now = time.time()
    _check_times(claims, now, nonces)
    return Proof(jkt, Used.of("dpop", jkt, str(jti), now + MEMORY))


def _signed(proof: str | bytes) -> tuple[dict[str, object], str]:
    """The claims of a proof and the thumbprint of the key that signed it."""
    try:
        head, payload, signature = split(proof)
        check, key, jkt = _head(head)
        claims = members(payload)
        check(key, head + b"." + payload, unbase64(signature))
    except InvalidSignature as error:
        raise Refused("proof-signature") from error
    except ValueError as error:
        raise Refused("proof-not-a-jwt") from error
    except Refused as refused:
        raise Refused(f"proof-{refused.reason}") from refused
    return claims, jkt


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
