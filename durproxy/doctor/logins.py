"""Whether the engine can be each role that has workflows waiting: it tries."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy import passwords
from durproxy.config import Settings
from durproxy.doctor.findings import Finding, error, notice
from durproxy.engine.core.references import quote_name
from durproxy.engine.pools import RolePools, passfile_place
from durproxy.errors import DurproxyError

_MOST = 50  # roles that are tried
_PATIENCE = 5  # seconds
_NO_PASSWORD = "no password supplied"  # noqa: S105  libpq's words

_ROLES = """
    SELECT i.submitted_by::oid, r.rolname, r.rolcanlogin, count(*)
    FROM df._instances i LEFT JOIN pg_catalog.pg_roles r ON r.oid = i.submitted_by
    WHERE i.status IN ('pending', 'running') GROUP BY 1, 2, 3 ORDER BY 4 DESC
"""


def check_passfile() -> Iterator[Finding]:
    path = Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_IMODE(mode) & 0o077:
        yield error(
            "passfile",
            f'The passfile "{path}" can be read by others, so libpq ignores it.',
            f"chmod 600 {path}",
        )


def check_roles(connection: psycopg.Connection, settings: Settings) -> Iterator[Finding]:
    roles = connection.execute(_ROLES.encode()).fetchall()
    pools = RolePools(settings)
    for number, role, may_log_in, waiting in roles[:_MOST]:
        told = f'Role "{role}", which has {waiting} workflows that have not ended,'
        if role is None:
            yield error(
                "role",
                f"Role {number}, which had {waiting} workflows, does not exist any more.",
                "Cancel them, as an operator.",
            )
        elif not may_log_in:
            yield error(
                "login", f"{told} does not have the LOGIN attribute.", f'ALTER ROLE "{role}" LOGIN'
            )
        elif (problem := _try(pools, role)) is not None:
            reason, remedy = problem
            yield error("login", f"{told} cannot be logged in as: {reason}", remedy)
    if len(roles) > _MOST:
        yield notice(
            "login",
            f"{len(roles) - _MOST} more roles were not tried.",
            "Those with the most workflows were.",
        )


def _try(pools: RolePools, role: str) -> tuple[str, str] | None:
    """Why it does not work, and what to do."""
    try:
        conninfo = make_conninfo(pools.conninfo(role), connect_timeout=_PATIENCE)
        with passwords.connect(conninfo) as step:
            if pools.assumes:
                step.execute(f"SET ROLE {quote_name(role)}".encode())
    except (DurproxyError, psycopg.Error, ValueError) as problem:
        reason = " ".join(str(problem).split())
        if _NO_PASSWORD not in reason:
            return reason, "Try it with psql from this machine, with the same host and port."
        place, passfile = passfile_place(conninfo)
        database = str(conninfo_to_dict(conninfo).get("dbname") or "*")
        line = f"{place}:{_escaped(database)}:{_escaped(role)}:PASSWORD"
        return "no password is known", f"Add to {passfile}: {line}"
    return None


def _escaped(name: str) -> str:
    """As a passfile has it."""
    return name.replace("\\", "\\\\").replace(":", "\\:")
