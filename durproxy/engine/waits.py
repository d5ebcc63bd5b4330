"""What one instance waits for: times, deadlines, signals, conditions; and which of it is over.

A wait is over by the database's clock, or by a message that is there. Where that is written down
it is one commit, which closes the wait's frame; a wait between two attempts writes nothing.

Only signals that are waited for are ever to be looked for: anything else would be looked for again
and again, and the whole worker with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from durproxy.engine.claim import Claim
from durproxy.engine.core.actions import (
    DeadlinePassed,
    DueReached,
    Event,
    StepCompleted,
    WaitCondition,
    WaitDeadline,
    WaitDue,
    WaitSignal,
    WaitTimer,
)
from durproxy.engine.core.states import Key, StepResult
from durproxy.engine.store import Store
from durproxy.errors import ScopeEnded

TimedWait = WaitTimer | WaitDue | WaitDeadline
Wait = TimedWait | WaitSignal


class Waits:
    """The waits of one instance while it is in memory."""

    def __init__(self, claim: Claim, store: Store) -> None:
        self._claim = claim
        self._store = store
        self._timed: dict[Key, TimedWait] = {}
        self._signals: dict[Key, WaitSignal] = {}
        self._untaken: set[Key] = set()  # signals whose mailbox is to be looked into
        self._conditions: dict[Key, tuple[WaitCondition, datetime]] = {}  # and the next look

    def __bool__(self) -> bool:
        return bool(self._timed or self._signals or self._conditions)

    @property
    def has_untaken(self) -> bool:
        """A message may have come that nobody has looked for yet."""
        return bool(self._untaken)

    def add(self, wait: Wait) -> None:
        if isinstance(wait, WaitSignal):
            self._signals[wait.key] = wait
            self._untaken.add(wait.key)
        else:
            self._timed[wait.key] = wait

    def add_look(self, wait: WaitCondition) -> None:
        """The condition was not true: it is asked again after a while."""
        next_look = self._store.clock.now() + timedelta(seconds=wait.every)
        self._conditions[wait.key] = wait, next_look

    def drop(self, key: Key) -> None:
        self._timed.pop(key, None)
        self._signals.pop(key, None)
        self._conditions.pop(key, None)
        self._untaken.discard(key)

    def poke(self) -> None:
        """A signal may have come."""
        self._untaken.update(self._signals)

    def next_due(self) -> datetime | None:
        """When the first of them is over, as far as that is known."""
        dues = [wait.due for wait in self._timed.values()]
        dues += [wait.due for wait in self._signals.values() if wait.due is not None]
        dues += [due for _, due in self._conditions.values()]
        return min(dues, default=None)

    def seconds_to_next(self) -> float:
        return self._seconds_until(self.next_due())

    def seconds_to_deadline(self) -> float:
        """Until the first of those that `try_deadlines` looks at."""
        return self._seconds_until(min((wait.due for wait in self._deadlines()), default=None))

    def take_looks(self) -> list[WaitCondition]:
        """The conditions that are to be asked now; they are not waited for meanwhile."""
        due = [wait for wait, at in self._conditions.values() if self._is_over(at)]
        for wait in due:
            del self._conditions[wait.key]
        return due

    async def try_all(self) -> Event | None:
        """The event of a wait that is over; looks into the mailbox where a message may be."""
        if (event := await self._try_timed(list(self._timed.values()))) is not None:
            return event
        for wait in list(self._signals.values()):
            over = wait.due is not None and self._is_over(wait.due)
            if over or wait.key in self._untaken:
                event = await self._try_signal(wait)
                if event is not None:
                    return event
                if over:
                    await self._store.now()
        return None

    async def try_deadlines(self) -> Event | None:
        """The same for what ends steps in flight, and begins nothing."""
        return await self._try_timed(self._deadlines())

    def _deadlines(self) -> list[WaitDeadline]:
        return [wait for wait in self._timed.values() if isinstance(wait, WaitDeadline)]

    def _seconds_until(self, due: datetime | None) -> float:
        return math.inf if due is None else max(0.001, self._store.clock.seconds_until(due))

    def _is_over(self, due: datetime) -> bool:
        return self._store.clock.seconds_until(due) <= 0

    async def _try_timed(self, waits: Sequence[TimedWait]) -> Event | None:
        for wait in waits:
            if self._is_over(wait.due):
                event = await self._end_timed(wait)
                if event is not None:
                    return event
                await self._store.now()  # not by the clock that counts: it may have been set back
        return None

    async def _end_timed(self, wait: TimedWait) -> Event | None:
        match wait:
            case WaitDue(key):
                del self._timed[key]
                return DueReached(key)
            case WaitTimer(key, scopes, _, result):
                if not await self._store.fire(self._claim, scopes, result):
                    return None
                del self._timed[key]
                return StepCompleted(key, StepResult(result))
            case WaitDeadline(key, scopes, _, error):
                try:
                    if not await self._store.expire(self._claim, scopes, error):
                        return None
                except ScopeEnded:  # by a step inside, in the last moment: that is told next
                    del self._timed[key]
                    return None
                del self._timed[key]
                return DeadlinePassed(key)

    async def _try_signal(self, wait: WaitSignal) -> Event | None:
        self._untaken.discard(wait.key)
        result = await self._store.take(self._claim, wait.scopes, wait.signal)
        if result is None:
            return None
        self.drop(wait.key)  # from the ones to look for too: a poke may have come meanwhile
        return StepCompleted(wait.key, StepResult(result))
