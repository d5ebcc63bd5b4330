"""One libpq connection driven by trio: connect, run, pipeline, cancel, listen.

libpq brings what a client of Postgres must know (passfile, service files, TLS modes, client
certificates, several hosts, target_session_attrs); this brings it into a trio task. A connection
is used by one task at a time. After ConnectionLost or a cancellation in mid-flight it is closed
and never used again, since nobody knows what its server is doing.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

import psycopg
import trio
from psycopg import pq

from durproxy.errors import DurproxyError, UpstreamUnreachable

_Poll = pq.PollingStatus
_Status = pq.ExecStatus
_NO_SUCH_STATEMENT = "26000"
_CONNECT_TIMEOUT = 15.0  # seconds
UNTRANSLATABLE = "22P05"
_OF_THE_VALUES = ("22", "54")  # data exception, program limit exceeded
_OK = (_Status.TUPLES_OK, _Status.COMMAND_OK, _Status.EMPTY_QUERY)


class ServerError(DurproxyError):
    """The server answered with an error; nothing of the statement's transaction was kept."""

    def __init__(self, result: pq.abc.PGresult) -> None:
        def text(code: pq.DiagnosticField) -> str | None:
            value = result.error_field(code)
            return None if value is None else value.decode("utf-8", "replace")

        field = pq.DiagnosticField
        super().__init__(
            text(field.MESSAGE_PRIMARY) or "unknown error",
            detail=text(field.MESSAGE_DETAIL),
            hint=text(field.MESSAGE_HINT),
        )
        self.code = text(field.SQLSTATE) or "XX000"
        self.context = text(field.CONTEXT) or ""
        self.position = text(field.INTERNAL_POSITION)

    @property
    def will_come_again(self) -> bool:
        """It is about the values that were sent: a time that no timestamp holds, a limit."""
        return self.code.startswith(_OF_THE_VALUES)


class ConnectionLost(DurproxyError):
    """The connection broke: whether the statement committed is not known."""

    sqlstate = "08006"
    safe_to_retry = False


class Column(NamedTuple):
    """A result column; `modifier` is -1 for a type without one."""

    name: str
    type_oid: int
    modifier: int


class Result:
    """Rows as text, column by column."""

    __slots__ = ("_result",)

    def __init__(self, result: pq.abc.PGresult) -> None:
        self._result = result

    def __len__(self) -> int:
        return self._result.ntuples

    def __iter__(self) -> Iterator[list[str | None]]:
        for row in range(self._result.ntuples):
            yield [self._value(row, column) for column in range(self._result.nfields)]

    def _value(self, row: int, column: int) -> str | None:
        value = self._result.get_value(row, column)
        return None if value is None else value.decode()

    def one(self) -> list[str | None]:
        """The only row."""
        return next(iter(self))

    def columns(self) -> list[Column]:
        """The columns of rows, or of a described statement."""
        result = self._result
        return [
            Column((result.fname(k) or b"").decode(), result.ftype(k), result.fmod(k))
            for k in range(result.nfields)
        ]


