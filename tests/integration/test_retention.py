"""Engines delete what ended beyond the limits, and ask next to nothing when there is nothing."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_serve import ServeWith
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres


def labels(client: psycopg.Connection) -> list[str]:
    found = client.execute("SELECT label FROM df.instances ORDER BY created_at").fetchall()
    return [label for (label,) in found]


def test_engines_keep_the_newest_and_what_runs(serve_with: ServeWith) -> None:
    serve = serve_with(retention_instances=3, retention_interval=0.2, engines=2)
    with serve.connect() as client:
        client.execute("SELECT df.start(df.wait_for_signal('go'), 'waits')")
        for k in range(8):
            started = client.execute("SELECT df.start('SELECT 1', %s)", [f"{k}"]).fetchone()
            client.execute("SELECT df.await_instance(%s, 20)", started)
        wait_until(lambda: labels(client) == ["waits", "5", "6", "7"], "the older ones are gone")
        kept = client.execute("SELECT count(DISTINCT instance_id) FROM df._checkpoints").fetchone()
        assert kept == (4,)
        serve.wait_log("retention.deleted")
        # it still takes its signal
        client.execute("SELECT df.signal(id, 'go') FROM df.instances WHERE label = 'waits'")
        waits = client.execute(
            "SELECT df.await_instance(id, 20) FROM df.instances WHERE label = 'waits'"
        ).fetchone()
        assert waits == ("completed",)


def test_an_engine_looks_at_once_at_a_role_that_ends_very_many(serve_with: ServeWith) -> None:
    serve = serve_with(retention_instances=3, retention_interval=3600)
    flood = serve.home.add_role()
    serve.home.psql(f"SELECT df.grant_usage('{flood.name}')")
    with serve.connect() as mine, serve.connect(flood) as flooding:
        kept = mine.execute("SELECT df.start('SELECT 1', 'mine', key => 'order 7')").fetchone()
        mine.execute("SELECT df.await_instance(%s, 20)", kept)
        flooding.execute("SELECT df.start('SELECT 1') FROM generate_series(1, 600)")
        serve.wait_log("retention.deleted")
        assert mine.execute("SELECT df.start('SELECT 1', key => 'order 7')").fetchone() == kept
        assert labels(mine) == ["mine"]


def test_rows_without_an_instance_are_reported(serve_with: ServeWith) -> None:
    serve = serve_with(retention_interval=0.2, engines=0)
    with serve.connect() as client:
        client.execute(
            "INSERT INTO df._checkpoints (instance_id, node, status) VALUES ('0badcafe', 1, 'd')"
        )
    serve.stop()
    serve = serve_with(retention_interval=0.2)
    assert serve.wait_log("retention.orphans")["table"] == "df._checkpoints"
