"""Two workers and a user meeting in one database, one statement at a time.

A statement that must wait runs in a thread of its own; that it waits is seen in pg_stat_activity.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Self

import psycopg

from tests.fix_postgres import Database, Role
from tests.store.asking import value
from tests.waiting import wait_until

_FRAMES = "%(id)s, %(token)s::uuid, %(nodes)s::int[], %(paths)s::text[], %(rounds)s::bigint[]"
# whatever is due, all of it: df._claim_1 ends with a row that has no id
CLAIM_ALL = (
    "SELECT coalesce(array_agg(id), '{}') FROM df._claim_1(%s, 1000, 1::smallint, 0, -1, '{}',"
    " '{}', 1000, false) WHERE id IS NOT NULL"
)
_RESULT = '{"rows":[],"row_count":0}'


@dataclass(frozen=True)
class Frame:
    """An enclosing open frame as a worker names it."""

    node: int
    path: str = ""
    round: int = 0


class Waiting:
    """A statement in a thread of its own."""

    def __init__(self, session: psycopg.Connection, query: str, params: Any) -> None:
        self._session = session
        self._error: psycopg.Error | None = None
        self._row: tuple[Any, ...] | None = None
        self._thread = threading.Thread(target=self._run, args=(query, params), daemon=True)
        self._thread.start()

    def _run(self, query: str, params: Any) -> None:
        try:
            cursor = self._session.execute(query.encode(), params)
            self._row = cursor.fetchone() if cursor.description else None
        except psycopg.Error as error:
            self._error = error

    @property
    def backend_pid(self) -> int:
        return self._session.info.backend_pid

    def join(self) -> None:
        """A connection must not be closed under the thread that uses it."""
        self._thread.join()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def outcome(self, patience: float) -> str | None:
        """Its SQLSTATE, None when it succeeded."""
        wait_until(self.is_done, "the statement ends", patience)
        return self._error.sqlstate if self._error else None

    def value(self, patience: float) -> Any:
        """The first column of its row."""
        assert self.outcome(patience) is None
        assert self._row is not None
        return self._row[0]


class Worker:
    """The protocol's functions as one engine calls them, for one claimed instance."""

    def __init__(self, arena: Arena, instance: str) -> None:
        self.arena = arena
        self.engine = str(uuid.uuid4())
        self.instance = instance
        self.session = arena.session()
        self.session.execute("SELECT df._register_1(%s, 1::smallint)", [self.engine])
        self.token: str | None = None

    def claim(self) -> bool:
        row = self.session.execute(
            "SELECT token FROM df._claim_one_1(%s, %s, 1::smallint)", [self.engine, self.instance]
        ).fetchone()
        self.token = None if row is None else str(row[0])
        return row is not None

    def call(self, function: str, frames: Sequence[Frame], *more: Any) -> Any:
        """The function's value. Raises psycopg.Error."""
        query, params = self._statement(function, frames, more)
        row = self.session.execute(query.encode(), params).fetchone()
        assert row is not None
        return row[0]

    def send(self, function: str, frames: Sequence[Frame], *more: Any) -> Waiting:
        query, params = self._statement(function, frames, more)
        return self.arena.waiting(self.session, query, params)

    def refused(self, function: str, frames: Sequence[Frame], *more: Any) -> str | None:
        """The SQLSTATE of a call that must fail; None when it does not."""
        try:
            self.call(function, frames, *more)
        except psycopg.Error as error:
            return error.sqlstate
        return None

    def finish(self, frames: Sequence[Frame], node: int, path: str = "") -> str | None:
        """One step in its own transaction; the SQLSTATE of a refusal."""
        return self.refused(*self.finishing(frames, node, path))

    def finishing(
        self,
        frames: Sequence[Frame],
        node: int,
        path: str = "",
        decides: str | None = None,
        winner: int | None = None,
    ) -> tuple[Any, ...]:
        return "_finish_1", frames, node, path, _RESULT, None, None, decides, winner

    def open(self, frames: Sequence[Frame], node: int, path: str = "", **more: Any) -> str | None:
        """The SQLSTATE of a refusal."""
        return self.refused(*self.opening(frames, node, path, **more))

    def opening(
        self,
        frames: Sequence[Frame],
        node: int,
        path: str = "",
        last: int = 99,
        kind: str = "RACE",
        delay: str | None = None,
        signal: str | None = None,
    ) -> tuple[Any, ...]:
        return "_open_1", frames, node, path, last, kind, delay, signal

    def close(self, frames: Sequence[Frame]) -> str | None:
        """Close the last of the frames; the SQLSTATE of a refusal."""
        return self.refused(*self.closing(frames))

    def closing(self, frames: Sequence[Frame]) -> tuple[Any, ...]:
        return "_close_1", frames, _RESULT, None, None, None, None

    def release(self, ready: str = "infinity") -> None:
        self.session.execute(
            "SELECT df._release_1(%s, %s, %s::timestamptz, 'w')",
            [self.instance, self.token, ready],
        )

    def _statement(
        self, function: str, frames: Sequence[Frame], more: Sequence[Any]
    ) -> tuple[str, dict[str, Any]]:
        types = {
            "_finish_1": ("integer", "text", "json", "json", "text[]", '"char"', "integer"),
            "_fail_1": ("integer", "text", "json"),
            "_open_1": ("integer", "text", "integer", "text", "interval", "text"),
            "_close_1": ("json", "json", "text[]", "json", "json"),
            "_retry_1": (
                "integer", "text", "integer", "text", "bigint", "interval", "boolean", "json",
            ),
            "_expire_1": ("json",),
            "_next_1": ("json",),
            "_fire_1": ("json",),
            "_take_1": ("text",),
        }[function]  # fmt: skip
        arguments = "".join(f", %(m{k})s::{kind}" for k, kind in enumerate(types))
        params = {
            "id": self.instance,
            "token": self.token,
            "nodes": [frame.node for frame in frames],
            "paths": [frame.path for frame in frames],
            "rounds": [frame.round for frame in frames],
            **{f"m{k}": argument for k, argument in enumerate(more)},
        }
        return f"SELECT df.{function}({_FRAMES}{arguments})", params


