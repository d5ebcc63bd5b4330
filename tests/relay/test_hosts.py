"""Several upstream hosts: which one a client is led to, and where after a failover."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from durproxy.embedded import Cluster, free_port
from tests.fix_postgres import BINDIRS, Postgres
from tests.relay.conftest import Proxy, StartProxy
from tests.waiting import wait_until

ASK = "SELECT pg_is_in_recovery()"


@dataclass
class Pair:
    """A primary with a standby that follows it."""

    primary: Postgres
    standby: Cluster

    def upstream(self, attributes: str) -> str:
        ports = f"{self.standby.port},{self.primary.port}"
        return (
            f"host=127.0.0.1,127.0.0.1 port={ports} dbname=postgres user=asking"
            f" target_session_attrs={attributes}"
        )


@pytest.fixture(params=list(BINDIRS))
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    primary = Postgres(BINDIRS[request.param])
    with psycopg.connect(primary.superuser_dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE asking LOGIN")
        admin.execute("GRANT by_trust TO asking")
    root = Path(tempfile.mkdtemp(prefix="durproxy-test-"))
    shutil.copystat(primary.cluster.root, root)
    standby = Cluster(
        primary.bindir, root, free_port(), primary.cluster.settings, primary.cluster.hba
    )
    copying = [str(primary.bindir / "pg_basebackup"), "-d", primary.superuser_dsn, "-R"]
    subprocess.run([*copying, "-D", str(standby.data), "-c", "fast", "--no-sync"], check=True)
    owner = primary.cluster.data.owner()
    for path in (root, *root.rglob("*")):
        shutil.chown(path, owner)
    standby.start()
    yield Pair(primary, standby)
    standby.stop()
    primary.stop()
    shutil.rmtree(root, ignore_errors=True)


def in_recovery(proxy: Proxy) -> bool:
    text = f"host=127.0.0.1 port={proxy.port} user=asking dbname=postgres connect_timeout=10"
    with psycopg.connect(text) as connection:
        row = connection.execute(ASK).fetchone()
        assert row is not None
        return bool(row[0])


def test_clients_are_led_to_the_host_that_is_asked_for_also_after_a_failover(
    start_proxy: StartProxy, pair: Pair
) -> None:
    writing = start_proxy(pair.upstream("read-write"))
    reading = start_proxy(pair.upstream("standby"))
    assert (in_recovery(writing), in_recovery(reading)) == (False, True)
    pair.primary.cluster.stop()
    with pytest.raises(psycopg.OperationalError, match="could not connect to the upstream"):
        in_recovery(writing)
    with psycopg.connect(pair.standby.superuser_dsn(), autocommit=True) as admin:
        admin.execute("SELECT pg_promote()")

    def promoted() -> bool:
        try:
            return not in_recovery(writing)
        except psycopg.OperationalError:
            return False

    wait_until(promoted, "the new primary is found", timeout=30)
