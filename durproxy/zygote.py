"""A process that has imported everything and forks the children of ``serve`` on demand.

Starting Python and importing our libraries takes half a second; a fork of a process that has done
it takes a few milliseconds. So an engine that was killed is back before its clients notice, and
the children share the memory of what they have all imported.

    supervisor ── request: kind, index; its pipes and sockets as SCM_RIGHTS ──► zygote
    zygote     ── forks twice, so that the child becomes the supervisor's own
    zygote     ── answer: the child's pid ──► supervisor

The supervisor is a subreaper: a child whose parent is gone becomes its child, to be watched and
waited for like any other. The zygote holds no state; when it dies another one is started.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from durproxy.interpreter import interpreter
from durproxy.lifeline import adopt_orphans, die_with_parent

_PRELOADED = (
    "durproxy.child",
    "durproxy.engine.worker",
    "durproxy.proxy.serve",
    "durproxy.web.app",
)
_MAX_REQUEST = 4096
_MAX_FDS = 253  # of one message; a proxy may have the sockets of all of a predecessor's


class Zygote:
    """The supervisor's side."""

    def __init__(self) -> None:
        adopt_orphans()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start importing; the first ``spawn`` waits until that is done."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*interpreter(), "-m", "durproxy.zygote", str(os.getpid())],
                stdin=theirs.fileno(),
                start_new_session=True,
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
            self.start()
            return self._ask(kind, index, fds)

    def close(self) -> None:
        if self._process is not None and self._socket is not None:
            self._socket.close()
            self._process.kill()
            self._process.wait()
            self._process = self._socket = None

    def _ask(self, kind: str, index: int, fds: Sequence[int]) -> int:
        if self._socket is None:
            raise BrokenPipeError
        request = json.dumps({"kind": kind, "index": index}).encode()
        socket.send_fds(self._socket, [request], list(fds))
        answer = self._socket.recv(_MAX_REQUEST)
        if not answer:
            raise BrokenPipeError
        return int(answer)


def main() -> NoReturn:
    supervisor = int(sys.argv[1])
    die_with_parent(supervisor)
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is imported stays shared: the collector must not write to it
    requests = socket.socket(fileno=os.dup(0))
    while True:
        data, fds, _, _ = socket.recv_fds(requests, _MAX_REQUEST, _MAX_FDS)
        if not data:
            sys.exit(0)
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
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    from durproxy.child import run_child  # imported already; only the child needs it

    code = 1
    try:
        code = run_child(str(request["kind"]), int(str(request["index"])), fds)
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
