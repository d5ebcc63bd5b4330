"""The commands about workflows: list, status, explain, result, cancel, signal.

They call the df functions as the role of the DSN, so each sees and controls what that role may.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import psycopg
import typer
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table
from rich.text import Text

from durproxy.config import load_settings
from durproxy.connecting import connect
from durproxy.errors import ConfigurationError, DurproxyError

Upstream = Annotated[
    str | None,
    typer.Option(help="The Postgres: a URI or libpq's name=value pairs.", metavar="DSN"),
]
Config = Annotated[
    Path | None, typer.Option(help="Settings. Default: durproxy.toml when it is there.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
InstanceId = Annotated[str, typer.Argument(metavar="ID", help="As df.start gave it.")]

_WIDTH_WITHOUT_TERMINAL = 240  # a pipe has no width to wrap at
# how df.explain says that there is nothing to explain
_NOT_EXPLAINED = ("Invalid durable function graph: ", "Instance '")
_STATUS_STYLE = {
    "pending": "dim",
    "running": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}


def add_commands(app: typer.Typer) -> None:
    app.command("list")(list_instances)
    for command in (status, explain, result, cancel, signal):
        app.command()(command)


def list_instances(
    status: Annotated[
        Status | None, typer.Option(help="Only those with this status.", metavar="STATUS")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Only those with this label.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="At most so many, newest first.")
    ] = 100,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """List workflows, newest first."""
    query = (
        "SELECT l.instance_id, l.label, l.status, l.created_at, l.completed_at, l.output,"
        " (SELECT i.database FROM df.instances i WHERE i.id = l.instance_id) AS database,"
        " pg_catalog.current_database() AS home"
        " FROM df.list_instances(%s, %s, %s) l"
    )
    rows = _query(upstream, config, query, status, limit, label)
    homes = [row.pop("home") for row in rows]
    elsewhere = any(row["database"] != home for row, home in zip(rows, homes, strict=True))
    if as_json:
        _print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    headings = ("id", "label", "status", "created", "completed", "output")
    for heading in (*headings, "database") if elsewhere else headings:
        # label and output shrink to the width of the terminal, the others never
        table.add_column(heading, no_wrap=heading not in ("label", "output"))
    for row in rows:
        cells = (
            row["instance_id"],
            _one_line(row["label"]),
            Text(row["status"], style=_STATUS_STYLE.get(row["status"], "")),
            _moment(row["created_at"]),
            _moment(row["completed_at"]),
            _one_line(row["output"]),
        )
        table.add_row(*cells, *([_one_line(row["database"])] if elsewhere else []))
    Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL).print(table)


def status(
    instance: InstanceId, as_json: Json = False, upstream: Upstream = None, config: Config = None
) -> None:
    """Print a workflow's status."""
    value = _status(upstream, config, instance)
    if as_json:
        _print_json({"instance_id": instance, "status": value})
    else:
        typer.echo(value)


def result(
    instance: InstanceId, as_json: Json = False, upstream: Upstream = None, config: Config = None
) -> None:
    """Print a completed workflow's result."""
    value = _value(upstream, config, "SELECT df.result(%s) AS value", instance)
    if value is None:
        state = _status(upstream, config, instance)
        raise DurproxyError(f'instance "{instance}" has no result: it is {state}')
    if as_json:
        _print_json({"instance_id": instance, "result": json.loads(value)})
    else:
        typer.echo(value)


def explain(
    what: Annotated[str, typer.Argument(metavar="ID|EXPRESSION", help="A workflow, or a text.")],
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Print a workflow as a tree with the state of each step, or what an expression would do."""
    value = _value(upstream, config, "SELECT df.explain(%s) AS value", what) or ""
    if value.startswith(_NOT_EXPLAINED):
        raise DurproxyError(value[0].lower() + value[1:])
    typer.echo(value)


def cancel(
    instance: InstanceId,
    reason: Annotated[str, typer.Option(help="Kept as its error.")] = "Cancelled by user",
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Cancel a workflow; afterwards none of its steps can commit."""
    done = _value(upstream, config, "SELECT df.cancel(%s, %s) AS value", instance, reason)
    state = _status(upstream, config, instance)
    if state != "cancelled":  # it ended before: df.cancel does nothing then, and says nothing
        raise DurproxyError(f'instance "{instance}" is {state}', detail="It was not cancelled.")
    typer.echo(done)


def signal(
    instance: InstanceId,
    name: Annotated[str, typer.Argument(help="What df.wait_for_signal waits for.")],
    data: Annotated[str, typer.Option(help="JSON, else a string.")] = "{}",
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Send a signal to a workflow."""
    query = "SELECT df.signal(%s, %s, %s) AS value"
    typer.echo(_value(upstream, config, query, instance, name, data))


def _query(
    upstream: str | None, config: Path | None, query: str, *parameters: object
) -> list[dict[str, Any]]:
    settings = load_settings({"upstream": upstream}, config)
    with connect(settings.upstream) as connection:
        try:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(query.encode(), parameters).fetchall()
        except (psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction):
            raise ConfigurationError(
                "the home schema is not installed in the database of option --upstream",
                hint="Install it with: durproxy init --upstream DSN",
            ) from None


def _value(
    upstream: str | None, config: Path | None, query: str, *parameters: object
) -> str | None:
    value: str | None = _query(upstream, config, query, *parameters)[0]["value"]
    return value


def _status(upstream: str | None, config: Path | None, instance: str) -> str:
    value = _value(upstream, config, "SELECT df.status(%s) AS value", instance)
    if value is None:
        raise DurproxyError(f'instance "{instance}" not found or access denied')
    return value


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, default=_json_default, ensure_ascii=False))


def _json_default(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _moment(value: datetime | None) -> str:
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _one_line(text: str | None) -> Text:
    """A cell that is no markup, and whose control characters do not act on the terminal."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text or ""
    )
    return Text(shown, no_wrap=True, overflow="ellipsis")
