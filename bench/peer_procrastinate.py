"""procrastinate, a queue of tasks: a workflow of ten steps is a chain of ten jobs.

Each job does its update and defers the next one in one transaction. The worker polls besides
listening, since a notification alone can be lost between two fetches.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import procrastinate
import psycopg
from procrastinate.schema import SchemaManager
from psycopg_pool import AsyncConnectionPool

from bench.floor import CLIENTS
from bench.ground import NEIGHBOURS
from bench.peer import READY, UPDATE, Start, completed_per_second, worker

_AT_A_TIME = 8
_POLL = 0.05  # seconds
_COMPLETED = """
    SELECT count(*) FROM procrastinate_jobs
    WHERE status = 'succeeded' AND (task_name = 'one' OR args ->> 'step' = '9')"""


def main() -> None:
    dsn, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    logging.disable(logging.WARNING)
    if kind == "worker":
        asyncio.run(_work(dsn))
        return
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(SchemaManager.get_schema().encode())
    with worker("bench.peer_procrastinate", dsn):
        starters = [_starter(dsn) for _ in range(CLIENTS)]
        print(completed_per_second(dsn, kind, count, starters, _COMPLETED))


def _starter(dsn: str) -> Start:
    connector = procrastinate.SyncPsycopgConnector(conninfo=dsn, min_size=1, max_size=1)
    app = procrastinate.App(connector=connector)
    app.open()
    more: dict[str, dict[str, int]] = {"one": {}, "ten": {"step": 0}}
    return lambda kind, account: app.configure_task(kind, queue="bench").defer(
        account=account, **more[kind]
    )


async def _work(dsn: str) -> None:
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=2, max_size=_AT_A_TIME + 4)
    app = procrastinate.App(connector=connector)
    async with AsyncConnectionPool(dsn, min_size=_AT_A_TIME, kwargs={"autocommit": True}) as pool:

        @app.task(name="one", queue="bench")
        async def one(account: int) -> None:
            async with pool.connection() as connection:
                await connection.execute(UPDATE, [account])

        @app.task(name="ten", queue="bench")
        async def ten(account: int, step: int) -> None:
            async with pool.connection() as connection, connection.transaction():
                await connection.execute(UPDATE, [account + step])
                if step < NEIGHBOURS - 1:
                    following: Any = ten.configure(connection=connection)
                    await following.defer_async(account=account, step=step + 1)

        async with app.open_async():
            print(READY, flush=True)
            await app.run_worker_async(
                concurrency=_AT_A_TIME, queues=["bench"], fetch_job_polling_interval=_POLL
            )


if __name__ == "__main__":
    main()
