"""The keys of the gateway, kept in files outside the database.

| file in `home/keys` | use |
|---|---|
| `wrap.key` | wraps the key of each person and household (AES-256-GCM); destroying a wrapped key erases the person |
| `index.key` | blind index of identifiers (HMAC-SHA-256) |
| `pseudonym.key` | pairwise references of persons and agents (HMAC-SHA-256) |
| `exchange.key` | keyed digests of payloads in the journal |
| `journal.ed25519` | signs checkpoints |
| `webhook.ed25519` | signs the notices sent to bodies |
| `witness.ed25519` | cosigns the journals of others |
| `oauth.es256` | signs access tokens |

Files are created on first use with mode 0600 in the demo and test profiles; in production they must exist already. One
that is not whole is refused: `Misconfigured("key-invalid")`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.chance import chance
from gateway.problems import Misconfigured

_NONCE = 12
_LENGTH = 32


def _invalid(name: str) -> Misconfigured:
    """An empty key would seal and index all the same, and protect nothing."""
    return Misconfigured("key-invalid", f"The key file {name} is not whole: bring back its sealed copy.")


def _publish(path: Path, content: bytes) -> None:
    """Write a new file whole or not at all, mode 0600; a second writer keeps the first one's file."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)


def _random() -> bytes:
    return os.urandom(_LENGTH)


def _p256() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(slots=True)
class Keyring:
    """The secrets of one gateway. Nothing here is ever logged: the repr shows the folder only."""

    folder: Path
    may_create: bool = True
    _secrets: dict[str, bytes] = field(default_factory=dict, repr=False)

    def _load(self, name: str, new: Callable[[], bytes]) -> bytes:
        if name not in self._secrets:
            path = self.folder / name
            if not path.exists():
                if not self.may_create:
                    raise Misconfigured("key-missing", f"Provide the key file {name} in the keys folder.")
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _publish(path, new())
            content = path.read_bytes()
            if len(content) != _LENGTH and path.suffix != ".es256":
                raise _invalid(name)
            self._secrets[name] = content
        return self._secrets[name]

    def secret(self, name: str) -> bytes:
        """A 32-byte symmetric key (`wrap`, `index`, `pseudonym`, `exchange`, or one a module names for itself)."""
        known = self._secrets.get(file := f"{name}.key")
        return known if known is not None else self._load(file, _random)

    def given(self, name: str, secret: bytes) -> None:
        """Take a symmetric key from the process that read it."""
        self._secrets[f"{name}.key"] = secret

    def ed25519(self, name: str) -> ed25519.Ed25519PrivateKey:
        """An Ed25519 signing key, raw 32 bytes on disk (`journal`, a witness's…)."""
        return ed25519.Ed25519PrivateKey.from_private_bytes(self._load(f"{name}.ed25519", _random))

    def es256(self, name: str) -> ec.EllipticCurvePrivateKey:
        """A P-256 signing key, PKCS#8 PEM on disk."""
        with suppress(ValueError, TypeError):  # no key at all, or a locked one
            key = serialization.load_pem_private_key(self._load(f"{name}.es256", _p256), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
        raise _invalid(f"{name}.es256")

    def require_whole(self) -> None:
        """Read every key file that is there. Raises `Misconfigured("key-invalid")`, `PermissionError`."""
        for path in sorted(self.folder.iterdir()) if self.folder.exists() else ():
            match path.suffix:
                case ".key" | ".ed25519":
                    self._load(path.name, _random)
                case ".es256":
                    self.es256(path.stem)

    def blind(self, system: str, value: str) -> bytes:
        """Blind index of an identifier: the same value gives the same 32 bytes, and tells nothing without the key."""
        return hmac_sha256(self.secret("index"), f"{system}\x00{value}".encode())

    def pseudonym(self, *parts: str) -> str:
        """Pairwise pseudonym, hexadecimal; the parts are joined unambiguously (recipient, then subject)."""
        told = [part.encode() for part in parts]
        message = b"".join([len(part).to_bytes(4, "big") + part for part in told])
        return hmac_sha256(self.secret("pseudonym"), message).hex()[:40]

    def pseudonyms_of(self, person_id: str) -> Callable[[str], str]:
        """Gives her pseudonym for each body it is asked about."""
        return lambda body: self.pseudonym(body, person_id)

    def keyed_digest(self, content: bytes) -> str:
        """HMAC of a payload for the journal: a plain hash of a small record could be guessed."""
        return hmac_sha256(self.secret("exchange"), content).hex()

    def new_wrapped_key(self) -> tuple[bytes, bytes]:
        """A new data key: (key, the same key wrapped for storage)."""
        key = os.urandom(32)
        nonce = chance(_NONCE)
        return key, nonce + _cipher(self.secret("wrap")).encrypt(nonce, key, b"maillon-wrap")

    def unwrap(self, wrapped: bytes) -> bytes:
        return _cipher(self.secret("wrap")).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], b"maillon-wrap")


@lru_cache(maxsize=4)
def _cipher(key: bytes) -> AESGCM:
    """The cipher of a wrapping key, made once; data keys are too many to keep."""
    return AESGCM(key)


_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) under a key of at most 64 bytes.

    Written out: the library looks its algorithms up at each call, which costs twice the two hashes.
    """
    block = key.ljust(64, b"\0")
    return sha256(block.translate(_OUTER) + sha256(block.translate(_INNER) + message).digest()).digest()


def seal(key: bytes, content: bytes, context: bytes = b"") -> bytes:
    """Encrypt under a person's data key; `context` (row id) binds the content to its place."""
    nonce = chance(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, content, context)


def unseal(key: bytes, sealed: bytes, context: bytes = b"") -> bytes:
    """Decrypt what `seal` made. Raises `cryptography.exceptions.InvalidTag` if anything was altered."""
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
