"""The other commands: init, uninstall, and those about workflows, as real processes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import durproxy
from tests.fix_postgres import Database
from tests.fix_serve import ENVIRONMENT, Visitor, environment_of, run_durproxy
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres

TWO_STEPS = "SELECT df.start('SELECT 1 AS a' |=> 'x' ~> 'SELECT $x.a + 1 AS b', 'first')"

WAITING = "SELECT df.start(df.wait_for_signal('go'), 'waiting')"


def ok(visitor: Visitor, *arguments: str) -> str:
    done = run_durproxy(*arguments, upstream=visitor.database.dsn_for(visitor.role))
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


@pytest.mark.parametrize("how", ["version", "--version"])
def test_version(how: str) -> None:
    done = run_durproxy(how)
    assert (done.returncode, done.stdout) == (0, f"durproxy {durproxy.__version__}\n")


def test_init_may_be_repeated_and_uninstall_leaves_nothing(database: Database) -> None:
    for _ in range(2):
        done = run_durproxy("init", upstream=database.dsn)
        assert done.returncode == 0, done.stderr
    assert database.psql("SELECT df.version() IS NOT NULL") == "t"
    assert run_durproxy("uninstall", upstream=database.dsn).returncode == 1, "it asks first"
    done = run_durproxy("uninstall", "--yes", upstream=database.dsn)
    assert done.returncode == 0, done.stderr
    assert database.psql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'df%'") == "0"
    done = run_durproxy("uninstall", "--yes", upstream=database.dsn)
    assert (done.returncode, "nothing to do" in done.stdout) == (0, True)


@pytest.mark.parametrize("command", [["list"], ["status", "00000000"], ["explain", "SELECT 1"]])
def test_database_without_home_schema_is_told_to_init(
    database: Database, command: list[str]
) -> None:
    done = run_durproxy(*command, upstream=database.dsn)
    assert done.returncode == 2
    assert "durproxy init" in done.stderr


def test_completed_workflow_in_every_command(visitor: Visitor) -> None:
    instance = visitor.psql(TWO_STEPS)
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "completed"
    result = '{"rows":[{"b":2}],"row_count":1}'
    assert ok(visitor, "status", instance) == "completed"
    assert ok(visitor, "result", instance) == result
    assert json.loads(ok(visitor, "status", instance, "--json")) == {
        "instance_id": instance,
        "status": "completed",
    }
    assert json.loads(ok(visitor, "result", instance, "--json"))["result"]["row_count"] == 1
    assert "✓ Completed" in ok(visitor, "explain", instance)
    listed = ok(visitor, "list")
    assert re.search(rf"^{instance} +first +completed ", listed, re.MULTILINE), listed
    [row] = json.loads(ok(visitor, "list", "--json", "--status", "completed", "--label", "first"))
    assert (row["instance_id"], row["status"], row["output"]) == (instance, "completed", result)
    assert json.loads(ok(visitor, "list", "--json", "--status", "failed")) == []


def test_list_tells_the_database_where_it_is_another(visitor: Visitor) -> None:
    visitor.psql("SELECT df.start('SELECT 1', 'here')")
    assert "database" not in ok(visitor, "list").splitlines()[0]
    visitor.psql("SELECT df.start('SELECT 1', 'there', database => 'postgres')")
    lines = [line.rstrip() for line in ok(visitor, "list").splitlines()]
    assert lines[0].endswith("database")
    assert lines[1].endswith("postgres")
    assert lines[2].endswith(visitor.database.name)
    assert (
        json.loads(ok(visitor, "list", "--json", "--label", "there"))[0]["database"] == "postgres"
    )


def test_signal_and_cancel(visitor: Visitor) -> None:
    first, second = visitor.psql(f"{WAITING}; {WAITING}").split()
    ok(visitor, "signal", first, "go", "--data", '{"by": "hand"}')
    assert visitor.psql(f"SELECT df.await_instance('{first}', 20)") == "completed"
    assert '"by"' in ok(visitor, "result", first)
    assert "changed my mind" in ok(visitor, "cancel", second, "--reason", "changed my mind")
    assert ok(visitor, "status", second) == "cancelled"


def test_cancel_of_a_completed_workflow_is_an_error_and_not_a_success(visitor: Visitor) -> None:
    instance = visitor.psql(TWO_STEPS)
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "completed"
    done = run_durproxy("cancel", instance, upstream=visitor.database.dsn_for(visitor.role))
    assert (done.returncode, done.stdout) == (1, "")
    assert f'instance "{instance}" is completed' in done.stderr


def test_missing_result_is_explained_by_the_status(visitor: Visitor) -> None:
    instance = visitor.psql("SELECT df.start('SELECT 1/0', 'fails')")
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "failed"
    done = run_durproxy("result", instance, upstream=visitor.database.dsn_for(visitor.role))
    assert done.returncode == 1
    assert f'instance "{instance}" has no result: it is failed' in done.stderr


def test_list_shows_any_label_as_it_is_and_lets_no_control_character_through(
    visitor: Visitor,
) -> None:
    instance = visitor.psql(r"SELECT df.start('SELECT 1', E'[/b] [red]x\n\x1b[31m')")
    assert re.search(
        rf"^{instance} +\[/b\] \[red\]x\\n\\x1b\[31m ", ok(visitor, "list"), re.MULTILINE
    )


def test_list_in_a_narrow_terminal_keeps_ids_and_statuses(visitor: Visitor) -> None:
    instance = visitor.psql(f"SELECT df.start('SELECT repeat(''x'', 500)', '{'y' * 100}')")
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "completed"
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(
            [sys.executable, "-m", "durproxy.cli", "list"],
            env=ENVIRONMENT
            | environment_of({"upstream": visitor.database.dsn_for(visitor.role)})
            | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            check=True,
            timeout=60,
        )
        os.close(theirs)
        lines = terminal.read(65536).decode().splitlines()
    assert re.search(rf"^{instance} +y+… +completed ", "\n".join(lines), re.MULTILINE), lines


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("'a' ~>", "invalid durable function graph: syntax error at end of input"),
        ("df.sleep(-1)", "invalid durable function graph: sleep duration must be non-negative"),
        ("00000000", 'instance "00000000" not found or access denied'),
    ],
)
def test_what_cannot_be_explained_is_exit_code_1(home: Database, what: str, told: str) -> None:
    done = run_durproxy("explain", what, upstream=home.dsn)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


def test_unknown_instance_is_exit_code_1(visitor: Visitor) -> None:
    for command in (["status"], ["result"]):
        done = run_durproxy(*command, "00000000", upstream=visitor.database.dsn_for(visitor.role))
        assert done.returncode == 1
        assert 'instance "00000000"' in done.stderr
    done = run_durproxy("cancel", "00000000", upstream=visitor.database.dsn_for(visitor.role))
    assert done.returncode == 1
    assert "not found or access denied" in done.stderr


def test_explain_of_an_expression_is_a_dry_run(home: Database) -> None:
    done = run_durproxy("explain", "df.sleep(30)", upstream=home.dsn)
    assert done.returncode == 0, done.stderr
    assert "SLEEP 30s" in done.stdout


def test_option_that_does_not_exist_is_exit_code_2() -> None:
    done = run_durproxy("serve", "--proxy", "2")
    assert done.returncode == 2
    assert "--proxy" in done.stderr


@pytest.mark.parametrize(
    ("upstream", "reason"),
    [
        ("host=127.0.0.1 port=x", 'port "x" is not a number'),
        ("host=127.0.0.1 port=70000", 'invalid port number: "70000"'),
        ("host=127.0.0.1 connect_timeout=x", 'connect_timeout "x" is not a number'),
        ("service=nosuch", 'definition of service "nosuch" not found'),
        ("host=127.0.0.1 sslmode=x", 'invalid sslmode value: "x"'),
    ],
)
def test_dsn_that_cannot_be_is_exit_code_2(upstream: str, reason: str) -> None:
    for command in ("list", "init"):
        done = run_durproxy(command, upstream=upstream)
        assert done.returncode == 2
        assert f"invalid value for option --upstream: {reason}" in done.stderr


def test_pause_resume_and_rerun(visitor: Visitor) -> None:
    instance = visitor.psql(WAITING)
    assert ok(visitor, "pause", instance, "--reason", "look at it") == (
        f"Instance {instance} paused: look at it"
    )
    assert re.search("resume +look at it", ok(visitor, "waiting"))
    resumed = json.loads(ok(visitor, "resume", instance, "--json"))
    assert resumed["instance_id"] == instance
    assert resumed["status"] in ("pending", "running")
    ok(visitor, "signal", instance, "go", "--data", "1")
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "completed"
    again = json.loads(ok(visitor, "rerun", instance, "--json"))
    assert again["rerun_of"] == instance
    assert again["status"] in ("pending", "running")
    assert visitor.psql(f"SELECT label FROM df.instances WHERE id = '{again['instance_id']}'")
    done = run_durproxy("pause", instance, upstream=visitor.database.dsn_for(visitor.role))
    assert done.returncode == 1
    assert f'error: instance "{instance}" is completed (55000)' in done.stderr


def test_history_and_explain_in_json(visitor: Visitor) -> None:
    failing = "df.retry('SELECT 1 / 0', 2, '1 ms', retry_on => '{22012}')"
    instance = visitor.psql(f"SELECT df.start({failing})")
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "failed"
    attempts = json.loads(ok(visitor, "history", instance, "--json"))
    assert [(a["attempt"], a["status"], a["sqlstate"]) for a in attempts] == [
        (1, "failed", "22012"),
        (2, "failed", "22012"),
    ]
    assert json.loads(ok(visitor, "history", instance, "--limit", "1", "--json")) == attempts[1:]
    assert json.loads(ok(visitor, "history", instance, "--status", "running", "--json")) == []
    table = ok(visitor, "history", instance)
    assert table.count("22012 division by zero") == 2
    explained = json.loads(ok(visitor, "explain", instance, "--json"))
    assert (explained["instance_id"], explained["status"]) == (instance, "failed")
    assert [node["node_type"] for node in explained["nodes"]] == ["RETRY", "SQL"]
    assert explained["text"] == ok(visitor, "explain", instance)
    assert json.loads(ok(visitor, "explain", "SELECT 1", "--json"))["text"] == "SQL: SELECT 1"


def test_cancel_that_still_undoes_is_no_error(visitor: Visitor) -> None:
    saga = "df.compensate('SELECT 1', df.wait_for_signal('undone')) ~> df.sleep(100)"
    instance = visitor.psql(f"SELECT df.start({saga})")
    wait_until(lambda: "timer" in ok(visitor, "waiting"), "the first step is done")
    cancelled = json.loads(ok(visitor, "cancel", instance, "--json"))
    assert cancelled == {"instance_id": instance, "status": "running"}
    wait_until(lambda: "undone" in ok(visitor, "waiting"), "the undo runs")
    ok(visitor, "signal", instance, "undone")
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "cancelled"


def test_unknown_id_is_answered_with_the_near_ones(visitor: Visitor) -> None:
    instance = visitor.psql(WAITING)
    dsn = visitor.database.dsn_for(visitor.role)
    for command in (
        ["status", "waiting"],
        ["history", instance[:5]],
        ["signal", instance + "x", "go"],
    ):
        done = run_durproxy(*command, upstream=dsn)
        assert done.returncode == 1
        assert f'Perhaps you mean "{instance}" (waiting, ' in done.stderr


def test_shell_completes_ids_and_signals_and_never_complains(visitor: Visitor) -> None:
    instance = visitor.psql(WAITING)
    hostile = r"""[/b] '"`id`\$(id) ; * x"""
    label = hostile.replace("'", "''")
    visitor.psql(f"SELECT df.start(df.wait_for_signal('{label}'), '{label}')")
    wait_until(lambda: ok(visitor, "waiting").count(" signal ") == 2, "both wait")

    def complete(words: str, upstream: str, shell: str = "bash") -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name("durproxy")],  # completion goes by the name
            env=ENVIRONMENT
            | environment_of({"upstream": upstream})
            | {
                "_DURPROXY_COMPLETE": f"complete_{shell}",
                "_TYPER_COMPLETE_ARGS": words,
                "COMP_WORDS": words,
                "COMP_CWORD": str(words.count(" ")),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.strip()

    dsn = visitor.database.dsn_for(visitor.role)
    assert instance in complete(f"durproxy status {instance[:4]}", dsn).split()
    offered = complete("durproxy cancel 1", dsn, "zsh")
    assert f'"{instance}":"running waiting"' in offered
    assert '":"running b id id x"' in offered, "what a shell would act on is left out"
    assert (
        complete(
            "durproxy signal "
            + visitor.psql(f"SELECT id FROM df.instances WHERE label = '{label}'")
            + " ",
            dsn,
        )
        == ""
    )
    assert complete(f"durproxy signal {instance} g", dsn) == "go"
    assert complete("durproxy resum", dsn) == "resume"
    assert complete(f"durproxy status {instance[:4]}", "host=127.0.0.1 port=1") == ""


def test_who_cannot_be_reached_or_may_not_is_told_apart(home: Database) -> None:
    done = run_durproxy("list", upstream="host=127.0.0.1 port=1")
    assert (done.returncode, done.stdout) == (3, "")
    assert "could not connect to the upstream" in done.stderr
    stranger = home.add_role()
    done = run_durproxy("list", upstream=home.dsn_for(stranger))
    assert (done.returncode, done.stdout) == (2, "")
    assert "SELECT df.grant_usage('role')" in done.stderr
    done = run_durproxy("list")
    assert (done.returncode, "option --upstream is missing" in done.stderr) == (2, True)
    done = run_durproxy("list", "--since", "yesterday", upstream=home.dsn)
    assert (done.returncode, '"yesterday" is neither a time ago' in done.stderr) == (2, True)


def test_password_comes_from_the_command_that_serve_asks_too(
    visitor: Visitor, tmp_path: Path
) -> None:
    instance = visitor.psql(WAITING)
    host, port, name, user, password = visitor.database.dsn_for(visitor.role).split()
    file = tmp_path / "durproxy.toml"
    file.write_text(
        f'upstream = "{host} {port} {name} {user}"\n'
        f'password_command = ["echo", "{password.removeprefix("password=")}"]\n'
    )
    done = run_durproxy("status", instance, "--config", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_who_may_see_all_sees_whose_it_is_and_who_may_act_on_all_acts(visitor: Visitor) -> None:
    home = visitor.database
    instance = visitor.psql(WAITING)
    other = home.add_role()
    home.psql(f"SELECT df.grant_usage('{other.name}'), df.grant_viewer('{other.name}')")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_durproxy(*arguments, upstream=home.dsn_for(other))

    mine = json.loads(run("list", "--role", visitor.role.name, "--json").stdout)
    assert [(row["instance_id"], row["role"]) for row in mine] == [(instance, visitor.role.name)]
    assert json.loads(run("list", "--role", other.name, "--json").stdout) == []
    assert re.search(rf"^{instance} .* {visitor.role.name} ", run("list").stdout, re.MULTILINE)
    refused = run("cancel", instance)
    assert refused.returncode == 1
    assert "hint: It is another role's; to act on it takes df.grant_operator" in refused.stderr
    home.psql(f"SELECT df.grant_operator('{other.name}')")
    assert run("cancel", instance).returncode == 0
    assert ok(visitor, "status", instance) == "cancelled"
