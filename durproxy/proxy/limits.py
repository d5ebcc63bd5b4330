"""How many connections one proxy process has at most: in total, as one role, and of strangers.

In total those count that have said who they want to be, since each may cost a connection to the
server; as one role those that have proved to be it, so that nobody else can use up its share.
Strangers have not said who they want to be: who makes very many only gets the oldest closed.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

from durproxy.config import Settings
from durproxy.errors import DurproxyError
from durproxy.wire import sqlstate

_MOST_STRANGERS = 10_000
_THEIR_SHARE = 4  # one of so many of the descriptors that this process may have


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


class Strangers:
    """Connections whose first words are awaited, the oldest first."""

    def __init__(self, most: int | None = None) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        share = _MOST_STRANGERS if descriptors < 0 else descriptors // _THEIR_SHARE
        self._most = min(_MOST_STRANGERS, share) if most is None else most
        self._waiting: dict[trio.CancelScope, None] = {}

    @contextmanager
    def one(self) -> Iterator[trio.CancelScope]:
        """While one is awaited; the scope is cancelled when there are too many newer ones."""
        if len(self._waiting) >= self._most:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
        with trio.CancelScope() as scope:
            self._waiting[scope] = None
            try:
                yield scope
            finally:
                self._waiting.pop(scope, None)
