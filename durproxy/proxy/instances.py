"""Asks the home schema about instances that clients wait for: one statement for all of them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from durproxy import passwords

_CONNECT_TIMEOUT = 5  # seconds

_FIND = """
    SELECT i.id, i.status IN ('completed', 'failed', 'cancelled'), r.rolname
      FROM df._instances i
      JOIN pg_catalog.pg_roles r ON r.oid = i.submitted_by
     WHERE i.id = ANY (%s)
"""

# The timeouts of a role's new sessions: those of the role, of the database, and the server's own.
_LIMITS = """
    SELECT r.rolname, split_part(c.setting, '=', 2)
      FROM pg_catalog.pg_roles r
      JOIN pg_catalog.pg_db_role_setting s
        ON s.setrole IN (0, r.oid)
       AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d
                                  WHERE d.datname = pg_catalog.current_database()))
      CROSS JOIN LATERAL unnest(s.setconfig) c (setting)
     WHERE r.rolname = ANY (%(users)s)
       AND c.setting ~ '^(idle_session_timeout|statement_timeout)='
     UNION ALL
    SELECT u.name, p.setting
      FROM unnest(%(users)s) u (name)
      CROSS JOIN pg_catalog.pg_settings p
     WHERE p.name IN ('idle_session_timeout', 'statement_timeout')
"""

_DURATION = re.compile(r"\s*(\d+)\s*(us|ms|s|min|h|d)?\s*")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Found:
    """An instance that is committed."""

    ended: bool
    owner: str


class Instances:
    """A connection to the home database that comes back by itself; its methods block."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = make_conninfo(
            conninfo,
            connect_timeout=_CONNECT_TIMEOUT,
            application_name="durproxy proxy",
            client_encoding="UTF8",  # not the server's: from SQL_ASCII there would come bytes
        )
        self._connection: psycopg.Connection | None = None
        self.database = ""  # known from the first question on

    def find(self, instance_ids: Iterable[str]) -> Mapping[str, Found]:
        """Those of the instances that exist; psycopg.Error or UnicodeError if nobody can say."""
        with self._connected().cursor() as cursor:
            cursor.execute(_FIND, (list(instance_ids),))
            return {id_: Found(ended, owner) for id_, ended, owner in cursor}

    def limits(self, users: Iterable[str]) -> Mapping[str, float]:
        """For each user the shortest timeout (s) that ends a session or statement that waits."""
        asked = list(users)
        limits = dict.fromkeys(asked, float("inf"))
        with self._connected().cursor() as cursor:
            cursor.execute(_LIMITS, {"users": asked})
            for user, setting in cursor:
                limits[user] = min(limits[user], parse_duration(setting) or float("inf"))
        return limits

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def abandon(self) -> None:
        """End a question in another thread that has no answer; it is the last one here."""
        if self._connection is not None and not self._connection.closed:
            shared = socket.socket(fileno=os.dup(self._connection.fileno()))
            with shared, suppress(OSError):
                shared.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = passwords.connect(self._conninfo)
            self.database = self._connection.info.dbname
        return self._connection


def parse_duration(setting: str) -> float:
    """Seconds of a timeout setting as it was written; milliseconds are its unit without one."""
    matched = _DURATION.fullmatch(setting.strip("'\""))
    if matched is None:
        return 0.0
    return int(matched[1]) * _SECONDS[matched[2] or "ms"]
