"""pgbench -S straight, through pgbouncer and through the proxy, in alternating rounds.

Each round runs every rival once, in turn, and a ratio is taken within a round: a shared machine
that is slow for a minute is slow for all of them. Reported is the median over the rounds.

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

from bench.rivals import DATABASE, durproxy, pgbouncer, postgres
from durproxy.embedded import embedded_bindir

_TPS = re.compile(r"tps = ([\d.]+)")
Rounds = dict[str, list[float]]  # tps by rival


def main() -> None:
    options = _parse_options()
    cases = [
        (mode, int(clients))
        for mode in options.modes.split(",")
        for clients in options.clients.split(",")
    ]
    results: dict[str, Rounds] = {f"{mode} {clients}": {} for mode, clients in cases}
    with ExitStack() as stack:
        ports = _start_rivals(stack, options)
        for number in range(options.rounds):
            for mode, clients in cases:
                for rival, port in _in_turn(list(ports.items()), number):
                    tps = _pgbench(options.bindir, port, mode, clients, options.seconds)
                    results[f"{mode} {clients}"].setdefault(rival, []).append(tps)
    _print(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


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


def _start_rivals(stack: ExitStack, options: argparse.Namespace) -> dict[str, int]:
    cluster = stack.enter_context(postgres(options.bindir, options.scale))
    ports = {"direct": cluster.port}
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is not None:
        ports["pgbouncer"] = stack.enter_context(pgbouncer(Path(program), cluster.port))
    for processes in map(int, options.proxies.split(",")):
        ports[f"durproxy ×{processes}"] = stack.enter_context(durproxy(cluster.port, processes))
    return ports


def _in_turn(rivals: list[tuple[str, int]], number: int) -> list[tuple[str, int]]:
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


if __name__ == "__main__":
    main()
