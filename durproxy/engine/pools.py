"""Bounded pools of connections: one for the store, one for each role that steps run as.

A connection goes back only when it is idle outside a transaction; any other is closed. Nothing here
reconnects by itself: a new connection is made when there is work. A step connection that idles is
cleaned, since a lock of its last instance would keep others waiting, and closed after a while; one
to another database than the home's is closed at once, or nobody could drop that database.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy.config import Settings
from durproxy.conninfo import filled_step_options, libpq_defaults
from durproxy.engine.assuming import assume
from durproxy.engine.connection import Connection
from durproxy.engine.logging_in import log_in
from durproxy.errors import DurproxyError, UpstreamUnreachable

CLEAN = "SELECT df._clean_1()"
_FRESH = 0.01  # seconds since the last answer: it is not looked at again
# what functions have prepared by EXECUTE; too slow for every change of the instance
_FORGET_PREPARED = """
    DO $$ DECLARE v_name pg_catalog.text; BEGIN
        FOR v_name IN SELECT s.name FROM pg_catalog.pg_prepared_statement() AS s WHERE s.from_sql
        LOOP
            EXECUTE pg_catalog.format('DEALLOCATE %I', v_name);
        END LOOP;
    END $$"""
_TIDY_EVERY = 1.0  # seconds
_CLEANED_AFTER = 0.5  # seconds idle
_CLOSED_AFTER = 60.0
_CLEANING_TIMEOUT = 5.0
_CANCEL_TIMEOUT = 2.0  # seconds for a cancelled connection's last words
_TOLD_EVERY = 60.0
_NO_PASSWORD = "no password supplied"  # noqa: S105  libpq's words


class Pool:
    """Up to `size` connections to one conninfo, made when needed, the last used first.

    Without `keeps_idle` each is closed as soon as nobody uses it. `role`: whom they log in as, when
    that is not the DSN's own user; with `assumes`, whom they become after the login.
    """

    def __init__(
        self,
        conninfo: str,
        size: int,
        *,
        keeps_idle: bool = True,
        role: str | None = None,
        assumes: bool = False,
    ) -> None:
        self._conninfo = conninfo
        self._role = role
        self._assumes = role if assumes else None
        self._told_at = -math.inf
        self._free = trio.Semaphore(size)
        self._idle: list[Connection] = []
        self._closed = not keeps_idle

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one task. Raises UpstreamUnreachable."""
        connection = await self.take()
        try:
            yield connection
        finally:
            await self.give_back(connection)

    async def take(self) -> Connection:
        """A connection that the caller gives back. Raises UpstreamUnreachable."""
        try:
            self._free.acquire_nowait()
        except trio.WouldBlock:
            await self._free.acquire()
        try:
            return await self._take()
        except BaseException:
            self._free.release()
            raise

    async def give_back(self, connection: Connection) -> None:
        try:
            await self._give_back(connection)
        finally:
            self._free.release()

    async def _take(self) -> Connection:
        connection = await self._idle_or_new()
        if self._assumes is not None:
            try:
                await assume(connection, self._assumes)
            except BaseException:
                connection.close()
                raise
        return connection

    async def _idle_or_new(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            fresh = trio.current_time() - connection.idle_since < _FRESH
            if connection.usable and (fresh or connection.is_quiet()):
                return connection
            connection.close()
        try:
            return await log_in(self._conninfo)
        except UpstreamUnreachable as error:
            if self._role is None:
                raise
            hint = _looked_for(self._conninfo) if _NO_PASSWORD in error.message else ""
            raise UpstreamUnreachable(
                f'cannot log in as role "{self._role}": {error.message}{hint}'
            ) from None

    def is_news(self) -> bool:
        """Whether that nobody can log in is to be told again: once a minute."""
        now = trio.current_time()
        if now - self._told_at < _TOLD_EVERY:
            return False
        self._told_at = now
        return True

    async def _give_back(self, connection: Connection) -> None:
        if connection.usable and not self._closed:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
            return
        if connection.busy:  # cancelled in mid-flight: stop the statement on the server too
            with trio.move_on_after(_CANCEL_TIMEOUT, shield=True):
                await connection.cancel()
        connection.close()

    async def tidy(self) -> None:
        """Clean the sessions that nobody has taken for a moment; close what idles for long."""
        now = trio.current_time()
        for connection in list(self._idle):
            if connection not in self._idle:
                continue
            if now - connection.idle_since > _CLOSED_AFTER:
                self._idle.remove(connection)
                connection.close()
            elif now - connection.idle_since > _CLEANED_AFTER and connection.session_of is not None:
                try:
                    self._free.acquire_nowait()
                except trio.WouldBlock:  # then it is needed, and cleaned by who takes it
                    return
                self._idle.remove(connection)
                await self._clean(connection)

    async def _clean(self, connection: Connection) -> None:
        """Clean a connection that was taken for it, and put it where it is taken last."""
        try:
            with trio.move_on_after(_CLEANING_TIMEOUT):
                if connection.assumes is not None:
                    await connection.forget()
                else:
                    await connection.run(CLEAN)
                    await connection.run(_FORGET_PREPARED)
                    connection.session_of = None
        except DurproxyError:  # closed below: its session cannot be trusted
            pass
        finally:
            if connection.session_of is None and connection.usable and not self._closed:
                self._idle.insert(0, connection)
            else:
                connection.close()
            self._free.release()

    def close_idle(self) -> None:
        """Close what nobody uses now, and later what comes back."""
        self._closed = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class RolePools:
    """A pool for each role and database; every step connection is logged in as its role."""

    def __init__(self, settings: Settings) -> None:
        self._upstream = conninfo_to_dict(settings.upstream)
        self._step_options = settings.step_options or ""
        self.assumes = settings.step_identity == "set_role"
        self._size = settings.max_user_connections
        self._lease = settings.lease
        self._pools: dict[tuple[str, str | None], Pool] = {}

    def of(self, role: str, database: str | None = None) -> Pool:
        """The pool to the home's database, or to another one."""
        pool = self._pools.get((role, database))
        if pool is None:
            pool = self._pools[role, database] = Pool(
                self.conninfo(role, database),
                self._size,
                keeps_idle=database is None,
                role=role,
                assumes=self.assumes,
            )
        return pool

    def conninfo(self, role: str, database: str | None = None) -> str:
        """The upstream's conninfo as `role`, for its own database or another one.

        The password in the DSN, in PGPASSWORD or in a service file belongs to the DSN's own user;
        any other role's is in the passfile, or where `step_options` say, or a command gives it.
        """
        given = dict(self._upstream)
        own = str(given.get("user", _default_user()))
        home = database or str(given.get("dbname") or own)
        ours = filled_step_options(self._step_options, role, home) if self._step_options else {}
        login = str(ours.get("user", own)) if self.assumes else role
        if login != own and "service" not in ours:
            given["password"] = ""  # libpq asks the passfile then, and nothing else
        elif login != own:
            given.pop("password", None)  # it may be in the service file
        given |= ours
        options = " ".join(
            filter(
                None,
                (
                    str(given.get("options") or ""),
                    # a worker that is gone must not leave its statements running
                    "-c client_connection_check_interval=1s",
                    f"-c idle_in_transaction_session_timeout={int(self._lease * 1000)}",
                    "-c idle_session_timeout=0",
                    # the checkpoint is a write, whatever the role may do by default
                    "-c default_transaction_read_only=off",
                    # our values are arrays with NULLs, our errors end with where they came from
                    "-c array_nulls=on -c log_parameter_max_length_on_error=0",
                ),
            )
        )
        given |= {"user": login, "options": options, "application_name": "durproxy step"}
        given["client_encoding"] = "UTF8"
        if database is not None:
            given["dbname"] = database
        return make_conninfo("", **given)

    async def tidy(self) -> None:
        """Keep the idle connections of all roles clean and few, for ever."""
        while True:
            await trio.sleep(_TIDY_EVERY)
            for pool in list(self._pools.values()):
                await pool.tidy()

    def close_idle(self) -> None:
        for pool in self._pools.values():
            pool.close_idle()


def _default_user() -> str:
    """Whom libpq logs in as when the DSN names nobody: PGUSER, or the operating system's user."""
    return libpq_defaults().get("user", "")


def passfile_place(conninfo: str) -> tuple[str, str]:
    """Under which name of the server libpq looks for a password, and in what file."""
    given = libpq_defaults() | conninfo_to_dict(conninfo)
    host = str(given.get("host") or given.get("hostaddr") or "localhost")
    if host.startswith(("/", "@")):
        host = "localhost"  # as a passfile names the local socket
    return f"{host}:{given['port']}", str(given.get("passfile") or "~/.pgpass")


def _looked_for(conninfo: str) -> str:
    place, passfile = passfile_place(conninfo)
    return f' (the engine found none for {place} in its passfile, "{passfile}")'
