"""A program of ours as a fork of a process that has imported it: in milliseconds, not in a second.

What it does at its start is what it does in an interpreter of its own, but for the imports and for
what is read from the environment while importing. The tests of the command line, of ``serve`` as a
command, of the package and the image start interpreters; those of what a running ``serve`` or proxy
does need not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from durproxy import cli
from durproxy.child import run_child
from durproxy.lifeline import die_with_parent

# Those below: a module of tests would have to be imported, with all that it needs, by each process.
# They get the descriptors that the program was given, under their new numbers.
Main = Callable[[list[int]], object]

_forks = get_context("forkserver")
_forks.set_forkserver_preload(
    [
        __name__,
        "durproxy.cli",
        "durproxy.supervise",
        "durproxy.engine.worker",
        "durproxy.proxy.serve",
    ]
)


class Forked:
    """The process, with what ``subprocess.Popen`` calls so; it ends with us."""

    def __init__(
        self, main: Main, fds: Sequence[int] = (), env: Mapping[str, str] | None = None
    ) -> None:
        ours, theirs = _forks.Pipe(duplex=False)
        given = [Connection(os.dup(fd)) for fd in fds]  # in the form in which they can be sent
        self._process = _forks.Process(
            target=_run, args=(main, theirs, given, None if env is None else dict(env)), daemon=True
        )
        self._process.start()
        for end in (theirs, *given):
            end.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.stdout: IO[str] | None = os.fdopen(os.dup(ours.fileno()), encoding="utf-8")
        ours.close()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def send_signal(self, with_signal: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, with_signal)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    main: Main, output: Connection, given: list[Connection], env: dict[str, str] | None
) -> object:
    die_with_parent(os.getppid(), signal.SIGTERM)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    # those that are there took what they write to for what it was before
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
    fds = [os.dup(one.fileno()) for one in given]
    for end in (output, *given):
        end.close()
    _close_all_but({0, 1, 2, *fds})
    return main(fds)


def command(arguments: list[str], fds: list[int]) -> None:
    """``durproxy ARGUMENTS``."""
    sys.argv = ["durproxy", *arguments]
    cli.main()


def child(kind: str, index: int, fds: list[int]) -> None:
    """One process of ``serve``, as its supervisor would start it."""
    sys.exit(run_child(kind, index, fds))


def _close_all_but(kept: set[int]) -> None:
    """What is left is of the machinery that forks, which must see our starter's end, not ours."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in kept:
            with suppress(OSError):  # that of the listing itself
                os.close(int(entry.name))
