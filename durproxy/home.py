"""The upstream at the start of ``serve``: it must answer, and hold the home schema."""

from __future__ import annotations

import psycopg

from durproxy.config import Settings
from durproxy.connecting import connect
from durproxy.errors import ConfigurationError
from durproxy.log import get_logger
from durproxy.schema.install import install, installed_version, migrations

_log = get_logger(__name__)


def prepare_home(settings: Settings) -> None:
    """Install the home schema where it is missing; refuse one that is too old for this version."""
    connect(settings.upstream).close()
    try:
        version = installed_version(settings.upstream)
        if version is None:
            report = install(settings.upstream)
            _log.info("home.installed", database=report.database, version=report.version)
            version = report.version
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "the home schema is missing or another role's, and the upstream role may not use it",
            detail=str(error).strip(),
            hint="Run as the role that is to own it, best the database's owner:"
            " durproxy init --upstream DSN. To serve as another role, its owner runs:"
            " SELECT df.grant_engine('role').",
        ) from None
    needed = migrations()[-1].version
    if version < needed:
        raise ConfigurationError(
            f"the home schema is at version {version}, this durproxy needs version {needed}",
            hint="Upgrade it with: durproxy init --upstream DSN",
        )
    if version > needed:  # a rolling upgrade: the schema keeps working for the version before
        _log.warning("home.newer", version=version, known=needed)
    _record(settings)


def set_audit_days(settings: Settings) -> None:
    """As the owner of the home schema, who alone may shorten it."""
    with connect(settings.upstream) as connection:
        _set_audit_days(connection, settings)


def _set_audit_days(connection: psycopg.Connection, settings: Settings) -> None:
    connection.execute(
        "UPDATE df._settings SET value = %(days)s WHERE name = 'audit_days' AND value <> %(days)s",
        {"days": f"{settings.audit_days:g}"},
    )


def _record(settings: Settings) -> None:
    """Tell the functions in the server what they need to know of the settings."""
    with connect(settings.upstream) as connection:
        owns = "SELECT pg_catalog.has_table_privilege('df._settings', 'UPDATE')"
        if connection.execute(owns).fetchone() == (True,):
            _set_audit_days(connection, settings)
        row = connection.execute(
            "SELECT df._record_settings_1(%s, %s, %s, %s)",
            [
                settings.audit_days,
                settings.enable_superuser_instances,
                settings.new_transaction_start_timeout,
                settings.set_aside_after,
            ],
        ).fetchone()
    if row is not None and row[0] != settings.audit_days:
        _log.warning("home.audit_kept_longer", audit_days=row[0], setting=settings.audit_days)
