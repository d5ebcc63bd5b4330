"""What every rival does in each round: pgbench's scripts, bulk transfers, connecting."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from time import monotonic

from bench.book import Book, Measure
from bench.pgbench import Pgbench
from bench.raw import RawClient, raw_client
from bench.rivals import Rival

_CPU = "CPU µs per transaction of the processes in between"
_TPCB_SECONDS = 1  # of a run; its figures are the disk's and the locks' rather than ours
_ROW = 1000  # bytes of a row in a bulk transfer
_MEGABYTE = 1_000_000
_CHUNK_ROWS = 64  # of one CopyData message


@dataclass(frozen=True)
class Contest:
    """One thing that all rivals do in turn."""

    run: Callable[[Rival, Book], None]


def _transactions(title: str, seconds: int, *script: str) -> Callable[..., Iterator[Contest]]:
    speed = Measure(f"{title}: transactions per second", ratios=True)
    cost = Measure(f"{title}: {_CPU}", digits=1)
    read = Measure(f"{title}: statements that were read by our parser")

    def contests(options: argparse.Namespace) -> Iterator[Contest]:
        pgbench = Pgbench(options.bindir, seconds or options.seconds)
        modes, clients = options.modes.split(","), map(int, options.clients.split(","))
        for mode, number in product(modes, list(clients)):
            yield Contest(_transactions_of(pgbench, mode, number))

    def _transactions_of(
        pgbench: Pgbench, mode: str, clients: int
    ) -> Callable[[Rival, Book], None]:
        def run(rival: Rival, book: Book) -> None:
            opening = _cpu_of_opening(pgbench, rival, clients)
            before = rival.cpu_seconds()
            rate = pgbench.rate(rival.port, clients, "-M", mode, *script)
            spent = rival.cpu_seconds() - before - opening
            case = f"{mode} {clients}"
            book.note(speed, case, rival.name, rate.per_second)
            if rival.pids:
                book.note(cost, case, rival.name, 1e6 * spent / rate.transactions)
            if rival.runtime_dir is not None:
                book.note(read, case, rival.name, rival.counted("statements_planned"))

        return run

    return contests


@cache
def _cpu_of_opening(pgbench: Pgbench, rival: Rival, clients: int) -> float:
    """What the clients' connecting takes, which is not their transactions'; measured once."""
    before = rival.cpu_seconds()
    pgbench.connect(rival.port, clients)
    return rival.cpu_seconds() - before


def _connecting(options: argparse.Namespace) -> Iterator[Contest]:
    speed = Measure("pgbench -S -C: connections per second", ratios=True)
    cost = Measure(f"pgbench -S -C: {_CPU}", digits=0)
    pgbench = Pgbench(options.bindir, options.seconds)

    def run(rival: Rival, book: Book) -> None:
        before = rival.cpu_seconds()
        rate = pgbench.rate(rival.port, 8, "-S", "-C")
        spent = rival.cpu_seconds() - before
        book.note(speed, "8 clients", rival.name, rate.per_second)
        if rival.pids:
            book.note(cost, "8 clients", rival.name, 1e6 * spent / rate.transactions)

    yield Contest(run)


def _bulk(options: argparse.Namespace) -> Iterator[Contest]:
    rate = Measure("bulk: MB per second", ratios=True)
    cost = Measure("bulk: CPU seconds per GB of the processes in between", digits=2)
    memory = Measure("bulk: MB of memory afterwards", digits=1)
    rows = options.megabytes * _MEGABYTE // _ROW
    text = f"SELECT repeat('x', {_ROW - 1}) FROM generate_series(1, {rows})"
    chunk = (b"x" * (_ROW - 1) + b"\n") * _CHUNK_ROWS

    def copy_in(client: RawClient) -> None:
        # the server reads it all and keeps nothing: what it would write is not ours to measure
        copy = "COPY bulk FROM STDIN WHERE false"
        client.ask("CREATE TEMP TABLE IF NOT EXISTS bulk (line text)")
        client.copy_in(copy, chunk, rows // _CHUNK_ROWS)

    transfers: dict[str, Callable[[RawClient], object]] = {
        "COPY in": copy_in,
        "COPY out": lambda client: client.ask(f"COPY ({text}) TO STDOUT"),
        "SELECT": lambda client: client.ask(text),
    }

    def contest(name: str, transfer: Callable[[RawClient], object]) -> Contest:
        def run(rival: Rival, book: Book) -> None:
            with raw_client(rival.port) as client:
                before, began = rival.cpu_seconds(), monotonic()
                transfer(client)
                took = monotonic() - began
            book.note(rate, name, rival.name, options.megabytes / took)
            if rival.pids:
                spent = rival.cpu_seconds() - before
                book.note(cost, name, rival.name, spent * 1000 / options.megabytes)
                book.note(memory, name, rival.name, rival.megabytes())

        return Contest(run)

    for name, transfer in transfers.items():
        yield contest(name, transfer)


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Contest]]] = {
    "select": _transactions("pgbench -S", 0, "-S"),
    "tpcb": _transactions("pgbench, TPC-B-like", _TPCB_SECONDS),
    "connect": _connecting,
    "bulk": _bulk,
}
