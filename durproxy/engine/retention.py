"""Deletes what ended long ago, a little at a time; each engine does it beside its work.

It looks when this engine has ended many instances, else once in a long while: an engine without
work asks the database next to nothing. Once a day it also looks for rows without an instance.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio

from durproxy.config import Settings
from durproxy.engine.store import Store
from durproxy.errors import DurproxyError
from durproxy.log import get_logger

_log = get_logger(__name__)

_MANY = 500  # instances ended here after which it is worth a look
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
        self._ended = 0
        self._many = trio.Event()

    def ended(self) -> None:
        """An instance has ended here."""
        self._ended += 1
        if self._ended >= _MANY:
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
            self._many, self._ended = trio.Event(), 0
            try:
                await self._sweep()
                if is_slow_turn:
                    await self._sweep_all(self._store.sweep_signals)
                    await self._sweep_all(self._store.sweep_audit)
                    if trio.current_time() - reconciled >= _RECONCILE_EVERY:
                        await self._reconcile()
                        reconciled = trio.current_time()
            except DurproxyError as error:
                _log.warning("retention.failed", error=error.message)
            pause = self._interval

    async def _sweep(self) -> None:
        deleted = 0
        while True:
            count = await self._store.sweep(self._days, self._instances, _IN_A_COMMIT)
            deleted += count
            if count < _IN_A_COMMIT:
                break
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
