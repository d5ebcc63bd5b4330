"""A durproxy process seen from outside: its output read as it comes, its children known."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Protocol, TypeVar

from durproxy.lifeline import dying_with_me

Event = dict[str, Any]
T = TypeVar("T")

_CLOSE_TIMEOUT = 20.0


class Process(Protocol):
    """What is needed of a ``subprocess.Popen``."""

    pid: int
    stdout: IO[str] | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...


class Observed:
    """``durproxy COMMAND …`` as a process of its own, with ``log_format`` json.

    It drains when the thread that made it ends, as at the death of our process.
    """

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.log: list[Event] = []  # the structured lines, oldest first
        self.output: list[str] = []  # all other lines of stdout and stderr
        self._changed = threading.Condition()
        self._process = self._start(arguments, env)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self, arguments: Sequence[str], env: Mapping[str, str] | None) -> Process:
        return subprocess.Popen(
            [sys.executable, "-m", "durproxy.cli", *arguments],
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=dying_with_me(signal.SIGTERM),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exited(self) -> bool:
        return self._process.poll() is not None

    def events(self, event: str, **fields: object) -> list[Event]:
        """The log lines so far with this event name and these fields."""
        return [
            line
            for line in list(self.log)
            if line.get("event") == event
            and all(line.get(name) == value for name, value in fields.items())
        ]

    def wait_event(self, event: str, timeout: float, **fields: object) -> Event | None:
        """The first such log line, once it is there; None when the process ends or time is up."""
        found = self._wait(lambda: self.events(event, **fields), timeout)
        return found[0] if found else None

    def wait_line(self, pattern: re.Pattern[str], timeout: float) -> re.Match[str] | None:
        """The first line of other output that the pattern matches."""

        def match() -> re.Match[str] | None:
            found = (pattern.match(line) for line in list(self.output))
            return next((one for one in found if one), None)

        return self._wait(match, timeout)

    def child_pids(self, kind: str) -> list[int]:
        """The children of this kind that run now, by index."""
        running: dict[int, int] = {}
        for line in list(self.log):
            if line.get("kind") != kind:
                continue
            if line["event"] == "child.started":
                running[line["index"]] = line["pid"]
            elif line["event"] == "child.ended":
                running.pop(line["index"], None)
        return [running[index] for index in sorted(running)]

    def terminate(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(with_signal)

    def wait(self, timeout: float) -> int:
        """The exit code; kills the process, and raises, when it takes too long."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            # a child that outlives the process for a moment may still hold the pipe open
            self._reader.join(timeout)
            if not self._reader.is_alive() and self._process.stdout is not None:
                self._process.stdout.close()

    def close(self) -> None:
        """SIGTERM, then the end, whatever the exit code."""
        if not self.exited():
            self.terminate()
        self.wait(_CLOSE_TIMEOUT)

    def transcript(self) -> str:
        return "\n".join([*self.output, *(json.dumps(line) for line in self.log)])

    def _wait(self, condition: Callable[[], T], timeout: float) -> T:
        with self._changed:
            self._changed.wait_for(lambda: condition() or not self._reader.is_alive(), timeout)
        return condition()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            with self._changed:
                self._take(text)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _take(self, text: str) -> None:
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            self.log.append(line)
        else:
            self.output.append(text.rstrip("\n"))
