"""Workflows whose every step leaves one row: whatever happens, each row must be there once."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from tests.waiting import wait_until


class Load:
    """Sequences of short steps, and what they have left in the table ``effects``."""

    def __init__(self, session: psycopg.Connection, workflows: int, steps: int) -> None:
        self._session = session
        self._workflows, self._steps = workflows, steps
        session.execute("CREATE TABLE effects (workflow int, step int)")
        with session.transaction():  # so that all begin at once
            for workflow in range(workflows):
                chain = " ~> ".join(
                    f"'INSERT INTO effects SELECT {workflow}, {step} FROM pg_sleep(0.01)'"
                    for step in range(steps)
                )
                session.execute(f"SELECT df.start({chain})".encode())

    def to_the_end(
        self, disturb: Callable[[], object], every: float, times: int, timeout: float = 60.0
    ) -> None:
        """Disturb so many times while it runs; afterwards the count must be exact."""
        done, last = 0, time.monotonic()

        def is_over() -> bool:
            nonlocal done, last
            if done < times and time.monotonic() - last > every:
                disturb()
                done, last = done + 1, time.monotonic()
            return self.is_completed()

        wait_until(is_over, "all workflows complete", timeout)
        assert done == times, "the load was over before it was disturbed enough"
        self.assert_exact()

    def is_completed(self) -> bool:
        row = self._session.execute(
            "SELECT count(*) FROM df.instances WHERE status = 'completed'"
        ).fetchone()
        return row == (self._workflows,)

    def assert_exact(self) -> None:
        row = self._session.execute(
            "SELECT count(*), count(DISTINCT (workflow, step)) FROM effects"
        ).fetchone()
        assert row == (self._workflows * self._steps, self._workflows * self._steps)
