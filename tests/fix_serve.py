"""Fixtures ``serve`` and ``serve_with``: ``durproxy serve`` as a real process on free ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.waiting import wait_until

Event = dict[str, Any]
_READY = re.compile(r"durproxy ready listen=127\.0\.0\.1:(\d+)")


class Serve:
    """A running ``durproxy serve``; its log is read as it comes."""

    def __init__(self, home: Database, settings: dict[str, object], env: dict[str, str]) -> None:
        self.home = home
        self.log: list[Event] = []  # the structured lines, oldest first
        self.output: list[str] = []  # all other lines of stdout and stderr
        self.port = 0
        chosen = {"upstream": home.dsn, "listen": "127.0.0.1:0", "web": "off", **settings}
        environment = {name: text for name, text in os.environ.items() if "PG" not in name}
        environment |= {f"DURPROXY_{name.upper()}": str(value) for name, value in chosen.items()}
        environment |= {"PGPASSFILE": str(home.passfile), **env}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "durproxy.cli", "serve"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dsn(self) -> str:
        """The owner's way to its database through the proxy."""
        return self.dsn_for(self.home.owner)

    def dsn_for(self, role: Role) -> str:
        return (
            f"host=127.0.0.1 port={self.port} dbname={self.home.name}"
            f" user={role.name} password={role.password}"
        )

    def connect(self, role: Role | None = None, *, autocommit: bool = True) -> psycopg.Connection:
        return psycopg.connect(self.dsn_for(role or self.home.owner), autocommit=autocommit)

    def psql(self, text: str, *options: str) -> str:
        """What psql prints for the script through the proxy: tuples only, unaligned."""
        return self.home.postgres.psql(self.dsn, text, *options)

    def wait_ready(self, timeout: float = 30.0) -> None:
        wait_until(lambda: self.port or self.exited(), "durproxy serve is ready", timeout)
        assert self.port, f"durproxy serve ended at once\n{self.transcript()}"

    def exited(self) -> bool:
        return self._process.poll() is not None

    def events(self, event: str, **fields: object) -> list[Event]:
        """The log lines so far with this event name and these fields."""
        return [
            line
            for line in list(self.log)
            if line.get("event") == event
            and all(line.get(name) == value for name, value in fields.items())
        ]

    def wait_log(self, event: str, timeout: float = 15.0, **fields: object) -> Event:
        """The first such log line, once it is there."""
        found = wait_until(
            lambda: self.events(event, **fields), f"log line {event} {fields}", timeout
        )
        return found[0]

    def engine_pids(self) -> list[int]:
        """Of the engines that run now, by index."""
        return self._child_pids("engine")

    def proxy_pids(self) -> list[int]:
        return self._child_pids("proxy")

    def kill_engine(self, index: int = 0) -> int:
        """SIGKILL; returns the pid. The supervisor starts another."""
        pid = self.engine_pids()[index]
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, timeout: float = 20.0) -> int:
        """SIGTERM, and the exit code after the drain."""
        if not self.exited():
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"serve did not stop\n{self.transcript()}") from None
        finally:
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
        return code

    def kill(self) -> None:
        """SIGKILL to the supervisor itself."""
        self._process.kill()

    def transcript(self) -> str:
        return "\n".join([*self.output, *(json.dumps(line) for line in self.log)])

    def _child_pids(self, kind: str) -> list[int]:
        running: dict[int, int] = {}
        for line in list(self.log):
            if line.get("kind") != kind:
                continue
            if line["event"] == "child.started":
                running[line["index"]] = line["pid"]
            elif line["event"] == "child.ended":
                running.pop(line["index"], None)
        return [running[index] for index in sorted(running)]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if isinstance(line, dict):
                self.log.append(line)
            else:
                self.output.append(text.rstrip("\n"))
                if (ready := _READY.match(text)) is not None:
                    self.port = int(ready[1])


class ServeWith(Protocol):
    """Starts a server with settings by field name, and extra environment for the process."""

    def __call__(self, env: dict[str, str] | None = None, **settings: object) -> Serve: ...


@pytest.fixture
def serve_with(home: Database) -> Iterator[ServeWith]:
    started: list[Serve] = []

    def start(env: dict[str, str] | None = None, **settings: object) -> Serve:
        server = Serve(home, settings, env or {})
        started.append(server)
        server.wait_ready()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def serve(serve_with: ServeWith) -> Serve:
    """One proxy and one engine with the default settings."""
    return serve_with()
