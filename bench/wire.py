"""pgbench -S straight, through pgbouncer and through the proxy, in alternating rounds.

Each round runs every rival once, in turn, and a ratio is taken within a round: a shared machine
that is slow for a minute is slow for all of them. Reported is the median over the rounds, and what
tells most on a machine with other work: the CPU time that a rival's processes use per transaction.

    ./scripts/bench wire [--rounds 5] [--seconds 3] [--clients 1,8,32] [--modes simple,prepared]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.rivals import DATABASE, Rival, durproxy, pgbouncer, postgres
from durproxy.embedded import embedded_bindir

_TPS = re.compile(r"tps = ([\d.]+)")
Rounds = dict[str, list[float]]  # tps, or CPU microseconds of a transaction, by rival


def main() -> None:
    options = _parse_options()
    cases = [
        (mode, int(clients))
        for mode in options.modes.split(",")
        for clients in options.clients.split(",")
    ]
    results: dict[str, Rounds] = {f"{mode} {clients}": {} for mode, clients in cases}
    costs: dict[str, Rounds] = {case: {} for case in results}
    with ExitStack() as stack:
        rivals = _start_rivals(stack, options)
        for number in range(options.rounds):
            for mode, clients in cases:
                case = f"{mode} {clients}"
                for name, rival in _in_turn(list(rivals.items()), number):
                    before = rival.cpu_seconds()
                    tps = _pgbench(options.bindir, rival.port, mode, clients, options.seconds)
                    spent = rival.cpu_seconds() - before
                    results[case].setdefault(name, []).append(tps)
                    costs[case].setdefault(name, []).append(1e6 * spent / (tps * options.seconds))
    _print(results)
    _print_costs(costs)
    if options.json is not None:
        figures = {"tps": results, "cpu_us": costs}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./scripts/bench wire", description=__doc__)
    parser.add_argument("--bindir", type=Path, default=newest_bindir(), help="Postgres programs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one pgbench run")
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--modes", default="simple,extended,prepared")
    parser.add_argument("--proxies", default="1,2", help="numbers of proxy processes")
    parser.add_argument("--json", type=Path, help="file for the figures of every round")
    return parser.parse_args()


def newest_bindir() -> Path:
    """Debian's if there is one, since pgbouncer comes from there, too."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return installed[-1] if installed else embedded_bindir()


def _start_rivals(stack: ExitStack, options: argparse.Namespace) -> dict[str, Rival]:
    cluster = stack.enter_context(postgres(options.bindir, options.scale))
    rivals = {"direct": Rival(cluster.port)}
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is not None:
        rivals["pgbouncer"] = stack.enter_context(pgbouncer(Path(program), cluster.port))
    for processes in map(int, options.proxies.split(",")):
        rivals[f"durproxy ×{processes}"] = stack.enter_context(durproxy(cluster.port, processes))
    return rivals


def _in_turn(rivals: list[tuple[str, Rival]], number: int) -> list[tuple[str, Rival]]:
    """Another one begins each round."""
    first = number % len(rivals)
    return rivals[first:] + rivals[:first]


def _pgbench(bindir: Path, port: int, mode: str, clients: int, seconds: int) -> float:
    threads = min(clients, 2)
    command = [
        str(bindir / "pgbench"),
        "-n",
        "-S",
        "-M",
        mode,
        "-c",
        str(clients),
        "-j",
        str(threads),
    ]
    done = subprocess.run(
        [
            *command,
            "-T",
            str(seconds),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            "postgres",
            DATABASE,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = _TPS.search(done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])


def _print(results: dict[str, Rounds]) -> None:
    rivals = list(next(iter(results.values())))
    ours = [rival for rival in rivals if rival.startswith("durproxy")]
    bases = [rival for rival in rivals if rival not in ours]
    table = Table(title="pgbench -S: transactions per second, and ratios (medians)")
    table.add_column("mode, clients")
    for rival in rivals:
        table.add_column(rival, justify="right")
    for own in ours:
        for base in bases:
            table.add_column(f"{own.removeprefix('durproxy ')} / {base}", justify="right")
    for case, rounds in results.items():
        row = [f"{median(rounds[rival]):,.0f}" for rival in rivals]
        for own in ours:
            for base in bases:
                pairs = zip(rounds[own], rounds[base], strict=True)
                row.append(f"{median(mine / theirs for mine, theirs in pairs):.2f}")
        table.add_row(case, *row)
    Console(width=140).print(table)


def _print_costs(costs: dict[str, Rounds]) -> None:
    rivals = [name for name in next(iter(costs.values())) if name != "direct"]
    table = Table(title="CPU microseconds per transaction, of the processes in between (medians)")
    table.add_column("mode, clients")
    for rival in rivals:
        table.add_column(rival, justify="right")
    for case, rounds in costs.items():
        table.add_row(case, *(f"{median(rounds[rival]):.1f}" for rival in rivals))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