class Connection:
    """An open connection; use `connect`."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._prepared: set[bytes] = set()
        self.busy = False
        self.session_of: str | None = None  # the instance whose steps have used the session
        self.assumes: str | None = None  # the role, where it is another than the login's
        self.functions = "df"  # the schema with ours: elsewhere it may be the session's own
        self.is_settled = False  # in another database: it is known which of the two
        self.idle_since = 0.0

    @classmethod
    async def connect(cls, conninfo: str) -> Connection:
        """A new connection. Raises UpstreamUnreachable with libpq's own words."""
        with trio.move_on_after(_CONNECT_TIMEOUT):
            return await cls._connect(conninfo)
        raise UpstreamUnreachable(f"no answer in {_CONNECT_TIMEOUT:g} s")

    @classmethod
    async def _connect(cls, conninfo: str) -> Connection:
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        try:
            while True:
                if pgconn.status == pq.ConnStatus.BAD:
                    raise UpstreamUnreachable(_reason(pgconn))
                state = pgconn.connect_poll()
                if state == _Poll.OK:
                    break
                if state == _Poll.FAILED:
                    raise UpstreamUnreachable(_reason(pgconn))
                await _wait(pgconn.socket, state)
        except BaseException:
            pgconn.finish()
            raise
        pgconn.nonblocking = 1
        pgconn.notice_handler = None
        return cls(pgconn)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def usable(self) -> bool:
        """Idle, outside any transaction, and not known to be broken."""
        return (
            self._pgconn.status == pq.ConnStatus.OK
            and not self.busy
            and self._pgconn.transaction_status == pq.TransactionStatus.IDLE
        )

    def is_quiet(self) -> bool:
        """Nothing has come since the last answer: a server that goes says so, and hangs up."""
        waiting = select.poll()
        waiting.register(self._pgconn.socket, select.POLLIN)
        return not waiting.poll(0)

    @property
    def server_version(self) -> int:
        return self._pgconn.server_version

    def close(self) -> None:
        """Close at once; a statement in flight is rolled back by the server when it notices."""
        self._pgconn.finish()

    async def run(self, sql: str, values: Sequence[str | None] = ()) -> Result:
        """One statement with text parameters. Raises ServerError, ConnectionLost."""
        self._send(self._pgconn.send_query_params, sql.encode(), _encoded(values))
        return await self._answer()

    async def call(
        self,
        name: str,
        sql: str,
        values: Sequence[str | None],
        when_sent: Callable[[], None] | None = None,
    ) -> Result:
        """A statement that is prepared here once, under `name`."""
        key = name.encode()
        while True:
            if is_new := key not in self._prepared:
                self._send(self._pgconn.send_prepare, key, sql.encode())
                await self._answer()
                self._prepared.add(key)
            self._send(self._pgconn.send_query_prepared, key, _encoded(values))
            if when_sent is not None:
                await self._flush()
                when_sent()
            try:
                return await self._answer()
            except ServerError as error:
                # a step's DEALLOCATE ALL took ours too; one that runs has a context
                if is_new or error.code != _NO_SUCH_STATEMENT or error.context:
                    raise
                self._prepared.discard(key)

    async def script(self, sql: str) -> Result:
        """Statements without parameters, as a simple query; the last one's result."""
        self._send(self._pgconn.send_query, sql.encode())
        return await self._answer()

    async def forget(self) -> None:
        """Put the session back to what it was after the login."""
        await self.script("DISCARD ALL")
        self._prepared.clear()
        self.session_of = None

    async def describe(self, sql: str, types: Sequence[int] = ()) -> list[Column]:
        """The columns that a statement would return; it is not run. `types`: of its parameters."""
        self._send(self._pgconn.send_prepare, b"", sql.encode(), types)
        await self._answer()
        self._send(self._pgconn.send_describe_prepared, b"")
        return (await self._answer()).columns()

    async def wait_notifies(self) -> list[str]:
        """Payloads of the notifications that come next, at least one. Raises ConnectionLost."""
        while True:
            payloads = []
            while (notify := self._pgconn.notifies()) is not None:
                payloads.append(notify.extra.decode())
            if payloads:
                return payloads
            await trio.lowlevel.wait_readable(self._pgconn.socket)
            self._consume()

    async def cancel(self) -> None:
        """Ask the server to cancel what runs here; returns once the request has been taken."""
        request = self._pgconn.cancel_conn()
        with suppress(psycopg.Error):
            request.start()
            while (state := request.poll()) not in (_Poll.OK, _Poll.FAILED):
                await _wait(request.socket, state)
        request.finish()

    # --- the conversation ---

    def _send(self, send: Callable[..., None], *arguments: object) -> None:
        self.busy = True
        try:
            send(*arguments)
        except psycopg.Error as error:
            raise ConnectionLost(_one_line(str(error))) from None

    async def _answer(self) -> Result:
        """The last result of what was sent; the first error wins."""
        await self._flush()
        error: ServerError | None = None
        last: pq.abc.PGresult | None = None
        while (result := await self._next_result()) is not None:
            if result.status == _Status.FATAL_ERROR:
                error = error or ServerError(result)
            elif result.status in _OK:
                last = result
            else:
                raise ConnectionLost("the server switched to COPY, which no step can serve")
        self.busy = False
        if self._pgconn.status != pq.ConnStatus.OK:
            raise ConnectionLost(error.message if error else _reason(self._pgconn))
        if self._pgconn.parameter_status(b"client_encoding") != b"UTF8":
            raise ConnectionLost("the session's client_encoding is not ours any more")
        if error is not None:
            raise error
        if last is None:
            raise ConnectionLost("the server gave no answer")
        return Result(last)

    async def _flush(self) -> None:
        try:
            while self._pgconn.flush():
                await trio.lowlevel.wait_writable(self._pgconn.socket)
                # a server that waits for us to read must not make us wait for it to read
                self._consume()
        except psycopg.Error as error:
            raise ConnectionLost(_one_line(str(error))) from None

    async def _next_result(self) -> pq.abc.PGresult | None:
        while self._pgconn.is_busy():
            await trio.lowlevel.wait_readable(self._pgconn.socket)
            self._consume()
        return self._pgconn.get_result()

    def _consume(self) -> None:
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            raise ConnectionLost(_one_line(str(error))) from None


def _encoded(values: Sequence[str | None]) -> list[bytes | None]:
    return [None if value is None else value.encode() for value in values]


async def _wait(fd: int, state: int) -> None:
    if state == _Poll.READING:
        await trio.lowlevel.wait_readable(fd)
    else:
        await trio.lowlevel.wait_writable(fd)


def _reason(pgconn: pq.abc.PGconn) -> str:
    return _one_line(pgconn.get_error_message())


def _one_line(message: str) -> str:
    return " ".join(message.split())
