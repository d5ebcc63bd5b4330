"""The Postgres on which engines are compared, and the work that all of them do.

Durable as installed: fsync and synchronous_commit stay on. The work is the update of one row of
`account`, chosen at random; a step of ten does it to ten neighbours.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from durproxy.embedded import Cluster, free_port

DATABASE = "bench"
ACCOUNTS = 100_000
NEIGHBOURS = 10
_SETTINGS = {"max_connections": "200", "shared_buffers": "256MB"}
_HBA = "local all all trust\nhost all all 127.0.0.1/32 trust\n"
_TABLES = f"""
    CREATE TABLE account (
        id int PRIMARY KEY, value bigint NOT NULL DEFAULT 0, pad text DEFAULT repeat('x', 80));
    INSERT INTO account (id) SELECT generate_series(1, {ACCOUNTS + NEIGHBOURS});
    CREATE TABLE entry (
        workflow bigint NOT NULL, step int NOT NULL, result text, at timestamptz DEFAULT now());
    CREATE TABLE effect (workflow text NOT NULL, step int NOT NULL);
"""
_TICKS = os.sysconf("SC_CLK_TCK")


class Ground:
    """A running cluster of our own with a database for each contender."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def dsn(self, database: str = DATABASE) -> str:
        return f"host=127.0.0.1 port={self.cluster.port} user=postgres dbname={database}"

    def fresh_database(self, name: str = DATABASE) -> str:
        """An empty database with the tables of the work; its DSN."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(self.dsn(name), autocommit=True) as admin:
            admin.execute(_TABLES)
            admin.execute("VACUUM ANALYZE")
            admin.execute("CHECKPOINT")
        return self.dsn(name)

    def cpu_seconds(self) -> float:
        """What the server's processes have used, the ended ones included."""
        postmaster = int((self.cluster.data / "postmaster.pid").read_text().split()[0])
        return cpu_seconds(postmaster, ended_children=True) + sum(
            map(cpu_seconds, children(postmaster))
        )


@contextmanager
def ground(bindir: Path) -> Iterator[Ground]:
    root = Path(tempfile.mkdtemp(prefix="durproxy-bench-"))
    root.chmod(0o755)
    cluster = Cluster(bindir, root, free_port(), _SETTINGS, _HBA)
    try:
        cluster.create()
        cluster.start()
        try:
            yield Ground(cluster)
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    """Of one process; nothing when it has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / _TICKS


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024
