"""Who may call now: the slots of an engine's HTTP calls, shared by roles.

A call cannot be taken its slot away, and may last for as long as a server likes to say nothing. So
what others will need must be free before they come:

- A role without a call in flight never waits, whatever the others do.
- Another one it may have while it has fewer than there are free slots: a role that is alone has
  half of them at most, the next half of the rest, and so on.
- A slot that becomes free goes to who has waited longest of those that may have it then. So none
  waits that may have one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Shares:
    """So many slots, and one more for each role that comes when none is left."""

    def __init__(self, slots: int) -> None:
        self._free = slots  # below zero when roles have come to slots that were all in use
        self._calls: Counter[int] = Counter()
        # of each role in the order in which they came, which the numbers tell
        self._waiting: dict[int, OrderedDict[trio.Event, int]] = {}
        self._came = 0

    @asynccontextmanager
    async def slot(self, role: int) -> AsyncIterator[None]:
        """One of the role's, for the time of the block."""
        if self._may_have(role):
            self._hand_out(role)
        else:
            await self._wait_for_turn(role)
        try:
            yield
        finally:
            self._give_back(role)

    async def _wait_for_turn(self, role: int) -> None:
        turn = trio.Event()
        self._came += 1
        self._waiting.setdefault(role, OrderedDict())[turn] = self._came
        try:
            await turn.wait()  # with its turn comes the slot
        except trio.Cancelled:
            if turn.is_set():  # both in the same moment
                self._give_back(role)
            else:
                self._leave(role, turn)
            raise

    def _leave(self, role: int, turn: trio.Event) -> None:
        del self._waiting[role][turn]
        if not self._waiting[role]:
            del self._waiting[role]

    def _may_have(self, role: int) -> bool:
        calls = self._calls[role]
        return calls == 0 or calls < self._free

    def _hand_out(self, role: int) -> None:
        self._free -= 1
        self._calls[role] += 1

    def _give_back(self, role: int) -> None:
        self._free += 1
        self._calls[role] -= 1
        while ready := [one for one in self._waiting if self._may_have(one)]:
            chosen = min(ready, key=lambda one: next(iter(self._waiting[one].values())))
            turn = next(iter(self._waiting[chosen]))
            self._leave(chosen, turn)
            self._hand_out(chosen)
            turn.set()
        if self._calls[role] == 0:
            del self._calls[role]
