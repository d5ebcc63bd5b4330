"""Pace for loops that never wait: ten rounds at once, then one a second.

Only an endless loop whose round waited for nothing is paced; without it such a loop would keep a
connection and the log busy for nothing.
"""

from __future__ import annotations

import trio

from durproxy.engine.core.states import Key

_AT_ONCE = 10
_PER_SECOND = 1.0


class Pace:
    """A token bucket for each loop of one instance."""

    def __init__(self) -> None:
        self._buckets: dict[Key, tuple[float, float]] = {}  # tokens left, at which time

    async def turn(self, loop: Key) -> None:
        """Return when the loop may go into its next round."""
        now = trio.current_time()
        tokens, at = self._buckets.get(loop, (float(_AT_ONCE), now))
        tokens = min(float(_AT_ONCE), tokens + (now - at) * _PER_SECOND)
        if tokens < 1.0:
            await trio.sleep((1.0 - tokens) / _PER_SECOND)
            tokens, now = 1.0, trio.current_time()
        self._buckets[loop] = (tokens - 1.0, now)