class Arena:
    """A database with the home schema, and the sessions of one test in it."""

    def __init__(self, database: Database, user: Role, patience: float = 10.0) -> None:
        self.database = database
        self.user = user
        self.patience = patience
        self._sessions = ExitStack()
        self._sent: list[Waiting] = []
        # who waits for what is told to a superuser only
        self._looking = self._sessions.enter_context(closing(database.connect("postgres")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for waiting in self._sent:
            if not waiting.is_done():
                self.ask("SELECT pg_terminate_backend(%s)", waiting.backend_pid)
            waiting.join()
        self._sessions.close()

    def session(self, role: Role | None = None) -> psycopg.Connection:
        """Of the home schema's owner, which workers log in as, or of another role."""
        return self._sessions.enter_context(closing(self.database.connect(role)))

    def started(self, expression: str = "'SELECT 1'") -> str:
        """A pending instance of the user."""
        with self.database.connect(self.user) as session:
            return str(value(session, f"SELECT df.start({expression})"))

    def claimed(self, expression: str = "'SELECT 1'") -> Worker:
        """A worker that holds a new instance."""
        worker = Worker(self, self.started(expression))
        assert worker.claim()
        return worker

    def other(self, worker: Worker) -> Worker:
        """Another session of the same holder: what a second branch or a late step uses."""
        other = Worker(self, worker.instance)
        other.token = worker.token
        return other

    def send(self, session: psycopg.Connection, query: str, *params: Any) -> Waiting:
        return self.waiting(session, query, params or None)

    def waiting(self, session: psycopg.Connection, query: str, params: Any) -> Waiting:
        waiting = Waiting(session, query, params)
        self._sent.append(waiting)
        return waiting

    def wait_blocked(self, session: psycopg.Connection) -> None:
        """The session waits for a lock."""
        wait_until(lambda: self._is_blocked(session), "a session waits for a lock", self.patience)

    def wait_polling(self, session: psycopg.Connection) -> None:
        """The session looks again and again whether somebody has let go of a row."""
        asked = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        pid = session.info.backend_pid
        wait_until(lambda: self.ask(asked, pid), "a session waits for a row", self.patience)

    def ends(self, waiting: Waiting) -> str | None:
        return waiting.outcome(self.patience)

    def ask(self, query: str, *params: Any) -> Any:
        return value(self._looking, query, params)

    def rows(self, instance: str, status: str) -> list[tuple[int, str]]:
        """Its checkpoints of that status: (node, path)."""
        found = self._looking.execute(
            "SELECT node, path FROM df._checkpoints WHERE instance_id = %s AND status = %s"
            " ORDER BY node, path",
            [instance, status],
        ).fetchall()
        return [(node, path) for node, path in found]

    def status(self, instance: str) -> str:
        return str(self.ask("SELECT status FROM df._instances WHERE id = %s", instance))

    def cancel(self, instance: str) -> str:
        return f"SELECT df.cancel('{instance}')"

    def _is_blocked(self, session: psycopg.Connection) -> bool:
        return bool(
            self.ask(
                "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s",
                session.info.backend_pid,
            )
        )
