"""pg8000 through the proxy: a driver that is written in Python to the last byte."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pg8000.native
import pytest

from tests.fix_serve import Visitor

RESULT = '{"rows":[{"b":21}],"row_count":1}'


@pytest.fixture
def client(visitor: Visitor) -> Iterator[pg8000.native.Connection]:
    owner = visitor.role
    # with the usual number of rounds of hashing: this driver takes no password with fewer
    visitor.database.psql(f"ALTER ROLE {owner.name} PASSWORD '{owner.password}'", "postgres")
    client = pg8000.native.Connection(
        owner.name,
        host="127.0.0.1",
        port=visitor.serve.port,
        database=visitor.database.name,
        password=owner.password,
        timeout=60,
    )
    yield client
    client.close()


def test_start_await_result(client: pg8000.native.Connection) -> None:
    start = "SELECT df.start('SELECT 20 AS a' |=> 'x' ~> 'SELECT $x.a + 1 AS b')"
    [[instance]] = client.run(start)
    assert client.run("SELECT df.await_instance(:id, 20)", id=instance) == [["completed"]]
    assert client.run("SELECT df.result(:id)", id=instance) == [[RESULT]]


def test_operands_as_parameters_of_a_prepared_statement(client: pg8000.native.Connection) -> None:
    start = client.prepare("SELECT df.start(:first |=> 'x' ~> :second)")
    for _ in range(3):
        [[instance]] = start.run(first="SELECT 20 AS a", second="SELECT $x.a + 1 AS b")
        assert client.run("SELECT df.await_instance(:id)", id=instance) == [["completed"]]
        assert client.run("SELECT df.result(:id)", id=instance) == [[RESULT]]
    start.close()


def test_refusal_has_sqlstate_and_hint(client: pg8000.native.Connection) -> None:
    with pytest.raises(pg8000.native.DatabaseError) as caught:
        client.run("SELECT df.start('SELECT 1' ~> df.break())")
    fields = caught.value.args[0]
    assert fields["C"] == "22023"
    assert "outside of a loop" in fields["M"]
    assert fields["H"]
    assert client.run("SELECT 1") == [[1]]


def test_copy_both_ways(client: pg8000.native.Connection) -> None:
    client.run("CREATE TABLE t (n int, name text)")
    text = "".join(f"{n}\tname {n}\n" for n in range(5000)).encode()
    client.run("COPY t FROM STDIN", stream=io.BytesIO(text))
    out = io.BytesIO()
    client.run("COPY (SELECT * FROM t ORDER BY n) TO STDOUT", stream=out)
    assert out.getvalue() == text


def test_transaction_and_notification(client: pg8000.native.Connection) -> None:
    client.run("START TRANSACTION")
    [[instance]] = client.run("SELECT df.start('SELECT 1')")
    client.run("ROLLBACK")
    assert client.run("SELECT df.status(:id)", id=instance) == [[None]]
    client.run("LISTEN c")
    client.run("NOTIFY c, 'hello'")
    client.run("SELECT 1")
    assert [event[1:] for event in client.notifications] == [("c", "hello")]
