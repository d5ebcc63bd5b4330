"""Tables that fit the terminal, and text that does not act on it.

Where there is too little room, flexible columns shrink first, then whole columns go, the least
important one first; the id stays whatever happens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from durproxy.cli import moments

_WIDTH_WITHOUT_TERMINAL = 240  # a pipe has no width to wrap at
_GAP = 2  # spaces between columns, as rich pads its cells
_LEAST = 10  # characters of a flexible column

STATUS_STYLE = {
    "pending": "dim",
    "running": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``rank`` 0 always stays, the highest goes first."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    flexible: bool = False
    styles: Sequence[str] = ()  # of each cell, where they have one

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.heading, *self.cells)))

    @property
    def least(self) -> int:
        return min(self.width, _LEAST) if self.flexible else self.width


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Those that a line of this width has room for."""
    kept = list(columns)
    while sum(column.least + _GAP for column in kept) - _GAP > width:
        last = max(kept, key=lambda column: column.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


def print_table(columns: Sequence[Column]) -> None:
    console = make_console()
    shown = fitting(columns, console.width)
    table = Table(box=None, pad_edge=False)
    for column in shown:
        # rich shrinks what may wrap; the cells themselves do not
        table.add_column(column.heading, no_wrap=not column.flexible)
    for cells in zip(*(_texts(column) for column in shown), strict=True):
        table.add_row(*cells)
    console.print(table)


def make_console() -> Console:
    """Of stdout; it knows NO_COLOR, and whether there is a terminal, by itself."""
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(width=width, markup=False, highlight=False, emoji=False)


def print_json(value: Any) -> None:
    """One line: stable for scripts, also as lines of a stream; moments are ISO 8601 in UTC."""
    typer.echo(json.dumps(value, default=moments.as_json, ensure_ascii=False))


def one_line(text: str | None) -> str:
    """Control characters are shown instead of acting on the terminal, line ends too."""
    return "".join(_visible(character) for character in text or "")


def lines_of(text: str) -> list[str]:
    """The same for text that has lines of its own."""
    return [one_line(line) for line in text.split("\n")]


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


def _texts(column: Column) -> Iterator[Text]:
    for number, cell in enumerate(column.cells):
        style = column.styles[number] if column.styles else ""
        yield Text(cell, style=style, no_wrap=True, overflow="ellipsis")
