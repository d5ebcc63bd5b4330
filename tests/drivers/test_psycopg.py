"""psycopg through the proxy: simple and extended protocol, pipelines, COPY, notifications."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import pq

from tests.fix_serve import Visitor
from tests.waiting import wait_until

RESULT = '{"rows":[{"b":21}],"row_count":1}'


@pytest.fixture
def client(visitor: Visitor) -> Iterator[psycopg.Connection]:
    with closing(visitor.connect()) as client:
        yield client


def one(client: psycopg.Connection, query: bytes, *parameters: object) -> object:
    row = client.execute(query, parameters or None).fetchone()
    assert row is not None
    return row[0]


def completes_with(client: psycopg.Connection, instance: object, result: str) -> bool:
    assert one(client, b"SELECT df.await_instance(%s, 20)", instance) == "completed"
    return one(client, b"SELECT df.result(%s)", instance) == result


def test_simple_protocol(client: psycopg.Connection) -> None:
    start = b"SELECT df.start('SELECT 20 AS a' |=> 'x' ~> 'SELECT $x.a + 1 AS b')"
    assert completes_with(client, one(client, start), RESULT)


@pytest.mark.parametrize("prepare", [False, True])
def test_operands_as_parameters(client: psycopg.Connection, prepare: bool) -> None:
    start = b"SELECT df.start(%s |=> 'x' ~> %s, %s)"
    for _ in range(3):  # the statement is seen again
        row = client.execute(
            start, ["SELECT 20 AS a", "SELECT $x.a + 1 AS b", "bound"], prepare=prepare
        ).fetchone()
        assert row is not None
        assert completes_with(client, row[0], RESULT)


def test_await_with_prepared_parameters(client: psycopg.Connection) -> None:
    client.prepare_threshold = 0
    for _ in range(2):
        instance = one(client, b"SELECT df.start('SELECT 1' ~> df.sleep(%s))", 1)
        assert one(client, b"SELECT df.await_instance(%s, %s)", instance, 20) == "completed"


def test_await_timeout_is_an_error_and_the_session_goes_on(client: psycopg.Connection) -> None:
    instance = one(client, b"SELECT df.start(df.wait_for_signal('never'))")
    asked = time.monotonic()
    with pytest.raises(psycopg.Error, match=r"(?i)time"):
        client.execute("SELECT df.await_instance(%s, 2)", [instance])
    assert 1.9 < time.monotonic() - asked < 3.5, "it waits once, here or there"
    assert one(client, b"SELECT df.status(%s)", instance) in ("pending", "running")


def test_await_of_ones_own_uncommitted_start_says_commit_first(client: psycopg.Connection) -> None:
    with client.transaction(force_rollback=True):
        instance = one(client, b"SELECT df.start('SELECT 1')")
        with pytest.raises(psycopg.Error, match="commit"), client.transaction():
            client.execute("SELECT df.await_instance(%s, 5)", [instance])


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_cancelled_await_leaves_the_session_usable(
    client: psycopg.Connection, protocol: str
) -> None:
    instance = str(one(client, b"SELECT df.start(df.wait_for_signal('never'))")).encode()
    if protocol == "simple":
        client.pgconn.send_query(b"SELECT df.await_instance('%s', 30)" % instance)
    else:
        client.pgconn.send_query_params(b"SELECT df.await_instance($1, 30)", [instance])
    assert cancelled_with(client) == b"57014"
    assert one(client, b"SELECT 1") == 1


def cancelled_with(client: psycopg.Connection) -> bytes | None:
    """The SQLSTATE of the running statement, cancelled until it has ended.

    A cancel that comes before the server has begun the statement is lost, as it always was.
    """

    def ended() -> bool:
        client.cancel_safe(timeout=10)
        client.pgconn.consume_input()
        return not client.pgconn.is_busy()

    wait_until(ended, "the statement is cancelled", timeout=10)
    result = client.pgconn.get_result()
    assert result is not None
    assert client.pgconn.get_result() is None
    return result.error_field(pq.DiagnosticField.SQLSTATE)


def test_cancel_of_a_plain_statement(client: psycopg.Connection) -> None:
    client.pgconn.send_query(b"SELECT pg_sleep(30)")
    assert cancelled_with(client) == b"57014"


def test_pipeline_with_a_start_in_it(client: psycopg.Connection) -> None:
    client.execute("CREATE TABLE t (n int)")
    with client.pipeline():
        cursors = [
            client.execute("INSERT INTO t VALUES (%s)", [1]),
            client.execute("SELECT df.start(%s ~> %s)", ["SELECT 1", "SELECT 21 AS b"]),
            client.execute("SELECT count(*) FROM t"),
        ]
        [instance] = cursors[1].fetchone() or [None]
        assert cursors[2].fetchone() == (1,)
    assert completes_with(client, instance, RESULT)


def test_error_in_a_pipeline_discards_until_sync(client: psycopg.Connection) -> None:
    def refused_then_fine() -> None:
        # psycopg raises where it first reads the answer: at the later statement, or at the sync
        with client.pipeline() as pipeline:
            client.execute("SELECT df.start(%s ~> df.break())", ["SELECT 1"])
            client.execute("SELECT df.start('SELECT 1')")
            pipeline.sync()

    with pytest.raises(psycopg.Error, match="outside of a loop"):
        refused_then_fine()
    assert one(client, b"SELECT count(*) FROM df.list_instances()") == 0


def test_many_rows_by_server_cursor(client: psycopg.Connection) -> None:
    with client.transaction(), client.cursor("c") as cursor:
        cursor.execute("SELECT n, repeat('x', 100) FROM generate_series(1, 20000) AS n")
        assert sum(n for n, _ in cursor) == 200_010_000


@pytest.mark.parametrize("binary", ["", "(FORMAT binary)"])
def test_copy_both_ways(client: psycopg.Connection, binary: str) -> None:
    client.execute("CREATE TABLE t (n int, name text)")
    rows = [(n, f"name {n}") for n in range(5000)]
    with client.cursor().copy(f"COPY t FROM STDIN {binary}".encode()) as copy:
        copy.set_types(["int4", "text"])
        for row in rows:
            copy.write_row(row)
    with client.cursor().copy(f"COPY t TO STDOUT {binary}".encode()) as copy:
        copy.set_types(["int4", "text"])
        assert [tuple(row) for row in copy.rows()] == rows


def test_notification_of_another_session_arrives(
    visitor: Visitor, client: psycopg.Connection
) -> None:
    client.execute("LISTEN c")
    with closing(visitor.connect()) as sender:
        sender.execute("NOTIFY c, 'hello'")
    [notification] = client.notifies(timeout=10, stop_after=1)
    assert (notification.channel, notification.payload) == ("c", "hello")


def test_start_commits_and_rolls_back_with_its_transaction(client: psycopg.Connection) -> None:
    client.execute("CREATE TABLE t (n int)")
    with client.transaction():
        kept = one(client, b"SELECT df.start('INSERT INTO t VALUES (1)')")
        with client.transaction(force_rollback=True):
            discarded = one(client, b"SELECT df.start('INSERT INTO t VALUES (2)')")
    assert one(client, b"SELECT df.await_instance(%s, 20)", kept) == "completed"
    assert one(client, b"SELECT df.status(%s)", discarded) is None
    assert client.execute("SELECT n FROM t").fetchall() == [(1,)]
