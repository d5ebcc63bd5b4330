"""How ``watch`` tells what it sees: a protocol, and the displays that write lines."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.text import Text

from durproxy.cli import moments
from durproxy.cli.observing import Happening, Sight, happenings
from durproxy.cli.tables import STATUS_STYLE, one_line, print_json

_LONGEST = 100  # characters of a step's text in a line


class Display(Protocol):
    """Shows one sight after the other."""

    def show(self, sight: Sight) -> None: ...

    def away(self) -> None:
        """The server cannot be reached just now."""

    def close(self) -> None: ...


class _Told:
    """Remembers the sight before, to tell only what is new."""

    def __init__(self) -> None:
        self._before: Sight | None = None

    def show(self, sight: Sight) -> None:
        for happening in happenings(self._before, sight):
            self.tell(happening)
        self._before = sight

    def tell(self, happening: Happening) -> None:
        raise NotImplementedError

    def away(self) -> None:
        """Lines are about the instance, which does not change by that."""

    def close(self) -> None:
        """Nothing is left to write."""


class JsonLines(_Told):
    """One JSON object for each thing that happens."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def tell(self, happening: Happening) -> None:
        print_json(happening.as_json(self._instance))


class Lines(_Told):
    """One line of text for each thing that happens, for pipes and logs."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def tell(self, happening: Happening) -> None:
        words = [moments.show_time(happening.at), happening.node_id or "instance"]
        if happening.event == "attempt":
            words += [f"{happening.node_type}{happening.path}", self._counted(happening)]
        elif happening.event == "waiting":
            words += [f"waits for {happening.status}"]
        else:
            words += [happening.status]
        detail = one_line(happening.detail)
        if happening.event == "attempt" and len(detail) > _LONGEST:
            detail = detail[: _LONGEST - 1] + "…"
        line = Text(" ".join([*words, *([f"({detail})"] if detail else [])]))
        line.highlight_words([happening.status], STATUS_STYLE.get(happening.status, ""))
        self._console.print(line, soft_wrap=True)

    def _counted(self, happening: Happening) -> str:
        first = happening.attempt in (None, 1)
        return happening.status if first else f"{happening.status} (attempt {happening.attempt})"
