"""How long a small query takes while the engine has as much to do as it can take."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from bench.book import Book, Measure
from bench.ground import ground
from bench.ours import Ours, ours
from bench.pgbench import Pgbench

_PER_SECOND = 300
_WORKFLOWS = 400  # started at a time
_SCRIPT = "\\set id random(1, 100000)\nSELECT value FROM account WHERE id = :id;\n"


class _Load(threading.Thread):
    """Starts more workflows as soon as those before are done, until it is told to stop."""

    def __init__(self, server: Ours) -> None:
        super().__init__()
        self._server = server
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._server.start("ten", _WORKFLOWS)
            self._server.wait_done()

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def beside_engine(book: Book, bindir: Path, rounds: int, seconds: int) -> None:
    """Straight and through the proxy, in turns, with the engine at full load and without."""
    pgbench = Pgbench(bindir, seconds)
    with (
        ground(bindir) as place,
        ours(place, bindir) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        script = Path(folder) / "one.sql"
        script.write_text(_SCRIPT)
        _measure(book, "engine idle", pgbench, server, script, rounds)
        load = _Load(server)
        load.start()
        try:
            _measure(book, "engine at full load", pgbench, server, script, rounds)
        finally:
            load.stop()


def _measure(
    book: Book, case: str, pgbench: Pgbench, server: Ours, script: Path, rounds: int
) -> None:
    latency = Measure(f"one client, {_PER_SECOND} queries a second: ms", digits=2)
    ways = {"direct": server.direct_port, "durproxy ×1": server.port}
    options = ("-M", "prepared", "-f", str(script))
    for number in range(rounds):
        found = {}
        for name in sorted(ways, reverse=bool(number % 2)):
            cuts = pgbench.latencies(ways[name], server.database, _PER_SECOND, *options)
            found[name] = cuts
            book.note(latency, f"{case}: p50", name, cuts[49])
            book.note(latency, f"{case}: p99", name, cuts[98])
        for cut, name in ((49, "p50"), (98, "p99")):
            added = found["durproxy ×1"][cut] - found["direct"][cut]
            book.note(latency, f"{case}: {name} added", "durproxy ×1", added)
