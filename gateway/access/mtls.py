"""Client certificates (RFC 8705): the partner's certificate names it, or binds its tokens.

Validating the chain is the TLS terminator's work. The certificate reaches us through the ASGI `tls` extension when the
server terminates TLS itself, or through one header (RFC 9440, `Client-Cert`) of a proxy whose address is configured
(`MAILLON_PROXIES`); from anybody else that header is ignored, as is all that speaks for another.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.access.jose import Refused
from gateway.problems import Misconfigured

SENTENCES = {
    "plain-http": "Call the https URL; a token or an assertion sent in clear is to be withdrawn.",
    "proxy-silent": "Nothing says that this call came over TLS: the operator of this gateway has its proxy set"
    " X-Forwarded-Proto, as deploy/nginx.conf does.",
    "certificate": "The client certificate of this connection cannot be read: present one, as X.509.",
    "certificate-expired": "The client certificate is not yet valid, or not any more: present the one in force.",
    "certificate-not-verified": "The client certificate is not one that this server's authorities vouch for.",
    "certificate-differs": "The token is bound to another certificate: present that one, and send the token as Bearer.",
}
"""What is told to a caller whose connection is refused; it concerns nothing but the connection."""


@dataclass(frozen=True, slots=True)
class ProxyTrust:
    """Which peers may speak for others: the proxies that end TLS. Empty: nobody may."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    certificate_header: str = "client-cert"

    @classmethod
    def of(cls, addresses: str, certificate_header: str = "client-cert") -> ProxyTrust:
        """From addresses and networks, separated by commas. Raises `Misconfigured`."""
        try:
            networks = tuple(ip_network(one.strip()) for one in addresses.split(",") if one.strip())
        except ValueError as error:
            told = "MAILLON_PROXIES lists addresses or networks: 127.0.0.1, 10.0.0.0/8."
            raise Misconfigured("proxies", told) from error
        return cls(networks, certificate_header)

    def trusts(self, scope: Mapping[str, Any]) -> bool:
        peer = scope.get("client")
        return peer is not None and self._includes(peer[0])

    def require_tls(self, scope: Mapping[str, Any]) -> None:
        """Raises `Refused` unless this server saw the call come over TLS, or a trusted proxy says that it did."""
        if scope["scheme"] in ("https", "wss"):
            return
        said = {value.lower() for value in _values(scope, b"x-forwarded-proto")} if self.trusts(scope) else {b"http"}
        if said != {b"https"}:
            raise Refused("plain-http" if said else "proxy-silent")

    def peer(self, scope: Mapping[str, Any]) -> str:
        """The address that calls: the last one that trusted proxies forward for, or that of the connection."""
        own = str(scope["client"][0]) if scope.get("client") else ""
        if self.trusts(scope):
            forwarded = b",".join(_values(scope, b"x-forwarded-for")).decode("latin-1")
            for one in reversed([each.strip() for each in forwarded.split(",") if each.strip()]):
                if not self._includes(one):
                    return one[:64]
        return own

    def _includes(self, host: str) -> bool:
        try:
            return bool(self.networks) and any(ip_address(host) in one for one in self.networks)
        except ValueError:
            return False


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
            values = [one for one in _values(scope, trust.certificate_header.lower().encode()) if one.strip()]
            if len(values) == 1:
                return _current(_from_header(values[0].strip()))
            if values:
                raise Refused("certificate")
    except ValueError as error:
        raise Refused("certificate") from error
    return None


def _values(scope: Mapping[str, Any], name: bytes) -> list[bytes]:
    return [value for header, value in scope["headers"] if header == name]


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
