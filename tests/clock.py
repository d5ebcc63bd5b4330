"""Coming to another time without waiting: the clock that workflows go by is a function."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from psycopg import sql

_CLOCK = sql.SQL(
    "CREATE OR REPLACE FUNCTION df._clock() RETURNS timestamptz LANGUAGE sql VOLATILE"
    " AS $$ SELECT pg_catalog.clock_timestamp() + {} $$"
)


def travel(owner: psycopg.Connection, to: datetime) -> None:
    """From now on it is that time, for all engines, and goes on from there."""
    [now] = owner.execute("SELECT clock_timestamp()").fetchone() or [datetime.now(UTC)]
    owner.execute(_CLOCK.format(sql.Literal(to - now)))
