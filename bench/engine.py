"""The engine beside the floor and its peers, and what it takes when it has little or nothing to do.

W1 to W3 run in alternating rounds on one Postgres, and a ratio is taken within a round: a shared
machine that is slow for a minute is slow for all of them. Reported is the median over the rounds.
The peers run when they are installed: `pip install '.[bench]'`.

    ./scripts/bench engine [--rounds 5] [--only W1,W2] [--engines 1,2] [--scale 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.figures import idleness, latency, length, recovery, sleepers
from bench.ground import Ground, ground
from bench.rivals import newest_bindir
from bench.throughput import FLOOR, KINDS, OURS, Contest, contests, floor_of, installed_peers

Rounds = dict[str, dict[str, list[float]]]  # steps per second by workload and contender
Figures = dict[str, dict[str, float]]
Measure = Callable[[Ground, Path], dict[str, float]]
_ALONE: dict[str, Measure] = {
    "latency": latency,
    "length": length,
    "W5": recovery,
    "idle": idleness,
}
_ALL = (*KINDS, "W4", *_ALONE)


def main() -> None:
    options = _parse_options()
    chosen = options.only.split(",")
    engines = [int(number) for number in options.engines.split(",")]
    alone: dict[str, Measure] = {**_ALONE, "W4": partial(sleepers, scale=options.scale)}
    console = Console(width=140)
    with ground(options.bindir) as place:
        workloads = [name for name in KINDS if name in chosen]
        rounds = _run_rounds(place, options, workloads, engines) if workloads else {}
        if rounds:
            _print_rounds(console, rounds)
        figures: Figures = {}
        for name, measure in alone.items():
            if name in chosen:
                figures[name] = measure(place, options.bindir)
        _print_figures(console, figures)
    if options.json is not None:
        found = {"rounds": rounds, "figures": figures}
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./scripts/bench engine", description=__doc__)
    parser.add_argument("--bindir", type=Path, default=newest_bindir(), help="Postgres programs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of the floor in a round")
    parser.add_argument("--only", default=",".join(_ALL), help="what to measure")
    parser.add_argument("--engines", default="1,2", help="numbers of engine workers")
    parser.add_argument("--scale", type=float, default=1.0, help="of the work, for a short look")
    parser.add_argument("--json", type=Path, help="file for the figures of every round")
    return parser.parse_args()


def _run_rounds(
    place: Ground, options: argparse.Namespace, workloads: list[str], engines: list[int]
) -> Rounds:
    """The floor once in a round, beside every workload of it."""
    found: Rounds = {workload: {} for workload in workloads}
    todo = contests(place, options.bindir, workloads, engines, options.scale)
    for number in range(options.rounds):
        base = floor_of(place, options.bindir, options.seconds)
        for contest in _in_turn(todo, number):
            found[contest.workload].setdefault(contest.contender, []).append(contest.run())
        base = (base + floor_of(place, options.bindir, options.seconds)) / 2
        for workload in workloads:
            found[workload].setdefault(FLOOR, []).append(base)
    return found


def _in_turn(todo: list[Contest], number: int) -> list[Contest]:
    """Another one begins each round."""
    first = number % len(todo)
    return todo[first:] + todo[:first]


def _print_rounds(console: Console, rounds: Rounds) -> None:
    table = Table(title="steps per second, and ratios (medians)")
    for column in ("", "contender", "steps/s", "/ floor", "/ best peer"):
        table.add_column(column, justify="right" if "/" in column else "left")
    for workload, rates in rounds.items():
        peers = [rates[peer] for peer in installed_peers() if peer in rates]
        best = max(peers, key=median) if peers else None
        for contender in (FLOOR, *(name for name in rates if name != FLOOR)):
            beside = best if contender.startswith(OURS) else None
            table.add_row(
                workload,
                contender,
                f"{median(rates[contender]):,.0f}",
                _ratio(rates[contender], rates[FLOOR]),
                _ratio(rates[contender], beside) if beside else "",
            )
    console.print(table)


def _ratio(mine: list[float], theirs: list[float]) -> str:
    return f"{median(a / b for a, b in zip(mine, theirs, strict=True)):.2f}"


def _print_figures(console: Console, figures: Figures) -> None:
    if not figures:
        return
    table = Table(title="one engine")
    for column in ("", "figure", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, values in figures.items():
        for figure, value in values.items():
            table.add_row(name, figure, f"{value:,.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
