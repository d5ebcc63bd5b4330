"""How many connections one proxy process has at most: in total, and as one role."""

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
    """Counts those that have said who they are, whether they are logged in yet or not."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured
        self._by_role: Counter[str] = Counter()
        self._total = 0

    def enter(self, role: str) -> None:
        """One more; TooMany if that is one too many."""
        settings = self._configured.settings
        if 0 < settings.max_connections <= self._total:
            raise TooMany(
                "sorry, too many clients already",
                detail=f"The proxy's setting max_connections is {settings.max_connections}.",
            )
        if 0 < settings.max_role_connections <= self._by_role[role]:
            raise TooMany(
                f'too many connections for role "{role}"',
                detail="The proxy's setting max_role_connections is"
                f" {settings.max_role_connections}.",
            )
        self._by_role[role] += 1
        self._total += 1

    def leave(self, role: str) -> None:
        self._total -= 1
        self._by_role[role] -= 1
        if not self._by_role[role]:
            del self._by_role[role]
