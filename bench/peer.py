"""What the peers' benches share: eight starters, a worker process, and waiting for the last one.

A peer's module is a program: `python -m bench.peer_NAME DSN KIND COUNT` sets its schema up in the
empty database, runs COUNT workflows of the KIND ("one": one step, "ten": ten in sequence) and
prints how many it completed per second, from the first start to the last end.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from bench.floor import CLIENTS
from bench.ground import ACCOUNTS

UPDATE = "UPDATE account SET value = value + 1 WHERE id = %s"
READY = "ready"
_LOOK_EVERY = 0.02  # seconds
_TIMEOUT = 120.0

Start = Callable[[str, int], object]


def account() -> int:
    return random.randint(1, ACCOUNTS)


@contextmanager
def worker(module: str, dsn: str) -> Iterator[None]:
    """The peer's own worker, in a process of its own."""
    command = [sys.executable, "-m", module, dsn, "worker", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != READY:
            raise RuntimeError(f"the worker of {module} did not start")
        yield
    finally:
        process.kill()
        process.wait()


def completed_per_second(
    dsn: str, kind: str, count: int, starters: list[Start], completed: str
) -> float:
    """Start `count` from all starters, and wait until the query `completed` counts them all."""

    def start(first: int) -> None:
        for _ in range(first, count, CLIENTS):
            starters[first](kind, account())

    threads = [threading.Thread(target=start, args=(k,)) for k in range(CLIENTS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    with psycopg.connect(dsn, autocommit=True) as watcher:
        while (row := watcher.execute(completed.encode()).fetchone()) is None or row[0] < count:
            if time.monotonic() - began > _TIMEOUT:
                raise RuntimeError(f"{row} of {count} completed in {_TIMEOUT:g} s")
            watcher.execute("SELECT pg_sleep(%s)", [_LOOK_EVERY])
    took = time.monotonic() - began
    for thread in threads:
        thread.join()
    return count / took
