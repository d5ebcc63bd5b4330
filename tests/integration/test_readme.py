"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

from durproxy.cli import app
from tests.fix_serve import Visitor

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_workflow_example_runs_as_written(visitor: Visitor) -> None:
    [example] = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    printed = visitor.psql(example).splitlines()
    shown = r"^SELECT df\.(?:await_instance|result).*?-- (.*)$"
    for promised in re.findall(shown, example, re.MULTILINE):
        assert promised in printed
    assert visitor.psql("SELECT string_agg(event, ', ' ORDER BY event) FROM notes") == (
        "card charged, gift wrapped, stock reserved"
    )


def test_commands_that_it_names_exist() -> None:
    known = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    }
    named = set(re.findall(r"^durproxy ([a-z]+)", README, re.MULTILINE))
    listed = re.search(r"`durproxy list`, (.*?)\.\n", README, re.DOTALL)
    assert listed is not None
    named |= set(re.findall(r"`([a-z]+)`", listed[1]))
    assert len(named) >= 13
    assert named <= known
