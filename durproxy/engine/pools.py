"""Bounded pools of connections: one for the store, one for each role that steps run as.

A connection goes back only when it is idle outside a transaction; any other is closed. A step
connection that passes to another instance is cleaned first, so that no instance sees the session
of another one. Nothing here reconnects by itself: a new connection is made when there is work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy.engine.connection import Connection
from durproxy.errors import DurproxyError

# What a step may have left in its session. Prepared statements stay: ours is among them.
_CLEAN = (
    "RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; "
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)
_CANCEL_TIMEOUT = 2.0  # seconds for a cancelled connection's last words


class PooledConnection:
    """A connection, and what the pool remembers of it."""

    __slots__ = ("connection", "used_by")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.used_by: str | None = None  # the instance whose session it holds


class Pool:
    """Up to `size` connections to one conninfo, made when needed, the last used first."""

    def __init__(self, conninfo: str, size: int) -> None:
        self._conninfo = conninfo
        self._free = trio.Semaphore(size)
        self._idle: list[PooledConnection] = []
        self._closed = False

    @asynccontextmanager
    async def connection(self, instance: str | None = None) -> AsyncIterator[Connection]:
        """A connection for one task; for `instance`, with a session that is clean for it.

        Raises UpstreamUnreachable.
        """
        async with self._free:
            pooled = await self._take(instance)
            try:
                yield pooled.connection
            finally:
                await self._give_back(pooled)

    async def _take(self, instance: str | None) -> PooledConnection:
        while self._idle:
            pooled = self._idle.pop()
            if not pooled.connection.usable or not await self._cleaned(pooled, instance):
                pooled.connection.close()
                continue
            return pooled
        pooled = PooledConnection(await Connection.connect(self._conninfo))
        pooled.used_by = instance
        return pooled

    async def _cleaned(self, pooled: PooledConnection, instance: str | None) -> bool:
        if instance is not None and pooled.used_by != instance:
            try:
                await pooled.connection.script(_CLEAN)
            except DurproxyError:
                return False
            pooled.used_by = instance
        return True

    async def _give_back(self, pooled: PooledConnection) -> None:
        connection = pooled.connection
        if connection.usable and not self._closed:
            self._idle.append(pooled)
            return
        if connection.busy:  # cancelled in mid-flight: stop the statement on the server too
            with trio.move_on_after(_CANCEL_TIMEOUT, shield=True):
                await connection.cancel()
        connection.close()

    def close_idle(self) -> None:
        """Close what nobody uses now, and later what comes back."""
        self._closed = True
        for pooled in self._idle:
            pooled.connection.close()
        self._idle.clear()


class RolePools:
    """A pool for each role; every step connection is logged in as its role."""

    def __init__(self, upstream: str, size: int, lease: float) -> None:
        self._upstream = conninfo_to_dict(upstream)
        self._size = size
        self._lease = lease
        self._pools: dict[str, Pool] = {}

    def of(self, role: str) -> Pool:
        pool = self._pools.get(role)
        if pool is None:
            pool = self._pools[role] = Pool(self.conninfo(role), self._size)
        return pool

    def conninfo(self, role: str) -> str:
        """The upstream's conninfo as `role`.

        The password in the DSN belongs to the DSN's own user; any other role's comes from where
        libpq looks: passfile, service file, certificate.
        """
        given = dict(self._upstream)
        if given.get("user") != role:
            given.pop("password", None)
        options = " ".join(
            filter(
                None,
                (
                    str(given.get("options") or ""),
                    # a worker that is gone must not leave its statements running
                    "-c client_connection_check_interval=1s",
                    f"-c idle_in_transaction_session_timeout={int(self._lease * 1000)}",
                    # the checkpoint is a write, whatever the role may do by default
                    "-c default_transaction_read_only=off",
                ),
            )
        )
        given |= {"user": role, "options": options, "application_name": "durproxy step"}
        return make_conninfo("", **given)

    def close_idle(self) -> None:
        for pool in self._pools.values():
            pool.close_idle()
