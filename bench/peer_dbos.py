"""DBOS: eight callers in the process that runs the workflows, its fastest way; steps on asyncpg.

A step of this kind and its checkpoint are two transactions.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable

import asyncpg
import psycopg
from dbos import DBOS, DBOSConfig

from bench.floor import CLIENTS
from bench.ground import NEIGHBOURS
from bench.peer import account

_CONNECTIONS = 20
_UPDATE = "UPDATE account SET value = value + 1 WHERE id = $1"

Workflow = Callable[[int], Awaitable[None]]


def main() -> None:
    dsn, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    url = "postgresql://{user}:none@{host}:{port}/{dbname}".format(**given)
    DBOS(
        config=DBOSConfig(
            name="bench", system_database_url=url, log_level="ERROR", sys_db_pool_size=_CONNECTIONS
        )
    )
    pool: list[asyncpg.Pool] = []
    workflow = _workflows(pool)[kind]
    DBOS.launch()
    asyncio.run(_measure(url, workflow, count, pool))


def _workflows(pool: list[asyncpg.Pool]) -> dict[str, Workflow]:
    """To be defined before the launch; `pool` is filled after it."""

    @DBOS.step()
    async def update(of: int) -> int:
        await pool[0].execute(_UPDATE, of)
        return of

    @DBOS.workflow()
    async def one(of: int) -> None:
        await update(of)

    @DBOS.workflow()
    async def ten(of: int) -> None:
        for k in range(NEIGHBOURS):
            await update(of + k)

    return {"one": one, "ten": ten}


async def _measure(url: str, workflow: Workflow, count: int, pool: list[asyncpg.Pool]) -> None:
    pool.append(await asyncpg.create_pool(url, min_size=CLIENTS, max_size=_CONNECTIONS))
    await workflow(account())

    async def call() -> None:
        for _ in range(count // CLIENTS):
            await workflow(account())

    began = time.monotonic()
    await asyncio.gather(*(call() for _ in range(CLIENTS)))
    print(count / (time.monotonic() - began), flush=True)
    os._exit(0)  # its threads do not end by themselves


if __name__ == "__main__":
    main()
