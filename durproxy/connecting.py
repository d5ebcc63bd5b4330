"""A connection to the user's Postgres, for what runs before or beside ``serve``.

What is wrong with it becomes one of our errors: a wrong setting, or a server that is not there.
"""

from __future__ import annotations

import os
import re

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy import passwords
from durproxy.errors import ConfigurationError, UpstreamUnreachable

_CONNECT_TIMEOUT = 10  # seconds, when neither the DSN nor the environment says

_NO_PASSWORD = "no password supplied"  # noqa: S105  libpq's words

_BAD = "connection is bad: "  # psycopg's words
_NOT_A_NUMBER = re.compile(r"invalid (integer value|port number)")  # libpq's, of PGPORT and others


def connect(upstream: str) -> psycopg.Connection:
    """A connection to the user's Postgres, or the error that says what is wrong with it."""
    try:
        return passwords.connect(_with_defaults(upstream))
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
