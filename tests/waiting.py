"""Waiting for a condition, bounded: the only way a test lets time pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1


def wait_until(condition: Callable[[], T], message: str, timeout: float = 15.0) -> T:
    """The condition's first true value; fails with ``message`` when none comes in time."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain: {message}")
        threading.Event().wait(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return value


async def wait_until_async(
    condition: Callable[[], Awaitable[T]], message: str, limit: float = 15.0
) -> T:
    """``wait_until`` for trio; the condition is a coroutine function."""
    deadline = trio.current_time() + limit
    pause = _FIRST_PAUSE
    while not (value := await condition()):
        if trio.current_time() > deadline:
            raise AssertionError(f"waited {limit:g} s in vain: {message}")
        await trio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return value
