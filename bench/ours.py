"""durproxy as a contender: `serve` before the bench's database, its clients pgbench scripts."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from bench.floor import CLIENTS, pgbench
from bench.ground import ACCOUNTS, NEIGHBOURS, Ground, cpu_seconds
from durproxy.observed import Observed
from durproxy.schema.install import install

USER = "bench"
_READY = re.compile(r"durproxy ready listen=127\.0\.0\.1:(\d+)")
_READY_TIMEOUT = 30.0
_LOOK_EVERY = 0.02  # seconds
_LIVE = """
    SELECT WHERE EXISTS (SELECT FROM df._instances WHERE ready_at IS NOT NULL)
        OR EXISTS (SELECT FROM df._instances WHERE owner IS NOT NULL)"""


def _update(neighbour: int) -> str:
    return f"'UPDATE account SET value = value + 1 WHERE id = ' || (:id::int + {neighbour})"


def _step(neighbour: int) -> str:
    return f"df.sql({_update(neighbour)})"


WORKFLOWS = {
    "one": _step(0),
    "ten": "({})".format(" OPERATOR(df.~>) ".join(_step(k) for k in range(NEIGHBOURS))),
    "fan": "({})".format(" OPERATOR(df.&) ".join(_step(k) for k in range(NEIGHBOURS))),
}
STEPS = {"one": 1, "ten": NEIGHBOURS, "fan": NEIGHBOURS}


class Ours:
    """A running server with so many engine workers, and its database to itself."""

    def __init__(self, ground: Ground, bindir: Path, server: Observed, database: str) -> None:
        self._ground = ground
        self._bindir = bindir
        self.server = server
        self.database = database
        ready = server.wait_line(_READY, _READY_TIMEOUT)
        if ready is None:
            raise RuntimeError(server.transcript())
        self.port = int(ready[1])

    @property
    def direct_port(self) -> int:
        return self._ground.cluster.port

    @property
    def direct_dsn(self) -> str:
        """Straight to Postgres, for counting."""
        return self._ground.dsn(self.database)

    @property
    def dsn(self) -> str:
        """Through the proxy, as the role whose workflows these are."""
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={self.database}"

    def start(self, kind: str, count: int) -> None:
        """Start so many workflows from all clients; returns when all starts have committed."""
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(f"\\set id random(1, {ACCOUNTS})\nSELECT df.start({WORKFLOWS[kind]});\n")
            script.flush()
            pgbench(self._bindir, self.dsn, Path(script.name), "-t", str(count // CLIENTS))

    def wait_done(self, timeout: float = 120.0) -> None:
        """Until none that was started is left; asked through the indexes on live ones."""
        deadline = time.monotonic() + timeout
        with psycopg.connect(self.direct_dsn, autocommit=True) as watcher:
            while watcher.execute(_LIVE).fetchall():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not all completed in {timeout:g} s")
                watcher.execute("SELECT pg_sleep(%s)", [_LOOK_EVERY])

    def kill_engine(self) -> None:
        """SIGKILL; the supervisor starts another one."""
        os.kill(self.server.child_pids("engine")[0], signal.SIGKILL)

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by whose they are."""
        return {
            "engines": sum(map(cpu_seconds, self.server.child_pids("engine"))),
            "proxies": sum(map(cpu_seconds, self.server.child_pids("proxy"))),
            "backends": self._ground.cpu_seconds(),
        }


@contextmanager
def ours(ground: Ground, bindir: Path, engines: int = 1, **settings: object) -> Iterator[Ours]:
    """A server over a fresh database."""
    database = "durproxy"
    ground.fresh_database(database)
    _give_to_user(ground, database)
    owner = f"host=127.0.0.1 port={ground.cluster.port} user={USER} dbname={database}"
    install(owner)
    with tempfile.TemporaryDirectory() as runtime_dir:
        given = {
            "upstream": owner, "listen": "127.0.0.1:0", "web": "off", "engines": engines,
            "runtime_dir": runtime_dir, "log_format": "json", "allow_trust": True, **settings,
        }  # fmt: skip
        env = os.environ | {f"DURPROXY_{name.upper()}": str(v) for name, v in given.items()}
        with closing(Observed("serve", env=env)) as server:
            yield Ours(ground, bindir, server, database)


def _give_to_user(ground: Ground, database: str) -> None:
    with psycopg.connect(ground.dsn(database), autocommit=True) as admin:
        if not admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [USER]).fetchall():
            admin.execute(f"CREATE ROLE {USER} LOGIN")
        admin.execute(f"ALTER DATABASE {database} OWNER TO {USER}")
        for table in ("account", "entry", "effect"):
            admin.execute(f"ALTER TABLE {table} OWNER TO {USER}")
        admin.execute(f"GRANT CREATE ON SCHEMA public TO {USER}")
