"""Compact JWTs read strictly, and signatures checked with the algorithms of the profile and no other.

joserfc imports keys, computes thumbprints and signs. Reading is ours because of what it lets through: the last of two
equal members wins there, header parameters it does not know are errors (RFC 9449 wants them ignored), and its ES256
check costs a third more than the signature itself, on every call of every partner.
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

PROOF_ALGORITHMS = ("ES256", "EdDSA", "Ed25519")
ASSERTION_ALGORITHMS = ("PS256", *PROOF_ALGORITHMS)
"""`Ed25519` is the name RFC 9864 gives to `EdDSA` with that curve; both are met."""

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
RSA_BITS = 2048
MAX_JWT = 16_384

_ES256 = ec.ECDSA(hashes.SHA256())
_PS256 = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class Refused(Exception):
    """A token, assertion or proof that proves nothing. `reason` is stable, kebab-case, without any value of it;
    `client`: whose key it really carries, when that much is proven."""

    def __init__(self, reason: str, client: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.client = client


class Jwt(NamedTuple):
    """A compact JWT taken apart. Nothing in it is to be believed before `verify`."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is present twice")
    return found


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("not JSON")


_STANDARD = bytes.maketrans(b"-_+/=", b"+/***")
"""To the alphabet `binascii` knows; what base64url does not have becomes what no base64 has."""
_ENDINGS = {1: b"AEIMQUYcgkosw048", 2: b"AQgw", 3: b""}
"""Last characters that leave no stray bits, by missing padding."""

_json = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def loads(text: str) -> Any:
    """JSON without duplicate members, NaN or Infinity. Raises `ValueError`."""
    try:
        return _json.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def unbase64(text: bytes) -> bytes:
    """Base64url without padding, in its one canonical form. Raises `ValueError`."""
    missing = -len(text) % 4
    if missing and text[-1] not in _ENDINGS[missing]:
        raise ValueError("not base64url")
    return binascii.a2b_base64(text.translate(_STANDARD) + b"=" * missing, strict_mode=True)


def split(token: str | bytes) -> tuple[bytes, bytes, bytes]:
    """The three parts of a compact JWS, still encoded. Raises `Refused`."""
    try:
        raw = token.encode("ascii") if isinstance(token, str) else token
        head, payload, signature = raw.split(b".")
    except ValueError as error:
        raise Refused("not-a-jwt") from error
    if len(raw) > MAX_JWT:
        raise Refused("not-a-jwt")
    return head, payload, signature


def members(part: bytes) -> dict[str, Any]:
    """The header or the claims of a JWT. Raises `Refused`, also for `crit` and `b64`: no extension is understood."""
    try:
        found = loads(unbase64(part).decode())
    except ValueError as error:
        raise Refused("not-a-jwt") from error
    if not isinstance(found, dict):
        raise Refused("not-a-jwt")
    if "crit" in found or "b64" in found:
        raise Refused("unknown-extension")
    return found


def parse(token: str | bytes) -> Jwt:
    """Take a compact JWS apart. Raises `Refused`."""
    head, payload, signature = split(token)
    try:
        return Jwt(members(head), members(payload), head + b"." + payload, unbase64(signature))
    except ValueError as error:
        raise Refused("not-a-jwt") from error


def _es256(key: EllipticCurvePublicKey, signed: bytes, signature: bytes) -> None:
    if len(signature) != 64:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(encode_dss_signature(r, s), signed, _ES256)


def _eddsa(key: Ed25519PublicKey, signed: bytes, signature: bytes) -> None:
    key.verify(signature, signed)


def _ps256(key: RSAPublicKey, signed: bytes, signature: bytes) -> None:
    key.verify(signature, signed, _PS256, hashes.SHA256())


Check = Callable[[Any, bytes, bytes], None]
_CHECKS: dict[str, tuple[type, Check]] = {
    "ES256": (EllipticCurvePublicKey, _es256),
    "EdDSA": (Ed25519PublicKey, _eddsa),
    "Ed25519": (Ed25519PublicKey, _eddsa),
    "PS256": (RSAPublicKey, _ps256),
}


def check_of(alg: object, key: PublicKey) -> Check | None:
    """How a signature of this algorithm is checked with this key; None when they do not go together."""
    kind, check = _CHECKS.get(alg, (None, None)) if isinstance(alg, str) else (None, None)
    return check if kind is not None and isinstance(key, kind) else None


def verify(jwt: Jwt, key: PublicKey) -> bool:
    """Whether `key` made this signature with the algorithm the header announces; a key of another type never did."""
    check = check_of(jwt.header.get("alg"), key)
    if check is None:
        return False
    try:
        check(key, jwt.signed, jwt.signature)
    except InvalidSignature:
        return False
    return True


def import_public(jwk: Any) -> tuple[PublicKey, str]:
    """A public JWK of the profile: the key and its RFC 7638 thumbprint.

    EC P-256, OKP Ed25519, or RSA of at least 2048 bits. Raises `Refused`, also when a private member is present.
    """
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kty"), str):
        raise Refused("not-a-jwk")
    if PRIVATE_MEMBERS & jwk.keys():
        raise Refused("private-key")
    if jwk.get("use", "sig") != "sig":
        raise Refused("key-not-for-signing")
    try:
        imported = JWKRegistry.import_key(jwk)
        key, thumbprint = imported.public_key, imported.thumbprint()
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise Refused("not-a-jwk") from error
    if isinstance(key, EllipticCurvePublicKey):
        strong = isinstance(key.curve, ec.SECP256R1) and len(jwk["x"]) == len(jwk["y"]) == 43
    elif isinstance(key, RSAPublicKey):
        strong = key.key_size >= RSA_BITS
    else:
        strong = isinstance(key, Ed25519PublicKey)
    if not strong:
        raise Refused("weak-or-unknown-key")
    return key, thumbprint  # type: ignore[return-value]  # the three branches above leave no other type


def number(value: Any) -> float | None:
    """A finite NumericDate (RFC 7519 §2), or None: text, booleans and huge numbers are not times."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(value) if abs(value) < 1e11 else None


def short_text(value: Any, limit: int = 255) -> bool:
    """Whether a claim is a printable text of 1 to `limit` characters (lone surrogates are not printable)."""
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()
