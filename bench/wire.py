"""The proxy beside no proxy and beside pgbouncer (session mode), in alternating rounds of one run.

Each round runs every rival once, in turn, and a ratio is taken within a round: a shared machine
that is slow for a minute is slow for all of them. Reported is the median over the rounds, and what
tells most on a machine with other work: the CPU time that a rival's own processes use.

    ./scripts/bench wire [--rounds 5] [--only select,bulk] [--clients 1,8] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.alone import idle_clients, rewriting, rewritten_statements
from bench.beside_engine import beside_engine
from bench.book import Book
from bench.contests import PARTS, Contest
from bench.rivals import Rival, durproxy, newest_bindir, pgbouncer, postgres

_ALONE = ("idle", "rewriting", "latency")
_ALL = (*PARTS, *_ALONE)


def main() -> None:
    options = _parse_options()
    _raise_descriptor_limit()
    book = Book()
    only = options.only.split(",")
    parts = [name for name in PARTS if name in only]
    if parts:
        with _rivals(options) as rivals:
            contests = [contest for name in parts for contest in PARTS[name](options)]
            for number in range(options.rounds):
                _run_round(contests, rivals, number, book)
    if "idle" in only:
        idle_clients(book, options.idle)
    if "rewriting" in only:
        rewriting(book)
        rewritten_statements(book, options.rounds, 1)
    if "latency" in only:
        beside_engine(book, options.bindir, options.rounds, options.seconds)
    book.print()
    if options.json is not None:
        options.json.write_text(json.dumps(book.as_json(), indent=2, ensure_ascii=False) + "\n")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./scripts/bench wire", description=__doc__)
    parser.add_argument("--bindir", type=Path, default=newest_bindir(), help="Postgres programs")
    parser.add_argument("--only", default=",".join(_ALL), help="what to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one run of pgbench")
    parser.add_argument("--scale", type=int, default=20, help="of pgbench's tables")
    parser.add_argument("--clients", default="1,8,32,128")
    parser.add_argument("--modes", default="simple,extended,prepared")
    parser.add_argument("--proxies", default="1,2", help="numbers of proxy processes")
    parser.add_argument("--megabytes", type=int, default=500, help="of one bulk transfer")
    parser.add_argument("--idle", type=int, default=5000, help="clients that do nothing")
    parser.add_argument("--json", type=Path, help="file for the figures of every round")
    return parser.parse_args()


@contextmanager
def _rivals(options: argparse.Namespace) -> Iterator[list[Rival]]:
    with ExitStack() as stack:
        cluster = stack.enter_context(postgres(options.bindir, options.scale))
        rivals = [Rival("direct", cluster.port)]
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if program is not None:
            rivals.append(stack.enter_context(pgbouncer(Path(program), cluster.port)))
        rivals.extend(
            stack.enter_context(durproxy(cluster.port, processes))
            for processes in map(int, options.proxies.split(","))
        )
        yield rivals


def _run_round(contests: list[Contest], rivals: list[Rival], number: int, book: Book) -> None:
    """Another rival begins each round."""
    first = number % len(rivals)
    for contest in contests:
        for rival in rivals[first:] + rivals[:first]:
            contest.run(rival, book)


def _raise_descriptor_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
