"""Signed webhooks, in and out (Standard Webhooks): who sent it, that it is whole, recent, and not a replay.

A sender is registered with one kind of key, and the kind decides the algorithm: an Ed25519 public key reads `v1a`
signatures, a shared secret `v1` (HMAC-SHA-256). A signature of the other kind is never looked at, so a public key
cannot be taken for a secret.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook

from gateway.access.replay import Used
from gateway.problems import Unauthenticated

TOLERANCE = 300
"""Seconds between the sender's clock and ours."""
MEMORY = 24 * 3600
"""Seconds during which a message sent again is recognised."""

_ID = re.compile(r"[!-~]{1,255}")
_SECRET, _PUBLIC = "whsec_", "whpk_"


@dataclass(frozen=True, slots=True)
class Sender:
    """A partner that pushes: its id, and its keys (several while it rotates)."""

    id: str
    keys: tuple[Ed25519PublicKey | bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, id: str, keys: Iterable[str]) -> Sender:
        """Keys as Standard Webhooks writes them: `whpk_…` (Ed25519 public, 32 bytes) or `whsec_…` (24 to 64 bytes).

        Raises `ValueError` without quoting the key.
        """
        return cls(id, tuple(_key(key) for key in keys))


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook that is what it says. `repeated`: its id was received before; nothing is to be done again."""

    id: str
    sent_at: int
    repeated: bool


def _key(text: str) -> Ed25519PublicKey | bytes:
    for prefix in (_PUBLIC, _SECRET):
        if text.startswith(prefix):
            try:
                raw = base64.b64decode(text.removeprefix(prefix), validate=True)
                if prefix == _PUBLIC:
                    return Ed25519PublicKey.from_public_bytes(raw)
            except ValueError:
                break
            if 24 <= len(raw) <= 64:
                return raw
    raise ValueError(f"a webhook key is {_PUBLIC}<32 bytes in base64> or {_SECRET}<24 to 64 bytes in base64>")


def public_text(key: Ed25519PrivateKey) -> str:
    """Our public key as receivers of our webhooks register it."""
    return _PUBLIC + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(key: Ed25519PrivateKey | bytes, id: str, body: bytes, at: int | None = None) -> dict[str, str]:
    """The headers of an outgoing webhook, signed `v1a` with an Ed25519 key or `v1` with a shared secret.

    `id` stays the same when the message is sent again; the time does not.
    """
    at = int(time.time()) if at is None else at
    if isinstance(key, bytes):
        signature = Webhook(key).sign(id, datetime.fromtimestamp(at, UTC), body.decode())
    else:
        signature = "v1a," + base64.b64encode(key.sign(_signed(id, at, body))).decode()
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": signature}


def verify(
    headers: Iterable[tuple[bytes, bytes]], body: bytes, sender: Sender, burn: Callable[[Used], bool]
) -> Received:
    """Check an incoming webhook over the bytes received; blocks while `burn` (`ReplayMemory.burn`) records its use.

    The very same message twice is a replay and refused; the same id at another time is the sender trying again, and
    comes back as `repeated`. Raises `Unauthenticated("webhook-refused")`, alike for every cause, with the cause in
    the `reason` attribute for the journal.
    """
    id, at, signatures = _read(headers)
    if abs(time.time() - at) > TOLERANCE:
        raise _refused("webhook-time")
    if not any(_matches(key, id, at, body, signatures) for key in sender.keys):
        raise _refused("webhook-signature")
    now = time.time()
    if not burn(Used.of("webhook", sender.id, f"{at}.{id}", now + 2 * TOLERANCE)):
        raise _refused("webhook-replayed")
    return Received(id, at, repeated=not burn(Used.of("webhook-id", sender.id, id, now + MEMORY)))


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, int, list[tuple[str, bytes]]]:
    found: dict[bytes, list[str]] = {b"webhook-id": [], b"webhook-timestamp": [], b"webhook-signature": []}
    for name, value in headers:
        if name.lower() in found:
            found[name.lower()].append(value.decode("latin-1"))
    if any(len(values) != 1 for values in found.values()):
        raise _refused("webhook-headers")
    (id,), (at,), (listed,) = found.values()
    if not _ID.fullmatch(id) or not re.fullmatch(r"[0-9]{1,12}", at):
        raise _refused("webhook-headers")
    signatures = []
    for entry in listed.split(" ")[:10]:
        version, _, text = entry.partition(",")
        try:
            signatures.append((version, base64.b64decode(text, validate=True)))
        except ValueError:  # also what is not ASCII
            continue
    return id, int(at), signatures


def _signed(id: str, at: int, body: bytes) -> bytes:
    return f"{id}.{at}.".encode() + body


def _matches(key: Ed25519PublicKey | bytes, id: str, at: int, body: bytes, signatures: list[tuple[str, bytes]]) -> bool:
    if isinstance(key, bytes):
        listed = " ".join(f"v1,{base64.b64encode(raw).decode()}" for version, raw in signatures if version == "v1")
        headers = {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": listed}
        return bool(listed) and _library_accepts(key, headers, body)
    for version, raw in signatures:
        if version == "v1a":
            try:
                key.verify(raw, _signed(id, at, body))
            except InvalidSignature:
                continue
            return True
    return False


def _library_accepts(secret: bytes, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except Exception:  # the library raises whatever it met; none of it is an acceptance
        return False
    return True


class WebhookRefused(Unauthenticated):
    """One answer for every cause; `reason` is for the journal."""

    reason: str = ""


def _refused(reason: str) -> WebhookRefused:
    refused = WebhookRefused("webhook-refused", "The webhook is not signed by its sender, is too old, or was received.")
    refused.reason = reason
    return refused
