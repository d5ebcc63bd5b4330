"""W1 to W3 in alternating rounds: the floor, this engine, and its peers on the same Postgres.

    W1  workflows of one step, eight starters
    W2  sequences of ten steps
    W3  ten steps in parallel, joined

Every contender gets a fresh database each time, and another one begins each round. A rate is work
completed per second, from the first start to the last end.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.floor import floor
from bench.ground import Ground
from bench.ours import STEPS, ours

FLOOR = "floor"
OURS = "durproxy"
KINDS = {"W1": "one", "W2": "ten", "W3": "fan"}
_PEERS = {"absurd": "absurd_sdk", "dbos": "dbos", "procrastinate": "procrastinate"}
_PEERS_KINDS = ("W1", "W2")
_WITH_RUNS = ("W2",)  # the workloads with steps that go to the server together
_WORKFLOWS = {"W1": 4000, "W2": 800, "W3": 400}
_OF_A_PEER = 4  # a peer gets a fourth of that, and still takes longer
_WARM_UP = 80


@dataclass(frozen=True)
class Contest:
    """One contender in one workload; `run` gives steps per second."""

    workload: str
    contender: str
    run: Callable[[], float]


def name_of(engines: int, *, together: bool = False) -> str:
    """`together`: with `flush_each_step` off."""
    return f"{OURS} ×{engines}" + (", flushed together" if together else "")


def contests(
    ground: Ground, bindir: Path, workloads: list[str], engines: list[int], scale: float
) -> list[Contest]:
    """What a round consists of."""
    found: list[Contest] = []
    for workload in workloads:
        count = max(8, int(_WORKFLOWS[workload] * scale))
        for together in (False, True) if workload in _WITH_RUNS else (False,):
            found.extend(
                Contest(
                    workload,
                    name_of(number, together=together),
                    _ours(ground, bindir, workload, number, count, together),
                )
                for number in engines
            )
        found.extend(
            Contest(workload, peer, _peers(ground, workload, peer, count))
            for peer in (installed_peers() if workload in _PEERS_KINDS else ())
        )
    return found


def installed_peers() -> list[str]:
    return [peer for peer, module in _PEERS.items() if find_spec(module)]


def floor_of(ground: Ground, bindir: Path, seconds: int) -> float:
    return floor(bindir, ground.fresh_database(), seconds)


def _ours(
    ground: Ground, bindir: Path, workload: str, engines: int, count: int, together: bool
) -> Callable[[], float]:
    def run() -> float:
        kind = KINDS[workload]
        with ours(ground, bindir, engines, flush_each_step=not together) as server:
            server.start(kind, _WARM_UP)
            server.wait_done()
            began = time.monotonic()
            server.start(kind, count)
            server.wait_done()
            return count * STEPS[kind] / (time.monotonic() - began)

    return run


def _peers(ground: Ground, workload: str, peer: str, count: int) -> Callable[[], float]:
    def run() -> float:
        kind = KINDS[workload]
        command = [sys.executable, "-m", f"bench.peer_{peer}", ground.fresh_database(peer)]
        done = subprocess.run(
            [*command, kind, str(max(8, count // _OF_A_PEER // 8 * 8))],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return float(done.stdout) * STEPS[kind]

    return run
