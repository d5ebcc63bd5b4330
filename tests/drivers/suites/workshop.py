"""Where a suite runs: its source package unpacked, a virtual environment, and pytest in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.drivers.suites.catalogue import Suite, tests_of
from tests.drivers.suites.stage import Access

_PLUGINS = ("pytest>=8,<10", "pytest-timeout")
_LIMIT_OF_A_TEST = 120
_LIMIT = 3600
_RAN = (0, 1)  # pytest's exit codes for "all passed" and "some failed"


@dataclass(frozen=True)
class Outcome:
    """How a test ended, and what it printed if not well."""

    outcome: str
    text: str


class Workshop:
    """One suite, ready to run."""

    def __init__(self, suite: Suite, folder: Path, checkout: Path | None) -> None:
        self._suite = suite
        self._folder = folder / suite.name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._python = self._folder / "venv" / "bin" / "python"
        self._tests = self._folder / suite.tests
        if not self._tests.exists():
            source = checkout or self._download()
            shutil.copytree(tests_of(suite, source), self._tests)
        if not self._python.exists():
            self._install()

    def run(self, access: Access, only: Sequence[str] = ()) -> dict[str, Outcome]:
        """Outcomes by test, of all or only these."""
        recorded = self._folder / "outcomes.jsonl"
        recorded.unlink(missing_ok=True)
        command = [
            str(self._python), "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
            "-p", "recording", "--tb=short", f"--timeout={_LIMIT_OF_A_TEST}", "-W", "default",
            *(f"--ignore-glob=*/{name}" for name in self._suite.ignored),
            *self._suite.options(access), *(only or [self._suite.tests]),
        ]  # fmt: skip
        environment = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
        environment |= self._suite.environment(access)
        environment["PYTHONPATH"] = str(Path(__file__).parent)
        environment["DURPROXY_OUTCOMES"] = str(recorded)
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
        (self._folder / "output.txt").write_text(done.stdout + done.stderr)
        if done.returncode not in _RAN:
            raise RuntimeError(f"{self._suite.name} did not run\n{done.stdout}{done.stderr}")
        lines = [json.loads(line) for line in recorded.read_text().splitlines()]
        return {line["test"]: Outcome(line["outcome"], line["text"]) for line in lines}

    def _download(self) -> Path:
        """The unpacked source package."""
        sources = self._folder / "source"
        name = self._suite.source.partition("=")[0]
        _pip(sys.executable, "download", "--no-deps", "--no-binary", name,
             "--dest", str(sources), self._suite.source)  # fmt: skip
        [archive] = sources.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(sources, filter="data")
        return sources / archive.name.removesuffix(".tar.gz")

    def _install(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", self._python.parents[1]], check=True)
        _pip(str(self._python), "install", *_PLUGINS, *self._suite.packages)


def _pip(python: str, *arguments: str) -> None:
    subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True
    )
