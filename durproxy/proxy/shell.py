"""What the parts of one proxy process share."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVarTuple

import trio

from durproxy.bus import LocalBus
from durproxy.config import Settings
from durproxy.proxy.acting import Acting
from durproxy.proxy.client_tls import ClientTls
from durproxy.proxy.control import Control
from durproxy.proxy.holds import Holds
from durproxy.proxy.limits import Limits, Strangers
from durproxy.proxy.link import Link
from durproxy.proxy.loaded import Loaded, load
from durproxy.proxy.pump import Pump
from durproxy.proxy.readers import Readers
from durproxy.proxy.rewriting import Rewriter
from durproxy.proxy.statistics import Counters
from durproxy.proxy.upstream import Upstream
from durproxy.proxy.upward import Decision
from durproxy.proxy.user_list import UserList
from durproxy.rewrite.plan import Session
from durproxy.wire.startup import CancelRequest

A = TypeVarTuple("A")

_AWAKE = 0.005  # seconds; an engine looks for much longer before it sleeps again
_MOST_CANCELS = 50  # at a time; a flood of them waits, and is cut off by the time for a login


class Shell:
    """One of each, and the nursery in which connections' tasks run."""

    settings: Settings
    upstream: Upstream
    client_tls: ClientTls | None
    user_list: UserList

    def __init__(self, settings: Settings, nursery: trio.Nursery, bus: LocalBus, name: str) -> None:
        self._use(load(settings))
        self.nursery = nursery
        self.counters = Counters()
        self.limits = Limits(self)
        self.strangers = Strangers()
        self.cancels = trio.CapacityLimiter(_MOST_CANCELS)
        self.pump = Pump(self.counters)
        self.rewriter = Rewriter(self.counters)
        self.readers = Readers(self.counters)
        self.holds = Holds(settings.upstream, self.counters, self.pump)
        self.open = trio.Event()  # to new sessions; made anew at a pause
        self.open.set()
        self.control = Control(self, bus, name)
        self._no_logins = trio.Event()  # is under way; made anew with the first
        self._no_logins.set()
        self._bus = bus
        self._woken_at = -math.inf
        self.acting = Acting(settings, self.run_beside, self.wake_engines)
        self._by_key: dict[tuple[int, bytes], Link] = {}

    def follow(self, loaded: Loaded) -> None:
        """These settings, for all that begins from now on."""
        self._use(loaded)
        self.holds.follow(loaded.settings.upstream)
        self.acting.follow(loaded.settings)

    def _use(self, loaded: Loaded) -> None:
        self.settings = loaded.settings
        self.upstream = loaded.upstream
        self.client_tls = loaded.client_tls
        self.user_list = loaded.user_list

    def login_begins(self) -> None:
        """A client has come; its task is a guest of the pump's even before it first runs."""
        if not self.counters.logins_now:
            self._no_logins = trio.Event()
        self.counters.logins_now += 1
        self.pump.guests += 1

    def login_ends(self) -> None:
        self.pump.guests -= 1
        self.counters.logins_now -= 1
        if not self.counters.logins_now:
            self._no_logins.set()

    async def wait_open(self) -> None:
        """Until new sessions are let in."""
        if not self.open.is_set():  # else without a turn of trio's
            await self.open.wait()

    async def wait_no_logins(self) -> None:
        await self._no_logins.wait()

    def adopt(self, link: Link) -> None:
        """The link's login is over: it goes into the pump."""
        self.counters.connections += 1
        self.counters.connections_now += 1
        if link.key is not None:
            self._by_key[link.key] = link
        self.pump.adopt(link)

    def forget(self, link: Link) -> None:
        """The link was closed."""
        self.counters.connections_now -= 1
        if link.key is not None and self._by_key.get(link.key) is link:
            del self._by_key[link.key]
        self.holds.forget(link)
        self.limits.leave(link.login)

    def link_with_key(self, request: CancelRequest) -> Link | None:
        return self._by_key.get((request.process_id, request.secret_key))

    def run_beside(self, task: Callable[[*A], Awaitable[None]], *arguments: *A) -> None:
        """Start a task that a session waits for: the pump gives way to it until it is done."""
        self.pump.guests += 1
        self.nursery.start_soon(self._run_beside, task, arguments)

    async def _run_beside(
        self, task: Callable[[*A], Awaitable[None]], arguments: tuple[*A]
    ) -> None:
        try:
            await task(*arguments)
        finally:
            self.pump.guests -= 1

    def plan_elsewhere(self, link: Link, text: bytes, session: Session) -> None:
        self.run_beside(self._plan_elsewhere, link, text, session)

    async def _plan_elsewhere(self, link: Link, text: bytes, session: Session) -> None:
        link.resume(Decision(await self.readers.plan(link.login, text, session)))

    def read_secret(self, link: Link) -> None:
        self.run_beside(self._read_secret, link)

    async def _read_secret(self, link: Link) -> None:
        await self.acting.read_secret()
        link.resume_down()

    async def ask_siblings_cancel(self, request: CancelRequest) -> bool:
        """Whether the session was one of theirs, and the cancel is done."""
        return await self._bus.ask_proxies_cancel(request.process_id, request.secret_key)

    def wake_engines(self) -> None:
        """There is work. An engine that was woken a moment ago still looks for it by itself."""
        now = monotonic()
        if now - self._woken_at > _AWAKE:
            self._woken_at = now
            self._bus.wake_engines()
