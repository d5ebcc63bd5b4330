"""Asking the home schema, as the role of the DSN: each sees and controls what that role may."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from durproxy import passwords
from durproxy.config_file import read_file
from durproxy.connecting import connect
from durproxy.conninfo import checked_conninfo
from durproxy.errors import ConfigurationError

Row = dict[str, Any]

# Whose a row i of df.instances is: the name as it is, without the quotes that regrole gives some.
STARTED_BY = """coalesce((SELECT r.rolname::text FROM pg_catalog.pg_roles r
    WHERE r.oid = i.submitted_by), i.submitted_by::text)"""

# a time zone that Python does not know changes nothing: moments come with their offset
logging.getLogger("psycopg").setLevel(logging.ERROR)

# libpq's own variables that say which server or database is meant
_LIBPQ = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE")
_MISSING = (psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction,
            psycopg.errors.UndefinedTable)  # fmt: skip


def find_upstream(option: str | None, config: Path | None) -> str:
    """The DSN: of the option, the environment or the file, in this order; else libpq's variables.

    The other settings are those of ``serve``, and are not looked at.
    """
    in_file = read_file(config)
    for given in (option, os.environ.get("DURPROXY_UPSTREAM"), in_file.get("upstream")):
        if given is not None:
            return _checked(given)
    if any(os.environ.get(name) for name in _LIBPQ):
        return ""
    raise ConfigurationError(
        "option --upstream is missing",
        hint="Give it on the command line, as DURPROXY_UPSTREAM,"
        ' as "upstream" in durproxy.toml, or set PGHOST and its like.',
    )


def _checked(given: object) -> str:
    try:
        return checked_conninfo(given if isinstance(given, str) else "")
    except ValueError as error:
        raise ConfigurationError(f"invalid value for option --upstream: {error}") from None


class Home:
    """A connection to the database with the home schema."""

    def __init__(self, upstream: str, patience: int | None = None) -> None:
        given = conninfo_to_dict(upstream)
        if patience is not None and "connect_timeout" not in given:
            upstream = make_conninfo(upstream, connect_timeout=patience)
        # whatever the role's or the database's settings are, what comes must be readable
        self._connection = connect(make_conninfo(upstream, client_encoding="UTF8"))
        if not (self._connection.info.parameter_status("DateStyle") or "").startswith("ISO"):
            self._connection.execute("SET datestyle = ISO")

    def __enter__(self) -> Home:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def rows(self, query: str, *parameters: object, **named: object) -> list[Row]:
        with _told_when_missing():
            cursor = self._connection.cursor(row_factory=dict_row)
            return cursor.execute(query.encode(), named or parameters).fetchall()

    def value(self, query: str, *parameters: object) -> Any:
        """The only column of the only row."""
        [row] = self.rows(query, *parameters)
        [value] = row.values()
        return value

    def wait(self, seconds: float) -> None:
        """Let time pass; raises at once when the server closes the connection meanwhile."""
        for _ in self._connection.notifies(timeout=seconds):
            pass


def open_home(option: str | None, config: Path | None) -> Home:
    return Home(prepare_upstream(option, config))


def prepare_upstream(option: str | None, config: Path | None) -> str:
    """The DSN; from here on connections ask the command for passwords, where there is one."""
    upstream = find_upstream(option, config)
    if "DURPROXY_PASSWORD_COMMAND" in os.environ or "password_command" in read_file(config):
        from durproxy.config import load_settings  # takes as long as all the rest

        passwords.configure(load_settings({"upstream": upstream}, config))
    return upstream


@contextmanager
def _told_when_missing() -> Iterator[None]:
    try:
        yield
    except _MISSING as error:
        if "df" not in str(error):
            raise
        raise ConfigurationError(
            "the home schema is not installed in the database of option --upstream",
            hint="Install it with: durproxy init --upstream DSN",
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        if "schema df" not in str(error):
            raise
        raise ConfigurationError(
            "this role may not use df in the database of option --upstream",
            hint="The owner of the schema can allow it: SELECT df.grant_usage('role')",
        ) from None
