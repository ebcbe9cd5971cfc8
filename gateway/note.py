"""Signed notes, checkpoints and cosignatures as the journal writes them (C2SP signed-note, tlog-checkpoint,
tlog-cosignature)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


class NoteRefused(Exception):
    """The note is malformed, or a known key did not sign it. `code` is stable; nothing of the note is repeated."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under its name. `kind` is `ED25519` for a log, `COSIGNATURE` for a witness."""

    name: str
    kind: bytes
    public: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + self.kind + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self.kind + self.public).decode()}"

    def accepts(self, signature: bytes, text: bytes) -> bool:
        """Whether the signature (without its key id) is this key's over the note's text."""
        if self.kind == COSIGNATURE:
            if len(signature) != 72:
                return False
            text = _cosigned(int.from_bytes(signature[:8], "big"), text)
            signature = signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True


def verifier_key(line: str) -> VerifierKey:
    """Read a vkey line. Raises `NoteRefused("vkey")`."""
    name, _, rest = line.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise NoteRefused("vkey") from None
    key = VerifierKey(name, raw[:1], raw[1:])
    if not _NAME.fullmatch(name) or len(raw) != 33 or raw[:1] not in (ED25519, COSIGNATURE) or key.id.hex() != key_id:
        raise NoteRefused("vkey")
    return key


def public_key(name: str, key: Ed25519PrivateKey, kind: bytes = ED25519) -> VerifierKey:
    if not _NAME.fullmatch(name):
        raise ValueError("a key name holds no space and no +")
    return VerifierKey(name, kind, key.public_key().public_bytes_raw())


def signature_line(key: VerifierKey, signature: bytes) -> str:
    return f"— {key.name} {base64.b64encode(key.id + signature).decode()}\n"


def sign(text: str, name: str, keys: list[Ed25519PrivateKey]) -> str:
    """The note: its text (which ends with a newline), an empty line, one signature line per key."""
    lines = [signature_line(public_key(name, key), key.sign(text.encode())) for key in keys]
    return text + "\n" + "".join(lines)


def _cosigned(time: int, text: bytes) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time + text


def cosign(text: str, name: str, key: Ed25519PrivateKey, time: int) -> str:
    """One cosignature/v1 line over a checkpoint's text; `time` is POSIX seconds."""
    signature = time.to_bytes(8, "big") + key.sign(_cosigned(time, text.encode()))
    return signature_line(public_key(name, key, COSIGNATURE), signature)


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    signature: bytes
    line: str


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    signatures: tuple[Signature, ...]

    def signed_by(self, keys: list[VerifierKey]) -> list[VerifierKey]:
        """The known keys that signed; unknown ones are ignored. A known key's bad signature refuses the note."""
        found = []
        for signature in self.signatures:
            for key in keys:
                if (key.name, key.id) == (signature.name, signature.key_id):
                    if not key.accepts(signature.signature, self.text.encode()):
                        raise NoteRefused("bad-signature")
                    found.append(key)
        return found


def parse(raw: bytes) -> Note:
    """Split a note into text and signatures. Raises `NoteRefused`."""
    try:
        whole = raw.decode()
    except UnicodeDecodeError:
        raise NoteRefused("not-utf-8") from None
    text, separator, lines = whole.rpartition("\n\n")
    if not separator or not lines.endswith("\n") or any(ord(c) < 32 and c != "\n" for c in whole):
        raise NoteRefused("malformed-note")
    signatures = []
    for line in lines[:-1].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        try:
            value = base64.b64decode(match[2], validate=True) if match else b""
        except ValueError:
            value = b""
        if match is None or len(value) < 5:
            raise NoteRefused("malformed-signature")
        signatures.append(Signature(match[1], value[:4], value[4:], line + "\n"))
    if len(signatures) > 64:
        raise NoteRefused("too-many-signatures")
    return Note(text + "\n", tuple(signatures))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text: exactly origin, size, root. Raises `NoteRefused`."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0] or not re.fullmatch(r"0|[1-9]\d{0,18}", lines[1], re.ASCII):
        raise NoteRefused("malformed-checkpoint")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError:
        root = b""
    if len(root) != 32 or base64.b64encode(root).decode() != lines[2]:
        raise NoteRefused("malformed-checkpoint")
    return Checkpoint(lines[0], int(lines[1]), root)
