"""The database's clock, as a worker carries it on between two looks."""

from __future__ import annotations

from datetime import UTC, datetime

import trio


class Clock:
    """The database's clock, carried on by this machine's between two looks.

    It is set before anything is claimed: what waits by a clock that nobody has set waits for ever.
    """

    _offset: float

    def set(self, now: datetime) -> None:
        self._offset = now.timestamp() - trio.current_time()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._offset + trio.current_time(), UTC)

    def at(self, moment: float) -> float:
        """The time, in seconds since 1970, at a moment of this machine's clock."""
        return self._offset + moment

    def seconds_until(self, due: datetime) -> float:
        if due == datetime.max.replace(tzinfo=UTC):
            return float("inf")
        return due.timestamp() - self._offset - trio.current_time()
