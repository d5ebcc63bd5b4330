"""A command on a pseudo terminal: what it writes there, and how it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from types import TracebackType

from tests.fix_serve import ENVIRONMENT
from tests.waiting import wait_until

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """``durproxy COMMAND …`` with a terminal of this size."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.written = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "durproxy.cli", *arguments],
            env={"TERM": "xterm", **ENVIRONMENT, **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    @property
    def text(self) -> str:
        """Without control sequences."""
        return _CONTROL.sub("", self.written)

    def wait_text(self, pattern: str) -> None:
        wait_until(lambda: re.search(pattern, self.text), f"{pattern} in {self.text!r}")

    def end(self, timeout: float = 20.0) -> int:
        """The exit code; all that was written has been read."""
        code = self.process.wait(timeout)
        self._reader.join()
        return code

    def _read(self, ours: int) -> None:
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            while True:
                try:
                    chunk = terminal.read(65536)
                except OSError:  # the other side is closed
                    return
                if not chunk:
                    return
                self.written += chunk.decode(errors="replace")
