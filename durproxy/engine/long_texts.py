"""Work on long texts beside the engine's: in a thread, one text of a role at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from durproxy.engine.threads import Threads

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LONG: Final = 65_536  # characters or bytes; more takes more than some milliseconds

# shared by all kinds of work: however a role's calls vary, they take one thread
_working: Final = Threads(1)


async def work_on(size: int, role: str, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """What the function makes of texts of this size together."""
    if size < LONG:
        return function(*args)
    return await _working.run(role, function, *args)
