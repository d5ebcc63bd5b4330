"""Telling the proxies which instances have ended: at once, and in batches when many end.

A proxy that holds a client's `df.await_instance` waits for this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

_APART = 0.005  # seconds between two batches


class Announcing:
    """Collects the ended instances of one worker."""

    def __init__(self, tell: Callable[[Sequence[str]], None]) -> None:
        self._tell = tell
        self._ended: list[str] = []
        self._some = trio.Event()

    def ended(self, instance: str) -> None:
        self._ended.append(instance)
        self._some.set()

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            await self._some.wait()
            self.tell_now()
            await trio.sleep(_APART)

    def tell_now(self) -> None:
        self._some = trio.Event()
        ended, self._ended = self._ended, []
        self._tell(ended)
