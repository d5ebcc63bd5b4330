"""An upstream that is the proxy itself: nobody would ever answer."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import closing

from psycopg.conninfo import conninfo_to_dict

from durproxy.conninfo import libpq_defaults
from durproxy.errors import ConfigurationError
from durproxy.listening import Listening


def refuse_circle(upstream: str, listening: Listening) -> None:
    """ConfigurationError when one of the upstream's places is where we listen."""
    for host, port in _places(upstream):
        if _is_ours(host, port, listening):
            raise ConfigurationError(
                f'option --upstream leads to durproxy itself, at "{host}" port {port}',
                hint="Name the Postgres server that is to be behind it.",
            )


def _places(upstream: str) -> Iterator[tuple[str, int]]:
    given = libpq_defaults() | {k: str(v) for k, v in conninfo_to_dict(upstream).items() if v}
    hosts = (given.get("hostaddr") or given.get("host") or "localhost").split(",")
    ports = given["port"].split(",")
    for host, port in zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=False):
        if port.strip().isdigit():  # what is not is judged where it is used
            yield host.strip(), int(port)


def _is_ours(host: str, port: int, listening: Listening) -> bool:
    if host.startswith("/"):
        path = listening.socket_path
        return path is not None and str(path) == f"{host.rstrip('/')}/.s.PGSQL.{port}"
    ours = {
        one.getsockname()[0]
        for one in listening.per_proxy[0]
        if one.family != socket.AF_UNIX and one.getsockname()[1] == port
    }
    return bool(ours) and any(_is_among(address, ours) for address in _addresses(host, port))


def _addresses(host: str, port: int) -> Iterator[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
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
