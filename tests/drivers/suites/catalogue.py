"""The suites that drivers bring with them, how to run each, and which differences are explained.

An explanation is for a test that passes directly and does not through the proxy; it says why that
is right. ``docs/drivers.md`` has them in words for users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.drivers.suites.stage import Access


@dataclass(frozen=True)
class Suite:
    """One driver's own tests."""

    name: str
    source: str  # a requirement, of which PyPI has a source package with tests
    packages: tuple[str, ...]  # the same version as a wheel, and what the tests import
    tests: str  # the folder of the tests in the source package
    ignored: tuple[str, ...] = ()  # files that test no driver, or that need what is not installed
    explained: Mapping[str, str] = field(default_factory=dict)  # by the beginning of a test's id

    def environment(self, access: Access) -> dict[str, str]:
        """How its tests are told where the server is."""
        if self.name != "psycopg2":
            return access.environment
        return access.environment | {
            "PSYCOPG2_TESTDB": access.database,
            "PSYCOPG2_TEST_REPL_DSN": "",
        }

    def options(self, access: Access) -> list[str]:
        """More arguments for pytest."""
        if self.name != "psycopg":
            return []
        dsn = (
            f"host={access.host} port={access.port} dbname={access.database}"
            f" user={access.user} password={access.password}"
        )
        return ["--test-dsn", dsn, "-m", "not slow and not mypy and not dns"]

    def explanation(self, test: str) -> str | None:
        """Why the test may fail through the proxy."""
        for beginning, reason in self.explained.items():
            if test.startswith(beginning):
                return reason
        return None


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "asyncpg",
            "asyncpg==0.32.0",
            ("asyncpg==0.32.0", "distro"),
            "tests",
            ignored=("test__sourcecode.py", "test__environment.py"),
        ),
        Suite(
            "pg8000",
            "pg8000==1.31.6",
            ("pg8000==1.31.6", "pytest-mock", "pytest-benchmark", "pytz", "python-dateutil"),
            "test",
            ignored=("test_readme.py", "test_benchmarks.py", "auth"),
        ),
        Suite("psycopg2", "psycopg2==2.9.13", ("psycopg2-binary==2.9.13",), "tests"),
        # its source packages on PyPI have no tests: for a checkout, see --checkout
        Suite(
            "psycopg",
            "psycopg",
            ("psycopg[binary]", "psycopg-pool", "anyio", "dnspython", "shapely", "numpy"),
            "tests",
            ignored=("crdb", "scripts", "benchmarks"),
        ),
    )
}


def tests_of(suite: Suite, source: Path) -> Path:
    """The folder of the tests in an unpacked source package."""
    found = source / suite.tests
    if not found.is_dir():
        raise FileNotFoundError(f'"{source}" has no folder "{suite.tests}"')
    return found
