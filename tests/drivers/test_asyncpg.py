"""asyncpg through the proxy: always the extended protocol, with cached prepared statements."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.fix_serve import Visitor

RESULT = '{"rows":[{"b":21}],"row_count":1}'

Body = Callable[[Any], Awaitable[None]]


def with_client(visitor: Visitor, body: Body) -> None:
    """Run the body with a connection; asyncpg is at home in asyncio."""

    async def run() -> None:
        owner = visitor.role
        client = await asyncpg.connect(
            host="127.0.0.1",
            port=visitor.serve.port,
            user=owner.name,
            password=owner.password,
            database=visitor.database.name,
        )
        try:
            await asyncio.wait_for(body(client), 60)
        finally:
            await client.close(timeout=10)

    asyncio.run(run())


def test_start_await_result_again_and_again(visitor: Visitor) -> None:
    async def body(client: Any) -> None:
        start = "SELECT df.start('SELECT 20 AS a' |=> 'x' ~> 'SELECT $x.a + 1 AS b', $1)"
        for label in ("first", "second", "third"):  # the same prepared statements
            instance = await client.fetchval(start, label)
            status = await client.fetchval("SELECT df.await_instance($1, $2)", instance, 20)
            assert status == "completed"
            assert await client.fetchval("SELECT df.result($1)", instance) == RESULT

    with_client(visitor, body)


def test_operands_as_parameters(visitor: Visitor) -> None:
    async def body(client: Any) -> None:
        statement = await client.prepare("SELECT df.start($1 |=> 'x' ~> $2)")
        assert [parameter.name for parameter in statement.get_parameters()] == ["text", "text"]
        instance = await statement.fetchval("SELECT 20 AS a", "SELECT $x.a + 1 AS b")
        await client.fetchval("SELECT df.await_instance($1)", instance)
        assert await client.fetchval("SELECT df.result($1)", instance) == RESULT

    with_client(visitor, body)


def test_refusal_keeps_parameters_and_session(visitor: Visitor) -> None:
    async def body(client: Any) -> None:
        for _ in range(2):
            with pytest.raises(asyncpg.PostgresError, match="outside of a loop") as caught:
                await client.fetch("SELECT $1::int, df.start($2 ~> df.break())", 1, "SELECT 1")
            assert caught.value.sqlstate == "22023"
            assert caught.value.hint
        assert await client.fetchval("SELECT count(*) FROM df.list_instances()") == 0

    with_client(visitor, body)


def test_awaits_of_many_sessions_at_once(visitor: Visitor) -> None:
    async def wait_for_one(n: int) -> str:
        owner = visitor.role
        client = await asyncpg.connect(
            f"postgresql://{owner.name}:{owner.password}@127.0.0.1:{visitor.serve.port}/{visitor.database.name}"
        )
        try:
            instance = await client.fetchval("SELECT df.start(df.sleep(1) ~> $1)", f"SELECT {n}")
            return str(await client.fetchval("SELECT df.await_instance($1)", instance))
        finally:
            await client.close(timeout=10)

    async def run() -> list[str]:
        return await asyncio.gather(*(wait_for_one(n) for n in range(20)))

    assert asyncio.run(run()) == ["completed"] * 20


def test_transactions_copy_and_notifications(visitor: Visitor) -> None:
    async def body(client: Any) -> None:
        await client.execute("CREATE TABLE t (n int, name text)")
        rows = [(n, f"name {n}") for n in range(5000)]
        await client.copy_records_to_table("t", records=rows)
        assert [tuple(row) for row in await client.fetch("SELECT * FROM t ORDER BY n")] == rows
        transaction = client.transaction()
        await transaction.start()
        instance = await client.fetchval("SELECT df.start('SELECT 1')")
        await transaction.rollback()
        assert await client.fetchval("SELECT df.status($1)", instance) is None
        heard: asyncio.Queue[str] = asyncio.Queue()
        await client.add_listener("c", lambda *event: heard.put_nowait(event[3]))
        await client.execute("SELECT pg_notify('c', 'hello')")
        assert await heard.get() == "hello"
        await client.executemany("INSERT INTO t VALUES ($1, $2)", rows[:100])
        async with client.transaction():
            fetched = [row["n"] async for row in client.cursor("SELECT n FROM t", prefetch=7)]
        assert len(fetched) == 5100

    with_client(visitor, body)


def test_starts_and_signals_that_do_not_wait_for_the_commit(visitor: Visitor) -> None:
    async def body(client: Any) -> None:
        start = "SELECT df.start(df.wait_for_signal('go'), $1, transaction_mode => 'new')"
        signal = "SELECT df.signal($1, 'go', transaction_mode => 'new')"
        for isolation in ("read_committed", "repeatable_read", "serializable"):
            transaction = client.transaction(isolation=isolation)
            await transaction.start()
            instance = await client.fetchval(start, isolation)
            assert await client.fetchval(signal, instance) == "OK"
            await transaction.rollback()
            status = await client.fetchval("SELECT df.await_instance($1)", instance)
            assert status == "completed"

    with_client(visitor, body)
