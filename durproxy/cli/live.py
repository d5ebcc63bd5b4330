"""The drawing of ``watch`` on a terminal: the tree as it is now, below it what is waited for.

A tree that is higher than the terminal is cut around its first step that runs; at the end all of
it is printed, to stay.
"""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from durproxy.cli import moments
from durproxy.cli.observing import Sight
from durproxy.cli.tables import lines_of, one_line
from durproxy.cli.telling import marked

_RUNS = "⏳"
_FOOT = 3  # lines below the tree: an empty one, what is waited for, and where the cursor stands


class Drawing:
    """Redraws in place; leaves the whole tree when the instance has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: Sight | None = None
        self._last: Sight | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, sight: Sight) -> None:
        self._began = self._began or sight
        self._last = sight
        if not sight.ended:
            self._draw(sight, self._foot(self._began, sight))

    def away(self) -> None:
        if self._last is not None:
            self._draw(self._last, Text("the server is away; trying to come back", "yellow"))

    def close(self) -> None:
        self._live.stop()
        if self._last is not None:
            for line in lines_of(self._last.tree):
                self._console.print(marked(line), soft_wrap=True)

    def _draw(self, sight: Sight, foot: RenderableType) -> None:
        room = max(self._console.height - _FOOT, 1)
        lines = [marked(line) for line in window(lines_of(sight.tree), room)]
        for line in lines:
            line.overflow = "ellipsis"
        self._live.update(Group(*lines, Text(), foot), refresh=True)

    def _foot(self, began: Sight, sight: Sight) -> Text:
        watched = moments.show_duration(round((sight.at - began.at).total_seconds()))
        waits = [
            f"waits for {w.waits_for}" + (f" ({one_line(w.detail)})" if w.detail else "")
            for w in sight.waiting
        ]
        return Text(", ".join([f"watched for {watched}", *waits]), "dim", overflow="ellipsis",
                    no_wrap=True)  # fmt: skip


def window(lines: list[str], height: int) -> list[str]:
    """At most so many lines: the first one, and those around the first that runs."""
    if len(lines) <= height:
        return lines
    if height < 4:
        return lines[:height]
    running = next((n for n, line in enumerate(lines) if _RUNS in line and n > 1), 1)
    room = height - 3  # the first line, and a line at either side for what is left out
    first = min(max(running - room // 2, 1), len(lines) - room)
    above, below = first - 1, len(lines) - first - room
    return [
        lines[0],
        f"… {above} lines",
        *lines[first : first + room],
        f"… {below} lines",
    ]
