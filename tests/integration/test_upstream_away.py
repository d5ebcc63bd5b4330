"""An upstream that goes away and comes back under a running ``serve``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from tests.fix_postgres import BINDIRS, Database, Postgres
from tests.fix_serve import Serve
from tests.waiting import wait_until


@pytest.fixture(params=list(BINDIRS))
def own_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database in a cluster that the test may stop."""
    postgres = Postgres(BINDIRS[request.param])
    try:
        yield postgres.fresh_database()
    finally:
        postgres.stop()


def test_workflow_goes_on_when_the_upstream_is_back(own_database: Database) -> None:
    cluster = own_database.postgres.cluster
    with closing(Serve(own_database, {}, {})) as server:
        server.wait_ready()
        server.psql("CREATE TABLE t (n int)")
        instance = server.psql("SELECT df.start(df.sleep(1) ~> 'INSERT INTO t VALUES (1)')")
        cluster.stop()
        with pytest.raises(psycopg.OperationalError):
            server.connect()
        cluster.start()

        def completed() -> bool:
            try:
                return server.psql(f"SELECT df.status('{instance}')") == "completed"
            except AssertionError:  # psql was let down: not back yet
                return False

        wait_until(completed, "the workflow completes", timeout=30)
        assert server.psql("SELECT count(*) FROM t") == "1"
        # an engine that has lost its sign of life starts anew; clients' processes stay
        assert server.events("child.ended", kind="proxy") == [], server.transcript()


def test_serve_stops_while_the_upstream_is_away(own_database: Database) -> None:
    with closing(Serve(own_database, {}, {})) as server:
        server.wait_ready()
        own_database.postgres.cluster.stop()
        assert server.stop(timeout=15) == 0
