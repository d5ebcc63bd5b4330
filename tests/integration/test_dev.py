"""``durproxy dev`` and ``durproxy demo``: one command, an embedded Postgres, no leftovers."""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from durproxy.observed import Observed
from tests.fix_serve import ENVIRONMENT, run_durproxy
from tests.waiting import wait_until

READY = re.compile(r"durproxy ready ")
PSQL = re.compile(r"psql '(\S+)'")


@contextmanager
def dev(*options: str, **environment: str) -> Iterator[tuple[Observed, str]]:
    """A running ``durproxy dev`` and the URI that it prints."""
    arguments = ["dev", "--listen", "127.0.0.1:0", "--web", "off", "--log-format", "json"]
    with closing(Observed(*arguments, *options, env=ENVIRONMENT | environment)) as server:
        assert server.wait_line(READY, 30) is not None, server.transcript()
        uri = server.wait_line(PSQL, 0)
        assert uri is not None
        yield server, uri[1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where another user may go too: as root, Postgres runs as an ordinary one."""
    with tempfile.TemporaryDirectory(prefix="durproxy test ") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_printed_uri_is_of_an_ordinary_role_and_runs_workflows() -> None:
    with dev() as (server, uri):
        with psycopg.connect(uri, autocommit=True) as client:
            role = client.execute(
                "SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert role == ("app", False)
            started = client.execute("SELECT df.start('SELECT 1' ~> 'SELECT 2 AS b')").fetchone()
            assert started is not None
            ended = client.execute("SELECT df.await_instance(%s, 20)", started).fetchone()
            assert ended == ("completed",)
        server.terminate(signal.SIGINT)  # Ctrl-C
        assert server.wait(20) == 0


def test_data_folder_keeps_the_database_and_its_password(folder: Path) -> None:
    with dev("--data", str(folder)) as (server, first), psycopg.connect(first) as client:
        client.execute("CREATE TABLE kept (n int)")
    with dev("--data", str(folder)) as (server, second), psycopg.connect(second) as client:
        assert client.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        assert client.info.password in first
    assert server.exited()


def test_killed_dev_leaves_no_postgres(folder: Path) -> None:
    with dev("--data", str(folder), DURPROXY_RUNTIME_DIR=str(folder)) as (server, _):
        server.terminate(signal.SIGKILL)
        server.wait(20)
        pidfile = folder / "data" / "postmaster.pid"
        wait_until(lambda: not pidfile.exists(), "Postgres has shut down")


def test_demo_comes_true_and_ends_by_itself() -> None:
    done = run_durproxy("demo", limit=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every claim was checked and came true" in done.stdout
    assert done.stdout.count("✓ ") >= 11
    assert "✗" not in done.stdout
