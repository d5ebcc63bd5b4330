"""`./scripts/fuzz`: hostile clients and a hostile server at one proxy process, for a long time.

Four clients at a time. ``--seed`` repeats what each side says, not when the pieces arrive. Exit
code 0: a well-behaved client never noticed, and the process is as it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

from tests.fuzz.attack import Attack, attacked

_CLIENTS = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed={options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, attacked(Path(folder), options.seed) as attack:
        rounds = _attack(attack, options.minutes * 60)
        attack.check_process()
        events = Counter(line["event"] for line in attack.proxy.log)
    print(f"rounds={rounds}", *(f"{event}={number}" for event, number in sorted(events.items())))
    return 0


def _attack(attack: Attack, seconds: float) -> int:
    """How many rounds there were."""
    numbers = count()
    over = threading.Event()

    def rounds() -> None:
        while not over.is_set():
            attack.round(next(numbers))

    clients = [threading.Thread(target=rounds) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            attack.check_bystander()
            over.wait(1)
    finally:
        over.set()
        for client in clients:
            client.join()
    return next(numbers)


if __name__ == "__main__":
    sys.exit(main())
