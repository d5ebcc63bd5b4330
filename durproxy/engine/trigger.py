"""Named points at which a test can have the process killed: `DURPROXY_TRIGGER=point:nth:file`.

At the nth time that the named point is passed, the process kills itself with SIGKILL, once: the
file is the ticket, and whoever removes it first uses it up. Without the variable a point costs one
comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = (
    "claim.before",
    "claim.after",
    "step.before",
    "step.sent",
    "step.after",
    "fail.before",
    "fail.after",
    "open.before",
    "open.after",
    "close.before",
    "close.after",
    "next.before",
    "next.after",
    "fire.before",
    "fire.after",
    "take.before",
    "take.after",
    "end.before",
    "end.after",
    "release.before",
    "release.after",
)
PROXY_POINTS = ("act.before", "act.sent", "act.after")


class _Trigger:
    def __init__(self, setting: str) -> None:
        self.point, nth, ticket = setting.split(":", 2)
        if self.point not in (*POINTS, *PROXY_POINTS):
            raise ValueError(f'unknown trigger point "{self.point}"')
        self._left = int(nth)
        self._ticket = Path(ticket)

    def hit(self) -> None:
        self._left -= 1
        if self._left:
            return
        try:
            self._ticket.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


_setting = os.environ.get("DURPROXY_TRIGGER")
_trigger = _Trigger(_setting) if _setting else None


def passed(point: str) -> None:
    """The process is at this point."""
    if _trigger is not None and _trigger.point == point:
        _trigger.hit()
