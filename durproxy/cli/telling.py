"""``durproxy status``, ``result``, ``explain`` and ``history``: one instance, closely."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer
from rich.text import Text

from durproxy.cli import moments
from durproxy.cli.asking import STARTED_BY, Home, Row
from durproxy.cli.tables import (
    STATUS_STYLE,
    Column,
    lines_of,
    make_console,
    one_line,
    print_json,
    print_table,
)
from durproxy.cli.unknown import is_id, not_found
from durproxy.errors import DurproxyError

# how df.explain says that there is nothing to explain
_NOT_EXPLAINED = "Invalid durable function graph: "

MARK_STYLE = {"✓": "green", "✗": "red", "⏳": "yellow", "○": "dim", "⊘": "dim"}

_INFO = f"""
SELECT o.instance_id, o.label, {STARTED_BY} AS role, o.status, o.output, i.created_at,
    CASE WHEN o.status NOT IN ('pending', 'running') THEN coalesce(i.completed_at, i.updated_at)
    END AS ended_at
FROM df.instance_info(%s) o LEFT JOIN df.instances i ON i.id = o.instance_id
"""

_NODES = """
SELECT n.node_id, n.node_type, n.query, n.result_name, n.left_node, n.right_node,
    n.inferred_status AS status, n.result::json AS result, n.updated_at
FROM df.instance_nodes(%s) n ORDER BY n.node_id
"""

_HISTORY = """
SELECT h.node_id, h.node_type, h.path, h.attempt, h.status, h.sqlstate, h.error, h.started_at,
    h.finished_at, extract(epoch FROM h.duration)::float8 AS duration_seconds
FROM df.history(%(instance)s) h
WHERE %(status)s::text IS NULL OR h.status = %(status)s
ORDER BY h.started_at DESC, h.node_id DESC, h.path DESC LIMIT %(limit)s
"""


def status_of(home: Home, instance: str) -> str:
    status: str | None = home.value("SELECT df.status(%s)", instance)
    if status is None:
        raise not_found(home, instance)
    return status


def show_status(home: Home, instance: str, as_json: bool) -> None:
    status = status_of(home, instance)
    if as_json:
        print_json({"instance_id": instance, "status": status})
    else:
        typer.echo(status)


def show_result(home: Home, instance: str, as_json: bool) -> None:
    text: str | None = home.value("SELECT df.result(%s)", instance)
    if text is None:
        raise _no_result(home, instance)
    if as_json:
        print_json({"instance_id": instance, "result": json.loads(text)})
    else:
        typer.echo(one_line(text) if sys.stdout.isatty() else text)


def _no_result(home: Home, instance: str) -> DurproxyError:
    found = home.rows(_INFO, instance)
    if not found:
        return not_found(home, instance)
    [info] = found
    return DurproxyError(
        f'instance "{instance}" has no result: it is {info["status"]}',
        detail=one_line(info["output"]) or None,
        hint=None if info["ended_at"] else f"Wait for its end with: durproxy watch {instance}",
    )


def show_explanation(home: Home, what: str, as_json: bool) -> None:
    """Of an instance's id, a tree with states; of an expression, what it would do."""
    info = home.rows(_INFO, what) if is_id(what) else []
    if is_id(what) and not info:
        raise not_found(home, what)
    text: str = home.value("SELECT df.explain(%s)", what) or ""
    if text.startswith(_NOT_EXPLAINED):
        raise DurproxyError(text[0].lower() + text[1:])
    if as_json:
        print_json(_explained(home, what, info, text))
        return
    console = make_console()
    for line in lines_of(text):
        console.print(marked(line), soft_wrap=True)


def _explained(home: Home, what: str, info: list[Row], text: str) -> dict[str, Any]:
    if not info:
        return {"expression": what, "text": text}
    nodes = home.rows(_NODES, what)
    return {**info[0], "nodes": nodes, "text": text}


def marked(line: str) -> Text:
    """A line of a tree with its mark in colour."""
    text = Text(line, no_wrap=True)
    for mark, style in MARK_STYLE.items():
        text.highlight_words([f" {mark}"], style)
    return text


def show_history(home: Home, instance: str, status: str | None, limit: int, as_json: bool) -> None:
    status_of(home, instance)
    # the newest so many, told from the oldest on
    rows = home.rows(_HISTORY, instance=instance, status=status, limit=limit)[::-1]
    if as_json:
        print_json(rows)
        return
    started, when = moments.column("started", [row["started_at"] for row in rows])
    print_table([
        Column("node", [row["node_id"] for row in rows]),
        Column("type", [row["node_type"] for row in rows], rank=2),
        Column("path", [row["path"] for row in rows], rank=4),
        Column("attempt", [str(row["attempt"]) for row in rows], rank=3),
        Column("status", [row["status"] for row in rows],
               styles=[STATUS_STYLE.get(row["status"], "") for row in rows]),
        Column(started, when, rank=5),
        Column("took", [_took(row) for row in rows], rank=6),
        Column("error", [_error(row) for row in rows], rank=1, flexible=True),
    ])  # fmt: skip


def _took(row: Row) -> str:
    seconds = row["duration_seconds"]
    return "" if seconds is None else moments.show_duration(seconds)


def _error(row: Row) -> str:
    return " ".join(filter(None, (row["sqlstate"], one_line(row["error"]))))
