"""The home schema in numbers: how many instances are in which state, and how long they wait.

Every ``serve`` before one database tells the same numbers, so they are to be read with ``max``.
They cost a look at every row of df._instances. So they are read at most every few seconds, given
up after a while, and read the less often the longer it takes: a backend is busy with it for a
twentieth of its time at most.
"""

from __future__ import annotations

import math
from contextlib import suppress

import psycopg
import trio

from durproxy.config import Settings
from durproxy.connecting import connect
from durproxy.errors import DurproxyError
from durproxy.measures import Family, gauge
from durproxy.restored import problem

_READ = "SELECT state, instances, seconds FROM df._queue_1()"
_STATES = ("queued", "held", "waiting", "paused", "completed", "failed", "cancelled")
_LIMIT = "2s"  # for counting
_PATIENCE = 4.0  # seconds for all of it: who scrapes metrics does not wait long
_OLDEST = 5.0  # seconds
_SHARE = 20


class Queue:
    """Remembers what it read."""

    def __init__(self, settings: Settings) -> None:
        self._upstream = settings.upstream
        self._families: list[Family] = []
        self._good_until = -math.inf
        self._one_at_a_time = trio.Lock()

    async def read(self) -> list[Family]:
        """The numbers, not much older than a few seconds."""
        async with self._one_at_a_time:
            if trio.current_time() >= self._good_until:
                began = trio.current_time()
                self._families = [_up(0)]
                with (
                    trio.move_on_after(_PATIENCE),
                    suppress(DurproxyError, psycopg.Error),
                ):
                    self._families = await trio.to_thread.run_sync(
                        self._read, abandon_on_cancel=True
                    )
                took = trio.current_time() - began
                self._good_until = trio.current_time() + max(_OLDEST, _SHARE * took)
            return self._families

    def _read(self) -> list[Family]:
        with connect(self._upstream) as connection:
            is_copy = problem(connection, self._upstream) is not None
            told = [
                _up(1),
                gauge(
                    "durproxy_home_held_back",
                    "whether engines claim nothing, since this looks like a restored copy", is_copy,
                ),
            ]  # fmt: skip
            connection.execute(f"SET statement_timeout = '{_LIMIT}'".encode())
            with suppress(psycopg.errors.QueryCanceled):  # there are too many to count
                told += _counts(connection.execute(_READ).fetchall())
            return told


def _counts(rows: list[tuple[str, int, float | None]]) -> list[Family]:
    found = {state: (count, age) for state, count, age in rows}
    samples = [((state,), found.get(state, (0, None))[0]) for state in _STATES]
    _, age = found.get("queued", (0, None))
    return [
        Family(
            name="durproxy_instances", help="instances in the home schema, by what they do",
            kind="gauge", labels=("state",), samples=[*samples],
        ),
        gauge(
            "durproxy_queue_age_seconds",
            "for how long the oldest queued instance could have been claimed", age or 0.0,
        ),
    ]  # fmt: skip


def _up(value: int) -> Family:
    return gauge("durproxy_home_up", "whether the home schema could be read", value)
