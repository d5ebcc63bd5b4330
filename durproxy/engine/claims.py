"""Which instances this worker holds: claiming, giving up, taking over, and when to look.

Claims are fair: the server walks over the roles and lanes (a hash of database and label) that have
work, from where this worker's last walk ended, and of one role a worker holds no more than keep its
connections busy. So a flood of one role, label or database delays the others by a claim or two.

States of the claimer:

    LOOKING    work was found just now: it looks again by itself, so nobody needs to notify
    DOZING     nothing was found for a while: the flag asks the next commit of a start to notify
    ASLEEP     until a notification, a hint from the bus, a timer that it knows, or the slow poll

The flag is read at commit, so it is set first and then looked again a few times: a start whose
commit read the old flag is seen by one of these looks, whatever happened in which order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

import trio

from durproxy.config import Settings
from durproxy.engine.claim import Look, OtherEngine, Walk
from durproxy.engine.holding import Holding
from durproxy.engine.statistics import CLAIMED, TAKEN_OVER
from durproxy.engine.store import Store
from durproxy.errors import DurproxyError
from durproxy.log import get_logger

_log = get_logger(__name__)

_LOOKS_WHILE_BUSY = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)  # seconds between looks
_ENOUGH = 20  # instances in memory: there is something to do, so let more come together
_GATHERING = 0.004  # seconds; a claim of many costs little more than a claim of one
_FIRST_RETRY = 0.1  # seconds after a look that failed, twice as long each time
_LOOKS_BEFORE_SLEEP = (0.0, 0.005, 0.02, 0.08, 0.32)
_TICK_BESIDE_OTHERS = 1.0  # seconds, while another worker owns instances
_BEATS_IN_A_LEASE = 2  # so that a short lease does not end between two ticks
_TICKS_AT_START = (0.0, 0.1, 0.3, 1.0)  # a killed predecessor's connection takes a moment to go
_ROOM_PER_CONNECTION = 5  # instances of a role that are held for each connection as that role


class Claims:
    """Finds work for one worker and hands it to `begin`."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        holding: Holding,
        found_suspects: Callable[[], None],
        cut_off: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._begin = holding.begin
        self._held = holding.ids
        self._roles = holding.roles
        self._pause = holding.pause
        self._found_suspects = found_suspects
        self._cut_off = cut_off
        self._room_of_role = _ROOM_PER_CONNECTION * settings.max_user_connections
        self._walk = Walk()
        self.may_hold = 1 if store.alone else settings.max_held
        self._woken = trio.Event()
        self._asleep = trio.CancelScope()
        self._tick_now = trio.Event()
        self._next_ready: datetime | None = None
        self._one_at_a_time = trio.Lock()  # a claim's reply must be in memory before a tick asks
        self._beats: dict[str, tuple[int, float]] = {}
        self._others_own = False
        self._was_full = False
        self.stopped = False

    # --- told from outside ---

    def wake(self) -> None:
        """There may be work."""
        self._woken.set()

    def expect(self, due: datetime | None) -> None:
        """An instance of ours went to sleep until `due`."""
        if due is not None and (self._next_ready is None or due < self._next_ready):
            self._next_ready = due
            in_time = trio.current_time() + self._store.clock.seconds_until(due)
            self._asleep.deadline = min(self._asleep.deadline, in_time)

    def left(self, due: datetime | None) -> None:
        """An instance of ours has left memory until `due`, and makes room."""
        if self._was_full or self._walk.was_role_full:
            self.wake()
        self.expect(due)

    def look_around(self) -> None:
        """Another worker may have died."""
        self._tick_now.set()

    async def claim_one(self, instance: str) -> None:
        """A signal has come for an instance that may be asleep."""
        if not self._may_claim():
            return
        async with self._one_at_a_time:
            if not self._may_claim():
                return
            self._begin(await self._store.claim_one(instance))

    async def stop(self) -> None:
        """Claim nothing more; what was being claimed is in memory when this returns."""
        self.stopped = True
        async with self._one_at_a_time:
            pass

    # --- claiming ---

    async def run(self) -> None:
        """Look for work for ever."""
        pause = _FIRST_RETRY
        while not self.stopped:
            try:
                await self._look_until_quiet()
                pause = _FIRST_RETRY
                await self._doze()
            except DurproxyError as error:
                _log.warning("claim.failed", error=error.message)
                await self._sleep(min(pause, self._settings.poll_interval))
                pause *= 2

    async def _look_until_quiet(self) -> None:
        looks = iter(_LOOKS_WHILE_BUSY)
        while True:
            if await self._claim():
                looks = iter(_LOOKS_WHILE_BUSY)
                if len(self._held()) >= _ENOUGH:
                    await trio.sleep(_GATHERING)
                continue
            pause = next(looks, None)
            if pause is None:
                return
            await self._sleep(pause)

    async def _doze(self) -> None:
        if self._settings.notify:
            await self._store.doze(idle=True)
        found = False
        for pause in _LOOKS_BEFORE_SLEEP:
            await self._sleep(pause)
            found = await self._claim()
            if found:
                break
        while not found and not self.stopped:
            await self._sleep(self._seconds_to_sleep())
            if self._room() > 0:
                found = await self._claim()
        if self._settings.notify:
            await self._store.doze(idle=False)

    async def _claim(self) -> bool:
        """Claim what there is room for; True when there was something."""
        room = min(self._room(), self._settings.claim_batch)
        self._was_full = room <= 0
        if not self._may_claim():
            return False
        self._woken = trio.Event()
        if self._next_ready is not None and self._store.clock.seconds_until(self._next_ready) <= 0:
            self._next_ready = None
        async with self._one_at_a_time:
            if not self._may_claim():
                return False
            claims, self._walk = await self._store.claim(
                room, self._walk, self._roles(), self._room_of_role
            )
            self._begin(claims)
        if claims:
            CLAIMED.observe(len(claims))
        self.expect(self._walk.next_ready)
        return bool(claims)

    def _may_claim(self) -> bool:
        return not self.stopped and self._room() > 0

    def _room(self) -> int:
        return self.may_hold - len(self._held())

    def _seconds_to_sleep(self) -> float:
        if self._room() <= 0 or self._next_ready is None:
            return math.inf
        return max(0.0, self._store.clock.seconds_until(self._next_ready))

    async def _sleep(self, seconds: float) -> None:
        with trio.move_on_after(seconds) as self._asleep:
            await self._woken.wait()

    # --- looking around ---

    async def run_ticks(self) -> None:
        """Heartbeat, takeovers, and whatever else a notification may have missed."""
        first = iter(_TICKS_AT_START)
        while True:
            usual = _TICK_BESIDE_OTHERS if self._others_own else self._settings.poll_interval
            usual = min(usual, self._settings.lease / _BEATS_IN_A_LEASE)
            with trio.move_on_after(next(first, usual)):
                await self._tick_now.wait()
                first = iter(_TICKS_AT_START)
            self._tick_now = trio.Event()
            with trio.move_on_after(self._settings.lease) as patience:
                try:
                    await self._tick()
                except DurproxyError as error:
                    _log.warning("tick.failed", error=error.message)
            if patience.cancelled_caught:  # the others take us for dead by now, and rightly so
                self._cut_off()

    async def _tick(self) -> None:
        async with self._one_at_a_time:
            look = await self._store.tick(self._held())
            if look.orphans:
                await self._store.reclaim(look.orphans)
        for other in look.others:
            await self._judge(other)
        self._others_own = any(other.owns for other in look.others)
        if look.suspects:
            self._found_suspects()
        await self._follow(look)

    async def _follow(self, look: Look) -> None:
        for instance in look.paused:
            self._pause(instance)
        if not self.stopped:
            for instance in look.signalled:
                await self.claim_one(instance)
        self.expect(look.next_ready)
        if look.next_ready is not None and self._store.clock.seconds_until(look.next_ready) <= 0:
            self.wake()

    async def _judge(self, other: OtherEngine) -> None:
        """Take over what a dead worker held: gone from the server, or silent for a lease."""
        now = trio.current_time()
        beat, since = self._beats.get(other.id, (-1, now))
        if beat != other.beat:
            since = now
        self._beats[other.id] = (other.beat, since)
        if not other.gone and now - since <= self._settings.lease:
            return
        if other.owns:
            taken = await self._store.take_over(other.id, self._settings.max_held)
            TAKEN_OVER.add(by=taken)
            _log.info("engine.taken_over", engine_id=other.id, instances=taken)
            self.wake()
            self.look_around()
        if other.gone:
            await self._store.forget(other.id)
            self._beats.pop(other.id, None)
