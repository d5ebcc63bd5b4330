"""Signals that come while a worker has the instance in memory."""

from __future__ import annotations

from tests.fix_serve import Serve


def test_messages_that_come_while_one_is_taken_do_not_stop_the_worker(serve: Serve) -> None:
    workflow = "df.join('SELECT pg_sleep(0.5)', df.wait_for_signal('s')) ~> 'SELECT 1'"
    with serve.connect() as client:
        started = client.execute(
            f"SELECT df.start({workflow}) FROM generate_series(1, 5)"
        ).fetchall()
        for _ in range(20):
            for (instance,) in started:
                client.execute("SELECT df.signal(%s, 's')", [instance])
        for (instance,) in started:
            row = client.execute("SELECT df.await_instance(%s, 20)", [instance]).fetchone()
            assert row == ("completed",)
