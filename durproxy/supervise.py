"""``serve``: starts the children, watches them, restarts them, and drains them at the end.

A child that dies is started again: at once when it had been at work, after pauses that grow when
it keeps dying before that. An engine for suspects (engine/probation.py) is started when an engine
asks for one, and may end by itself. The listening sockets stay open here, so clients that connect
meanwhile wait and are not refused. SIGTERM or SIGINT drains: every child gets SIGTERM and
``drain_timeout`` seconds to finish; a second signal ends them at once. SIGHUP reloads. A ``serve``
that takes over from this one makes it drain in the same way, once it is ready (``handover``).
"""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import trio

from durproxy import passwords
from durproxy.bus import Command, LocalBus, Reply, Report, Suspects, Takeover
from durproxy.child import orders
from durproxy.children import Child
from durproxy.circle import refuse_circle
from durproxy.config import Settings
from durproxy.errors import DurproxyError
from durproxy.handover import Predecessor, find_predecessor, hand_over
from durproxy.home import prepare_home
from durproxy.listening import Listening, listen, listen_beside
from durproxy.log import configure, get_logger
from durproxy.private_folder import SUPERVISOR, private_folder
from durproxy.proxy.loaded import Loaded, load
from durproxy.reload import START_NEEDED, change
from durproxy.zygote import Zygote

_KILL_GRACE = 1.0  # beyond drain_timeout, for the children's own bookkeeping

_log = get_logger(__name__)


