"""Where a request may go: registered origins only, at addresses checked before each connection (SSRF).

A URL that a partner or an operator gives is refused at registration unless it is https to a full public name; the name
is resolved by us, every address it has must be public (or inside a network the operator named), and the connection is
pinned to the address that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpx

from connectors.failures import DestinationRefused, Unreachable

LOOPBACK = ("127.0.0.1/32", "::1/128")
"""Networks to allow in the demo and test profiles, where the sandboxes run on this machine."""
REMEMBERED = 30.0
"""Seconds for which a checked address is used again without asking the resolver."""

_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            # Translations: an IPv4 address is inside, and somebody else's gateway decides which.
            "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::ffff:0:0/96", "192.88.99.0/24",
            # Protocols and examples (IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6890, 7450, 7534, 7535,
            # 9637): Pythons differ on which of them are public.
            "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "2620:4f:8000::/48", "3fff::/20",
            # Private wherever it is still routed (RFC 3879).
            "fec0::/10",
            # Azure's platform answers every machine there (Microsoft Learn, “What is IP address 168.63.129.16?”).
            "168.63.129.16/32",
        ),
    )
)  # fmt: skip
"""Where no partner is, though Python may call it public."""
_NAME = re.compile(r"^(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+$")
_PORTS = range(1024, 65536)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Origin = tuple[str, str, int]
"""Scheme, host and port."""
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to the numeric addresses of all its records. Raises `OSError`."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a host, from the system resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _networks(networks: Iterable[str]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(network) for network in networks)
    except ValueError:
        raise DestinationRefused("networks-invalid") from None


def _permitted(address: str, networks: Iterable[Network]) -> bool:
    """Public and unicast, or inside a network the operator named."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(ip in network for network in networks):
        return True
    if any(ip in network for network in _NEVER):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def origin(url: str, networks: Iterable[str] = ()) -> tuple[str, str, int]:
    """Scheme, host and port of an address a partner may be registered under.

    https on port 443 or above 1023, a full lower-case ASCII name, nothing else: no user, no numeric host, no trailing
    dot, no punycode. A literal address (and plain http, and `localhost`) passes only inside `networks`, written in
    its canonical form. Raises `DestinationRefused`.
    """
    allowed = _networks(networks)
    try:
        parsed = httpx.URL(url)
        host = parsed.host  # read here: a name that is no punycode is found out when it is decoded
    except (httpx.InvalidURL, TypeError, ValueError):
        raise DestinationRefused("url-invalid") from None
    authority = re.match(r"^[a-z]+://([^/?#]*)", url)
    if not authority or parsed.scheme not in {"https", "http"}:
        raise DestinationRefused("scheme-not-allowed")
    if "@" in authority[1] or parsed.userinfo:
        raise DestinationRefused("userinfo-not-allowed")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    named = bool(_NAME.match(host)) and not host.rsplit(".", 1)[1].isdecimal() and "xn--" not in host
    literal = host == "localhost" or (not named and _permitted_literal(host, allowed))
    if literal and host == "localhost" and not any(_permitted(a, allowed) for a in ("127.0.0.1", "::1")):
        literal = False
    if not (named or literal):
        raise DestinationRefused("host-not-allowed")
    if parsed.scheme == "http" and not literal:
        raise DestinationRefused("scheme-not-allowed", host)
    if port != 443 and port not in _PORTS:
        raise DestinationRefused("port-not-allowed", host)
    return parsed.scheme, host, port


def _permitted_literal(host: str, allowed: Iterable[Network]) -> bool:
    try:
        return str(ipaddress.ip_address(host)) == host and any(ipaddress.ip_address(host) in n for n in allowed)
    except ValueError:
        return False


async def _address(host: str, port: int, networks: Iterable[Network], resolver: Resolver) -> str:
    try:
        addresses = list(await resolver(host, port))
    except OSError:
        raise Unreachable("host-not-found", host) from None
    if not addresses or not all(_permitted(address, networks) for address in addresses):
        raise DestinationRefused("address-not-allowed", host)
    return addresses[0]


class Destinations:
    """The registered origins of one partner."""

    def __init__(
        self, urls: Iterable[str], networks: Iterable[str], resolver: Resolver, now: Callable[[], float]
    ) -> None:
        named = tuple(networks)
        self._allowed = frozenset(origin(url, named) for url in urls)
        self._networks = _networks(named)
        self._resolver, self._now = resolver, now
        self._checked: dict[tuple[str, int], tuple[str, float]] = {}

    @property
    def origins(self) -> tuple[str, ...]:
        """Each registered origin, written out."""
        return tuple(f"{scheme}://{host}:{port}" for scheme, host, port in sorted(self._allowed))

    def target(self, url: httpx.URL) -> Origin:
        """The registered origin that a URL is under. Raises `DestinationRefused`."""
        found = url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
        if found not in self._allowed or url.userinfo:
            raise DestinationRefused("origin-not-registered", url.host)
        return found

    async def address(self, host: str, port: int) -> str:
        """The address to connect to, checked. Raises `DestinationRefused`, `Unreachable`."""
        address, until = self._checked.get((host, port), ("", 0.0))
        if not address or until <= self._now():
            address = await _address(host, port, self._networks, self._resolver)
            self._checked[host, port] = address, self._now() + REMEMBERED
        return address
