"""One process of ``serve`` that is started again whenever it dies.

States: not started; starting (its pid is known); ready (it has said so); ended; stopping. Events:
a start, its word on the ready pipe, its death, ``stop``. Nothing of it outlives it: it leads a
process group of its own, and what is left in that when it has died (a proxy's readers) is killed
and waited for, too.
"""

from __future__ import annotations

import math
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import trio

from durproxy.child import orders
from durproxy.config import Settings
from durproxy.log import get_logger
from durproxy.zygote import Zygote

_FIRST_PAUSE = 0.1  # seconds before the second restart of a child that does not come to work
_LONGEST_PAUSE = 5.0
_LIVED_WELL = 0.1  # seconds of work after which a child is started again at once

_log = get_logger(__name__)


class Child:
    """One process of a kind."""

    def __init__(
        self,
        kind: str,
        index: int,
        settings: Settings,
        listeners: list[socket.socket],
        zygote: Zygote,
    ) -> None:
        self.kind = kind
        self.index = index
        self.ready = trio.Event()  # at least once
        self.settings = settings  # of the next start
        self._listeners = listeners
        self._zygote = zygote
        self._pid: int | None = None
        self._starts = 0
        self._ends: Counter[str] = Counter()
        self._ready_at = math.inf
        self._stopping = trio.Event()
        self._may_end = False

    async def keep_running(self, on_death: Callable[[Child, int], None]) -> None:
        """Until ``stop``; ``on_death`` gets the pid of each process that died before."""
        pause = 0.0
        while not self._stopping.is_set():
            pid = await self._run_once()
            if self._stopping.is_set():
                return
            if pid is not None:
                on_death(self, pid)
            if trio.current_time() - self._ready_at > _LIVED_WELL:
                pause = 0.0
            with trio.move_on_after(pause):
                await self._stopping.wait()
            pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)

    async def run_until_done(self, on_death: Callable[[Child, int], None]) -> None:
        """The same, for a child that may end by itself."""
        self._may_end = True
        await self.keep_running(on_death)

    async def _run_once(self) -> int | None:
        """One process, from its start to its end; its pid, None when it could not be started."""
        self._ready_at = math.inf
        try:
            pid, ready_fd = self._start()
        except OSError as error:
            _log.error("child.not_started", kind=self.kind, index=self.index, error=str(error))
            return None
        code = await self._watch(pid, ready_fd)
        if self._may_end and code == 0:
            self._stopping.set()
        self._ends[_signal_name(-code) if code < 0 else f"exit {code}"] += 1
        _log_end(self, pid, code, expected=self._stopping.is_set())
        return pid

    def report(self) -> dict[str, object]:
        """How it does, for whoever asks."""
        return {
            "kind": self.kind,
            "index": self.index,
            "pid": self._pid,
            "ready": self._pid is not None and self._ready_at < math.inf,
            "starts": self._starts,
            "ends": self._ends,
        }

    def renew(self) -> None:
        """Let the process finish what it does, and start another."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGTERM)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        self._stopping.set()
        if self._pid is not None:
            os.kill(self._pid, with_signal)

    def _start(self) -> tuple[int, int]:
        """The pid, and the end of the pipe on which it will say that it is ready."""
        ready_fd, childs_ready_fd = os.pipe()
        childs_orders_fd, orders_fd = os.pipe()
        os.set_blocking(ready_fd, False)
        listeners = [listener.fileno() for listener in self._listeners]
        try:
            pid = self._zygote.spawn(
                self.kind, self.index, [childs_orders_fd, childs_ready_fd, *listeners]
            )
        except OSError:
            os.close(ready_fd)
            os.close(orders_fd)
            raise
        finally:
            os.close(childs_ready_fd)
            os.close(childs_orders_fd)
        with suppress(BrokenPipeError), os.fdopen(orders_fd, "wb") as pipe:
            pipe.write(orders(self.settings))  # if it died at once: it is watched like any other
        self._pid = pid
        self._starts += 1
        _log.info("child.started", kind=self.kind, index=self.index, pid=pid)
        return pid, ready_fd

    async def _watch(self, pid: int, ready_fd: int) -> int:
        """The exit code, once the process has ended."""
        group = os.getpgid(pid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_ready, pid, ready_fd)
            pidfd = os.pidfd_open(pid)  # ours to wait for: no other process can have its number
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
            nursery.cancel_scope.cancel()
        self._pid = None
        with suppress(ProcessLookupError):
            os.killpg(
                group, signal.SIGKILL
            )  # as long as its leader is not waited for, it is its own
        _, status = os.waitpid(pid, 0)  # noqa: ASYNC222  it has ended
        await trio.to_thread.run_sync(_wait_for_group, group)
        return os.waitstatus_to_exitcode(status)

    async def _wait_ready(self, pid: int, ready_fd: int) -> None:
        async with trio.lowlevel.FdStream(ready_fd) as stream:
            if await stream.receive_some():
                _log.info("child.ready", kind=self.kind, index=self.index, pid=pid)
                self._ready_at = trio.current_time()
                self.ready.set()


def _log_end(child: Child, pid: int, code: int, *, expected: bool) -> None:
    how: dict[str, str | int]
    how = {"signal": _signal_name(-code)} if code < 0 else {"exit_code": code}
    log = _log.info if expected else _log.warning
    log("child.ended", kind=child.kind, index=child.index, pid=pid, **how)


def _wait_for_group(group: int) -> None:
    """Until nothing is left of the group; we are its processes' parent since their own has died."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time signals have no name
        return str(number)
