"""Passwords that a command prints: asked once, kept, forgotten when refused, and shown nowhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from durproxy.config import load_settings
from durproxy.conninfo import checked_step_options, filled_step_options
from durproxy.errors import ConfigurationError, UpstreamUnreachable
from durproxy.passwords import Login, PasswordCommand

LOGIN = Login("ann", "db.example", "5433", "shop")


def command(script: str, *more: str, ttl: float = 60.0, timeout: float = 10.0) -> PasswordCommand:
    return PasswordCommand((sys.executable, "-c", script, *more), ttl, timeout)


def complaint(asked: PasswordCommand) -> str:
    with pytest.raises(UpstreamUnreachable) as caught:
        asked.password(LOGIN)
    return caught.value.message


def test_places_are_filled_once_and_no_shell_reads_them() -> None:
    asked = command(
        "import sys; print(' '.join(sys.argv[1:]))", "{role}@{host}:{port}/{database}", "{other}"
    )
    assert asked.password(LOGIN) == "ann@db.example:5433/shop {other}"
    odd = Login("{host} $(id) '", "h", "1", "d")
    assert asked.password(odd) == "{host} $(id) '@h:1/d {other}"


def test_it_is_kept_and_forgotten_when_a_login_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "count"
    script = f"f=open({str(counter)!r},'a+'); f.write('x'); f.seek(0); print(len(f.read()))"
    asked = command(script)
    assert [asked.password(LOGIN) for _ in range(3)] == ["1"] * 3
    assert not asked.forget(LOGIN)  # too new to be the reason
    assert asked.password(Login("ben", "db.example", "5433", "shop")) == "2"
    now = 1e9
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert asked.password(LOGIN) == "3"  # its time is over
    now += 30
    assert asked.forget(LOGIN)
    assert asked.password(LOGIN) == "4"


def test_what_is_wrong_is_told_without_the_password() -> None:
    failed = complaint(command("import sys; print('hunter2'); sys.exit('no hunter2 for you')"))
    assert failed == 'password_command for role "ann" failed with exit code 1: no *** for you'
    assert "printed nothing" in complaint(command(""))
    several = complaint(command("print('hunter2'); print('x')"))
    assert "more than one line" in several
    assert "hunter2" not in several
    assert "no answer in 0.1 s" in complaint(
        command("input = __import__('time').sleep(9)", timeout=0.1)
    )
    missing = PasswordCommand(("/nowhere/token",), 60, 1)
    assert "cannot be run" in complaint(missing)


def test_another_password_is_not_handed_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "other")
    asked = command("import os; print(os.environ.get('PGPASSWORD', 'not there'))")
    assert asked.password(LOGIN) == "not there"
    assert os.environ["PGPASSWORD"] == "other"


def test_a_login_for_all_is_one_that_was_asked_for() -> None:
    shared = {"upstream": "dbname=shop", "step_options": "user=steps"}
    assert load_settings({**shared, "step_identity": "set_role"}).step_identity == "set_role"
    with pytest.raises(ConfigurationError, match="set_role where step_options name a user"):
        load_settings(shared)


def test_options_of_steps_are_filled_and_lead_nowhere_else() -> None:
    options = checked_step_options("sslcert=/certs/{role}.crt application_name={role}")
    assert options is not None
    assert filled_step_options(options, "ann", "shop") == {
        "sslcert": "/certs/ann.crt",
        "application_name": "ann",
    }
    for role in ("../root", ".hidden", "a/b"):
        with pytest.raises(ValueError, match="is not possible for role"):
            filled_step_options(options, role, "shop")


@pytest.mark.parametrize(
    "options", ["dbname=x", "nonsense=1", "postgresql://h/d", "port=x", "sslcert='open"]
)
def test_options_that_cannot_be_are_refused(options: str) -> None:
    with pytest.raises(ValueError, match=r"must|invalid|not a number"):
        checked_step_options(options)
