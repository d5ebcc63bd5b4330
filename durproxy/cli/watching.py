"""``durproxy watch``: an instance until its end, which becomes the exit code.

It looks again and again; where the server goes away meanwhile, for a restart or a failover, it
tries to come back for a minute. On a terminal it draws, else it writes lines.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Event
from types import FrameType
from typing import NoReturn

import psycopg

from durproxy.cli.asking import Home
from durproxy.cli.display import Display, JsonLines, Lines
from durproxy.cli.failing import NOT_DONE, is_connection_lost
from durproxy.cli.live import Drawing
from durproxy.cli.observing import Attempt, Sight, Waiting, what_of
from durproxy.cli.tables import make_console
from durproxy.cli.unknown import not_found
from durproxy.errors import DurproxyError, UpstreamUnreachable

_COMES_BACK = 60.0  # seconds that the server may be away
_TRIES_AGAIN = 0.5  # seconds between two attempts to reach it

# Of one that has ended, the moment of its end.
_INFO = """
SELECT CASE WHEN o.status IN ('pending', 'running') THEN pg_catalog.clock_timestamp()
    ELSE coalesce(i.completed_at, i.updated_at, pg_catalog.clock_timestamp()) END AS at,
    o.status, o.output
FROM df.instance_info(%s) o LEFT JOIN df.instances i ON i.id = o.instance_id
"""
_WHAT = "SELECT n.node_id, n.query FROM df.instance_nodes(%s) n"
_ATTEMPTS = """
SELECT h.node_id, h.node_type, h.path, h.attempt, h.status, h.error, h.started_at, h.finished_at
FROM df.history(%s) h
"""
# That it is a worker's turn for a moment is no news.
_WAITING = """
SELECT w.waits_for, w.detail FROM df.waiting w
WHERE w.instance_id = %s AND w.node_id IS NULL
    AND (w.waits_for <> 'worker' OR w.detail IS NOT NULL
         OR w.since < pg_catalog.clock_timestamp() - interval '3 seconds')
ORDER BY w.waits_for
"""
_TREE = "SELECT df.explain(%s)"


def watch(upstream: str, instance: str, every: float, timeout: float | None, as_json: bool) -> int:
    """Until its end, or for so many seconds; the exit code."""
    signal.signal(signal.SIGTERM, _leave)  # so that the terminal gets its cursor back
    deadline = None if timeout is None else time.monotonic() + timeout
    watched = _Watched(upstream, instance, every, deadline)
    with closing(_display(instance, as_json)) as display:
        for sight in watched.sights():
            if sight is None:
                display.away()
                continue
            display.show(sight)
            if sight.ended:
                return 0 if sight.status == "completed" else NOT_DONE
    raise DurproxyError(
        f'instance "{instance}" has not ended', detail=f"The --timeout of {timeout:g} s is over."
    )


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _display(instance: str, as_json: bool) -> Display:
    if as_json:
        return JsonLines(instance)
    console = make_console()
    if sys.stdout.isatty() and not console.is_dumb_terminal:
        return Drawing(console)
    return Lines(console)


class _Watched:
    """Looks at an instance, and does not take a lost connection for an end."""

    def __init__(self, upstream: str, instance: str, every: float, deadline: float | None) -> None:
        self._upstream = upstream
        self._instance = instance
        self._every = every
        self._deadline = deadline
        self._what: dict[str, str] | None = None  # by node; a graph does not change

    def sights(self) -> Iterator[Sight | None]:
        """None for each attempt to come back; the iterator ends with the deadline."""
        away_since: float | None = None
        while self._time_left() > 0:
            try:
                with Home(self._upstream) as home:
                    away_since = None
                    yield from self._look(home)
            except (psycopg.Error, UpstreamUnreachable) as error:
                if isinstance(error, psycopg.Error) and not is_connection_lost(error):
                    raise
                if self._what is None:
                    raise  # it was never there
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _COMES_BACK:
                    raise
                yield None
                Event().wait(min(_TRIES_AGAIN, self._time_left()))

    def _look(self, home: Home) -> Iterator[Sight]:
        while self._time_left() > 0:
            began = time.monotonic()
            yield self._sight(home)
            took = time.monotonic() - began  # of a large graph: half the time is enough
            home.wait(min(max(self._every, took), self._time_left()))

    def _time_left(self) -> float:
        if self._deadline is None:
            return self._every
        return max(self._deadline - time.monotonic(), 0)

    def _sight(self, home: Home) -> Sight:
        """The status first: when it is final, all that is read after it is, too."""
        found = home.rows(_INFO, self._instance)
        if not found:
            raise not_found(home, self._instance)
        if self._what is None:
            nodes = home.rows(_WHAT, self._instance)
            self._what = {row["node_id"]: what_of(row["query"]) for row in nodes}
        what = self._what
        attempts = home.rows(_ATTEMPTS, self._instance)
        return Sight(
            **found[0],
            attempts=tuple(Attempt(**row, what=what[row["node_id"]]) for row in attempts),
            waiting=tuple(Waiting(**row) for row in home.rows(_WAITING, self._instance)),
            tree=home.value(_TREE, self._instance),
        )
