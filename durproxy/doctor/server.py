"""The server: what it is, whether it can be reached as it must be, and settings that hurt."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict

from durproxy.config import Settings
from durproxy.connecting import connect
from durproxy.doctor.findings import Finding, error, notice, warning
from durproxy.errors import DurproxyError

OLDEST = 140_000
_SKEW = 2.0  # seconds that clocks may differ
_OF_AN_ENGINE = 8  # connections beside those of steps
_OF_A_PROXY = 3

_SETTINGS = """
    SELECT s.name, s.setting FROM pg_catalog.pg_settings s WHERE s.name IN (
        'fsync', 'full_page_writes', 'synchronous_commit', 'statement_timeout',
        'idle_session_timeout', 'max_connections', 'superuser_reserved_connections',
        'reserved_connections', 'transaction_read_only')
"""


def check(connection: psycopg.Connection, settings: Settings) -> Iterator[Finding]:
    version = connection.info.server_version
    if version < OLDEST:
        yield error(
            "version", f"The server is Postgres {version // 10_000}.", "durproxy needs 14 or newer."
        )
    yield from _check_encryption(connection, settings)
    yield from _check_trust(connection, settings)
    yield from _check_pooler(connection, settings)
    row = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    found: dict[str, str] = dict(connection.execute(_SETTINGS.encode()).fetchall())
    if row == (True,) or found["transaction_read_only"] == "on":
        yield error(
            "read-only",
            "The server, or a session of this role, is read-only.",
            "Name the primary in --upstream, or add target_session_attrs=read-write.",
        )
    yield from judge_settings(found)
    yield from _check_connections(connection, settings, found)
    yield from _check_clock(connection)


def _check_encryption(connection: psycopg.Connection, settings: Settings) -> Iterator[Finding]:
    given = conninfo_to_dict(settings.upstream)
    mode = str(given.get("sslmode") or "prefer")
    host = connection.info.hostaddr or connection.info.host
    yield from judge_encryption(host, mode, encrypted=connection.pgconn.ssl_in_use)


def judge_encryption(host: str, mode: str, *, encrypted: bool) -> Iterator[Finding]:
    """Over a network, passwords and data; on this machine nobody listens."""
    if host.startswith(("/", "@")) or not host or _is_loopback(host):
        return
    if not encrypted:
        yield error(
            "tls",
            f'The connection to "{host}" is not encrypted.',
            "Add sslmode=verify-full to --upstream.",
        )
    elif mode != "verify-full":
        yield warning(
            "tls",
            f'With sslmode={mode} nobody checks that "{host}" is the server.',
            "Use sslmode=verify-full, with sslrootcert where its authority is private.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_trust(connection: psycopg.Connection, settings: Settings) -> Iterator[Finding]:
    """A server that lets us in for what we are says nothing about our clients."""
    if connection.pgconn.used_password or connection.pgconn.used_gssapi:
        return
    remedy = "Let pg_hba.conf ask for a password where durproxy connects from."
    if settings.allow_trust:
        yield warning(
            "trust",
            "The server asks for no password here, and with allow_trust whoever reaches the proxy"
            " comes in as any role that it does not ask.",
            remedy,
        )
    else:
        yield notice(
            "trust",
            "The server asks for no password here, so the proxy refuses clients as roles that it"
            " does not ask.",
            f"{remedy} docs/security.md has the exceptions.",
        )


def _check_pooler(connection: psycopg.Connection, settings: Settings) -> Iterator[Finding]:
    """A pooler gives a key of its own; one that shares sessions gives ours to the next."""
    own = _backend(connection)
    if own == connection.pgconn.backend_pid:
        return
    remedy = "Let --upstream name the server itself. Clients may come through a pooler."
    try:
        with connect(settings.upstream) as other:
            other.execute("BEGIN")
            shared = _backend(other) == own
    except DurproxyError:
        shared = False
    if shared:
        yield error("pooler", "A pooler between here and the server shares its sessions.", remedy)
    else:
        yield warning(
            "pooler", "Something between here and the server answers for it: a pooler?", remedy
        )


def _backend(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def judge_settings(found: Mapping[str, str]) -> Iterator[Finding]:
    """Those that a session of this role has."""
    if found["fsync"] == "off":
        yield error(
            "fsync",
            "fsync is off: a crash of the machine can destroy the database.",
            "Turn it on, unless all of it may be lost.",
        )
    if found["full_page_writes"] == "off":
        yield warning(
            "full_page_writes",
            "full_page_writes is off: a crash can tear pages.",
            "Turn it on, unless the file system writes whole pages.",
        )
    if found["synchronous_commit"] == "off":
        yield warning(
            "synchronous_commit",
            "synchronous_commit is off: a crash undoes the last commits, started workflows and"
            " steps among them; calls that they made are made again.",
            "Turn it on, at least for the roles whose workflows act on the world outside.",
        )
    if int(found["statement_timeout"]) > 0:
        yield warning(
            "statement_timeout",
            f"statement_timeout is {found['statement_timeout']} ms: a step that takes longer"
            " fails, and each step is sent by itself.",
            "Set it for the roles that need it: ALTER ROLE ... SET statement_timeout.",
        )
    if int(found["idle_session_timeout"]) > 0:
        yield warning(
            "idle_session_timeout",
            f"idle_session_timeout is {found['idle_session_timeout']} ms: it ends the sessions of"
            " clients that wait longer for a workflow.",
            "Set it to 0 for the roles that wait.",
        )


def _check_connections(
    connection: psycopg.Connection, settings: Settings, found: Mapping[str, str]
) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT count(*) FROM pg_catalog.pg_roles r WHERE r.rolcanlogin AND NOT r.rolsuper AND"
        " pg_catalog.has_schema_privilege(r.oid, (SELECT n.oid FROM pg_catalog.pg_namespace n"
        " WHERE n.nspname = 'df'), 'USAGE')"
    ).fetchone()
    roles = max(1, row[0] if row else 1)
    reserved = found["superuser_reserved_connections"], found.get("reserved_connections", "0")
    room = int(found["max_connections"]) - sum(map(int, reserved))
    needed = needed_connections(settings, roles)
    if needed > room:
        yield warning(
            "max_connections",
            f"{settings.engines} engines with up to {settings.max_user_connections} connections for"
            f" each of {roles} roles, and {settings.proxies} proxies, may need {needed} connections"
            f" beside those of clients; the server has {room}.",
            "Raise max_connections, or lower max_user_connections or engines.",
        )


def needed_connections(settings: Settings, roles: int) -> int:
    engine = _OF_AN_ENGINE + roles * settings.max_user_connections
    proxy = _OF_A_PROXY + settings.max_new_transaction_starts
    return settings.engines * engine + settings.proxies * proxy


def _check_clock(connection: psycopg.Connection) -> Iterator[Finding]:
    before = time.time()
    row = connection.execute(
        "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8"
    ).fetchone()
    assert row is not None
    yield from judge_clock(before, row[0], time.time())


def judge_clock(before: float, theirs: float, after: float) -> Iterator[Finding]:
    """The server said its time between two looks at ours; so long it may have been on the way."""
    apart = theirs - (before + after) / 2
    if abs(apart) > _SKEW + (after - before) / 2:
        side = "ahead of" if apart > 0 else "behind"
        yield warning(
            "clock",
            f"The server's clock is {abs(apart):.0f} s {side} ours.",
            "Timers go by the server's. Logs and tokens go by ours: let both follow a time server.",
        )
