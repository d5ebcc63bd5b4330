"""pgbench, through any of the ways."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from statistics import quantiles

from bench.rivals import DATABASE

_TPS = re.compile(r"tps = ([\d.]+)")


class Pgbench:
    """The program of one Postgres, and how long it runs."""

    def __init__(self, bindir: Path, seconds: int) -> None:
        self.seconds = seconds
        self._program = str(bindir / "pgbench")

    def rate(self, port: int, clients: int, *options: str, database: str = DATABASE) -> float:
        """Transactions per second, connecting not counted unless that is what they do."""
        return self._run(port, clients, *options, database=database)

    def latencies(self, port: int, database: str, per_second: int, *options: str) -> list[float]:
        """Percentiles 1 to 99 in milliseconds, with one client that is not in a hurry."""
        with tempfile.TemporaryDirectory() as folder:
            logged = ("-l", "--log-prefix", f"{folder}/log", "-R", str(per_second))
            self._run(port, 1, *logged, *options, database=database)
            [log] = Path(folder).iterdir()
            rows = [line.split() for line in log.read_text().splitlines()]
        # the time from when the client should have begun, less how late it did
        return quantiles([(int(row[2]) - int(row[6])) / 1000 for row in rows], n=100)

    def _run(self, port: int, clients: int, *options: str, database: str) -> float:
        place = ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres", database)
        load = ("-c", str(clients), "-j", str(min(clients, 2)), "-T", str(self.seconds))
        command = [self._program, "-n", *load, *options, *place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _TPS.search(done.stdout)
        if done.returncode != 0 or found is None:
            raise RuntimeError(done.stdout + done.stderr)
        return float(found[1])
