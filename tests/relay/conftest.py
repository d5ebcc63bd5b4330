"""Fixture ``start_proxy``: the proxy process alone, without the rest of ``serve``."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
import trio

from durproxy.bus import LocalBus
from durproxy.child import orders
from durproxy.config import Settings
from tests.fix_postgres import Database, Role
from tests.forked import Forked, child
from tests.waiting import wait_until


class Proxy:
    """One running proxy process; its log is read as it comes."""

    def __init__(self, settings: Settings, host: str, index: int) -> None:
        self._runtime_dir, self._index = settings.runtime_dir, index
        self.log: list[dict[str, Any]] = []
        self.other_output: list[str] = []
        listener = _listener(host)
        self.port = 0 if host.startswith("/") else int(listener.getsockname()[1])
        orders_read, orders_write = os.pipe()
        ready_read, ready_write = os.pipe()
        fds = (orders_read, ready_write, listener.fileno())
        self._process = Forked(partial(child, "proxy", index), fds)
        self.pid = self._process.pid
        listener.close()
        os.close(orders_read)
        os.close(ready_write)
        with os.fdopen(orders_write, "wb") as pipe:
            pipe.write(orders(settings))
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        with os.fdopen(ready_read, "rb") as pipe:
            said = pipe.readline()
        assert said == b"ready\n", "\n".join(self.other_output)

    def dsn_for(self, database: Database, role: Role | None = None) -> str:
        found = role or database.owner
        return (
            f"host=127.0.0.1 port={self.port} dbname={database.name}"
            f" user={found.name} password={found.password}"
        )

    def connect(self, database: Database, role: Role | None = None) -> psycopg.Connection:
        return psycopg.connect(self.dsn_for(database, role), autocommit=True)

    def dial(self) -> socket.socket:
        """A bare connection to it."""
        return self.dial_port(self.port)

    @staticmethod
    def dial_port(port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=20)

    def wait_log(self, event: str) -> dict[str, Any]:
        found = wait_until(
            lambda: [line for line in list(self.log) if line["event"] == event], f"log {event}"
        )
        return found[0]

    def counted(self, name: str) -> int:
        """One of its counters now, asked for on the bus."""

        async def ask() -> int:
            with LocalBus(self._runtime_dir, "web-0") as bus:
                report = json.loads((await bus.ask_reports())[f"proxy-{self._index}"])
            samples = {family["name"]: family["samples"] for family in report}
            [(_, number)] = samples[f"durproxy_proxy_{name}"]
            return int(number)

        return trio.run(ask)

    def memory(self) -> int:
        """Its resident bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 20) -> int:
        return self._process.wait(timeout)

    def stop(self) -> None:
        if self._process.poll() is None:
            self.terminate()
        code = self.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert code == 0, "\n".join(self.other_output)
        assert not [line for line in self.log if line["event"] == "connection.failed"], self.log

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            try:
                self.log.append(json.loads(text))
            except ValueError:
                self.other_output.append(text.rstrip())


def _listener(host: str) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_server((host, 0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(host)
    Path(host).chmod(0o777)
    return listener


class StartProxy(Protocol):
    """Starts a proxy with settings by field name; a host with a slash is a unix socket's path."""

    def __call__(self, upstream: str, *, host: str = ..., **settings: object) -> Proxy: ...


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    started: list[Proxy] = []

    def start(upstream: str, *, host: str = "127.0.0.1", **settings: object) -> Proxy:
        chosen: dict[str, Any] = {
            "runtime_dir": tmp_path,
            "drain_timeout": 1,
            "allow_trust": True,  # so that clients without a driver need no password
            **settings,
        }
        started.append(Proxy(Settings(upstream=upstream, **chosen), host, len(started)))
        return started[-1]

    yield start
    for proxy in started:
        proxy.stop()


@pytest.fixture
def proxy(start_proxy: StartProxy, database: Database) -> Proxy:
    """In front of ``database``."""
    return start_proxy(database.dsn)
