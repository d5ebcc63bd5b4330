"""Whole sessions through the proxy, with every part of the protocol."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg import sql

from durproxy.bus import LocalBus
from durproxy.child import orders
from durproxy.config import Settings
from durproxy.wire.frontend import Query
from durproxy.wire.startup import CancelRequest, encode_cancel
from tests.fix_postgres import Database
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import RawPeer, log_in
from tests.waiting import wait_until

COPIED = 50 * 1024 * 1024  # bytes
HUGE = 0x3FFFFFFF + 4


def test_copy_in_and_out_gives_the_same_bytes(proxy: Proxy, database: Database) -> None:
    block = os.urandom(512 * 1024).hex().encode()  # a megabyte
    line = b"\n".join(block[start : start + 1023] for start in range(0, len(block), 1023)) + b"\n"
    sent, received = hashlib.sha256(), hashlib.sha256()
    with proxy.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (line text)")
        before = proxy.memory()
        with cursor.copy("COPY t FROM STDIN") as copy:
            for _ in range(COPIED // len(line)):
                copy.write(line)
                sent.update(line)
        with cursor.copy("COPY t TO STDOUT") as copy:
            for data in copy:
                received.update(data)
        assert sent.digest() == received.digest()
        assert proxy.memory() - before < 8 * 1024 * 1024
        assert cursor.execute("SELECT 1").fetchone() == (1,)


def test_a_copy_that_fails_leaves_the_session_usable(proxy: Proxy, database: Database) -> None:
    with proxy.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n int)")
        with pytest.raises(psycopg.DataError):
            copy_nonsense(cursor)
        assert cursor.execute("SELECT count(*) FROM t").fetchone() == (0,)


def copy_nonsense(cursor: psycopg.Cursor) -> None:
    with cursor.copy("COPY t FROM STDIN") as copy:
        for _ in range(1000):
            copy.write(b"not a number\n" * 100)


def test_listen_and_notify(proxy: Proxy, database: Database) -> None:
    with proxy.connect(database) as listener, proxy.connect(database) as notifier:
        listener.execute("LISTEN news")
        notifier.execute("NOTIFY news, 'hello'")
        [notice] = listener.notifies(timeout=10, stop_after=1)
        assert notice.payload == "hello"


def test_pipeline_with_an_error_in_it(proxy: Proxy, database: Database) -> None:
    with proxy.connect(database) as connection, connection.pipeline() as pipeline:
        ones = [connection.execute("SELECT %s::int", [n]) for n in range(100)]
        pipeline.sync()
        with pytest.raises(psycopg.errors.DivisionByZero):
            fail_in(connection, pipeline)
        after = connection.execute("SELECT 7")
        pipeline.sync()
        assert [cursor.fetchone() for cursor in ones] == [(n,) for n in range(100)]
        assert after.fetchone() == (7,)


def fail_in(connection: psycopg.Connection, pipeline: psycopg.Pipeline) -> None:
    try:  # psycopg raises where it first reads the answer: at the second statement, or the sync
        connection.execute("SELECT 1/0")
        connection.execute("SELECT 1")
    finally:
        with suppress(psycopg.errors.PipelineAborted):
            pipeline.sync()


@pytest.mark.parametrize("rounds", [20])
def test_cancel_reaches_its_own_session(proxy: Proxy, database: Database, rounds: int) -> None:
    with proxy.connect(database) as victim, proxy.connect(database) as bystander:
        for _ in range(rounds):
            waiting = threading.Thread(target=lambda: bystander.execute("SELECT pg_sleep(0.1)"))
            waiting.start()
            victim.pgconn.send_query(b"SELECT pg_sleep(30)")
            cancel_until_it_ends(victim)
            waiting.join()
        assert bystander.execute("SELECT 1").fetchone() == (1,)


def cancel_until_it_ends(victim: psycopg.Connection) -> None:
    def ended() -> bool:
        victim.cancel_safe(timeout=10)
        victim.pgconn.consume_input()
        return not victim.pgconn.is_busy()

    wait_until(ended, "the statement is cancelled")
    result = victim.pgconn.get_result()
    assert result is not None
    assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
    assert victim.pgconn.get_result() is None


@pytest.mark.one_postgres
def test_a_cancel_goes_the_way_of_its_session_whatever_the_settings_are_now(
    start_proxy: StartProxy, database: Database, tmp_path: Path
) -> None:
    proxy = start_proxy(f"{database.dsn} sslmode=disable")
    with proxy.connect(database) as victim, LocalBus(tmp_path, "supervisor") as bus:
        victim.pgconn.send_query(b"SELECT pg_sleep(30)")
        other = Settings(
            upstream="host=127.0.0.1 port=1 sslmode=require",
            runtime_dir=tmp_path,
            http_allowed_hosts=("x" * 60,) * 5_000,  # longer than a datagram can be
        )
        trio.run(bus.tell_proxies_settings, orders(other))
        proxy.wait_log("proxy.reloaded")
        cancel_until_it_ends(victim)


def test_cancel_with_a_foreign_key_does_nothing(proxy: Proxy, database: Database) -> None:
    with proxy.connect(database) as connection:
        with RawPeer(proxy.dial()) as peer:
            peer.send(encode_cancel(CancelRequest(connection.info.backend_pid, b"\0\0\0\1")))
            assert peer.is_closed()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_replication_session(proxy: Proxy, database: Database) -> None:
    role = database.add_role("REPLICATION")
    dsn = proxy.dsn_for(database, role)
    asked = subprocess.run(
        [database.postgres.bindir / "psql", "-XAt", f"{dsn} replication=database", "-c",
         "IDENTIFY_SYSTEM"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert asked.stdout.rstrip().endswith(database.name)


def test_a_burst_of_connections(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")

    def ask(number: int) -> int:
        with proxy.connect(database, role) as connection:
            [row] = connection.execute("SELECT %s::int", [number]).fetchall()
            return int(row[0])

    before = proxy.descriptors()
    with ThreadPoolExecutor(100) as executor:
        assert sorted(executor.map(ask, range(200))) == list(range(200))
    wait_until(lambda: proxy.descriptors() <= before, "the descriptors are closed")


def test_connections_one_after_the_other_wait_for_nobody(proxy: Proxy, database: Database) -> None:
    """The pump lingers for 50 ms when a session has ended; a login must not wait for that."""
    role = database.add_role(login="by_trust")
    taken = []
    for _ in range(40):
        began = time.monotonic()
        with log_in(proxy.dial(), role.name, database.name) as peer:
            peer.send(Query(b"SELECT 1").encode())
            peer.until_ready()
        taken.append(time.monotonic() - began)
    # a busy machine makes some of them slower, the wait all of them
    assert sorted(taken)[len(taken) // 4] < 0.04


def test_one_byte_at_a_time(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")
    with log_in(proxy.dial(), role.name, database.name) as peer:
        for byte in Query(b"SELECT 'df.' || 42 AS answer").encode():
            peer.send(bytes([byte]))
        assert [kind for kind, _ in peer.until_ready()] == ["T", "D", "C", "Z"]


def test_half_a_message_then_close(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")
    before = proxy.descriptors()
    for cut in (1, 4, 5, 12):
        with log_in(proxy.dial(), role.name, database.name) as peer:
            peer.send(Query(b"SELECT pg_sleep(0)").encode()[:cut])
    wait_until(lambda: proxy.descriptors() <= before, "the descriptors are closed")
    with proxy.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [role.name]
        )
        assert found.fetchone() == (0,)


@pytest.mark.parametrize("length", [0, 3, HUGE + 1, 0xFFFFFFFF])
def test_nonsense_length_is_judged_by_the_server(
    proxy: Proxy, database: Database, length: int
) -> None:
    role = database.add_role(login="by_trust")
    with log_in(proxy.dial(), role.name, database.name) as peer:
        peer.send(b"Q" + length.to_bytes(4, "big") + b"SELECT 1\0")
        assert peer.receive() is None  # Postgres hangs up without a word
    assert "length" in proxy.wait_log("connection.unreadable")["reason"]


def test_a_gigabyte_is_not_waited_for(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")
    before = proxy.memory()
    with log_in(proxy.dial(), role.name, database.name) as peer:
        peer.send(b"P" + (HUGE - 10).to_bytes(4, "big"))
        for _ in range(64):
            peer.send(b"x" * 1024 * 1024)
        assert proxy.memory() - before < 8 * 1024 * 1024
    with proxy.connect(database) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_settings_and_notices_pass(proxy: Proxy, database: Database) -> None:
    with proxy.connect(database) as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute("DO $$ BEGIN RAISE NOTICE 'look'; END $$")
        assert notices == ["look"]
        connection.execute(sql.SQL("SET client_encoding = 'LATIN1'"))
        assert connection.info.encoding == "iso8859-1"
