"""``durproxy doctor`` against setups that are broken on purpose: each fault is named."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from durproxy.config import Settings
from durproxy.doctor import examine
from durproxy.doctor.findings import Severity
from durproxy.doctor.logins import check_passfile
from durproxy.doctor.server import (
    judge_clock,
    judge_encryption,
    judge_settings,
    needed_connections,
)
from tests.fix_postgres import Database, Role
from tests.fix_serve import Serve, run_durproxy

SOUND = {
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "statement_timeout": "0",
    "idle_session_timeout": "0",
}  # fmt: skip


def findings(upstream: str, **settings: object) -> dict[str, dict[str, str]]:
    """By check."""
    chosen: dict[str, Any] = {"listen": "127.0.0.1:0", "web": "off", **settings}
    found = examine(Settings(upstream=upstream, **chosen))
    return {one.check: one.as_json() for one in found}


@pytest.fixture
def user(home: Database) -> Role:
    role = home.add_role()
    home.psql(f"SELECT df.grant_usage('{role.name}')")
    return role


@pytest.mark.one_postgres
def test_the_exit_code_tells_of_errors_and_json_is_for_scripts(home: Database) -> None:
    done = run_durproxy("doctor", "--json", upstream=home.dsn, listen="127.0.0.1:0", web="off")
    found = json.loads(done.stdout)
    assert [one.keys() for one in found] == [{"severity", "check", "sentence", "remedy"}] * len(
        found
    )
    assert found[0]["severity"] == "error"  # fsync is off here; the worst comes first
    assert "clock" not in {one["check"] for one in found}  # server and doctor share one
    assert done.returncode == 1


@pytest.mark.one_postgres
def test_a_server_that_is_not_there_or_lets_nobody_in(home: Database, tmp_path: Path) -> None:
    found = findings(
        f"{home.dsn} connect_timeout=2 port=1",
        tls_cert=tmp_path / "missing.pem",
        web="203.0.113.1:1",
    )
    assert {"upstream", "settings", "web"} == found.keys()
    assert "missing.pem" in found["settings"]["sentence"]
    wrong = findings(f"{home.dsn} password=wrong")
    assert "password authentication failed" in wrong["upstream"]["sentence"]


@pytest.mark.one_postgres
def test_ports_that_are_taken(home: Database, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        found = findings(home.dsn, listen=f"127.0.0.1:{serve.port}", web=taken)
    assert found["listen"]["severity"] == "notice"
    assert "already serves" in found["listen"]["sentence"]
    assert found["web"]["severity"] == "error"
    assert "Another program" in found["web"]["sentence"]


@pytest.mark.one_postgres
def test_a_database_without_the_schema(database: Database) -> None:
    assert findings(database.dsn)["schema"]["remedy"] == "Run durproxy init."
    stranger = database.add_role()
    assert "may not create" in findings(database.dsn_for(stranger))["schema"]["remedy"]


@pytest.mark.one_postgres
def test_a_role_that_may_not_run_the_engine(home: Database, user: Role) -> None:
    stranger = findings(home.dsn_for(user))
    assert "functions of the engine" in stranger["schema"]["sentence"]
    assert f"df.grant_engine('{user.name}')" in stranger["schema"]["remedy"]
    assert "membership" not in stranger
    home.psql(f"GRANT {user.name} TO {home.role}", "postgres")
    home.psql(f"SELECT df.grant_engine('{user.name}')")
    assert not {"schema", "membership"} & findings(home.dsn_for(user)).keys()
    assert "trust" not in stranger
    mighty = home.add_role("BYPASSRLS", login="by_trust")
    found = findings(home.dsn_for(mighty))
    assert "more than it needs" in found["role"]["sentence"]
    assert found["trust"]["severity"] == "notice"
    assert findings(home.dsn_for(mighty), allow_trust=True)["trust"]["severity"] == "warning"


@pytest.mark.one_postgres
def test_a_setup_with_every_other_fault(home: Database, user: Role) -> None:
    barred, unknown = home.add_role(), home.add_role()
    for role in (barred, unknown, user):
        home.psql(f"SELECT df.grant_usage('{role.name}')")
        home.psql("SELECT df.start('SELECT 1')", role)
    home.psql(f"ALTER ROLE {barred.name} NOLOGIN", "postgres")
    lines = home.passfile.read_text().splitlines(keepends=True)
    home.passfile.write_text("".join(line for line in lines if f":{unknown.name}:" not in line))
    for setting in ("statement_timeout = '5s'", "idle_session_timeout = '1h'",
                    "default_transaction_read_only = on"):  # fmt: skip
        home.psql(f"ALTER ROLE {home.role} SET {setting}", "postgres")
    home.psql("DELETE FROM df._migrations WHERE version > 20", "postgres")
    home.psql("UPDATE df._instances SET paused = 'set aside: x', ready_at = NULL"
              f" WHERE submitted_by = '{user.name}'::regrole", "postgres")  # fmt: skip
    done = run_durproxy(
        "doctor", upstream=home.dsn, listen="127.0.0.1:0", web="off", max_user_connections=1000,
        step_options=f"passfile={home.passfile}",
    )  # fmt: skip
    assert done.returncode == 1
    for told in (
        f'Role "{barred.name}", which has 1 workflows that have not ended, does not have the LOGIN',
        f'Role "{unknown.name}", which has 1 workflows that have not ended, cannot be logged in as',
        f"Add to {home.passfile}: 127.0.0.1:{home.postgres.port}:{home.name}:{unknown.name}:PASS",
        "statement_timeout is 5000 ms",
        "idle_session_timeout is 3600000 ms",
        "is read-only",
        "Run durproxy init as its owner",
        "1 workflows were set aside",
        "3 workflows have not ended, and no engine runs",
        "may need ",
        "fsync is off",
        "synchronous_commit is off",
    ):
        assert told in done.stdout
    assert f'Role "{user.name}"' not in done.stdout  # nothing is wrong with it


def test_a_passfile_that_libpq_ignores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passfile = tmp_path / "passfile"
    passfile.touch(mode=0o644)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    [found] = check_passfile()
    assert found.remedy == f"chmod 600 {passfile}"
    passfile.chmod(0o600)
    assert not list(check_passfile())


def severities(host: str, mode: str, *, encrypted: bool) -> list[Severity]:
    return [found.severity for found in judge_encryption(host, mode, encrypted=encrypted)]


def test_encryption_matters_over_a_network() -> None:
    assert severities("10.0.0.5", "prefer", encrypted=False) == [Severity.ERROR]
    assert severities("db.example", "require", encrypted=True) == [Severity.WARNING]
    assert severities("db.example", "verify-full", encrypted=True) == []
    for here in ("/var/run/postgresql", "127.0.0.1", "::1", "localhost"):
        assert severities(here, "prefer", encrypted=False) == []


def test_clocks_that_differ_are_told_apart_from_a_slow_answer() -> None:
    [ahead] = judge_clock(100.0, 160.0, 100.1)
    assert ahead.sentence == "The server's clock is 60 s ahead of ours."
    [behind] = judge_clock(100.0, 90.0, 100.1)
    assert behind.sentence == "The server's clock is 10 s behind ours."
    assert not list(judge_clock(100.0, 101.9, 100.1))
    assert not list(judge_clock(100.0, 100.5, 130.0))  # it may have been asked late
    assert not list(judge_clock(100.0, 129.5, 130.0))  # or have answered late
    assert list(judge_clock(100.0, 133.0, 130.0))


def test_a_sound_server_has_no_finding() -> None:
    assert list(judge_settings(SOUND)) == []
    settings = Settings(upstream="dbname=x", engines=2, max_user_connections=10)
    assert needed_connections(settings, 3) == 2 * (8 + 30) + 5
