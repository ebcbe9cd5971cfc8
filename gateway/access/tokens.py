"""Access tokens: JWTs per RFC 9068, signed ES256, five minutes, always bound to a key or a certificate.

Signing keys are files. `oauth.es256` signs; `oauth-next.es256` is published ahead, so that every worker and partner
knows it before its first use; `oauth-previous.es256` is still accepted for what it signed. `rotate_signing_key` moves
each to the next place.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64encode

from gateway import clock
from gateway.access.jose import PublicKey, Refused, number, parse, short_text, verify
from gateway.access.partners import Client
from gateway.keys import Keyring
from gateway.problems import Conflict

LIFETIME = 300
SKEW = 10
RELOAD_AFTER = 60.0
"""Seconds between two looks at the key files, whether time passed or a token named a key we do not know."""

CURRENT, NEXT, PREVIOUS = "oauth", "oauth-next", "oauth-previous"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token that was ours and well formed when it was read; time and revocation are looked at on each use."""

    client_id: str
    jti: str
    issued_at: float
    not_before: float
    expires_at: float
    scopes: frozenset[str]
    details: tuple[dict[str, Any], ...]
    jkt: str | None
    certificate: str | None
    """SHA-256 thumbprint of the client certificate (`x5t#S256`)."""
    ath: str
    """What a proof sent with this token says of it: base64url SHA-256 of its text."""
    claims: dict[str, Any] = field(repr=False)

    def check_times(self) -> None:
        """Raises `Refused` when it is expired or not yet valid."""
        now = time.time()
        if self.expires_at <= now:
            raise Refused("token-expired")
        if self.not_before > now + SKEW or self.issued_at > now + SKEW:
            raise Refused("token-not-yet-valid")


@dataclass(frozen=True, slots=True)
class _SigningKey:
    kid: str
    private: ECKey = field(repr=False)
    public: PublicKey = field(repr=False)
    jwk: dict[str, Any] = field(repr=False)


def _signing_key(native: EllipticCurvePrivateKey) -> _SigningKey:
    pem = native.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = ECKey.import_key(pem)
    kid = key.thumbprint()
    public = dict(key.as_dict(private=False)) | {"kid": kid, "use": "sig", "alg": "ES256"}
    return _SigningKey(kid, key, native.public_key(), public)


class TokenKeys:
    """The signing keys of this gateway as one worker knows them."""

    def __init__(self, keys: Keyring) -> None:
        self._folder, self._may_create = keys.folder, keys.may_create
        self._keys: dict[str, _SigningKey] = {}
        self.loads = 0
        self._load()

    def _load(self) -> None:
        # A new keyring each time: the long-lived one remembers what it read, and rotation changes the files.
        ring = Keyring(self._folder, self._may_create)
        self._loaded = time.monotonic()
        self.loads += 1
        names = [CURRENT]
        if self._may_create or (self._folder / f"{NEXT}.es256").exists():
            names.append(NEXT)
        if (self._folder / f"{PREVIOUS}.es256").exists():
            names.append(PREVIOUS)
        keys = [_signing_key(ring.es256(name)) for name in names]
        self._current = keys[0]
        self._keys = {key.kid: key for key in keys}

    def _fresh(self) -> None:
        if time.monotonic() - self._loaded > RELOAD_AFTER:
            self._load()

    def generation(self) -> int:
        """Changes each time the files were read: what was verified before is verified again."""
        self._fresh()
        return self.loads

    def sign(self, claims: dict[str, Any]) -> str:
        self._fresh()
        header = {"alg": "ES256", "kid": self._current.kid, "typ": "at+jwt"}
        return joserfc_jwt.encode(header, claims, self._current.private, algorithms=["ES256"])

    def find(self, kid: object) -> PublicKey | None:
        """The key of this name. A name nobody knows makes us look at the files again, at most once a minute."""
        self._fresh()
        key = self._keys.get(kid) if isinstance(kid, str) else None
        return key.public if key else None

    def jwks(self) -> dict[str, Any]:
        self._fresh()
        return {"keys": [key.jwk for key in self._keys.values()]}


