"""Client certificates (RFC 8705): the partner's certificate names it, or binds its tokens.

Validating the chain is the TLS terminator's work. The certificate reaches us through the ASGI `tls` extension when the
server terminates TLS itself, or through one header (RFC 9440, `Client-Cert`) of a proxy whose address is configured;
from anybody else that header is ignored.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.access.jose import Refused


@dataclass(frozen=True, slots=True)
class ProxyTrust:
    """Which peers may speak for others. Empty: nobody may."""

    addresses: frozenset[str] = frozenset()
    certificate_header: str = "client-cert"

    def trusts(self, scope: Mapping[str, Any]) -> bool:
        peer = scope.get("client")
        return peer is not None and peer[0] in self.addresses


def certificate(scope: Mapping[str, Any], trust: ProxyTrust) -> x509.Certificate | None:
    """The certificate this connection was authenticated with, or None. Raises `Refused` if it cannot be read."""
    tls = (scope.get("extensions") or {}).get("tls") or {}
    if tls.get("client_cert_error"):
        raise Refused("certificate-not-verified")
    chain = tls.get("client_cert_chain") or ()
    try:
        if chain:
            return _current(x509.load_pem_x509_certificate(str(chain[0]).encode()))
        if trust.trusts(scope):
            name = trust.certificate_header.lower().encode()
            values = [value for header, value in scope["headers"] if header == name]
            if len(values) == 1:
                return _current(_from_header(values[0].strip()))
            if values:
                raise Refused("certificate")
    except ValueError as error:
        raise Refused("certificate") from error
    return None


def _from_header(value: bytes) -> x509.Certificate:
    """RFC 9440 (`:base64 of DER:`), or the escaped PEM that nginx and haproxy send."""
    if value.startswith(b":") and value.endswith(b":"):
        return x509.load_der_x509_certificate(base64.b64decode(value[1:-1], validate=True))
    return x509.load_pem_x509_certificate(unquote_to_bytes(value))


def _current(found: x509.Certificate) -> x509.Certificate:
    now = time.time()
    if not found.not_valid_before_utc.timestamp() <= now <= found.not_valid_after_utc.timestamp():
        raise Refused("certificate-expired")
    return found


def thumbprint(found: x509.Certificate) -> str:
    """`x5t#S256`: base64url of the SHA-256 of the DER (RFC 8705 §3.1)."""
    digest = hashlib.sha256(found.public_bytes(Encoding.DER)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def names(found: x509.Certificate, expected: Mapping[str, str]) -> bool:
    """Whether the certificate bears the one name the client registered (`partners.TLS_NAMES`)."""
    kind, value = next(iter(expected.items()))
    if kind == "x5t#S256":
        return thumbprint(found) == value
    if kind == "subject_dn":
        try:
            return found.subject == x509.Name.from_rfc4514_string(value)
        except ValueError:
            return False
    try:
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    if kind == "san_dns":
        return value.lower() in {name.lower() for name in alternative.get_values_for_type(x509.DNSName)}
    return value in alternative.get_values_for_type(x509.UniformResourceIdentifier)
