"""A durproxy whose engines stop at every named point until the test lets them go on."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from tests.faults.relay import Relay
from tests.fix_postgres import Postgres, install_checked
from tests.fix_serve import Serve

Meddling = Callable[["Rig", int], bytes]
_GO, _KILL = b"go", b"kill"


class Rig:
    """One database, one relay before it, one durproxy behind that; a fault at a time."""

    def __init__(self, postgres: Postgres, **settings: object) -> None:
        self.home = postgres.fresh_database()
        install_checked(self.home.dsn)
        self.relay = Relay("127.0.0.1", postgres.port)
        self._postgres = postgres
        self._path = self.home.passfile.parent / f"{self.home.name}.ask"
        self._asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._asked.bind(str(self._path))
        Path(self._path).chmod(0o777)
        self._asked.listen(16)
        self._plan: tuple[str, int, Meddling] | None = None
        self._always: tuple[str, Meddling] | None = None
        self.seen: list[str] = []  # points, since the plan was made
        self.hits = 0  # times that the plan was carried out
        self._thread = threading.Thread(target=self._answer_all, daemon=True)
        self._thread.start()
        self.serve = Serve(
            self.home,
            {"upstream": self.upstream, **settings},
            {"DURPROXY_TRIGGER": f"ask:{self._path}"},
        )
        self.serve.wait_ready()

    @property
    def upstream(self) -> str:
        owner = self.home.owner
        return (
            f"host=127.0.0.1 port={self.relay.port} dbname={self.home.name} user={owner.name}"
            f" password={owner.password} sslmode=disable gssencmode=disable"
        )

    def plan(self, point: str, nth: int, meddling: Meddling) -> None:
        """At the nth time from now on that an engine is at the point, meddle; once."""
        self.seen, self.hits = [], 0
        self._plan = (point, nth, meddling)

    def always(self, point: str, meddling: Meddling) -> None:
        """Whenever an engine is at the point."""
        self._always = (point, meddling)

    def never(self) -> None:
        """Let them do what they want."""
        self._plan = self._always = None

    def close(self) -> None:
        self.never()
        self.relay.forget()
        self.serve.close()
        self.relay.close()
        self._asked.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._asked.close()
        self._path.unlink()
        self._postgres.drop_database(self.home)

    def _answer_all(self) -> None:
        while True:
            try:
                asking, _ = self._asked.accept()
            except OSError:  # closed
                return
            with asking:
                pid, _, point = asking.recv(1024).decode().strip().partition(" ")
                if point:
                    asking.sendall(self._answer(int(pid), point))

    def _answer(self, pid: int, point: str) -> bytes:
        self.seen.append(point)
        if self._always is not None and self._always[0] == point:
            self.hits += 1
            return self._always[1](self, pid)
        if self._plan is None:
            return _GO
        wanted, left, meddling = self._plan
        if point != wanted:
            return _GO
        if left > 1:
            self._plan = (wanted, left - 1, meddling)
            return _GO
        self._plan = None
        self.hits += 1
        return meddling(self, pid)


# --- what can happen at a point ---


def kill(rig: Rig, pid: int) -> bytes:
    return _KILL


def drop(rig: Rig, pid: int) -> bytes:
    """Every session of the engine is gone, its life connection among them."""
    rig.relay.cut("durproxy")
    return _GO


def drop_steps(rig: Rig, pid: int) -> bytes:
    rig.relay.cut("durproxy step")
    return _GO


def drop_store(rig: Rig, pid: int) -> bytes:
    rig.relay.cut("durproxy store")
    return _GO


def delay(rig: Rig, pid: int) -> bytes:
    """What is sent from here on arrives late, and the others notice nothing of it."""
    rig.relay.delay(0.2)
    return _GO


def drain(rig: Rig, pid: int) -> bytes:
    """Told to stop, while the answer to what was just sent is on its way."""
    os.kill(pid, signal.SIGTERM)
    return delay(rig, pid)


def lose_reply(rig: Rig, pid: int) -> bytes:
    """The next statement's answer is lost after the server has committed it."""
    rig.relay.lose_reply()
    return _GO


def then(first: Meddling, point: str, second: Meddling) -> Meddling:
    """Something happens; when an engine comes to the point because of that, something else does."""

    def both(rig: Rig, pid: int) -> bytes:
        rig.plan(point, 1, second)
        return first(rig, pid)

    return both


def stop(rig: Rig, pid: int) -> bytes:
    """SIGSTOP; the test lets it go on."""
    os.kill(pid, signal.SIGSTOP)
    return _GO