class Supervisor:
    """The children of one ``serve`` and what they share."""

    def __init__(
        self,
        settings: Settings,
        listening: Listening,
        bus: LocalBus,
        zygote: Zygote,
        read_again: Callable[[], Settings],
        predecessor: Predecessor | None,
    ) -> None:
        self._settings = settings
        self._predecessor = predecessor
        self._read_again = read_again
        self._listening = listening
        self._bus = bus
        self._proxies = [
            Child("proxy", index, settings, listeners, zygote)
            for index, listeners in enumerate(listening.per_proxy)
        ]
        self._engines = [
            Child("engine", index, settings, [], zygote) for index in range(settings.engines)
        ]
        self._zygote = zygote
        self._alone: Child | None = None
        self._stopping = trio.Event()
        self._successor: Reply | None = None  # that of the one that has asked
        self._web = (
            [] if listening.web is None else [Child("web", 0, settings, [listening.web], zygote)]
        )

    @property
    def _children(self) -> list[Child]:
        """Those that run for as long as we do."""
        return [*self._proxies, *self._engines, *self._web]

    async def run(self, on_ready: Callable[[Listening], None]) -> None:
        """Until a signal has come and everything has drained."""
        children = self._children
        with (
            trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
            trio.open_signal_receiver(signal.SIGHUP) as reloads,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_on, signals, children)
                nursery.start_soon(self._announce, on_ready)
                nursery.start_soon(self._reload_on, reloads)
                async with trio.open_nursery() as running:
                    for child in children:
                        running.start_soon(child.keep_running, self._child_died)
                    nursery.start_soon(self._receive, running, nursery)
                nursery.cancel_scope.cancel()

    async def _receive(self, running: trio.Nursery, beside: trio.Nursery) -> None:
        async for message in self._bus.receive():
            if (
                isinstance(message, Suspects)
                and self._alone is None
                and not self._stopping.is_set()
            ):
                running.start_soon(self._run_alone)
            elif isinstance(message, Report):
                running.start_soon(self._report, message)
            elif isinstance(message, Command):
                running.start_soon(self._reload_for, message)
            elif isinstance(message, Takeover):
                beside.start_soon(self._hand_over, message)

    async def _reload_on(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            try:
                await self._reload()
            except DurproxyError as error:
                _log.error("serve.not_reloaded", error=error.message, detail=error.detail)

    async def _reload_for(self, asked: Command) -> None:
        """An admin console."""
        try:
            later = await self._reload()
        except DurproxyError as error:
            await asked.reply.say(json.dumps({"problem": error.message}).encode())
        else:
            await asked.reply.say(json.dumps({"at_next_start": later}).encode())
        asked.reply.close()

    async def _reload(self) -> tuple[str, ...]:
        """Follow the settings as they are now, if all of them can be used.

        The answer names those that wait for the next start.
        """
        changed = change(self._settings, self._read_again())
        load(changed.settings)
        _check_files(changed.settings)
        passwords.configure(changed.settings)
        try:
            await trio.to_thread.run_sync(prepare_home, changed.settings)
        except DurproxyError:
            passwords.configure(self._settings)
            raise
        self._settings = changed.settings
        for child in self._children:
            child.settings = changed.settings
        await self._bus.tell_proxies_settings(orders(changed.settings))
        if changed.restarts:
            for child in (*self._engines, *self._web):
                child.renew()
        _log.info("serve.reloaded", at_next_start=changed.later)
        if changed.later:
            _log.warning("serve.start_needed", settings=changed.later, hint=START_NEEDED)
        return changed.later

    async def _report(self, asked: Report) -> None:
        children = [child.report() for child in self._children]
        await asked.reply.say(json.dumps({"children": children}).encode())
        asked.reply.close()

    async def _run_alone(self) -> None:
        """An engine for suspects, until none is left."""
        self._alone = Child("engine-alone", 0, self._settings, [], self._zygote)
        await self._alone.run_until_done(self._child_died)
        self._alone = None

    async def _announce(self, on_ready: Callable[[Listening], None]) -> None:
        for proxy in self._proxies:
            await proxy.ready.wait()
        if self._engines:
            await _any_ready(self._engines)
        if self._predecessor is not None:
            self._predecessor.dismiss(self._listening)
            _log.info("serve.took_over", pid=self._predecessor.pid)
        _log.info("serve.ready", listen=self._listening.address, web=self._listening.web_address)
        on_ready(self._listening)

    async def _hand_over(self, asked: Takeover) -> None:
        if self._successor is not None or self._stopping.is_set():
            asked.reply.close()
            return
        self._successor = asked.reply  # kept open: our end is the end of the answer
        if await hand_over(asked, self._listening):
            self._stop("a successor is ready")
        else:
            self._successor = None

    async def _stop_on(self, signals: AsyncIterator[int], children: list[Child]) -> None:
        async with trio.open_nursery() as waiting:

            async def wait_signal() -> None:
                self._stop(signal.Signals(await anext(signals)).name)

            waiting.start_soon(wait_signal)
            await self._stopping.wait()
            waiting.cancel_scope.cancel()
        self._listening.close()  # the proxies' own copies close as they drain
        children = children if self._alone is None else [*children, self._alone]
        for child in children:
            child.stop()
        with trio.move_on_after(self._settings.drain_timeout + _KILL_GRACE):
            await anext(signals)
        _log.warning("serve.killing", reason="drain_timeout is over or a second signal came")
        for child in children:
            child.stop(signal.SIGKILL)

    def _stop(self, why: str) -> None:
        if not self._stopping.is_set():
            _log.info("serve.draining", reason=why)
            self._stopping.set()

    def _child_died(self, child: Child, pid: int) -> None:
        if child.kind in ("engine", "engine-alone"):
            self._bus.tell_engines_gone(pid)


def serve(
    settings: Settings,
    on_ready: Callable[[Listening], None],
    read_again: Callable[[], Settings] | None = None,
    *,
    take_over: bool = False,
) -> int:
    """Run the proxies, engines and the web port until told to stop; the exit code.

    ``read_again`` gives the settings at a reload; without it they stay, and only the files that
    they name are read again. ``take_over``: in the place of the one that runs, if there is one.
    """
    _raise_descriptor_limit()
    with closing(Zygote()) as zygote:
        zygote.start()  # first of all here: it is a fork of us, and imports while we do the rest
        configure(settings, "supervisor")
        passwords.configure(settings)
        _check_files(settings)
        loaded = load(settings)
        if loaded.loses_tls:
            _log.warning(
                "serve.logins_may_lose_tls",
                reason="SCRAM cannot pass where both sides have TLS:"
                " set auth_file, or tls = require",
            )
        read = read_again or (lambda: settings)
        predecessor = find_predecessor(settings) if take_over else None
        if predecessor is None:
            return _serve(loaded, on_ready, read, zygote, None)
        with closing(predecessor):
            _log.info("serve.taking_over", pid=predecessor.pid)
            return _serve(loaded, on_ready, read, zygote, predecessor)


def _serve(
    loaded: Loaded,
    on_ready: Callable[[Listening], None],
    read_again: Callable[[], Settings],
    zygote: Zygote,
    predecessor: Predecessor | None,
) -> int:
    settings = loaded.settings
    bound = (
        listen(settings) if predecessor is None else listen_beside(settings, predecessor.sockets)
    )
    with closing(bound) as listening, private_folder(settings.runtime_dir) as private:
        refuse_circle(loaded.upstream.places, listening)
        prepare_home(settings)
        told = settings.model_copy(update={"runtime_dir": private})
        with LocalBus(told.runtime_dir, SUPERVISOR) as bus:
            run = Supervisor(told, listening, bus, zygote, read_again, predecessor).run
            trio.run(run, on_ready)
    _log.info("serve.stopped")
    return 0


def _check_files(settings: Settings) -> None:
    """The files that engines will read: ConfigurationError names the option that is wrong."""
    if settings.http_ca is not None or settings.http_hosts:
        from durproxy.engine.http_tls import HttpTls  # with it come the HTTP libraries

        HttpTls.of(settings).check()


def _raise_descriptor_limit() -> None:
    """Of the children, too: each client takes two, and the usual soft limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _any_ready(children: list[Child]) -> None:
    async with trio.open_nursery() as nursery:

        async def first(child: Child) -> None:
            await child.ready.wait()
            nursery.cancel_scope.cancel()

        for child in children:
            nursery.start_soon(first, child)
