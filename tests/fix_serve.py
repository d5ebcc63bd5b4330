"""Fixtures ``serve``, ``serve_with``, ``visitor``: ``durproxy serve`` as a real process.

``serve`` starts one for the test; ``visitor`` is a fresh role at one that all tests share, for
tests that only talk through the proxy.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import psycopg
import pytest

from durproxy.observed import Event, Observed, Process
from tests.fix_postgres import Database, Postgres, Role, install_checked
from tests.forked import Forked, command

# Of the processes under test: nothing of ours or libpq's that happens to be set here.
ENVIRONMENT = {
    name: text for name, text in os.environ.items() if not name.startswith(("PG", "DURPROXY_"))
}
_READY = re.compile(r"durproxy ready listen=127\.0\.0\.1:(\d+)")


def run_durproxy(
    *arguments: str, limit: float = 60.0, **settings: object
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, in an environment with only these settings."""
    return subprocess.run(
        [sys.executable, "-m", "durproxy.cli", *arguments],
        env=ENVIRONMENT | environment_of(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def environment_of(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"DURPROXY_{name.upper()}": str(value) for name, value in settings.items()}


class Serve(Observed):
    """A running ``durproxy serve`` before a test's database."""

    def __init__(
        self,
        home: Database,
        settings: dict[str, object],
        env: dict[str, str] | None = None,
        *,
        by_command: bool = False,
    ) -> None:
        self.home = home
        # some of the environment is read while modules are imported
        self._by_command = by_command or bool(env)
        self.port = 0
        chosen: dict[str, object] = {
            "upstream": home.dsn,
            "listen": "127.0.0.1:0",
            "web": "off",
            "runtime_dir": home.passfile.parent,  # what a killed one leaves goes with the cluster
            "allow_trust": True,  # so that clients without a driver need no password
            **settings,
        }
        config = chosen.pop("config", None)
        arguments = [] if config is None else ["--config", str(config)]
        arguments += ["--takeover"] * bool(chosen.pop("takeover", False))
        chosen = {name: value for name, value in chosen.items() if value is not None}
        environment = ENVIRONMENT | {"PGPASSFILE": str(home.passfile)} | environment_of(chosen)
        super().__init__("serve", *arguments, env=environment | (env or {}))

    def _start(self, arguments: Sequence[str], env: Mapping[str, str] | None) -> Process:
        if self._by_command:
            return super()._start(arguments, env)
        return Forked(partial(command, list(arguments)), env=env)

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
        ready = self.wait_line(_READY, timeout)
        assert ready is not None, f"durproxy serve is not ready\n{self.transcript()}"
        self.port = int(ready[1])

    def wait_log(self, event: str, timeout: float = 15.0, **fields: object) -> Event:
        """The first such log line, once it is there."""
        found = self.wait_event(event, timeout, **fields)
        assert found is not None, f"no log line {event} {fields}\n{self.transcript()}"
        return found

    def engine_pids(self) -> list[int]:
        """Of the engines that run now, by index."""
        return self.child_pids("engine")

    def proxy_pids(self) -> list[int]:
        return self.child_pids("proxy")

    def forget_log(self) -> None:
        """All lines but those that tell which children run: for servers that run for long."""
        with self._changed:
            self.log[:] = [line for line in self.log if "kind" in line]

    def kill_engine(self, index: int = 0) -> int:
        """SIGKILL; returns the pid. The supervisor starts another."""
        pid = self.engine_pids()[index]
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, timeout: float = 20.0) -> int:
        """SIGTERM, and the exit code after the drain."""
        if not self.exited():
            self.terminate()
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"serve did not stop in {timeout:g} s\n{self.transcript()}")


@dataclass(frozen=True)
class Visitor:
    """A role with a schema of its own in the database of a server that other tests use, too."""

    serve: Serve
    role: Role

    @property
    def dsn(self) -> str:
        return self.serve.dsn_for(self.role)

    @property
    def database(self) -> Database:
        return self.serve.home

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection:
        return self.serve.connect(self.role, autocommit=autocommit)

    def psql(self, text: str, *options: str) -> str:
        """What psql prints for the script through the proxy: tuples only, unaligned."""
        return self.database.postgres.psql(self.dsn, text, *options)

    def run_psql(self, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.database.postgres.run_psql(self.dsn, text, *options)


class ServeWith(Protocol):
    """Starts a server with settings by field name, and extra environment for the process.

    ``config`` is a file with settings, ``takeover`` the option.
    """

    def __call__(self, env: dict[str, str] | None = None, **settings: object) -> Serve: ...


@pytest.fixture
def by_command() -> bool:
    """Whether servers are started as users do, with an interpreter of their own.

    For modules about that to override; the others' are forks, which takes a tenth of the time.
    """
    return False


@pytest.fixture
def serve_with(home: Database, by_command: bool) -> Iterator[ServeWith]:
    with ExitStack() as started:

        def start(env: dict[str, str] | None = None, **settings: object) -> Serve:
            server = started.enter_context(
                closing(Serve(home, settings, env, by_command=by_command))
            )
            server.wait_ready()
            return server

        yield start


@pytest.fixture
def serve(serve_with: ServeWith) -> Serve:
    """One proxy and one engine with the default settings."""
    return serve_with()


@pytest.fixture(scope="session")
def shared_serve(postgres: Postgres) -> Iterator[Serve]:
    home = postgres.fresh_database()
    install_checked(home.dsn)
    with closing(Serve(home, {})) as server:
        server.wait_ready()
        yield server
    postgres.drop_database(home)


@pytest.fixture
def visitor(shared_serve: Serve) -> Visitor:
    role = shared_serve.home.add_role()
    shared_serve.home.psql(f"CREATE SCHEMA AUTHORIZATION {role.name}", "postgres")
    shared_serve.home.psql(f"SELECT df.grant_usage('{role.name}')")
    return Visitor(shared_serve, role)
