"""``serve``: starts the children, watches them, restarts them, and drains them at the end.

A child that dies is started again: at once the first time, then after pauses that grow while it
keeps dying. Its listening sockets stay open here, so clients that connect meanwhile wait and
are not refused. SIGTERM or SIGINT drains: every child gets SIGTERM and ``drain_timeout``
seconds to finish; a second signal ends them at once.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path

import trio

from durproxy.bus import LocalBus
from durproxy.child import READY_FD, orders
from durproxy.config import Settings
from durproxy.home import prepare_home
from durproxy.listening import Listening, listen
from durproxy.log import configure, get_logger

_FIRST_PAUSE = 0.1  # seconds before the second restart
_LONGEST_PAUSE = 5.0
_LIVED_WELL = 10.0  # after so many seconds a death counts as the first one again
_KILL_GRACE = 1.0  # beyond drain_timeout, for the children's own bookkeeping

_log = get_logger(__name__)


class Child:
    """One process of a kind, started again whenever it dies."""

    def __init__(
        self, kind: str, index: int, settings: Settings, listeners: list[socket.socket]
    ) -> None:
        self.kind = kind
        self.index = index
        self.ready = trio.Event()  # at least once
        self._settings = settings
        self._listeners = listeners
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = trio.Event()

    async def keep_running(self, on_death: Callable[[Child, int], None]) -> None:
        """Until ``stop``; ``on_death`` gets the pid of each process that died before."""
        pause = 0.0
        while not self._stopping.is_set():
            started = trio.current_time()
            process = self._start()
            code = await self._watch(process)
            _log_end(self, process.pid, code)
            if self._stopping.is_set():
                return
            on_death(self, process.pid)
            if trio.current_time() - started > _LIVED_WELL:
                pause = 0.0
            with trio.move_on_after(pause):
                await self._stopping.wait()
            pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        self._stopping.set()
        if self._process is not None:
            self._process.send_signal(with_signal)

    def _start(self) -> subprocess.Popen[bytes]:
        ready_fd, childs_ready_fd = os.pipe()
        os.set_blocking(ready_fd, False)
        # not trio's own: it forks in a thread, whose end would look like our death to the child
        process = subprocess.Popen(
            [sys.executable, "-m", "durproxy.child", self.kind, str(self.index)],
            stdin=subprocess.PIPE,
            env={**os.environ, READY_FD: str(childs_ready_fd)},
            pass_fds=[childs_ready_fd, *(listener.fileno() for listener in self._listeners)],
            start_new_session=True,  # Ctrl-C in a terminal is for us; we drain the children
        )
        os.close(childs_ready_fd)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:  # it died at once: watched like any other
            process.stdin.write(orders(self._settings, self._listeners))
        self._process = process
        self._ready_fd = ready_fd
        _log.info("child.started", kind=self.kind, index=self.index, pid=process.pid)
        return process

    async def _watch(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code, once the process has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_ready, process.pid)
            pidfd = os.pidfd_open(process.pid)
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
            nursery.cancel_scope.cancel()
        self._process = None
        return process.wait()

    async def _wait_ready(self, pid: int) -> None:
        async with trio.lowlevel.FdStream(self._ready_fd) as stream:
            if await stream.receive_some():
                _log.info("child.ready", kind=self.kind, index=self.index, pid=pid)
                self.ready.set()


class Supervisor:
    """The children of one ``serve`` and what they share."""

    def __init__(self, settings: Settings, listening: Listening, bus: LocalBus) -> None:
        self._settings = settings
        self._listening = listening
        self._bus = bus
        self._proxies = [
            Child("proxy", index, settings, listeners)
            for index, listeners in enumerate(listening.per_proxy)
        ]
        self._engines = [Child("engine", index, settings, []) for index in range(settings.engines)]
        self._web = [] if listening.web is None else [Child("web", 0, settings, [listening.web])]

    async def run(self, on_ready: Callable[[Listening], None]) -> None:
        """Until a signal has come and everything has drained."""
        children = [*self._proxies, *self._engines, *self._web]
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_on, signals, children)
                nursery.start_soon(self._announce, on_ready)
                async with trio.open_nursery() as running:
                    for child in children:
                        running.start_soon(child.keep_running, self._child_died)
                nursery.cancel_scope.cancel()

    async def _announce(self, on_ready: Callable[[Listening], None]) -> None:
        for proxy in self._proxies:
            await proxy.ready.wait()
        if self._engines:
            await _any_ready(self._engines)
        _log.info("serve.ready", listen=self._listening.address, web=self._listening.web_address)
        on_ready(self._listening)

    async def _stop_on(self, signals: AsyncIterator[int], children: list[Child]) -> None:
        number = await anext(signals)
        _log.info("serve.draining", signal=signal.Signals(number).name)
        self._listening.close()  # the proxies' own copies close as they drain
        for child in children:
            child.stop()
        with trio.move_on_after(self._settings.drain_timeout + _KILL_GRACE):
            await anext(signals)
        _log.warning("serve.killing", reason="drain_timeout is over or a second signal came")
        for child in children:
            child.stop(signal.SIGKILL)

    def _child_died(self, child: Child, pid: int) -> None:
        if child.kind == "engine":
            self._bus.tell_engines_gone(pid)


def serve(settings: Settings, on_ready: Callable[[Listening], None]) -> int:
    """Run the proxies, engines and the web port until told to stop; the exit code."""
    configure(settings, "supervisor")
    with (
        closing(listen(settings)) as listening,
        tempfile.TemporaryDirectory(prefix="durproxy-", dir=settings.runtime_dir) as private,
    ):
        prepare_home(settings)
        told = settings.model_copy(update={"runtime_dir": Path(private)})
        with LocalBus(told.runtime_dir, "supervisor") as bus:
            trio.run(Supervisor(told, listening, bus).run, on_ready)
    _log.info("serve.stopped")
    return 0


async def _any_ready(children: list[Child]) -> None:
    async with trio.open_nursery() as nursery:

        async def first(child: Child) -> None:
            await child.ready.wait()
            nursery.cancel_scope.cancel()

        for child in children:
            nursery.start_soon(first, child)


def _log_end(child: Child, pid: int, code: int) -> None:
    how: dict[str, str | int]
    how = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
    _log.info("child.ended", kind=child.kind, index=child.index, pid=pid, **how)
