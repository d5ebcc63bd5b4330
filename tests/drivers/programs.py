"""Programs in other languages that try their driver: how each is built and run, and what it sees.

A program prints a line for each of its checks. What it prints directly and through the proxy has to
be the same; with the argument ``df`` it also uses durproxy, where every language sees the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.drivers.suites.stage import Access

_SOURCES = Path(__file__).parent
_LIMIT_OF_A_BUILD = 900
_LIMIT = 120

DF_CHECKS = {
    "df.start": 'completed completed {"rows":[{"b":21}],"row_count":1}',
    "df.pipelined": "50",
    "df.refused": "22023 7",
    "df.rolled_back": "gone",
    "df.await_cancelled": "57014 7",
}


@dataclass(frozen=True)
class Program:
    """A program in a folder of its own; the commands run in a copy of that."""

    language: str
    driver: str
    tool: str  # without which it cannot be built
    build: tuple[str, ...]
    run: tuple[str, ...]

    @property
    def missing(self) -> str | None:
        """Why it cannot be built here."""
        return None if shutil.which(self.tool) else f'"{self.tool}" is not installed'


PROGRAMS = {
    program.language: program
    for program in (
        Program(
            "node", "node-postgres", "npm",
            ("npm", "install", "--silent"),
            ("node", "--no-deprecation", "checks.js"),
        ),
        Program("go", "pgx", "go", ("go", "build", "-o", "checks", "."), ("./checks",)),
        Program(
            "java", "pgjdbc", "mvn",
            ("mvn", "--batch-mode", "--quiet", "package"),
            ("java", "-cp", "target/classes:target/dependency/*", "Checks"),
        ),
        Program(
            "rust", "tokio-postgres", "cargo",
            ("cargo", "build", "--quiet", "--locked"),
            ("target/debug/checks",),
        ),
    )
}  # fmt: skip


class Built:
    """A program that can run."""

    def __init__(self, program: Program, folder: Path) -> None:
        self._program = program
        self._folder = folder / program.language
        shutil.copytree(_SOURCES / program.language, self._folder, dirs_exist_ok=True)
        done = subprocess.run(
            program.build,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=_LIMIT_OF_A_BUILD,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(program.build)}\n{done.stdout}{done.stderr}"

    def checks(self, access: Access, *, df: bool = False) -> dict[str, str]:
        """What it finds, by the check's name."""
        done = subprocess.run(
            [*self._program.run, *(["df"] if df else [])],
            cwd=self._folder,
            env=os.environ | access.environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        found: dict[str, str] = {}
        for line in done.stdout.splitlines():
            name, _, text = line.partition(": ")
            found[name] = text
        return found


def differences(direct: dict[str, str], through: dict[str, str]) -> dict[str, tuple[str, str]]:
    """The checks that find something else through the proxy, or not what they should."""
    expected = direct | DF_CHECKS
    return {
        name: (expected.get(name, "absent"), through.get(name, "absent"))
        for name in expected | through
        if expected.get(name) != through.get(name) or "unexpected" in through[name]
    }
