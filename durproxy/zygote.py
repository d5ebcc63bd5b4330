"""A process that has imported everything and forks the children of ``serve`` on demand.

Starting Python and importing our libraries takes half a second; a fork of a process that has done
it takes a few milliseconds. So an engine that was killed is back before its clients notice, and
the children share the memory of what they have all imported.

    supervisor ── request: kind, index; its pipes and sockets as SCM_RIGHTS ──► zygote
    zygote     ── forks twice, so that the child becomes the supervisor's own
    zygote     ── answer: the child's pid ──► supervisor

The supervisor is a subreaper: a child whose parent is gone becomes its child, to be watched and
waited for like any other. The zygote holds no state; when it dies another one is started.

The first one is a fork of the supervisor at the beginning of its life, when it has imported half of
what is needed, and has no thread, connection or listening socket yet. A later one is a new program,
since by then it has all three.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from setproctitle import setproctitle

from durproxy.interpreter import interpreter
from durproxy.lifeline import adopt_orphans, die_with_parent

# Not the web port's: there is one, nothing waits for it, and nobody else needs its libraries.
_PRELOADED = ("durproxy.child", "durproxy.engine.worker", "durproxy.proxy.serve")
_TITLE = "durproxy: zygote"
_MAX_REQUEST = 4096
_MAX_FDS = 253  # of one message; a proxy may have the sockets of all of a predecessor's


class Zygote:
    """The supervisor's side."""

    def __init__(self) -> None:
        adopt_orphans()
        self._pid: int | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start importing; the first ``spawn`` waits until that is done.

        The zygote is a fork: to be called before there is a thread, a connection or a listening
        socket. ``dev`` has a server by then, and a handler of SIGTERM, which the fork takes back.
        """
        supervisor = os.getpid()
        ours, theirs = _new_way()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by whoever started us
                stream.flush()  # or what is still in there would come from each child as well
        _keep_shared()
        self._pid = os.fork()
        if self._pid == 0:
            _become_zygote(supervisor, theirs)
        theirs.close()
        self._socket = ours

    def _start_again(self) -> None:
        command = [*interpreter(), "-m", "durproxy.zygote", str(os.getpid())]
        ours, theirs = _new_way()
        with theirs:
            as_stdin = (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)
            self._pid = os.posix_spawn(
                command[0], command, os.environ, file_actions=[as_stdin], setsid=True
            )
        self._socket = ours

    def spawn(self, kind: str, index: int, fds: Sequence[int]) -> int:
        """The pid of a new child that has ``fds`` under other numbers, in this order.

        Raises OSError when there is no zygote and none can be started. The one wait of the
        supervisor that is not in its loop: a few milliseconds.
        """
        try:
            return self._ask(kind, index, fds)
        except OSError:  # the zygote died
            self.close()
            self._start_again()
            return self._ask(kind, index, fds)

    def close(self) -> None:
        if self._pid is not None and self._socket is not None:
            self._socket.close()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = self._socket = None

    def _ask(self, kind: str, index: int, fds: Sequence[int]) -> int:
        if self._socket is None:
            raise BrokenPipeError
        request = json.dumps({"kind": kind, "index": index}).encode()
        socket.send_fds(self._socket, [request], list(fds))
        answer = self._socket.recv(_MAX_REQUEST)
        if not answer:
            raise BrokenPipeError
        return int(answer)


def _new_way() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _become_zygote(supervisor: int, requests: socket.socket) -> NoReturn:
    """In the fork: begin as a new program would, and end here, not in the supervisor's frames."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _read_nothing()
        _answer(supervisor, requests)
        code = 0
    except Exception:  # noqa: BLE001  the last place that can tell of it
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    """A zygote that is a program of its own."""
    _answer(int(sys.argv[1]), socket.socket(fileno=os.dup(0)))


def _answer(supervisor: int, requests: socket.socket) -> None:
    """Until the supervisor hangs up."""
    die_with_parent(supervisor)
    os.closerange(3, requests.fileno())  # what whoever started us has left open
    os.closerange(requests.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    setproctitle(_TITLE)
    for name in _PRELOADED:
        importlib.import_module(name)
    _keep_shared()
    while True:
        data, fds, _, _ = socket.recv_fds(requests, _MAX_REQUEST, _MAX_FDS)
        if not data:
            return
        intermediate = os.fork()
        if intermediate == 0:
            _fork_child(supervisor, requests, json.loads(data), fds)
        os.waitpid(intermediate, 0)
        for fd in fds:
            os.close(fd)


def _fork_child(
    supervisor: int, requests: socket.socket, request: dict[str, object], fds: list[int]
) -> NoReturn:
    """In the intermediate process: fork the child, tell its pid, and make it an orphan."""
    os.setsid()  # Ctrl-C in a terminal is for the supervisor; it drains the children
    pid = os.fork()
    if pid != 0:
        with suppress(OSError):
            requests.send(str(pid).encode())
        os._exit(0)
    requests.close()
    while os.getppid() != supervisor:
        if os.getppid() == 1:  # the supervisor is gone
            os._exit(1)
        os.sched_yield()
    die_with_parent(supervisor)
    _read_nothing()
    from durproxy.child import run_child  # imported already; only the child needs it

    code = 1
    try:
        code = run_child(str(request["kind"]), int(str(request["index"])), fds)
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _keep_shared() -> None:
    """What is imported stays one memory after a fork: the collector must not write to it."""
    gc.collect()
    gc.freeze()


def _read_nothing() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


if __name__ == "__main__":
    main()
