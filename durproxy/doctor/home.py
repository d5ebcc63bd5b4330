"""The home schema: whether it is there, of this version, and open to the role of ``serve``."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from durproxy import restored
from durproxy.config import Settings
from durproxy.doctor.findings import Finding, error, notice, warning
from durproxy.schema.install import installed_version, migrations

_SCHEMA = """
    SELECT pg_catalog.pg_get_userbyid(n.nspowner), pg_catalog.pg_has_role(n.nspowner, 'USAGE'),
        pg_catalog.pg_has_role(n.nspowner, r.oid, 'USAGE'), r.rolname,
        r.rolsuper OR r.rolbypassrls OR r.rolcreaterole,
        pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
        EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_durable')
    FROM pg_catalog.pg_roles r
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'df'
    WHERE r.rolname = current_user
"""
_CLOSED = """
    SELECT count(*) FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = 'df'::pg_catalog.regnamespace AND p.prosecdef AND p.proname ~ '_[0-9]+$'
      AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
"""
_WORK = """
    SELECT (SELECT count(*) FROM df._instances i WHERE i.status IN ('pending', 'running')),
        (SELECT count(*) FROM df._instances i WHERE starts_with(i.paused, 'set aside:')),
        (SELECT count(*) FROM df._engines e JOIN pg_catalog.pg_stat_activity a
             ON a.pid = e.pid AND a.backend_start = e.backend_start)
"""


def check(connection: psycopg.Connection, settings: Settings) -> Iterator[Finding]:
    """A finding about the `schema` means that there is none to look at any further."""
    row = connection.execute(_SCHEMA.encode()).fetchone()
    assert row is not None
    owner, is_owner, sees_engines, role, is_mighty, may_create, has_extension = row
    if is_mighty:
        yield notice(
            "role",
            f'Role "{role}" is more than it needs to be: a superuser, or one with'
            " BYPASSRLS or CREATEROLE.",
            "durproxy grants prints roles that suffice.",
        )
    if has_extension:
        yield error(
            "schema",
            "The database has the extension pg_durable, whose schema is df, too.",
            "Drop the extension, or choose another database.",
        )
        return
    if owner is None:
        who = "" if may_create else f', as another role: "{role}" may not create a schema here'
        yield error("schema", "The home schema is not installed.", f"Run durproxy init{who}.")
        return
    [(closed,)] = connection.execute(_CLOSED.encode()).fetchall()
    if closed:
        yield error(
            "schema",
            f'Role "{role}" may not call {closed} functions of the engine.',
            f"If serve logs in as it, as \"{owner}\": SELECT df.grant_engine('{role}');"
            " If not, look with the upstream of serve.",
        )
        return
    if not is_owner and not sees_engines:
        yield error(
            "membership",
            f'Role "{owner}", who owns the schema, is not a member of "{role}": every engine looks'
            " dead to every other.",
            f'As an administrator: GRANT "{role}" TO "{owner}";',
        )
    yield from _check_version(settings)
    yield from _check_work(connection, settings)


def _check_version(settings: Settings) -> Iterator[Finding]:
    version, needed = installed_version(settings.upstream) or 0, migrations()[-1].version
    if version < needed:
        yield error(
            "version of the schema",
            f"The home schema is at version {version}, this durproxy needs {needed}.",
            "Run durproxy init as its owner.",
        )
    elif version > needed:
        yield notice(
            "version of the schema",
            f"The home schema is at version {version}, newer than this durproxy's {needed}.",
            "Upgrade this durproxy, too.",
        )


def _check_work(connection: psycopg.Connection, settings: Settings) -> Iterator[Finding]:
    row = connection.execute(_WORK.encode()).fetchone()
    assert row is not None
    waiting, set_aside, engines = row
    if waiting and not engines:
        yield warning(
            "engine",
            f"{waiting} workflows have not ended, and no engine runs.",
            "Start durproxy serve, with engines > 0.",
        )
    if set_aside:
        yield warning(
            "set aside",
            f"{set_aside} workflows were set aside after they had spoilt"
            " their worker again and again.",
            "See df.waiting, then df.resume() or df.cancel() them.",
        )
    if (reason := restored.problem(connection, settings.upstream)) is not None:
        yield error(
            "copy",
            f"Engines hold back, since this looks like a copy: {reason}.",
            "If it is to go on with the workflows: durproxy acknowledge-restore.",
        )
