"""Every line of the log is documented, and says what it is about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[1]
DOCUMENT = (TOP / "docs/logs.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception"}
ABOUT = {"instance": "instance", "step": "instance", "http": "instance", "connection": "peer"}


def events() -> Iterator[tuple[str, set[str | None]]]:
    """Each call that logs: the event, and the names of its fields."""
    for path in (TOP / "durproxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called, first = ast.unparse(node.func), node.args[0]
            name, _, level = called.rpartition(".")
            is_log = (name in ("log", "_log") and level in LEVELS) or called == "log"
            if is_log and isinstance(first, ast.Constant):
                yield str(first.value), {keyword.arg for keyword in node.keywords}


EVENTS = list(events())


def test_every_event_is_documented_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| (`[a-z]+\.[^|]*) \|", DOCUMENT)
    documented = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    variable = {"instance.started", "instance.resumed"}  # one call, which chooses
    assert {event for event, _ in EVENTS} | variable == documented


def test_events_have_the_id_of_what_they_are_about() -> None:
    for event, fields in EVENTS:
        needed = ABOUT.get(event.partition(".")[0])
        assert needed is None or needed in fields, event
