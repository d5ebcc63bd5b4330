"""What happens to the workers, the network and the server while the soak runs."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random

from tests.faults.relay import Relay
from tests.fix_postgres import Postgres
from tests.fix_serve import Serve


class Faults:
    """One fault after another, with pauses; `end` makes everything whole again."""

    def __init__(
        self, random: Random, serve: Serve, relay: Relay, postgres: Postgres, lease: float
    ) -> None:
        self._random = random
        self._serve = serve
        self._relay = relay
        self._postgres = postgres
        self._lease = lease
        self._stopped: dict[int, float] = {}  # pid -> when it goes on
        self._next = time.monotonic() + 1.0
        self._next_restart = self._restart_time()
        self.done: Counter[str] = Counter()

    def turn(self) -> None:
        """What is due now."""
        now = time.monotonic()
        for pid, until in list(self._stopped.items()):
            if now >= until:
                self._continue(pid)
        if now < self._next:
            return
        self._next = now + self._random.uniform(0.2, 2.0)
        if now >= self._next_restart:
            self._restart()
            return
        kinds: list[tuple[Callable[[], None], int]] = [
            (self._kill, 6), (self._stop, 3), (self._cut, 6), (self._delay, 3),
            (self._lose_reply, 6), (self._half_open, 1), (self._drain, 4),
        ]  # fmt: skip
        kind = self._random.choices([k for k, _ in kinds], [weight for _, weight in kinds])[0]
        kind()

    def end(self) -> None:
        for pid in list(self._stopped):
            self._continue(pid)
        self._relay.forget()

    def _engine(self) -> int | None:
        pids = self._serve.child_pids("engine") + self._serve.child_pids("engine-alone")
        return self._random.choice(pids) if pids else None

    def _kill(self) -> None:
        if (pid := self._engine()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.done["engine killed"] += 1

    def _stop(self) -> None:
        if (pid := self._engine()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped[pid] = time.monotonic() + self._random.uniform(0.2, 2.5) * self._lease
                self.done["engine stopped"] += 1

    def _drain(self) -> None:
        """It is told to stop, as when one is replaced by the next version."""
        if (pid := self._engine()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                self.done["engine drained"] += 1

    def _continue(self, pid: int) -> None:
        del self._stopped[pid]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _cut(self) -> None:
        which = self._random.choice(["durproxy step", "durproxy store", "durproxy"])
        self.done["connections cut"] += self._relay.cut(which)

    def _delay(self) -> None:
        self._relay.delay(self._random.uniform(0.05, 0.5))
        self.done["network delayed"] += 1

    def _half_open(self) -> None:
        """Longer than the lease; then it goes on where it was."""
        self._relay.delay(self._random.uniform(1.2, 2.0) * self._lease)
        self.done["network half open"] += 1

    def _lose_reply(self) -> None:
        self._relay.lose_reply()
        self.done["reply lost"] += 1

    def _restart_time(self) -> float:
        return time.monotonic() + self._random.uniform(60.0, 180.0)

    def _restart(self) -> None:
        """As after a crash of the server; half a second away."""
        self.done["server restarted"] += 1
        pid_file = self._postgres.cluster.data / "postmaster.pid"
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
        self._postgres.cluster.stop()
        self._postgres.cluster.start()
        self._next_restart = self._restart_time()
