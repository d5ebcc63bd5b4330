"""Notifications are hints: what nobody has done does not happen because somebody says so."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_serve import Serve
from tests.waiting import wait_until


def test_a_notification_that_is_not_true_stops_no_step(serve: Serve) -> None:
    stranger = serve.home.add_role()
    with serve.connect() as client, serve.connect(stranger) as forger:
        client.execute("CREATE SEQUENCE begun")
        row = client.execute(
            "SELECT df.start('SELECT nextval(''begun''), pg_sleep(1.5)')"
        ).fetchone()
        assert row is not None
        [instance] = row
        is_begun = "SELECT is_called FROM begun"
        wait_until(lambda: client.execute(is_begun).fetchone() == (True,), "the step runs")
        for kind in ("c", "p", "s"):
            forger.execute(f"NOTIFY durproxy, '{kind}:{instance}'")
        for wrong in ("c:", "s:x", "s:ffffffff", "q:1", "p:ffffffff", ":"):
            forger.execute(f"NOTIFY durproxy, '{wrong}'")
        ended = client.execute("SELECT df.await_instance(%s)", [instance]).fetchone()
        assert ended == ("completed",)
        assert client.execute("SELECT last_value FROM begun").fetchone() == (1,)
    assert not serve.events("child.ended")


def test_a_start_in_a_far_year_is_refused_and_one_that_is_stored_harms_nobody(
    serve: Serve,
) -> None:
    with serve.connect() as client:
        with pytest.raises(psycopg.errors.DatetimeFieldOverflow, match="before the year 9999"):
            client.execute("SELECT df.start('SELECT 1', start_at => '10000-01-01')")
        stored = client.execute("SELECT df.start('SELECT 1', start_at => '9998-12-31')").fetchone()
        assert stored is not None
        client.execute(
            "UPDATE df._instances SET ready_at = '20000-01-01' WHERE id = %s", [stored[0]]
        )
        for _ in range(2):
            row = client.execute("SELECT df.start('SELECT 1')").fetchone()
            assert client.execute("SELECT df.await_instance(%s)", row).fetchone() == ("completed",)
    assert not serve.events("child.ended")
