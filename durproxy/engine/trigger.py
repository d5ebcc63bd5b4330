"""Named points at which a test can meddle, told by `DURPROXY_TRIGGER`:

    point:nth:file    at the nth time that the point is passed the process kills itself, once: the
                      file is the ticket, and whoever removes it first uses it up
    ask:socket        at every point the process tells that Unix socket its pid and where it is,
                      and stands still until the answer comes: "go" or "kill"

Every call of a function of the protocol has the points before, sent and after, so whatever commits
has them. Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

MOMENTS = ("before", "sent", "after")
# what a worker's calls of the protocol are about, and a step's own transaction
CALLS = (
    "step", "claim", "claim_one", "load", "open", "close", "next", "retry", "fire", "expire",
    "take", "fail", "finish_call", "end", "release", "reclaim", "takeover", "forget", "tick",
    "doze", "alone", "alone_away", "still",
)  # fmt: skip
POINTS = tuple(f"{call}.{moment}" for call in CALLS for moment in MOMENTS)
PROXY_POINTS = ("act.before", "act.sent", "act.after")
_ANSWER = 16  # bytes at most


class _Meddler(Protocol):
    def hit(self, point: str) -> None: ...


class _Ticket:
    """Kills the process once, at one point."""

    def __init__(self, point: str, nth: int, ticket: Path) -> None:
        if point not in (*POINTS, *PROXY_POINTS):
            raise ValueError(f'unknown trigger point "{point}"')
        self._point = point
        self._left = nth
        self._ticket = ticket

    def hit(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left:
            return
        try:
            self._ticket.unlink()
        except FileNotFoundError:
            return
        _kill()


class _Ask:
    """Asks at every point what is to happen."""

    def __init__(self, path: str) -> None:
        self._path = path

    def hit(self, point: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            try:
                asking.connect(self._path)
                asking.sendall(f"{os.getpid()} {point}\n".encode())
                answer = asking.recv(_ANSWER)
            except OSError:  # nobody is interested any more
                return
        if answer == b"kill":
            _kill()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _meddler(setting: str) -> _Meddler:
    if setting.startswith("ask:"):
        return _Ask(setting.removeprefix("ask:"))
    point, nth, ticket = setting.split(":", 2)
    return _Ticket(point, int(nth), Path(ticket))


_setting = os.environ.get("DURPROXY_TRIGGER")
_trigger = _meddler(_setting) if _setting else None


def passed(point: str) -> None:
    """The process is at this point."""
    if _trigger is not None:
        _trigger.hit(point)


def when_sent(call: str) -> Callable[[], None] | None:
    """What to do once the call has been sent; None when nobody meddles."""
    return None if _trigger is None else partial(_trigger.hit, f"{call}.sent")
