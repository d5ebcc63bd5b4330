"""How many connections one proxy process has at most: in total, and as one role.

In total those count that have said who they want to be, since each may cost a connection to the
server; as one role those that have proved to be it, so that nobody else can use up its share.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from durproxy.config import Settings
from durproxy.errors import DurproxyError
from durproxy.wire import sqlstate


class Configured(Protocol):
    """Whoever has the settings that hold now."""

    settings: Settings


class TooMany(DurproxyError):
    """One connection too many."""

    sqlstate = sqlstate.TOO_MANY_CONNECTIONS
    safe_to_retry = True


class Limits:
    """Counts them; a connection enters, may become a role, and leaves as what it was by then."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured
        self._by_role: Counter[str] = Counter()
        self._total = 0

    def enter(self) -> None:
        """One more; TooMany if that is one too many."""
        most = self._configured.settings.max_connections
        if 0 < most <= self._total:
            raise TooMany(
                "sorry, too many clients already",
                detail=f"The proxy's setting max_connections is {most}.",
            )
        self._total += 1

    def become(self, role: str) -> None:
        """It has logged in; TooMany if that is one too many."""
        most = self._configured.settings.max_role_connections
        if 0 < most <= self._by_role[role]:
            raise TooMany(
                f'too many connections for role "{role}"',
                detail=f"The proxy's setting max_role_connections is {most}.",
            )
        self._by_role[role] += 1

    def leave(self, role: str | None) -> None:
        """``role`` is what it has become, if it has."""
        self._total -= 1
        if role is not None:
            self._by_role[role] -= 1
            if not self._by_role[role]:
                del self._by_role[role]
