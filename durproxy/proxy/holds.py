"""Clients that wait for an instance, without a backend that waits with them.

A held statement goes on when its instance has ended (an engine of the same `serve` says so, or
the next question to the home schema finds it), when its time is over, or when it turns out that
it should not have been held. Only the last goes to the function that waits by itself; the others
to the one that looks once, and returns the status or raises the timeout.

However many statements are held, one question per tick asks about all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import trio

from durproxy.log import get_logger
from durproxy.proxy.awaited import Awaited
from durproxy.proxy.instances import Found, Instances
from durproxy.proxy.statistics import Counters
from durproxy.proxy.upward import Decision
from durproxy.rewrite.plan import Plan

if TYPE_CHECKING:
    from durproxy.proxy.link import Link
    from durproxy.proxy.pump import Pump

log = get_logger(__name__)

_TICK = 0.5  # seconds between questions
_MOST_BUSY = 0.05  # share of the time that questions may take, when there are very many holds
_LONGEST_PAUSE = 5.0  # seconds
_ANSWER_LIMIT = 5.0  # seconds; a server that takes longer, or a dead connection, says nothing


@dataclass(slots=True)
class Held:
    """One statement that waits."""

    plan: Plan
    instance_id: str
    deadline: float  # when the user's timeout is over
    give_up: float  # when the session or the statement is in danger of a timeout of the server
    verified: bool = False  # the instance is committed and the user's own


class Holds:
    """All statements of this process that wait."""

    def __init__(self, conninfo: str, counters: Counters, pump: Pump) -> None:
        self._conninfo = conninfo
        self._pump = pump
        self._instances = Instances(conninfo)
        self._counters = counters
        self._held: dict[Link, Held] = {}
        self._by_instance: dict[str, set[Link]] = {}
        self._limits: dict[str, float] = {}  # by user
        self._news = trio.Event()  # something to ask about at once
        self._is_urgent = False

    def follow(self, conninfo: str) -> None:
        """The home schema is there from now on."""
        if conninfo != self._conninfo:
            self._conninfo = conninfo
            self._limits = {}
            self._ask_another()

    def add(self, link: Link, plan: Plan, awaited: Awaited) -> None:
        now = trio.current_time()
        limit = self._limits.get(link.user, float("inf"))
        self._held[link] = Held(plan, awaited.instance_id, now + awaited.timeout, now + limit / 2)
        self._by_instance.setdefault(awaited.instance_id, set()).add(link)
        self._counters.holds += 1
        self._counters.holds_now += 1
        self._ask_at_once()

    def forget(self, link: Link) -> Held | None:
        """The link does not wait any more, if it did."""
        held = self._held.pop(link, None)
        if held is not None:
            links = self._by_instance[held.instance_id]
            links.discard(link)
            if not links:
                del self._by_instance[held.instance_id]
            self._counters.holds_now -= 1
        return held

    def ended(self, instance_id: str) -> None:
        """An engine says that the instance has a final status."""
        for link in list(self._by_instance.get(instance_id, ())):
            if self._held[link].verified:
                self._release(link, released=True)
            else:
                self._ask_at_once()

    def release(self, link: Link) -> bool:
        """Let the statement go to the server as it is; whether there was one."""
        if link not in self._held:
            return False
        self._release(link, released=False)
        return True

    def dismiss_all(self) -> list[Link]:
        """Wait for none of them any more; the links whose statements stay unanswered."""
        links = list(self._held)
        for link in links:
            self.forget(link)
        return links

    def _ask_at_once(self) -> None:
        """The pump gives way until there is an answer: it would keep the task waiting."""
        if not self._is_urgent:
            self._is_urgent = True
            self._pump.guests += 1
        self._news.set()

    async def run(self) -> None:
        """Ask, for ever."""
        try:
            pause = _TICK
            while True:
                await self._wait(pause)
                started = trio.current_time()
                was_urgent, self._is_urgent = self._is_urgent, False
                try:
                    await self._ask()
                finally:
                    self._pump.guests -= was_urgent
                pause = max(_TICK, (trio.current_time() - started) / _MOST_BUSY)
                pause = min(pause, _LONGEST_PAUSE)
        finally:
            self._instances.close()

    async def _wait(self, pause: float) -> None:
        """Until there are holds and it is time to ask about them."""
        if not self._held:
            await self._news.wait()
        now = trio.current_time()
        soonest = (
            min(min(held.deadline, held.give_up) for held in self._held.values())
            if self._held
            else now
        )
        with trio.move_on_at(min(now + pause, max(soonest, now))):
            await self._news.wait()
        self._news = trio.Event()

    async def _ask(self) -> None:
        if not self._held:
            return
        asked = set(self._by_instance)
        users = {link.user for link in self._held} - set(self._limits)
        found: Mapping[str, Found] | None = None
        limits: Mapping[str, float] = {}
        try:
            with trio.fail_after(_ANSWER_LIMIT):
                found, limits = await trio.to_thread.run_sync(
                    self._ask_blocking, self._instances, asked, users, abandon_on_cancel=True
                )
        except (psycopg.Error, UnicodeError) as error:
            log.warning("holds.unanswered", held=len(self._held), error=str(error).strip())
        except trio.TooSlowError:
            log.warning("holds.unanswered", held=len(self._held), error="timeout expired")
            self._ask_another()
        self._limits |= limits
        now = trio.current_time()
        for link, held in list(self._held.items()):
            if held.instance_id in asked:
                self._judge(link, held, found, now, limits.get(link.user))

    def _ask_another(self) -> None:
        """By a new connection; a question that is under way has no answer."""
        self._instances.abandon()
        self._instances = Instances(self._conninfo)

    @staticmethod
    def _ask_blocking(
        instances: Instances, instance_ids: set[str], users: set[str]
    ) -> tuple[Mapping[str, Found], Mapping[str, float]]:
        limits = instances.limits(users) if users else {}
        return instances.find(instance_ids), limits

    def _judge(
        self,
        link: Link,
        held: Held,
        found: Mapping[str, Found] | None,
        now: float,
        limit: float | None,
    ) -> None:
        if found is not None:
            instance = found.get(held.instance_id)
            if (
                instance is None
                or instance.owner != link.user
                or link.database != self._instances.database
            ):
                self._release(link, released=False)
                return
            held.verified = True
            if instance.ended:
                self._release(link, released=True)
                return
        if limit is not None:  # known only now: it counts from the beginning
            held.give_up = now + limit / 2
        if not held.verified or now >= held.give_up:
            self._release(link, released=False)
        elif now >= held.deadline:
            self._release(link, released=True, expired=True)

    def _release(self, link: Link, *, released: bool, expired: bool = False) -> None:
        held = self.forget(link)
        assert held is not None
        link.resume(Decision(held.plan, waited=True, released=released, expired=expired))
