"""The primary dies under load, its synchronous standby takes over: nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from durproxy.embedded import Cluster, free_port
from durproxy.schema.install import install
from tests.faults.load import Load
from tests.fix_postgres import Database, Postgres
from tests.fix_serve import Serve
from tests.waiting import wait_until

_STEPS, _WORKFLOWS = 8, 60


class Standby:
    """A streaming standby of a primary, synchronous once it is there."""

    def __init__(self, primary: Postgres, root: Path) -> None:
        self._primary = primary
        cluster = primary.cluster
        root.mkdir()
        root.chmod(0o755)
        self.cluster = Cluster(primary.bindir, root, free_port(), cluster.settings, cluster.hba)
        owner = cluster.data.stat()
        os.chown(root, owner.st_uid, owner.st_gid)
        source = f"host={cluster.socket_dir} port={cluster.port} user=postgres"
        subprocess.run(
            [str(primary.bindir / "pg_basebackup"), "--pgdata", str(self.cluster.data),
             "--dbname", f"{source} application_name=standby", "--write-recovery-conf",
             "--checkpoint=fast", "--no-sync"],
            user=owner.st_uid, group=owner.st_gid, extra_groups=[], cwd="/", check=True,
        )  # fmt: skip
        (self.cluster.data / "postmaster.pid").unlink(missing_ok=True)
        self.cluster.start()
        self._wait_synchronous()

    def _wait_synchronous(self) -> None:
        with psycopg.connect(self._primary.superuser_dsn, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            admin.execute("SELECT pg_reload_conf()")

            def is_synchronous() -> bool:
                rows = admin.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
                return rows == [("sync",)]

            wait_until(is_synchronous, "the standby streams, synchronously", 30)

    def promote(self) -> None:
        with psycopg.connect(self.cluster.superuser_dsn(), autocommit=True) as admin:
            # it has a standby no more that it could wait for
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            admin.execute("SELECT pg_promote(true, 60)")


@pytest.fixture
def primary(postgres: Postgres) -> Iterator[Postgres]:
    """A cluster of its own, of the same version."""
    primary = Postgres(postgres.bindir)
    yield primary
    primary.stop()


def _kill(postgres: Postgres) -> None:
    """SIGKILL for the whole server at once, as when its machine is gone."""
    postmaster = int((postgres.cluster.data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGSTOP)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (*map(int, children), postmaster):
        os.kill(pid, signal.SIGKILL)


def _upstream(home: Database, *ports: int) -> str:
    hosts = ",".join("127.0.0.1" for _ in ports)
    return (
        f"host={hosts} port={','.join(map(str, ports))} dbname={home.name} user={home.owner.name}"
        f" password={home.owner.password} target_session_attrs=read-write"
    )


def test_workflows_go_on_when_a_standby_takes_over(primary: Postgres) -> None:
    home = primary.fresh_database()
    with home.connect() as owner:  # the cluster's default loses what was committed last
        owner.execute(f"ALTER DATABASE {home.name} SET synchronous_commit = on".encode())
    install(home.dsn)
    standby = Standby(primary, primary.cluster.root / "standby")
    upstream = _upstream(home, primary.port, standby.cluster.port)
    try:
        with closing(Serve(home, {"upstream": upstream, "engines": 2}, {})) as serve:
            serve.wait_ready()
            with psycopg.connect(upstream, autocommit=True) as session:
                session.execute("SET search_path = public, df")
                Load(session, _WORKFLOWS, _STEPS)
                wait_until(lambda: _count(session, "effects") > 50, "it has begun")
                _kill(primary)
            standby.promote()
            with psycopg.connect(upstream, autocommit=True) as session:
                wait_until(lambda: _unended(session) == 0, "all workflows end", 60)
                assert _count(session, "df.instances WHERE status = 'completed'") == _WORKFLOWS
                assert _count(session, "effects") == _WORKFLOWS * _STEPS
                distinct = "(SELECT DISTINCT workflow, step FROM effects) AS each"
                assert _count(session, distinct) == _WORKFLOWS * _STEPS
            with serve.connect() as client:  # and clients are served by the new primary
                assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    finally:
        standby.cluster.stop()


def _count(session: psycopg.Connection, what: str) -> int:
    [(number,)] = session.execute(f"SELECT count(*) FROM {what}".encode()).fetchall()
    return int(number)


def _unended(session: psycopg.Connection) -> int:
    return _count(session, "df._instances WHERE status IN ('pending', 'running')")
