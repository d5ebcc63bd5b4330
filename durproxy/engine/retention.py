"""Deletes what ended long ago, a little at a time; each engine does it beside its work.

What is kept is counted for each role by itself. It looks at a role when this engine has ended many
instances of it, and at all roles once in a long while: an engine without work asks the database
next to nothing. Once a day it also looks for rows without an instance.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import trio

from durproxy.config import Settings
from durproxy.engine.store import Store
from durproxy.errors import DurproxyError
from durproxy.log import get_logger

_log = get_logger(__name__)

_MANY = 500  # instances of a role ended here after which it is worth a look
_ROLES = 20  # in one statement, which may count retention_instances rows of each
_IN_A_COMMIT = 200  # instances, or messages
_LOOKED_AT = 5000  # instance ids in one statement
_PAUSE = 0.02  # seconds between commits: the work goes first
_RECONCILE_EVERY = 86_400.0
_FIRST = 60.0  # seconds after the start, at most


class Retention:
    """The sweeping of one worker."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._days = settings.retention_days or None
        self._instances = settings.retention_instances or None
        self._interval = settings.retention_interval
        self._ended = Counter[int]()
        self._many = trio.Event()

    def ended(self, role_id: int) -> None:
        """An instance of the role has ended here."""
        self._ended[role_id] += 1
        if self._ended[role_id] >= _MANY:
            self._many.set()

    async def run(self) -> None:
        """For ever."""
        pause = min(_FIRST, self._interval)
        reconciled = -_RECONCILE_EVERY
        while True:
            # apart from the other engines, which have started together
            with trio.move_on_after(pause * random.uniform(0.5, 1.0)):  # noqa: S311
                await self._many.wait()
            is_slow_turn = not self._many.is_set()
            try:
                await self._sweep(await self._due(is_slow_turn))
                if is_slow_turn:
                    await self._sweep_all(self._store.sweep_signals)
                    await self._sweep_all(self._store.sweep_audit)
                    if trio.current_time() - reconciled >= _RECONCILE_EVERY:
                        await self._reconcile()
                        reconciled = trio.current_time()
            except DurproxyError as error:
                _log.warning("retention.failed", error=error.message)
            pause = self._interval

    async def _due(self, is_slow_turn: bool) -> Sequence[int]:
        """The roles to look at now; their counts begin anew."""
        self._many = trio.Event()
        if is_slow_turn:
            self._ended.clear()
            return await self._store.roles_with_ended()
        due = [role for role, ended in self._ended.items() if ended >= _MANY]
        for role in due:
            del self._ended[role]
        return due

    async def _sweep(self, roles: Sequence[int]) -> None:
        deleted = 0
        for first in range(0, len(roles), _ROLES):
            some = roles[first : first + _ROLES]
            count = _IN_A_COMMIT
            while count == _IN_A_COMMIT:
                count = await self._store.sweep(some, self._days, self._instances, _IN_A_COMMIT)
                deleted += count
                await trio.sleep(_PAUSE)
        if deleted:
            _log.info("retention.deleted", instances=deleted)

    async def _sweep_all(self, sweep: Callable[[int], Awaitable[int]]) -> None:
        count = _IN_A_COMMIT
        while count == _IN_A_COMMIT:
            count = await sweep(_IN_A_COMMIT)
            await trio.sleep(_PAUSE)

    async def _reconcile(self) -> None:
        for table in await self._store.tables_of_instances():
            after: str | None = ""
            while after is not None:
                after, gone = await self._store.reconcile(table, after, _LOOKED_AT)
                if gone:
                    _log.warning("retention.orphans", table=table, rows=gone)
                await trio.sleep(_PAUSE)
