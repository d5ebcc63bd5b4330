"""The users of the soak: they start, signal, pause and cancel, and remember what they asked for."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

import psycopg

from tests.faults.soak.workflows import Workflow, random_workflow
from tests.fix_serve import Serve

_START = "INSERT INTO started (workflow, id) SELECT %s, df.start({text}, %s)"
_ENDED = """
    UPDATE started s SET status = i.status, paused = i.paused FROM df._instances i
    WHERE i.id = s.id AND s.status IS NULL
      AND (i.status IN ('completed', 'failed', 'cancelled') OR i.paused LIKE 'set aside%')
    RETURNING s.workflow"""


class Users:
    """A client of the proxy that comes back whenever its session is lost."""

    def __init__(self, random: Random, serve: Serve, url: str) -> None:
        self._random = random
        self._serve = serve
        self._url = url
        self._session: psycopg.Connection | None = None
        self._errands: list[tuple[float, int, Callable[[psycopg.Connection], None]]] = []
        self._count = 0
        self.workflows: dict[int, Workflow] = {}
        self.unended: set[int] = set()
        self.cancelled_at: dict[int, float] = {}  # by the server's clock, once it was committed
        self.asked: Counter[str] = Counter()

    def turn(self, most: int) -> None:
        """Start some, and run what errands are due; a lost session is for the next turn."""
        try:
            session = self._connected()
            self._look(session)
            for _ in range(min(3, most - len(self.unended))):
                self._start(session)
            while self._errands and self._errands[0][0] <= time.monotonic():
                _, _, errand = heapq.heappop(self._errands)
                errand(session)
        except psycopg.OperationalError:
            if self._session is not None:
                self._session.close()
                self._session = None

    def settle(self) -> int:
        """Let everything end: no new work, nothing paused. How many have not ended."""
        try:
            session = self._connected()
            while self._errands:
                heapq.heappop(self._errands)[2](session)
            session.execute(
                "SELECT df.resume(i.id) FROM df._instances i"
                " WHERE i.paused IS NOT NULL AND i.paused NOT LIKE 'set aside%'"
                " AND i.status IN ('pending', 'running')"
            )
            self._look(session)
            row = session.execute("SELECT count(*) FROM started WHERE status IS NULL").fetchone()
            return 1 if row is None else int(row[0])
        except psycopg.OperationalError:
            self._session = None
            return 1

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    # --- one session ---

    def _connected(self) -> psycopg.Connection:
        if self._session is None or self._session.closed:
            self._session = self._serve.connect()
        return self._session

    def _look(self, session: psycopg.Connection) -> None:
        for (number,) in session.execute(_ENDED).fetchall():
            self.unended.discard(number)

    def _start(self, session: psycopg.Connection) -> None:
        self._count += 1
        number = self._count
        made = self.workflows[number] = random_workflow(self._random, number, self._url)
        for name in made.signals:
            self._later(0.5, partial(self._signal, number=number, name=name))
        chance = self._random.random()
        if chance < 0.08:
            self._later(1.0, partial(self._cancel, number=number))
        elif chance < 0.12:
            self._later(0.5, partial(self._pause, number=number))
        # when the session is lost in it, it is there or not: the table says so
        session.execute(_START.format(text=made.text).encode(), (number, f"soak {number % 7}"))
        self.unended.add(number)

    def _later(self, most: float, errand: Callable[[psycopg.Connection], None]) -> None:
        when = time.monotonic() + self._random.uniform(0.0, most)
        heapq.heappush(self._errands, (when, self._random.getrandbits(60), errand))

    def _ask(self, session: psycopg.Connection, call: str, number: int, *more: str) -> bool:
        """Whether it was done; an instance that has ended refuses."""
        arguments = ", %s" * len(more)
        try:
            session.execute(
                f"SELECT df.{call}(id{arguments}) FROM started WHERE workflow = %s".encode(),
                (*more, number),
            )
        except psycopg.DatabaseError:
            if not session.closed:
                return False
            # whether it was done is not known: ask again
            self._later(0.5, partial(self._ask_again, call=call, number=number, more=more))
            raise
        self.asked[call] += 1
        return True

    def _ask_again(
        self, session: psycopg.Connection, call: str, number: int, more: tuple[str, ...]
    ) -> None:
        self._ask(session, call, number, *more)

    def _signal(self, session: psycopg.Connection, number: int, name: str) -> None:
        self._ask(session, "signal", number, name)

    def _cancel(self, session: psycopg.Connection, number: int) -> None:
        if self._ask(session, "cancel", number):
            row = session.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
            assert row is not None
            self.cancelled_at[number] = float(row[0])

    def _pause(self, session: psycopg.Connection, number: int) -> None:
        if self._ask(session, "pause", number):
            self._later(1.0, partial(self._resume, number=number))

    def _resume(self, session: psycopg.Connection, number: int) -> None:
        self._ask(session, "resume", number)
