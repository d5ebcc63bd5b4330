"""Whether the database is a restored copy, in which engines hold back until somebody acknowledges.

The home schema judges (its migration about copies says by what); what is known only here is at
which address the server is, as the settings have it.
"""

from __future__ import annotations

import os

import psycopg
from psycopg.conninfo import conninfo_to_dict

from durproxy.connecting import connect

_HERE = "this machine"  # a port of it says nothing: it may be another one each time
_LOOPBACK = frozenset(("", "localhost", "::1"))
_PORT = "5432"


def addresses_of(upstream: str) -> list[str]:
    """Each host of the DSN with its port, by name."""
    given = conninfo_to_dict(upstream)
    if "service" in given:
        return [f"service {given['service']}"]
    names = str(given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", ""))
    hosts = names.split(",")
    ports = str(given.get("port") or os.environ.get("PGPORT") or _PORT).split(",")
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)
    return sorted({_address(host, port or _PORT) for host, port in zip(hosts, ports, strict=True)})


def _address(host: str, port: str) -> str:
    if host in _LOOPBACK or host.startswith(("/", "@", "127.")):
        return _HERE
    return f"{host.lower()}:{port}"


def problem(connection: psycopg.Connection, upstream: str) -> str | None:
    """Why engines hold back there, if they do."""
    [(reason,)] = connection.execute(
        "SELECT df._restored_1(%s::text[])", [addresses_of(upstream)]
    ).fetchall()
    return None if reason is None else str(reason)


def acknowledge(upstream: str) -> str | None:
    """Let engines go on; what held them back, None for nothing."""
    with connect(upstream) as connection:
        [(reason,)] = connection.execute(
            "SELECT df._acknowledge_1(%s::text[])", [addresses_of(upstream)]
        ).fetchall()
    return None if reason is None else str(reason)
