"""Threads for what may block for long, apart from those of all else, and so many for each user.

What a thread does cannot be stopped: when its caller has gone it goes on, and keeps its place. With
trio's common limit of threads, a few things that hang would soon keep everybody from getting one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads:
    """At most so many threads at a time for each user; the next one of this user waits."""

    def __init__(self, of_a_user: int) -> None:
        self._of_a_user = of_a_user
        # a thread keeps the limiter that it has its place from
        self._limiters: WeakValueDictionary[Hashable, trio.CapacityLimiter] = WeakValueDictionary()

    async def run(self, user: Hashable, function: Callable[[*Ts], T], *args: *Ts) -> T:
        limiter = self._limiters.get(user)
        if limiter is None:
            limiter = self._limiters[user] = trio.CapacityLimiter(self._of_a_user)
        return await trio.to_thread.run_sync(
            function, *args, limiter=limiter, abandon_on_cancel=True
        )
