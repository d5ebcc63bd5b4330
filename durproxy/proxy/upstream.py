"""Where the upstream Postgres is, and a fresh connection to it.

Only the places come from the conninfo: a client brings its own user, database and password.
Names are resolved at each connect and an address is never kept, so that a failover by DNS is
followed. A connection is encrypted here, before its startup packet, as the conninfo says.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic
from typing import TypeAlias

import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict

from durproxy.conninfo import libpq_defaults
from durproxy.errors import UpstreamUnreachable
from durproxy.proxy import sockets
from durproxy.proxy.choosing import Choosing, is_wish
from durproxy.proxy.tls import reason
from durproxy.proxy.upstream_tls import UpstreamTls, load_upstream_tls

_DEFAULT_HOSTS = "/var/run/postgresql"
_DEFAULT_TIMEOUT = 10.0  # seconds for one host, when the conninfo has no connect_timeout
_FULL_QUEUE_PAUSE = 0.01  # seconds
_PLAIN_FOR = 1.0  # seconds that a server without TLS is not asked again, where TLS is but a wish

# what getaddrinfo finds
_Found: TypeAlias = tuple[
    socket.AddressFamily,
    socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]


@dataclass(frozen=True, slots=True)
class Place:
    """One host and port of the conninfo; a host with a slash is a unix socket's folder."""

    host: str
    port: int
    name: str = ""  # what the certificate has to name, where the host is given by its address

    @property
    def socket_path(self) -> str | None:
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith(("/", "@")) else None

    def __str__(self) -> str:
        return f'"{self.host}", port {self.port}'


@dataclass(frozen=True, slots=True)
class Upstream:
    """The places to try, in order."""

    places: tuple[Place, ...]
    connect_timeout: float
    database: str  # of the home schema
    tls: UpstreamTls
    choosing: Choosing | None = None  # where not just any host will do
    # the address of a server that had no TLS, and until when it is not asked again
    _plain: dict[object, float] = field(default_factory=dict, compare=False)

    @classmethod
    def from_conninfo(cls, conninfo: str) -> Upstream:
        given = _defaults() | {name: str(v) for name, v in conninfo_to_dict(conninfo).items()}
        hosts = (given.get("hostaddr") or given.get("host") or _DEFAULT_HOSTS).split(",")
        names = (given.get("host") or ",".join(hosts)).split(",")
        ports = given.get("port", "5432").split(",")
        if len(ports) == 1:  # as in libpq: one port is every host's
            ports *= len(hosts)
        seconds = float(given.get("connect_timeout") or 0)
        return cls(
            tuple(
                Place(host or _DEFAULT_HOSTS, int(port or 5432), name or host)
                for host, port, name in zip(hosts, ports, names, strict=True)
            ),
            seconds if seconds > 0 else _DEFAULT_TIMEOUT,
            given.get("dbname") or given.get("user", ""),
            load_upstream_tls(given),
            Choosing(conninfo, seconds) if is_wish(given.get("target_session_attrs")) else None,
        )

    async def connect(self) -> tuple[socket.socket, Place]:
        """A connection to the first place that has one to give, and is as it has to be."""
        failures: list[str] = []
        for place in await self._candidates(failures):
            try:
                return await self.connect_to(place), place
            except OSError as error:
                failures.append(f"{place}: {reason(error)}")
            except trio.TooSlowError:
                failures.append(f"{place}: timeout expired")
            if self.choosing is not None:
                self.choosing.forget()
        raise UpstreamUnreachable(
            "could not connect to the upstream server",
            detail="; ".join(failures),
            hint="Is the server that durproxy's --upstream names running, and may this"
            " machine reach it?",
        )

    async def _candidates(self, failures: list[str]) -> tuple[Place, ...]:
        if self.choosing is None:
            return self.places
        try:
            host, port = await self.choosing.choose()
        except psycopg.OperationalError as error:
            failures.append(str(error).strip())
            return ()
        return tuple(place for place in self.places if (place.name, place.port) == (host, port))

    async def connect_to(self, place: Place, beside: socket.socket | None = None) -> socket.socket:
        """A connection to this place; OSError or TooSlowError says why there is none.

        ``beside``: to the very server of that connection, which the place's name may not be now.
        """
        with trio.fail_after(self.connect_timeout):
            sock = await _dial(place, beside)
            try:
                return await self._secure(sock, place)
            except ssl.SSLError:
                if self.tls.needed:
                    raise
            except BaseException:
                sock.close()
                raise
            return await _dial(place, beside)  # as libpq does, where TLS was only a wish

    async def _secure(self, sock: socket.socket, place: Place) -> socket.socket:
        """As ``sslmode`` says; a burst of connections asks a server without TLS only once."""
        if self.tls.context is None or self.tls.needed or sock.family == socket.AF_UNIX:
            return await self.tls.secure(sock, place.name)
        address = sock.getpeername()
        if monotonic() < self._plain.get(address, 0.0):
            return sock
        secured = await self.tls.secure(sock, place.name)
        self._plain.clear()
        if secured is sock:
            self._plain[address] = monotonic() + _PLAIN_FOR
        return secured


async def _dial(place: Place, beside: socket.socket | None) -> socket.socket:
    if place.socket_path is not None:
        return await _connect_unix(place.socket_path)
    if beside is not None:
        return await sockets.connect(beside.family, beside.getpeername())
    found = _literal_address(place.host, place.port) or await trio.socket.getaddrinfo(
        place.host, place.port, type=socket.SOCK_STREAM
    )
    failure: OSError = OSError("the host has no address")
    for family, _, _, _, address in found:
        try:
            return await sockets.connect(family, address)
        except OSError as error:
            failure = error
    raise failure


@lru_cache
def _literal_address(host: str, port: int) -> Sequence[_Found]:
    """What an address means, which does not change; nothing for a name, whose address may."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


async def _connect_unix(path: str) -> socket.socket:
    while True:
        try:
            return await sockets.connect(socket.AF_UNIX, path)
        except BlockingIOError:  # the listener's queue is full; it has no way to tell when not
            await trio.sleep(_FULL_QUEUE_PAUSE)


def _defaults() -> dict[str, str]:
    """libpq's own, which know the environment (PGHOST, PGPORT …)."""
    return {name: value for name, value in libpq_defaults().items() if value}
