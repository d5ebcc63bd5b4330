"""A workflow that waits for its time: in the database, where a test can move it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from durproxy.engine.schedule import next_after
from tests.fix_serve import ServeWith
from tests.waiting import wait_until


def test_a_schedule_waits_in_the_database_until_its_time(serve_with: ServeWith) -> None:
    serve = serve_with(poll_interval=0.2)
    cron = "0 0 29 feb *"  # never while a test runs, but for one minute in four years
    with serve.connect() as client:
        before = client.execute("SELECT clock_timestamp()").fetchone()
        row = client.execute(
            f"SELECT df.start(df.wait_for_schedule('{cron}') |=> 'w' ~> 'SELECT $w.scheduled AS s')"
        ).fetchone()
        assert row is not None
        assert before is not None
        (instance,) = row

        def asleep_until() -> datetime | None:
            found = client.execute(
                "SELECT ready_at FROM df._instances WHERE id = %s AND status = 'running'",
                (instance,),
            ).fetchone()
            return None if found is None else found[0]

        due = wait_until(asleep_until, "it sleeps")
        assert due == next_after(cron, before[0].astimezone(UTC))
        explained = client.execute("SELECT df.explain(%s)", (instance,)).fetchone()
        assert explained is not None
        shown = f"WAIT SCHEDULE {cron} |=> 'w' ⏳ until {due.astimezone(UTC):%Y-%m-%d 00:00:00}Z"
        assert shown in explained[0]

        # its time comes
        past = due - timedelta(days=10_000)
        client.execute(
            "UPDATE df._checkpoints SET due = %s WHERE instance_id = %s", (past, instance)
        )
        client.execute("UPDATE df._instances SET ready_at = %s WHERE id = %s", (past, instance))
        ended = client.execute("SELECT df.await_instance(%s, 20)", (instance,)).fetchone()
        assert ended == ("completed",)
        result = client.execute("SELECT df.result(%s)", (instance,)).fetchone()
        assert result is not None
        assert json.loads(result[0])["rows"] == [{"s": True}]
        waited = client.execute(
            "SELECT result FROM df._checkpoints WHERE instance_id = %s AND kind = 'WAIT_SCHEDULE'",
            (instance,),
        ).fetchone()
        assert waited == ({"scheduled": True},)


def test_a_day_that_never_comes_fails_the_step(serve_with: ServeWith) -> None:
    serve = serve_with()
    with serve.connect() as client:
        row = client.execute("SELECT df.start(df.wait_for_schedule('0 0 31 2 *'))").fetchone()
        assert row is not None
        assert client.execute("SELECT df.await_instance(%s, 20)", row).fetchone() == ("failed",)
        explained = client.execute("SELECT df.explain(%s)", row).fetchone()
        assert explained is not None
        assert "no such day ever comes" in explained[0]
