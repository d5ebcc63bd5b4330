"""Where HTTP steps may go: decisions about URLs and addresses, without touching the network.

A name says nothing about where it leads, so the address is judged: the one that the connection is
then made to. A bare address in a URL is refused whatever it is, unless it is listed by itself or
private addresses are allowed; any host that resolvers would take for a number counts as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_SCHEMES = ("http", "https")
# clouds answer here, and say who the machine is: the first with an address that looks public
_METADATA = frozenset(
    map(ip_address, ("168.63.129.16", "169.254.169.254", "100.100.100.200", "fd00:ec2::254"))
)
_NOT_THE_INTERNET = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_SHARED = IPv4Network("100.64.0.0/10")  # carrier-grade NAT
_PRIVATE_V6 = IPv6Network("fc00::/7")
_UNICAST_V6 = IPv6Network("2000::/3")
_6TO4 = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")
# the last label of a host that inet_aton reads as a number: 127.1, 0x7f000001, 017700000001
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", re.IGNORECASE)


_BARE_HINT = (
    "A name may lead there; addresses themselves need the setting http_allowed_hosts, which names"
    " each, or http_allow_private."
)


class EgressRefused(Exception):
    """The policy does not let the request go there. `hint`: what setting would."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What the configuration allows. `allowed_hosts`: names, or `*.name`; none: any host."""

    enabled: bool = True
    allow_private: bool = False
    allowed_hosts: tuple[str, ...] = ()

    def check_enabled(self) -> None:
        """Raises EgressRefused when there are no HTTP steps at all."""
        if not self.enabled:
            raise EgressRefused(
                "df.http() is disabled: outbound HTTP requests are disabled by the configuration"
            )

    def check_url(self, scheme: str, host: str) -> None:
        """Raises EgressRefused for a scheme or a host that no request may name."""
        if scheme not in _SCHEMES:
            raise EgressRefused(f'unsupported URL scheme "{scheme}"')
        if not host:
            raise EgressRefused("the URL names no host")
        listed = any(_matches(host, pattern) for pattern in self.allowed_hosts)
        if self.allowed_hosts and not listed:
            raise EgressRefused(f'host "{host}" is not in the allowed hosts')
        if is_bare_ip(host) and not (listed or self.allow_private):
            raise EgressRefused(f'host "{host}" is a bare IP address', _BARE_HINT)

    def check_address(self, host: str, address: str) -> None:
        """Raises EgressRefused when `host` led to an address that no request may reach."""
        if not self._allows(ip_address(address.partition("%")[0])):
            raise EgressRefused(f'host "{host}" has the address {address}, which is not public')

    def _allows(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and (inner := _embedded(address)) is not None:
            return self._allows(inner)
        if address in _METADATA:
            return False
        return _is_public(address) or (self.allow_private and _is_private(address))


def is_bare_ip(host: str) -> bool:
    """Whether a resolver would take the host for an address, in whatever notation."""
    return ":" in host or _NUMERIC.search(host) is not None


def _matches(host: str, pattern: str) -> bool:
    host, pattern = host.lower().rstrip("."), pattern.lower().rstrip(".")
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that the network would send this one to."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv6Address):
        return address in _UNICAST_V6 and address not in _6TO4
    return not (address.is_reserved or any(address in network for network in _NOT_THE_INTERNET))


def _is_private(address: Address) -> bool:
    """Of this machine or its network; link-local and unspecified addresses never count."""
    if address.is_loopback:
        return True
    if isinstance(address, IPv6Address):
        return address in _PRIVATE_V6
    private = map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    return address in _SHARED or any(address in network for network in private)
