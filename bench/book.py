"""What was measured, and how it is shown: a table for each measure, and all of it as JSON.

A figure has a case (a row), a measure with its unit, and a rival (a column). Those of one round
stand in one place of their lists, so that ratios can be taken within a round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

OURS = "durproxy"


@dataclass(frozen=True)
class Measure:
    """What the numbers are."""

    title: str
    ratios: bool = False  # whether ours are to be divided by the others'
    digits: int = 0


@dataclass
class Book:
    """All figures: measure, case, rival, rounds."""

    figures: dict[Measure, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def note(self, measure: Measure, case: str, rival: str, value: float) -> None:
        cases = self.figures.setdefault(measure, {})
        cases.setdefault(case, {}).setdefault(rival, []).append(value)

    def as_json(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        return {measure.title: cases for measure, cases in self.figures.items()}

    def print(self) -> None:
        console = Console(width=150)
        for measure, cases in self.figures.items():
            console.print(_table(measure, cases))


def _table(measure: Measure, cases: dict[str, dict[str, list[float]]]) -> Table:
    rivals = list(dict.fromkeys(rival for rounds in cases.values() for rival in rounds))
    ours = [rival for rival in rivals if rival.startswith(OURS)] if measure.ratios else []
    pairs = [(own, base) for own in ours for base in rivals if not base.startswith(OURS)]
    table = Table(title=f"{measure.title} (medians)")
    table.add_column("")
    for name in (*rivals, *(f"{own.removeprefix(OURS).strip()} / {base}" for own, base in pairs)):
        table.add_column(name, justify="right")
    for case, rounds in cases.items():
        cells = [
            f"{median(rounds[rival]):,.{measure.digits}f}" if rival in rounds else ""
            for rival in rivals
        ]
        cells += [_ratio(rounds.get(own), rounds.get(base)) for own, base in pairs]
        table.add_row(case, *cells)
    return table


def _ratio(mine: list[float] | None, theirs: list[float] | None) -> str:
    if mine is None or theirs is None:
        return ""
    return f"{median(a / b for a, b in zip(mine, theirs, strict=True)):.2f}"
