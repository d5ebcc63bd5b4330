"""What notifications say about single instances: looked into, never believed.

Anybody who may connect can notify, so a hint only makes the worker ask the database: whether an
instance that is said to be cancelled or paused still has this worker's token, whether one that is
said to have a message can be claimed. Hints that come while it asks are put together, so that a
flood of them costs one question at a time.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import trio

from durproxy.engine.holding import Holding
from durproxy.engine.store import Store
from durproxy.errors import DurproxyError
from durproxy.log import get_logger

_log = get_logger(__name__)

_ID = re.compile(r"[0-9a-f]{8}")
_MOST = 10_000  # ids that wait to be looked into; the tick finds what is dropped


class Hints:
    """Gathers ids and looks into them, one batch after the other."""

    def __init__(
        self, store: Store, holding: Holding, claim_one: Callable[[str], Awaitable[None]] | None
    ) -> None:
        """`claim_one`: None for a worker that takes no instance because of a message."""
        self._store = store
        self._holding = holding
        self._claim_one = claim_one
        self._changed: set[str] = set()
        self._signalled: dict[str, None] = {}  # in the order in which they came
        self._some = trio.Event()

    def changed(self, instance: str) -> None:
        """It may have been cancelled or paused."""
        if self._holding.claim_of(instance) is not None:
            self._changed.add(instance)
            self._some.set()

    def signalled(self, instance: str) -> None:
        """A message may have come for it."""
        known = _ID.fullmatch(instance) is not None and len(self._signalled) < _MOST
        if known and (self._claim_one is not None or self._holding.claim_of(instance)):
            self._signalled[instance] = None
            self._some.set()

    async def run(self) -> None:
        """Look into what comes, for ever."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            changed, self._changed = self._changed, set()
            signalled, self._signalled = self._signalled, {}
            try:
                await self._look(changed)
                for instance in signalled:
                    if not self._holding.poke(instance) and self._claim_one is not None:
                        await self._claim_one(instance)
            except DurproxyError as error:  # the tick finds them
                _log.warning("hint.failed", error=error.message)

    async def _look(self, instances: set[str]) -> None:
        found = (self._holding.claim_of(instance) for instance in instances)
        claims = [claim for claim in found if claim is not None]
        if not claims:
            return
        still = await self._store.still(claims)
        for claim in claims:
            if claim.id not in still:
                self._holding.cancel(claim.id, claim.token)
            elif still[claim.id]:
                self._holding.pause(claim.id)
