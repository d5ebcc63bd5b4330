"""An upstream that is the proxy itself: nobody would ever answer."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from durproxy.errors import ConfigurationError
from durproxy.listening import Listening
from durproxy.proxy.upstream import Place


def refuse_circle(places: Sequence[Place], listening: Listening) -> None:
    """ConfigurationError when one of the upstream's places is where we listen."""
    for place in places:
        if _is_ours(place, listening):
            raise ConfigurationError(
                f'option --upstream leads to durproxy itself, at "{place.host}" port {place.port}',
                hint="Name the Postgres server that is to be behind it.",
            )


def _is_ours(place: Place, listening: Listening) -> bool:
    if place.socket_path is not None:
        return Path(place.socket_path) == listening.socket_path
    ours = {
        one.getsockname()[0]
        for one in listening.per_proxy[0]
        if one.family != socket.AF_UNIX and one.getsockname()[1] == place.port
    }
    return bool(ours) and any(_is_among(address, ours) for address in _addresses(place))


def _addresses(place: Place) -> Iterator[str]:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError:  # as libpq will say, better
        return
    for _, _, _, _, address in found:
        yield str(address[0])


def _is_among(address: str, ours: set[str]) -> bool:
    if address in ours:
        return True
    return any(ipaddress.ip_address(one).is_unspecified for one in ours) and _is_here(address)


def _is_here(address: str) -> bool:
    """Whether it is an address of this machine: only those can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
