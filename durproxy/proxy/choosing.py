"""Which of several hosts is the one to connect to: libpq's answer, asked for when it is needed.

Whether a server is the primary shows only after a login, and a client's login cannot be made twice.
So where the conninfo has ``target_session_attrs`` libpq makes one of its own with it, to see which
host it takes. The answer serves all that connect within the next moment, and is thrown away when
the host cannot be reached: after a failover the next client is led to the new primary.
"""

from __future__ import annotations

import trio
from psycopg.conninfo import make_conninfo

from durproxy import passwords

_GOOD_FOR = 1.0  # seconds
_ANY = "any"


class Choosing:
    """The conninfo's wish, and the last answer."""

    def __init__(self, conninfo: str, timeout: float) -> None:
        self._conninfo = make_conninfo(
            conninfo, connect_timeout=max(2, round(timeout)), application_name="durproxy choosing"
        )
        self._asking = trio.Lock()
        self._chosen: tuple[str, int] | None = None
        self._chosen_at = 0.0

    async def choose(self) -> tuple[str, int]:
        """The host and port; psycopg.OperationalError when no host is as it has to be."""
        async with self._asking:
            if self._chosen is None or trio.current_time() > self._chosen_at + _GOOD_FOR:
                self._chosen = await trio.to_thread.run_sync(self._ask, abandon_on_cancel=True)
                self._chosen_at = trio.current_time()
            return self._chosen

    def forget(self) -> None:
        """The answer is wrong by now."""
        self._chosen = None

    def _ask(self) -> tuple[str, int]:
        with passwords.connect(self._conninfo) as connection:
            return connection.info.host, connection.info.port


def is_wish(attributes: str | None) -> bool:
    """Whether ``target_session_attrs`` leaves no free choice."""
    return attributes not in (None, "", _ANY)
