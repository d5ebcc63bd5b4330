"""The ways to one Postgres that are compared: straight, through pgbouncer, through ours."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import trio

from bench.book import OURS
from bench.ground import cpu_seconds, resident_megabytes
from durproxy.bus import LocalBus
from durproxy.child import orders
from durproxy.config import Settings
from durproxy.embedded import Cluster, embedded_bindir, free_port

DATABASE = "bench"
_SETTINGS = {
    "fsync": "off",
    "max_connections": "400",
    "shared_buffers": "256MB",
    "synchronous_commit": "off",
    "synchronize_seqscans": "off",
    "autovacuum": "off",
}
_HBA = "local all all trust\nhost all all 127.0.0.1/32 trust\n"
_PGBOUNCER = """\
[databases]
{database} = host=127.0.0.1 port={port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = session
max_client_conn = 6000
default_pool_size = 300
"""
_START = (
    "import sys; from durproxy.child import run_child;"
    " sys.exit(run_child('proxy', int(sys.argv[1]), [int(fd) for fd in sys.argv[2:]]))"
)


@dataclass(frozen=True)
class Rival:
    """A way to the server, and the processes that stand in it."""

    name: str
    port: int
    pids: tuple[int, ...] = ()
    runtime_dir: Path | None = None  # of ours, where they can be asked

    def cpu_seconds(self) -> float:
        """What its processes have used so far, in user and kernel mode."""
        return sum(map(cpu_seconds, self.pids))

    def megabytes(self) -> float:
        """Of physical memory, in the largest of its processes."""
        return max(map(resident_megabytes, self.pids))

    def counted(self, name: str) -> int:
        """A counter of our proxies, added up."""
        runtime_dir = self.runtime_dir
        if runtime_dir is None:
            raise RuntimeError(f"{self.name} has no counters")

        async def ask() -> int:
            with LocalBus(runtime_dir, "web-0") as bus:
                answers = await bus.ask_proxies("sessions")
            return sum(json.loads(answer)["counters"][name] for answer in answers.values())

        return trio.run(ask)


def newest_bindir() -> Path:
    """Debian's if there is one, since pgbouncer comes from there, too."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return installed[-1] if installed else embedded_bindir()


@contextmanager
def postgres(bindir: Path, scale: int) -> Iterator[Cluster]:
    """A cluster of its own with pgbench's tables."""
    root = Path(tempfile.mkdtemp(prefix="durproxy-bench-"))
    root.chmod(0o755)
    cluster = Cluster(bindir, root, free_port(), _SETTINGS, _HBA)
    try:
        cluster.create()
        cluster.start()
        try:
            with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {DATABASE}")
            initialise = [str(bindir / "pgbench"), "-i", "-q", "-s", str(scale)]
            subprocess.run(
                [
                    *initialise,
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(cluster.port),
                    "-U",
                    "postgres",
                    DATABASE,
                ],
                check=True,
                capture_output=True,
            )
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def pgbouncer(program: Path, port: int) -> Iterator[Rival]:
    """pgbouncer in session mode. It refuses to run as root."""
    user = "nobody" if os.getuid() == 0 else None
    own_port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as settings:
        settings.write(_PGBOUNCER.format(database=DATABASE, port=port, own_port=own_port))
        settings.flush()
        Path(settings.name).chmod(0o644)
        group = None if user is None else pwd.getpwnam(user).pw_gid
        process = subprocess.Popen(
            [program, "-q", settings.name],
            user=user,
            group=group,
            extra_groups=[] if user else None,
        )
        try:
            _wait_listening(own_port)
            yield Rival("pgbouncer", own_port, (process.pid,))
        finally:
            process.terminate()
            process.wait()


@contextmanager
def durproxy(port: int, processes: int) -> Iterator[Rival]:
    """Our proxy processes on one port."""
    sockets = [socket.socket() for _ in range(processes)]
    own_port = 0
    with tempfile.TemporaryDirectory() as runtime_dir:
        settings = Settings(
            upstream=f"host=127.0.0.1 port={port}",
            runtime_dir=Path(runtime_dir),
            drain_timeout=1,
            allow_trust=True,
        )
        running: list[subprocess.Popen[bytes]] = []
        for listener in sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", own_port))
            own_port = int(listener.getsockname()[1])
            listener.listen(512)
            running.append(_start_proxy(settings, len(running), listener))
        try:
            pids = tuple(process.pid for process in running)
            yield Rival(f"{OURS} ×{processes}", own_port, pids, Path(runtime_dir))
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait()


def _start_proxy(
    settings: Settings, index: int, listener: socket.socket
) -> subprocess.Popen[bytes]:
    orders_read, orders_write = os.pipe()
    ready_read, ready_write = os.pipe()
    fds = (orders_read, ready_write, listener.fileno())
    process = subprocess.Popen(
        [sys.executable, "-c", _START, str(index), *map(str, fds)],
        pass_fds=fds,
        stderr=subprocess.DEVNULL,
    )
    listener.close()
    os.close(orders_read)
    os.close(ready_write)
    with os.fdopen(orders_write, "wb") as pipe:
        pipe.write(orders(settings))
    with os.fdopen(ready_read, "rb") as pipe:
        pipe.readline()
    return process


def _wait_listening(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            subprocess.run(["sleep", "0.02"], check=True)
        else:
            return
    raise RuntimeError(f"nothing listens on port {port}")