def rotate_signing_key(keys: Keyring, *, compromised: bool = False) -> None:
    """Sign with the key published ahead, keep the former one for what it signed, publish another ahead.

    With `compromised`, tokens of the former key stop being accepted as soon as each worker looks again (60 s). A crash
    between two steps leaves a set of files that works; running it again finishes. Raises `Conflict` while the key
    before the last rotation may still have tokens alive.
    """
    current, following, previous = (keys.folder / f"{name}.es256" for name in (CURRENT, NEXT, PREVIOUS))
    unfinished = previous.exists() and previous.samefile(current)
    rotated = previous.stat().st_ctime if previous.exists() and not unfinished else 0.0
    if not compromised and time.time() - rotated < LIFETIME + RELOAD_AFTER + SKEW:
        raise Conflict("rotated-recently", "Tokens of the former key are still alive; rotate again in a few minutes.")
    Keyring(keys.folder, keys.may_create).es256(NEXT)
    if compromised:
        previous.unlink(missing_ok=True)
    elif not unfinished:
        spare = previous.with_suffix(f".{os.getpid()}")
        os.link(current, spare)
        os.replace(spare, previous)
    os.replace(following, current)
    if keys.may_create:
        Keyring(keys.folder).es256(NEXT)


def issue(
    keys: TokenKeys, issuer: str, client: Client, scopes: list[str], details: list[dict[str, Any]], cnf: dict[str, str]
) -> dict[str, Any]:
    """The answer of the token endpoint (RFC 6749 §5.1, RFC 9396 §7) with a new token for `client`."""
    issued = max(int(time.time()), client.tokens_from)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": client.client_id,
        "aud": issuer,
        "iat": issued,
        "exp": issued + LIFETIME,
        "jti": clock.new_id(),
        "client_id": client.client_id,
        "scope": " ".join(scopes),
        "cnf": cnf,
    }
    answer = {"token_type": "DPoP" if "jkt" in cnf else "Bearer", "expires_in": LIFETIME, "scope": claims["scope"]}
    if details:
        claims["authorization_details"] = answer["authorization_details"] = details
    return {"access_token": keys.sign(claims)} | answer


def read(keys: TokenKeys, issuer: str, token: str | bytes) -> AccessToken:
    """Check that a token is ours, for us, and bound. Raises `Refused`; its times are checked by `check_times`."""
    jwt = parse(token)
    header, claims = jwt.header, jwt.claims
    typ = header.get("typ")
    if not isinstance(typ, str) or typ.lower() not in ("at+jwt", "application/at+jwt"):
        raise Refused("token-typ")
    if header.get("alg") != "ES256":
        raise Refused("token-alg")
    key = keys.find(header.get("kid"))
    if key is None:
        raise Refused("token-key-unknown")
    if not verify(jwt, key):
        raise Refused("token-signature")
    if claims.get("iss") != issuer:
        raise Refused("token-issuer")
    if claims.get("aud") != issuer:
        raise Refused("token-audience")
    text = token.encode() if isinstance(token, str) else token
    return _typed(claims, urlsafe_b64encode(hashlib.sha256(text).digest()).decode())


def _typed(claims: dict[str, Any], ath: str) -> AccessToken:
    iat, exp, nbf = number(claims.get("iat")), number(claims.get("exp")), number(claims.get("nbf", 0))
    if iat is None or exp is None or nbf is None or exp - iat > LIFETIME:
        raise Refused("token-times")
    cnf, details, scope = claims.get("cnf"), claims.get("authorization_details", []), claims.get("scope", "")
    client_id, jti = claims.get("client_id"), claims.get("jti")
    if not short_text(client_id) or client_id != claims.get("sub") or not short_text(jti):
        raise Refused("token-claims")
    if not isinstance(scope, str) or not isinstance(details, list) or not all(isinstance(d, dict) for d in details):
        raise Refused("token-claims")
    jkt = cnf.get("jkt") if isinstance(cnf, dict) else None
    certificate = cnf.get("x5t#S256") if isinstance(cnf, dict) else None
    if not short_text(jkt) and not short_text(certificate):
        raise Refused("token-not-bound")
    assert isinstance(client_id, str)
    assert isinstance(jti, str)
    return AccessToken(
        client_id, jti, iat, nbf, exp, frozenset(scope.split()), tuple(details), jkt, certificate, ath, claims
    )
