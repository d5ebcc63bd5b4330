"""absurd: an asynchronous worker for 32 tasks at a time, its steps on a pool of asyncpg."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncpg
import psycopg
from absurd_sdk import Absurd, AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL

from bench.floor import CLIENTS
from bench.ground import NEIGHBOURS
from bench.peer import READY, Start, completed_per_second, worker

_AT_A_TIME = 32
_CONNECTIONS = 20
_POLL = 0.02  # seconds
_COMPLETED = "SELECT count(*) FROM absurd.t_default WHERE state = 'completed'"
_UPDATE = "UPDATE account SET value = value + 1 WHERE id = $1"


def main() -> None:
    dsn, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "worker":
        asyncio.run(_work(dsn))
        return
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(BUNDLED_SCHEMA_SQL)
    with worker("bench.peer_absurd", dsn):
        starters = [_starter(dsn) for _ in range(CLIENTS)]
        print(completed_per_second(dsn, kind, count, starters, _COMPLETED))


def _starter(dsn: str) -> Start:
    client = Absurd(dsn)
    client.create_queue("default")
    return lambda kind, account: client.spawn(kind, {"account": account}, queue="default")


async def _work(dsn: str) -> None:
    pool = await asyncpg.create_pool(_url(dsn), min_size=_CONNECTIONS, max_size=_CONNECTIONS)
    app = AsyncAbsurd(dsn, queue_name="default")
    await app.create_queue("default")

    async def update(account: int) -> int:
        await pool.execute(_UPDATE, account)
        return account

    @app.register_task("one")
    async def one(params: Any, context: Any) -> Any:
        return await context.step("step", lambda: update(params["account"]))

    @app.register_task("ten")
    async def ten(params: Any, context: Any) -> None:
        for k in range(NEIGHBOURS):
            await context.step(f"step {k}", lambda k=k: update(params["account"] + k))

    print(READY, flush=True)
    await app.start_worker(concurrency=_AT_A_TIME, poll_interval=_POLL)


def _url(dsn: str) -> str:
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    return "postgresql://{user}@{host}:{port}/{dbname}".format(**given)


if __name__ == "__main__":
    main()
