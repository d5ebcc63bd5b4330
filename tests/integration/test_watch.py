"""``durproxy watch``: drawn on a terminal, lines elsewhere; the outcome is the exit code."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.fix_serve import ENVIRONMENT, Visitor, environment_of, run_durproxy
from tests.integration.terminal import Terminal
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("postgres", ["pg18"], indirect=True)

STORY = """
SELECT df.start((df.wait_for_signal('go') |=> 'g')
  ~> df.retry('SELECT 1 / 0', 2, '1 ms', retry_on => '{22012}') , E'a \\x1b[31mstory')
"""


def upstream(visitor: Visitor) -> dict[str, str]:
    return environment_of({"upstream": visitor.database.dsn_for(visitor.role)})


def test_terminal_shows_the_tree_as_it_goes_and_keeps_it_at_the_end(visitor: Visitor) -> None:
    instance = visitor.psql(STORY)
    with Terminal("watch", instance, env=upstream(visitor)) as terminal:
        terminal.wait_text("⏳")
        terminal.wait_text("watched for")
        visitor.psql(f"SELECT df.signal('{instance}', 'go')")
        assert terminal.end() == 1, "it has failed"
        assert "\x1b[31m" in terminal.written, "its mark is red"
        assert r"(a \x1b[31mstory)" in terminal.text, "the label does not act"
        last = terminal.text[terminal.text.rindex("Instance:") :]
        assert "Status:   ✗ Failed" in last
        assert "division by zero" in last
        assert "watched for" not in last
        assert terminal.written.rindex("\x1b[?25h") > terminal.written.rindex("\x1b[?25l")


def test_no_color_and_a_low_terminal(visitor: Visitor) -> None:
    steps = " ~> ".join(f"'SELECT {n} AS n'" for n in range(40))
    instance = visitor.psql(f"SELECT df.start({steps} ~> df.wait_for_signal('go'))")
    environment = upstream(visitor) | {"NO_COLOR": "1"}
    with Terminal("watch", instance, env=environment, columns=40, rows=10) as terminal:
        terminal.wait_text(r"… \d+ lines\n(.*\n)*.*⏳(.*\n)+.*watched for")
        assert not re.search(r"\x1b\[[34]\d", terminal.written), "no colour"
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert terminal.written.rindex("\x1b[?25h") > terminal.written.rindex("\x1b[?25l")
    assert visitor.psql(f"SELECT df.status('{instance}')") == "running", "it goes on by itself"


def test_without_a_terminal_each_attempt_is_a_line(visitor: Visitor) -> None:
    instance = visitor.psql(STORY)
    visitor.psql(f"SELECT df.signal('{instance}', 'go')")
    done = run_durproxy("watch", instance, upstream=visitor.database.dsn_for(visitor.role))
    assert done.returncode == 1
    told = [line.split(" ", 1)[1] for line in done.stdout.splitlines()]
    assert [line for line in told if "failed" in line] == [
        "00000004 SQL~0 failed (division by zero)",
        "00000004 SQL~1 failed (attempt 2) (division by zero)",
        "instance failed (division by zero)",
    ]
    again = run_durproxy(
        "watch", instance, "--json", upstream=visitor.database.dsn_for(visitor.role)
    )
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert {tuple(line) for line in lines} == {
        (
            "at",
            "instance_id",
            "event",
            "status",
            "node_id",
            "node_type",
            "path",
            "attempt",
            "detail",
        )
    }
    assert (lines[-1]["event"], lines[-1]["status"]) == ("status", "failed")


def test_lost_connection_is_no_end(visitor: Visitor) -> None:
    instance = visitor.psql("SELECT df.start(df.wait_for_signal('go') ~> 'SELECT 1 AS done')")
    watch = subprocess.Popen(
        [sys.executable, "-m", "durproxy.cli", "watch", instance],
        env=ENVIRONMENT | upstream(visitor),
        stdout=subprocess.PIPE,
        text=True,
    )
    watching = (
        "FROM pg_stat_activity WHERE application_name = 'durproxy'"
        f" AND usename = '{visitor.role.name}' AND query LIKE '%df.explain%'"
    )
    with watch:
        try:
            first = wait_until(
                lambda: visitor.database.psql(f"SELECT pid {watching}", "postgres"), "it looks"
            )
            visitor.database.psql(f"SELECT pg_terminate_backend({first})", "postgres")
            wait_until(
                lambda: visitor.database.psql(
                    f"SELECT pid {watching} AND pid <> {first}", "postgres"
                ),
                "it is back",
            )
            visitor.psql(f"SELECT df.signal('{instance}', 'go')")
            told, _ = watch.communicate(timeout=20)
        finally:
            watch.kill()
    assert watch.returncode == 0
    assert told.count("instance running") == 1
    assert 'instance completed ({"rows":[{"done":1}],"row_count":1})' in told


def test_patience_ends_with_the_timeout_and_unknown_ids_at_once(visitor: Visitor) -> None:
    instance = visitor.psql("SELECT df.start(df.sleep(100))")
    dsn = visitor.database.dsn_for(visitor.role)
    done = run_durproxy("watch", instance, "--timeout", "0.3", upstream=dsn)
    assert (done.returncode, "--timeout of 0.3 s" in done.stderr) == (1, True)
    done = run_durproxy("watch", instance.upper() + "x", upstream=dsn)
    assert done.returncode == 1
    assert f'Perhaps you mean "{instance}"' in done.stderr
