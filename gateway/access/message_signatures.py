"""HTTP message signatures (RFC 9421), read and written for one profile: Ed25519 over the parts that matter.

A signature covers `@method`, `@target-uri`, `content-digest` and `content-type`, and says when it was made (60 s at
most), a nonce used once, the key, and what it is for (`tag`). Anything else is refused, so the profile needs no general
parser of structured fields.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.access.replay import Used
from gateway.access.webhooks import WebhookRefused, _refused

TAG = "maillon-webhook"
COMPONENTS = ("@method", "@target-uri", "content-digest", "content-type")
MAX_AGE = 60
AHEAD = 10

_LABEL = r"[a-z*][a-z0-9_.*-]{0,62}"
_LISTED = r'(?:"[a-z0-9@-]{1,40}" ?){1,16}'
_VALUES = r'(?:;[a-z]{3,10}=(?:"[ !#-\[\]-~]{0,255}"|[0-9]{1,15}))*'
_INPUT = re.compile(rf"({_LABEL})=(\(({_LISTED})\)({_VALUES}))")
_PARAMETER = re.compile(r';([a-z]{3,10})=(?:"([^"]*)"|([0-9]+))')
_SIGNATURE = re.compile(rf"({_LABEL})=:([A-Za-z0-9+/]{{86}}==):")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


def digest(body: bytes) -> str:
    """`Content-Digest` (RFC 9530) of these bytes."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def _base(values: Mapping[str, str], components: Iterable[str], parameters: str) -> bytes:
    lines = [f'"{name}": {values[name]}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def sign(
    key: Ed25519PrivateKey, keyid: str, method: str, url: str, body: bytes, content_type: str, tag: str = TAG
) -> dict[str, str]:
    """The headers to add to a request so that its receiver can check it: digest, signature and what it covers."""
    values = {"@method": method, "@target-uri": url, "content-digest": digest(body), "content-type": content_type}
    listed = " ".join(f'"{name}"' for name in COMPONENTS)
    nonce = secrets.token_urlsafe(16)
    parameters = f'({listed});created={int(time.time())};keyid="{keyid}";alg="ed25519";nonce="{nonce}";tag="{tag}"'
    signature = base64.b64encode(key.sign(_base(values, COMPONENTS, parameters))).decode()
    return {
        "content-digest": values["content-digest"],
        "content-type": content_type,
        "signature-input": f"sig1={parameters}",
        "signature": f"sig1=:{signature}:",
    }


def verify(
    method: str,
    url: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    keys: Mapping[str, Ed25519PublicKey],
    burn: Callable[[Used], bool],
    tag: str = TAG,
) -> str:
    """Check one signed request over the bytes received; returns the key id. Blocks while the nonce is recorded.

    `url` is the public URL, made from the issuer and never from a header. Raises `WebhookRefused`, alike for every
    cause, its `reason` for the journal.
    """
    fields = _single(headers, ("signature-input", "signature", "content-digest", "content-type"))
    found, signed = _INPUT.fullmatch(fields["signature-input"]), _SIGNATURE.fullmatch(fields["signature"])
    if not found or not signed or found[1] != signed[1]:
        raise _refused("signature-malformed")
    components = re.findall(r'"([^"]+)"', found[3])
    parameters: dict[str, str] = {name: text or number for name, text, number in _PARAMETER.findall(found[4])}
    derived = {name for name in components if name.startswith("@")}
    if len(set(components)) != len(components) or not set(COMPONENTS) <= set(components) or len(derived) > 2:
        raise _refused("signature-components")
    _check_parameters(parameters, found[4], tag)
    if not _digest_matches(fields["content-digest"], body):
        raise _refused("signature-digest")
    key = keys.get(parameters["keyid"])
    values = {"@method": method, "@target-uri": url, **_covered(headers, components)}
    try:
        if key is None:
            raise InvalidSignature
        key.verify(base64.b64decode(signed[2]), _base(values, components, found[2]))
    except InvalidSignature as error:
        raise _refused("signature-wrong") from error
    if not burn(Used.of("signature", parameters["keyid"], parameters["nonce"], time.time() + MAX_AGE + 2 * AHEAD)):
        raise _refused("signature-replayed")
    return parameters["keyid"]


def _check_parameters(parameters: dict[str, str], text: str, tag: str) -> None:
    if len(parameters) != len(_PARAMETER.findall(text)) or not {"created", "keyid", "nonce"} <= parameters.keys():
        raise _refused("signature-parameters")
    if parameters.get("alg", "ed25519") != "ed25519" or not parameters["nonce"]:
        raise _refused("signature-parameters")
    if parameters.get("tag") != tag:
        raise _refused("signature-tag")
    now = time.time()
    try:
        created, expires = int(parameters["created"]), int(parameters.get("expires", "999999999999999"))
    except ValueError as error:
        raise _refused("signature-parameters") from error
    if not now - MAX_AGE <= created <= now + AHEAD or expires < now:
        raise _refused("signature-time")


def _digest_matches(field: str, body: bytes) -> bool:
    found = _DIGEST.fullmatch(field)
    return bool(found) and hmac.compare_digest(field, digest(body))


def _single(headers: Sequence[tuple[bytes, bytes]], names: Iterable[str]) -> dict[str, str]:
    """These fields, each present once and ASCII."""
    wanted = set(names)
    listed = [(name.decode("latin-1").lower(), value) for name, value in headers]
    found = [(name, value.decode("latin-1").strip()) for name, value in listed if name in wanted]
    fields = dict(found)
    if len(fields) != len(found) or fields.keys() != wanted or not all(value.isascii() for value in fields.values()):
        raise _refused("signature-headers")
    return fields


def _covered(headers: Sequence[tuple[bytes, bytes]], components: list[str]) -> dict[str, str]:
    return _single(headers, [name for name in components if not name.startswith("@")])


__all__ = ["COMPONENTS", "TAG", "WebhookRefused", "digest", "sign", "verify"]
