"""Signals that come while a worker has the instance in memory."""

from __future__ import annotations

from tests.fix_serve import Serve
from tests.waiting import wait_until


def test_messages_that_come_while_one_is_taken_do_not_stop_the_worker(serve: Serve) -> None:
    workflow = "df.join('SELECT pg_sleep(2)', df.wait_for_signal('s')) ~> 'SELECT 1'"
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


def test_an_engine_that_drains_while_waits_are_opened_waits_for_none(serve: Serve) -> None:
    with serve.connect() as client:
        client.execute("SELECT df.start(df.wait_for_signal('s')) FROM generate_series(1, 60)")
        taken = "SELECT count(*) >= 20 FROM df._checkpoints WHERE kind = 'SIGNAL'"
        wait_until(lambda: client.execute(taken).fetchone() == (True,), "waits are being opened")
    serve.terminate()
    assert serve.wait(20) == 0  # and not drain_timeout, which is 30 s
