"""What an IP address is: of the internet, of this machine and its networks, or for nobody.

An IPv6 address that the network would send on as IPv4 is judged as the IPv4 address inside it.
"""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# clouds answer here, and say who the machine is, also from addresses that look public or private:
# Azure; Alibaba; AWS with its containers' credentials; Google; Oracle; Scaleway
_METADATA = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::/48",
            "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128",
        ),
    )
)  # fmt: skip
_NOT_THE_INTERNET = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_PRIVATE = tuple(
    map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)
_PRIVATE_V6 = IPv6Network("fc00::/7")
_UNICAST_V6 = IPv6Network("2000::/3")
_6TO4 = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")
# the last label of a host that inet_aton reads as a number: 127.1, 0x7f000001, 017700000001
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", re.IGNORECASE)


def is_bare_ip(host: str) -> bool:
    """Whether a resolver would take the host for an address, in whatever notation."""
    return ":" in host or _NUMERIC.search(host) is not None


def parse_address(text: str) -> Address:
    """The address that is reached: without its zone, and out of its IPv6 clothes."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    if _is_metadata(address) or not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv6Address):
        return address in _UNICAST_V6 and address not in _6TO4
    return not (address.is_reserved or any(address in network for network in _NOT_THE_INTERNET))


def is_private(address: Address) -> bool:
    """Of this machine or its network; link-local and unspecified addresses never count."""
    if _is_metadata(address):
        return False
    if address.is_loopback:
        return True
    if isinstance(address, IPv6Address):
        return address in _PRIVATE_V6
    return any(address in network for network in _PRIVATE)


def _is_metadata(address: Address) -> bool:
    return any(address in network for network in _METADATA)
