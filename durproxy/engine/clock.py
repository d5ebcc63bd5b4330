"""The database's clock, as a worker carries it on between two looks."""

from __future__ import annotations

from datetime import UTC, datetime

import trio


class Clock:
    """The database's clock, carried on by this machine's between two looks."""

    def __init__(self) -> None:
        self._offset: float | None = None

    def set(self, now: datetime) -> None:
        self._offset = now.timestamp() - trio.current_time()

    def now(self) -> datetime:
        return datetime.fromtimestamp((self._offset or 0.0) + trio.current_time(), UTC)

    def seconds_until(self, due: datetime) -> float:
        offset = 0.0 if self._offset is None else self._offset
        if due == datetime.max.replace(tzinfo=UTC):
            return float("inf")
        return due.timestamp() - offset - trio.current_time()
