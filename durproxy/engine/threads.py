"""Threads for what may block for long, apart from those of all else, and so many for each of it.

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
    """At most so many threads at a time for each key; the next one with that key waits.

    A key is whatever may hang by itself, or whoever makes it: a role, a file, a connection string.
    """

    def __init__(self, for_each: int) -> None:
        self._for_each = for_each
        # a thread keeps the limiter that it has its place from
        self._limiters: WeakValueDictionary[Hashable, trio.CapacityLimiter] = WeakValueDictionary()

    async def run(self, key: Hashable, function: Callable[[*Ts], T], *args: *Ts) -> T:
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = self._limiters[key] = trio.CapacityLimiter(self._for_each)
        return await trio.to_thread.run_sync(
            function, *args, limiter=limiter, abandon_on_cancel=True
        )
