"""docs/quickstart.md, followed to the letter by somebody with a shell, ``psql`` and no knowledge.

Blocks are marked: ``sh`` and ``sql`` end by themselves, ``sh server`` stays in the first terminal
until the next one, ``sh fails`` has another exit code than 0, ``sql superuser`` is for the server's
administrator, ``sh install`` is for the wheel's own test. A ``text`` block is part of what the
block before it printed, but for times.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from durproxy.embedded import free_port
from durproxy.observed import Observed
from tests.fix_postgres import Postgres
from tests.fix_serve import ENVIRONMENT

QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart.md"
BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
READY = re.compile(r"durproxy ready ")
EXPORT = re.compile(r"export (\w+)=(\S+)")
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?"), "MOMENT"),
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "DURATION"),
    (re.compile(r"\s+"), " "),
)


def leveled(text: str) -> list[str]:
    """Its lines, without what differs each time."""
    lines = []
    for line in text.splitlines():
        for pattern, instead in VARYING:
            line = pattern.sub(instead, line)
        lines.append(line.strip())
    return [line for line in lines if line]


class Newcomer:
    """Two terminals, a home folder, and the PATH of the virtual environment."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self._postgres = postgres
        self._server: Observed | None = None
        self._folder = folder
        port = free_port()
        self._instead = {
            "./quickstart-data": str(folder / "data"),
            "db.example:5432": f"127.0.0.1:{postgres.port}",
            "6432": str(port),
            "ask_approval(2, 5)": "ask_approval(2, 1)",
        }
        path = [str(Path(sys.executable).parent), str(postgres.bindir), os.environ["PATH"]]
        self._environment = ENVIRONMENT | {
            "HOME": str(folder),
            "PATH": ":".join(path),
            "PGPASSFILE": str(folder / ".pgpass"),  # libpq looks at the user's home, not at HOME
            "TZ": "UTC",
            "DURPROXY_LISTEN": f"127.0.0.1:{port}",
            "DURPROXY_WEB": "off",
            "DURPROXY_RUNTIME_DIR": str(folder),
        }

    def follow(self, language: str, mark: str, block: str) -> str:
        """What the block prints."""
        for told, meant in self._instead.items():
            block = block.replace(told, meant)
        if mark == "install":
            return self._shell(block.splitlines()[-1])
        if mark == "server":
            self.stop()
            self._serve(*shlex.split(block)[1:])
            return ""
        if language == "sql":
            superuser = self._postgres.superuser_dsn
            dsn = superuser if mark == "superuser" else self._environment["DURPROXY_UPSTREAM"]
            return self._run(["psql", "-X", "-v", "ON_ERROR_STOP=1", dsn], block)
        self._environment |= EXPORT.findall(block)
        return self._shell(block, fails=mark == "fails")

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate(signal.SIGINT)  # Ctrl-C
            assert self._server.wait(20) == 0
            self._server.close()
            self._server = None

    def _serve(self, *arguments: str) -> None:
        self._server = Observed(*arguments, "--log-format", "json", env=self._environment)
        assert self._server.wait_line(READY, 40) is not None, self._server.transcript()
        pasted = self._server.wait_line(EXPORT, 0)
        if pasted is not None:
            self._environment[pasted[1]] = pasted[2].strip("'")

    def _shell(self, script: str, *, fails: bool = False) -> str:
        return self._run(["bash", "-ec", script], "", fails=fails)

    def _run(self, command: list[str], text: str, *, fails: bool = False) -> str:
        done = subprocess.run(
            command,
            input=text,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout


@contextmanager
def newcomer(postgres: Postgres) -> Iterator[Newcomer]:
    with tempfile.TemporaryDirectory(prefix="durproxy-test-") as name:
        Path(name).chmod(0o755)  # as root, Postgres runs as an ordinary user
        somebody = Newcomer(postgres, Path(name))
        try:
            yield somebody
        finally:
            somebody.stop()


@pytest.mark.timeout(240)  # three servers and a dozen commands, one after the other
@pytest.mark.one_postgres
def test_quickstart_works_as_written(postgres: Postgres) -> None:
    printed = ""
    compared = 0
    with newcomer(postgres) as somebody:
        for language, mark, block in BLOCK.findall(QUICKSTART.read_text()):
            if language != "text":
                printed = somebody.follow(language, mark, block)
                continue
            expected, seen = leveled(block), leveled(printed)
            assert [line for line in expected if line not in seen] == [], printed
            compared += 1
    assert compared >= 5
    assert "schema df is dropped" in printed
