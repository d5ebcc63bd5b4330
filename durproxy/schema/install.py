"""Apply the home schema's migrations to a database: safely twice, and by two at once.

Rules: a file is applied once, in one transaction together with its row in ``df._migrations``.
Whoever applies holds that table's lock, which no user can take, and looks again under it. An
applied file never changes: its checksum is recorded and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from durproxy import __version__, passwords
from durproxy.errors import ConfigurationError, UpstreamUnreachable

LOCK_ATTEMPTS = 15

T = TypeVar("T")

# A migration means the same under whatever the installing role or database has set.
SESSION = b"""
SET client_encoding = 'UTF8';
SET search_path = pg_catalog, pg_temp;
SET standard_conforming_strings = on;
SET check_function_bodies = on;
SET client_min_messages = warning;
SET default_transaction_read_only = off;
SET default_transaction_isolation = 'read committed';
SET statement_timeout = 0;
SET lock_timeout = '2s';
"""

BOOTSTRAP = b"""
CREATE SCHEMA df;
CREATE TABLE df._migrations (
    version     integer PRIMARY KEY,
    name        text NOT NULL,
    sha256      text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON SCHEMA df IS 'durable functions (durproxy)';
"""

# Closes what runs with the owner's rights, in the transaction that brings it.
SEAL = b"""
DO $$ BEGIN
    IF to_regprocedure('df._seal()') IS NOT NULL THEN
        PERFORM df._seal();
    END IF;
END $$
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file of the package."""

    version: int
    name: str
    text: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text).hexdigest()


@dataclass(frozen=True, slots=True)
class InstallReport:
    """What an installation found and did."""

    database: str
    applied: tuple[str, ...]
    version: int

    @property
    def changed(self) -> bool:
        return bool(self.applied)


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations that this version knows, in order."""
    folder = resources.files("durproxy.schema") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple(Migration(int(f.name[:4]), f.name, f.read_bytes()) for f in files)


def install(conninfo: str) -> InstallReport:
    """Bring the database's home schema to this version, creating it when it is not there."""
    with _connect(conninfo) as connection:
        _refuse_extension(connection)
        _bootstrap(connection)
        applied = [m.name for m in migrations() if _apply(connection, m)]
        _finish(connection)
        return InstallReport(connection.info.dbname, tuple(applied), _version(connection) or 0)


def installed_version(conninfo: str) -> int | None:
    """The highest migration that is applied, or None without a home schema."""
    with _connect(conninfo) as connection:
        return _version(connection)


def uninstall(conninfo: str) -> bool:
    """Drop the home schema with all instances; False when there was none."""
    with _connect(conninfo) as connection:
        if _version(connection) is None:
            return False
        _refuse_extension(connection)
        drop = b"DROP SCHEMA IF EXISTS df_held CASCADE; DROP SCHEMA df CASCADE"
        _alone(connection, lambda: connection.execute(drop))
        return True


def _connect(conninfo: str) -> psycopg.Connection:
    try:
        connection = passwords.connect(make_conninfo(conninfo, application_name="durproxy init"))
    except psycopg.OperationalError as error:
        raise UpstreamUnreachable(f"could not connect to the upstream: {error}") from error
    connection.execute(SESSION)
    return connection


def _refuse_extension(connection: psycopg.Connection) -> None:
    row = connection.execute(b"SELECT 1 FROM pg_extension WHERE extname = 'pg_durable'").fetchone()
    if row is not None:
        raise ConfigurationError(
            f'database "{connection.info.dbname}" has the extension pg_durable',
            detail="Its schema df and the home schema of durproxy cannot be in one database.",
            hint="Drop the extension first, or choose another database.",
        )


def _bootstrap(connection: psycopg.Connection) -> None:
    if _version(connection) is not None:
        return
    try:
        with connection.transaction():
            connection.execute(BOOTSTRAP)
    except (errors.DuplicateSchema, errors.UniqueViolation) as error:
        # another installer was faster, or the schema is somebody else's
        if _version(connection) is None:
            raise ConfigurationError(
                f'database "{connection.info.dbname}" has a schema "df" that is not durproxy\'s',
                hint="Rename it, or choose another database.",
            ) from error


def _version(connection: psycopg.Connection) -> int | None:
    """None without a home schema, 0 for one in which nothing is applied yet."""
    found = connection.execute(b"SELECT to_regclass('df._migrations') IS NOT NULL").fetchone()
    if found is None or not found[0]:
        return None
    row = connection.execute(b"SELECT coalesce(max(version), 0) FROM df._migrations").fetchone()
    return int(row[0]) if row else 0


def _alone(connection: psycopg.Connection, work: Callable[[], T]) -> T:
    """Do the work in a transaction that no other installer's runs beside.

    Open transactions of users hold locks that DDL waits for, and everybody queues behind a
    waiting DDL: so it gives up soon and tries again.
    """
    for _ in range(LOCK_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute(b"LOCK TABLE df._migrations IN ACCESS EXCLUSIVE MODE")
                return work()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            continue
    raise ConfigurationError(
        "could not lock the home schema",
        detail="Open transactions that use df have held their locks for too long.",
        hint="End them, then try again.",
    )


def _apply(connection: psycopg.Connection, migration: Migration) -> bool:
    """Apply one file unless it is applied; say whether anything was done."""

    def work() -> bool:
        _refuse_newer(connection)
        row = connection.execute(
            "SELECT sha256 FROM df._migrations WHERE version = %s", [migration.version]
        ).fetchone()
        if row is not None:
            if row[0] != migration.sha256:
                raise ConfigurationError(
                    f'migration "{migration.name}" is not the one that was applied',
                    detail="A migration never changes once it is released.",
                    hint="Install with the version of durproxy that created the home schema.",
                )
            return False
        connection.execute(migration.text)
        connection.execute(SEAL)
        connection.execute(
            "INSERT INTO df._migrations (version, name, sha256) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.sha256],
        )
        return True

    return _alone(connection, work)


def _refuse_newer(connection: psycopg.Connection) -> None:
    newest = migrations()[-1].version
    version = _version(connection) or 0
    if version > newest:
        raise ConfigurationError(
            f"home schema is at version {version}, this durproxy knows version {newest}",
            detail="A newer durproxy has upgraded it.",
            hint="Upgrade this durproxy too.",
        )


def _finish(connection: psycopg.Connection) -> None:
    def work() -> None:
        connection.execute(
            "INSERT INTO df._settings (name, value) VALUES ('version', %s)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [__version__],
        )

    _alone(connection, work)
