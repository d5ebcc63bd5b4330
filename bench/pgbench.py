"""pgbench, through any of the ways."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench.rivals import DATABASE

_COUNT = re.compile(r"actually processed: (\d+)")
_ATTEMPTS = 4  # each longer: a busy machine may not get to one transaction in a second
_TPS = re.compile(r"tps = ([\d.]+)")


@dataclass(frozen=True)
class Rate:
    """What one run has done."""

    per_second: float
    transactions: int


class Pgbench:
    """The program of one Postgres, and how long it runs."""

    def __init__(self, bindir: Path, seconds: int) -> None:
        self.seconds = seconds
        self._program = str(bindir / "pgbench")

    def rate(self, port: int, clients: int, *options: str) -> Rate:
        """Connecting does not count, unless that is what the transactions do."""
        return self._run(port, clients, *options, database=DATABASE)

    def connect(self, port: int, clients: int) -> None:
        """Let so many connect, ask once and leave."""
        options = ("-S", "-c", str(clients), "-j", str(min(clients, 2)), "-t", "1")
        place = ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres", DATABASE)
        subprocess.run([self._program, "-n", *options, *place], capture_output=True, check=True)

    def latencies(self, port: int, database: str, per_second: int, *options: str) -> list[float]:
        """Percentiles 1 to 99 in milliseconds, with one client that is not in a hurry."""
        with tempfile.TemporaryDirectory() as folder:
            logged = ("-l", "--log-prefix", f"{folder}/log", "-R", str(per_second))
            self._run(port, 1, *logged, *options, database=database)
            [log] = Path(folder).iterdir()
            rows = [line.split() for line in log.read_text().splitlines()]
        # the time from when the client should have begun, less how late it did
        return quantiles([(int(row[2]) - int(row[6])) / 1000 for row in rows], n=100)

    def _run(self, port: int, clients: int, *options: str, database: str) -> Rate:
        place = ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres", database)
        load = ("-c", str(clients), "-j", str(min(clients, 2)))
        for attempt in range(_ATTEMPTS):
            duration = ("-T", str(self.seconds * 2**attempt))
            command = [self._program, "-n", *load, *duration, *options, *place]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found, count = _TPS.search(done.stdout), _COUNT.search(done.stdout)
            if done.returncode == 0 and found is not None and count is not None:
                return Rate(float(found[1]), int(count[1]))
        raise RuntimeError(done.stdout + done.stderr)
