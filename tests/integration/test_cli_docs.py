"""docs/cli.md is complete: every command, every option, and every field of JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from durproxy.cli import app
from tests.fix_serve import Visitor

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMON = {"--json", "--upstream", "--config", "--help"}


def section(command: str) -> str:
    """What the docs say under the command's heading."""
    found = re.search(rf"^### `durproxy {command}\b.*?(?=^##|\Z)", DOCS, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/cli.md has no heading for durproxy {command}"
    return found[0]


def documented_fields(command: str) -> list[list[str]]:
    """The lists of names in backquotes after the word JSON."""
    told = section(command)
    told = told[told.index("JSON:") :]
    return [re.split(r",\s+", names) for names in re.findall(r"`(\w+(?:,\s+\w+)+)`", told)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_described(command: str) -> None:
    told = section(command)
    for parameter in COMMANDS[command].params:
        if parameter.param_type_name == "argument":
            continue
        for option in set(parameter.opts) - COMMON:
            assert re.search(rf"`{option}\b", told), f"durproxy {command} {option}"


def test_nothing_is_described_that_does_not_exist() -> None:
    assert set(re.findall(r"^### `durproxy ([\w-]+)", DOCS, re.MULTILINE)) == set(COMMANDS)
    for command in COMMANDS:
        known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
        assert set(re.findall(r"^\| `(--[\w-]+)", section(command), re.MULTILINE)) <= known


def test_options_of_the_whole_are_described() -> None:
    for option in ("--install-completion", "--show-completion", "--version", *COMMON):
        assert f"`durproxy {option}`" in DOCS or f"`{option}" in DOCS


@pytest.mark.one_postgres
def test_fields_of_json_are_those_that_the_docs_list(visitor: Visitor) -> None:
    done = visitor.psql("SELECT df.start('SELECT 1 AS n')")
    waits = visitor.psql("SELECT df.start(df.wait_for_signal('go'))")
    assert visitor.psql(f"SELECT df.await_instance('{done}', 20)") == "completed"
    calls = {
        "list": ["list"],
        "waiting": ["waiting"],
        "status": ["status", done],
        "result": ["result", done],
        "explain": ["explain", done],
        "history": ["history", done],
        "pause": ["pause", waits],
        "resume": ["resume", waits],
        "signal": ["signal", waits, "other"],
        "cancel": ["cancel", waits],
        "rerun": ["rerun", done],
        "watch": ["watch", done],
    }
    run = CliRunner()
    for command, arguments in calls.items():
        dsn = visitor.database.dsn_for(visitor.role)
        told = run.invoke(app, [*arguments, "--json", "--upstream", dsn])
        assert told.exit_code == 0, told.output
        first = json.loads(told.stdout.splitlines()[0])
        shown = first[0] if isinstance(first, list) else first
        assert list(shown) == documented_fields(command)[0], command
        if command == "explain":
            assert list(shown["nodes"][0]) == documented_fields(command)[1]
