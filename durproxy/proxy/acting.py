"""Does what transactions ask for before they commit: starts and signals that are to stand alone.

Each request is done once, by one statement on a connection of the proxy's own, and the row that
says so commits with it: whoever asked finds it there. No other answer is given, so nothing is lost
when this process dies, and a statement whose outcome is not known can be repeated. What comes too
late the home schema refuses by its own clock.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy.config import Settings
from durproxy.engine import trigger
from durproxy.engine.connection import ServerError
from durproxy.engine.pools import Pool
from durproxy.errors import DurproxyError
from durproxy.log import get_logger
from durproxy.proxy.request import Request

log = get_logger(__name__)

_SECRET = "SELECT s.secret, pg_catalog.current_database() FROM df._signing s"  # noqa: S105
_ACT = "SELECT df._act_1($1::bigint, $2::bigint, $3::oid, $4, $5)"
_REFUSE = "SELECT df._refuse_request_1($1::bigint, $2)"

# A transaction of ours that hung would keep whoever asks from knowing.
_SETTINGS = (
    "-c statement_timeout=5s -c lock_timeout=5s -c idle_session_timeout=0 -c jit=off"
    " -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off"
)
_FOLLOWED = ("upstream", "max_new_transaction_starts", "new_transaction_start_timeout")
_TOO_LATE = "WF022"
_ATTEMPTS = 3  # connections that break
_SECRET_AGE = 1.0  # seconds, before a signature that is wrong makes us read the secret again


class Acting:
    """The store connections that act, at most so many, and the secret that tells who may ask."""

    def __init__(
        self,
        settings: Settings,
        start_task: Callable[[Callable[[Request], Awaitable[None]], Request], None],
        wake_engines: Callable[[], None],
    ) -> None:
        self._start_task = start_task
        self._wake_engines = wake_engines
        self._follow(settings)

    def _follow(self, settings: Settings) -> None:
        self._settings = settings
        given = conninfo_to_dict(settings.upstream)
        options = f"{given.get('options') or ''} {_SETTINGS}".strip()
        ours = {"options": options, "application_name": "durproxy new", "client_encoding": "UTF8"}
        self._pool = Pool(make_conninfo("", **(given | ours)), settings.max_new_transaction_starts)
        self._patience = settings.new_transaction_start_timeout
        self._secret: str | None = None
        self._database: str | None = None
        self._read_at = float("-inf")

    def follow(self, settings: Settings) -> None:
        """What is under way ends where it began."""
        if any(getattr(settings, name) != getattr(self._settings, name) for name in _FOLLOWED):
            self._pool.close_idle()
            self._follow(settings)

    def is_genuine(self, request: Request, database: str) -> bool | None:
        """Whether it comes from the home schema; None: look again after ``read_secret``."""
        if (
            self._secret is not None
            and database == self._database
            and request.is_signed_with(self._secret)
        ):
            return True
        if self._database not in (None, database):
            return False
        return None if trio.current_time() - self._read_at > _SECRET_AGE else False

    async def read_secret(self) -> None:
        """Without one no request is genuine."""
        try:
            async with self._pool.connection() as connection:
                found = list(await connection.run(_SECRET))
            self._secret, self._database = found[0] if found else (None, None)
        except DurproxyError as error:
            log.warning("acting.no_secret", error=error.message)
        self._read_at = trio.current_time()

    def act(self, request: Request) -> None:
        self._start_task(self._act, request)

    def close(self) -> None:
        self._pool.close_idle()

    async def _act(self, request: Request) -> None:
        with trio.move_on_after(self._patience):
            for _ in range(_ATTEMPTS):
                try:
                    await self._act_once(request)
                except DurproxyError as error:  # whether it was done, the next attempt finds
                    log.warning(
                        "acting.interrupted", pid=request.process_id, verb=request.verb,
                        error=error.message,
                    )  # fmt: skip
                else:
                    return

    async def _act_once(self, request: Request) -> None:
        async with self._pool.connection() as connection:
            trigger.passed("act.before")
            try:
                await connection.call(
                    "act",
                    _ACT,
                    (
                        str(request.number),
                        request.deadline,
                        request.role,
                        request.verb,
                        request.payload,
                    ),
                    lambda: trigger.passed("act.sent"),
                )
            except ServerError as error:
                log.info(
                    "acting.refused", pid=request.process_id, verb=request.verb,
                    error=error.message,
                )  # fmt: skip
                if error.code != _TOO_LATE:
                    await connection.run(_REFUSE, (str(request.number), _description(error)))
                return
            trigger.passed("act.after")
            log.debug("acting.done", pid=request.process_id, verb=request.verb)
        self._wake_engines()


def _description(error: ServerError) -> str:
    fields = {
        "sqlstate": error.code,
        "message": error.message,
        "detail": error.detail,
        "hint": error.hint,
    }
    return json.dumps({name: text for name, text in fields.items() if text is not None})
