"""The upstream at the start of ``serve``: it must answer, and hold the home schema."""

from __future__ import annotations

import os
import re

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy.config import Settings
from durproxy.errors import ConfigurationError, UpstreamUnreachable
from durproxy.log import get_logger
from durproxy.schema.install import install, installed_version, migrations

_CONNECT_TIMEOUT = 10  # seconds, when neither the DSN nor the environment says

_NO_PASSWORD = "no password supplied"  # noqa: S105  libpq's words

_BAD = "connection is bad: "  # psycopg's words
_NOT_A_NUMBER = re.compile(r"invalid (integer value|port number)")  # libpq's, of PGPORT and others

_log = get_logger(__name__)


def connect(upstream: str) -> psycopg.Connection:
    """A connection to the user's Postgres, or the error that says what is wrong with it."""
    try:
        return psycopg.connect(_with_defaults(upstream), autocommit=True)
    except psycopg.ProgrammingError as error:  # psycopg reads some of it itself
        raise ConfigurationError(
            f"invalid value for option --upstream: {str(error).strip()}"
        ) from None
    except psycopg.OperationalError as error:
        reason = str(error).strip()
        answer = pq.PGconn.ping(make_conninfo(upstream).encode())
        if answer == pq.Ping.NO_ATTEMPT or _NOT_A_NUMBER.search(reason):
            raise ConfigurationError(
                f"invalid value for option --upstream: {reason.removeprefix(_BAD)}"
            ) from None
        # a server that answers, but not to this DSN, is not down: the DSN is wrong
        if answer == pq.Ping.OK:
            raise ConfigurationError(
                "the upstream does not let us in with option --upstream",
                detail=reason,
                hint="Put the password into ~/.pgpass." if _NO_PASSWORD in reason else None,
            ) from None
        raise UpstreamUnreachable(
            "could not connect to the upstream of option --upstream",
            detail=reason,
        ) from None


def _with_defaults(upstream: str) -> str:
    given = conninfo_to_dict(upstream)
    defaults: dict[str, str | int | None]
    defaults = {"application_name": "durproxy", "connect_timeout": _CONNECT_TIMEOUT}
    if "PGCONNECT_TIMEOUT" in os.environ:
        del defaults["connect_timeout"]
    return make_conninfo("", **(defaults | given))


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
            " durproxy init --upstream DSN",
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


def _record(settings: Settings) -> None:
    """Tell the functions in the server what they need to know of the settings."""
    told = {
        "new_transaction_start_timeout": f"{settings.new_transaction_start_timeout:g}",
        "set_aside_after": str(settings.set_aside_after),
        "enable_superuser_instances": str(settings.enable_superuser_instances).lower(),
    }
    with connect(settings.upstream) as connection:
        connection.execute(
            "INSERT INTO df._settings AS s (name, value)"
            " SELECT name, value FROM unnest(%s::text[], %s::text[]) AS told (name, value)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            " WHERE s.value <> excluded.value",
            [list(told), list(told.values())],
        )
