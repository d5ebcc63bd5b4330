"""A real standby that is promoted is no copy; a real restore to a point in time is one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from durproxy.embedded import Cluster, free_port
from durproxy.schema.install import install
from tests.fix_postgres import Database, Postgres
from tests.store.asking import value
from tests.waiting import wait_until

pytestmark = pytest.mark.soak
ADDRESS, ELSEWHERE = "'{db:5432}'", "'{elsewhere:5432}'"


@pytest.fixture
def original(postgres: Postgres) -> Iterator[Database]:
    """In a cluster of its own, where a worker has been."""
    cluster = Postgres(postgres.bindir)
    home = cluster.fresh_database()
    install(home.dsn)
    with home.connect() as owner:
        assert value(owner, f"SELECT df._recognise_1({ADDRESS})") is None
    yield home
    cluster.stop()


def copied(original: Database, root: Path, signal: str, **settings: str) -> Cluster:
    """A base backup, with what makes it a standby or a restore."""
    source = original.postgres.cluster
    root.mkdir()
    root.chmod(0o755)
    owner = source.data.stat()
    os.chown(root, owner.st_uid, owner.st_gid)
    copy = Cluster(
        original.postgres.bindir, root, free_port(), {**source.settings, **settings}, source.hba
    )
    subprocess.run(
        [str(original.postgres.bindir / "pg_basebackup"), "--pgdata", str(copy.data),
         "--dbname", f"host={source.socket_dir} port={source.port} user=postgres",
         "--checkpoint=fast", "--no-sync"],
        user=owner.st_uid, group=owner.st_gid, extra_groups=[], cwd="/", check=True,
    )  # fmt: skip
    (copy.data / "postmaster.pid").unlink(missing_ok=True)
    (copy.data / signal).touch()
    os.chown(copy.data / signal, owner.st_uid, owner.st_gid)
    return copy


def reason(copy: Cluster, database: str, addresses: str) -> str | None:
    dsn = copy.superuser_dsn(database)
    with psycopg.connect(dsn, autocommit=True) as session:
        wait_until(lambda: not value(session, "SELECT pg_is_in_recovery()"), "it is promoted")
        found: str | None = value(session, f"SELECT df._recognise_1({addresses})")
        return found


def test_a_standby_that_is_promoted_goes_on(original: Database) -> None:
    copy = copied(original, original.postgres.cluster.root / "standby", "standby.signal")
    copy.start()
    try:
        with psycopg.connect(copy.superuser_dsn(), autocommit=True) as admin:
            admin.execute("SELECT pg_promote(true, 60)")
        assert reason(copy, original.name, ELSEWHERE) is None
        assert reason(copy, original.name, ADDRESS) is None
    finally:
        copy.stop()


def test_a_restore_to_a_point_in_time_is_held_back(original: Database) -> None:
    copy = copied(
        original, original.postgres.cluster.root / "restored", "recovery.signal",
        recovery_target="immediate", recovery_target_action="promote", restore_command="false",
    )  # fmt: skip
    copy.start()
    try:
        told = reason(copy, original.name, ADDRESS)
        assert told is not None
        assert told.startswith("it was restored to a point in time (recovery_target is set)")
    finally:
        copy.stop()


def test_a_backup_that_is_started_elsewhere_is_held_back(original: Database) -> None:
    """Without recovery: as from a snapshot of the disk."""
    with original.connect() as owner:
        owner.execute("UPDATE df._identity SET seen_at = now() - interval '6 minutes'")
    copy = copied(original, original.postgres.cluster.root / "snapshot", "nothing")
    copy.start()
    try:
        assert str(reason(copy, original.name, ELSEWHERE)).startswith("the server is at another")
        assert reason(copy, original.name, ADDRESS) is None
    finally:
        copy.stop()
