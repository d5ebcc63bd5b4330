"""How a worker that takes nothing but suspects goes about it.

A suspect's worker has died more than once without the instance having made any progress. Some of
them kill their worker; most were only there. So such a worker holds one at first; whenever what it
holds has been there for a while and the worker is still alive, it may hold twice as many. When it
dies holding one alone, that one is to blame. When nothing is left to do it ends.
"""

from __future__ import annotations

import trio

from durproxy.engine.claims import Claims
from durproxy.engine.holding import Holding

_PROBATION = 2.0  # seconds
_LEAVES_AFTER = 3  # probations with nothing to hold


async def run_probation(claims: Claims, holding: Holding, most: int) -> None:
    """Let the worker hold more and more; returns when it is not needed any more."""
    unused = 0
    while unused < _LEAVES_AFTER:
        before = set(holding.ids())
        await trio.sleep(_PROBATION)
        held = holding.ids()
        if before.intersection(held):
            claims.may_hold = min(2 * claims.may_hold, most)
        unused = 0 if held else unused + 1
        claims.wake()
