"""``serve --takeover``: another process, perhaps another version, in the place of a running one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from durproxy.embedded import free_port
from tests.faults.relay import Relay
from tests.fix_postgres import Database
from tests.fix_serve import ServeWith, run_durproxy
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres


class Caller(threading.Thread):
    """Connects, asks and leaves, again and again."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._stopping = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as connection:
                    connection.execute("SELECT 1")
                self.answers += 1
            except psycopg.Error as error:
                self.failures.append(str(error))

    def stop(self) -> None:
        self._stopping.set()
        self.join()


@contextmanager
def calling(*dsns: str) -> Iterator[list[Caller]]:
    callers = [Caller(dsn) for dsn in dsns]
    for caller in callers:
        caller.start()
    try:
        yield callers
    finally:
        for caller in callers:
            caller.stop()


def test_no_client_finds_the_port_closed(
    serve_with: ServeWith, home: Database, tmp_path: Path
) -> None:
    old = serve_with(listen_socket=tmp_path, proxies=2)
    place = f"127.0.0.1:{old.port}"
    local = old.dsn.replace("host=127.0.0.1", f"host={tmp_path}")
    steps = ["'INSERT INTO effect VALUES (1)'", "df.sleep(interval '0.2 s')"] * 8
    with old.connect() as client:
        client.execute("CREATE TABLE effect (n int)")
        query = f"SELECT df.start({' ~> '.join(steps)})"
        [started] = client.execute(query.encode()).fetchall()
    with calling(old.dsn, local) as callers:
        wait_until(lambda: all(caller.answers > 3 for caller in callers), "both get answers")
        new = serve_with(listen=place, listen_socket=tmp_path, proxies=1, takeover=True)
        assert old.wait(40) == 0
        before = [caller.answers for caller in callers]
        wait_until(
            lambda: all(c.answers > n for c, n in zip(callers, before, strict=True)), "they go on"
        )
    assert [caller.failures for caller in callers] == [[], []]
    assert old.events("proxy.drained", cut=0)
    with new.connect() as client:
        found = client.execute("SELECT df.await_instance(%s, 30)", started).fetchone()
        assert found == ("completed",)
        assert client.execute("SELECT count(*) FROM effect").fetchone() == (8,)
    new.stop()
    assert not list(tmp_path.iterdir())


def test_sessions_of_the_old_one_end_their_transactions_and_can_be_cancelled(
    serve_with: ServeWith, home: Database
) -> None:
    """Also where the new one goes to a server that does not know them."""
    old = serve_with(drain_timeout=60)
    with (
        closing(Relay("127.0.0.1", home.postgres.port)) as relay,
        old.connect(autocommit=False) as busy,
        old.connect() as idle,
    ):
        busy.execute("SELECT 1")
        elsewhere = home.dsn.replace(f"port={home.postgres.port}", f"port={relay.port}")
        place = f"127.0.0.1:{old.port}"
        new = serve_with(listen=place, takeover=True, upstream=elsewhere, engines=0)
        old.wait_log("proxy.draining")
        with new.connect() as third:
            assert third.execute("SELECT 1").fetchone() == (1,)
        relay.point_to("127.0.0.1", free_port())  # the new one's server is gone
        wait_until(lambda: is_over(idle), "the idle one has ended")
        assert busy.execute("SELECT 2").fetchone() == (2,)
        busy.execute("SAVEPOINT here")
        cancelling = threading.Thread(target=cancel_once_it_runs, args=[home, busy])
        cancelling.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            busy.execute("SELECT pg_sleep(60)")
        cancelling.join()
        busy.execute("ROLLBACK TO here")
        assert not old.exited()
        busy.commit()
        assert old.wait(20) == 0
        assert is_over(busy)


def is_over(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def cancel_once_it_runs(home: Database, connection: psycopg.Connection) -> None:
    running = (
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE pid = {connection.info.backend_pid} AND query LIKE '%pg_sleep%'"
    )
    wait_until(lambda: home.psql(running) == "1", "the statement runs")
    connection.cancel()


def test_a_successor_that_cannot_start_changes_nothing(
    serve_with: ServeWith, home: Database, tmp_path: Path
) -> None:
    old = serve_with(listen_socket=tmp_path, web="127.0.0.1:0")

    def start(upstream: str, *options: str) -> str:
        done = run_durproxy(
            "serve",
            *options,
            upstream=upstream,
            listen=f"127.0.0.1:{old.port}",
            listen_socket=tmp_path,
            web="off",
            runtime_dir=home.passfile.parent,
        )
        assert done.returncode == 2
        return done.stderr

    wrong = home.dsn.replace(home.owner.password, "wrong")
    assert '"event": "serve.taking_over"' in start(wrong, "--takeover")
    alone = start(home.dsn)
    assert "address already in use" in alone
    assert "--takeover" in alone
    with (
        old.connect() as client,
        psycopg.connect(old.dsn.replace("host=127.0.0.1", f"host={tmp_path}")),
    ):
        assert client.execute("SELECT 1").fetchone() == (1,)
    new = serve_with(listen=f"127.0.0.1:{old.port}", takeover=True)  # and another may try again
    assert old.wait(20) == 0
    assert not list(tmp_path.glob(".s.*"))  # which the new one does not use
    assert new.psql("SELECT 1") == "1"


def test_there_may_be_nobody_to_take_over_from(serve_with: ServeWith) -> None:
    assert serve_with(takeover=True).psql("SELECT 1") == "1"
