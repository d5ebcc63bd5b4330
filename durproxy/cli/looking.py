"""The commands that only look: list, waiting, status, result, explain, history, watch."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from durproxy.cli.completing import complete_instance
from durproxy.cli.options import (
    Config,
    InstanceId,
    Json,
    Label,
    Limit,
    Role,
    Since,
    Upstream,
)

Status = Annotated[
    Literal["pending", "running", "completed", "failed", "cancelled"] | None,
    typer.Option(help="Only those with this status.", metavar="STATUS"),
]


def add_commands(app: typer.Typer) -> None:
    app.command("list")(list_instances)
    for command in (status, explain, result, history, waiting, watch):
        app.command()(command)


def list_instances(
    status: Status = None,
    label: Label = None,
    role: Role = None,
    since: Since = None,
    limit: Limit = 100,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """List workflows, newest first."""
    from durproxy.cli import asking, listing

    with asking.open_home(upstream, config) as home:
        filters = listing.Filters(status, label, role, since, limit)
        listing.list_instances(home, filters, as_json)


def waiting(
    label: Label = None,
    role: Role = None,
    since: Since = None,
    limit: Limit = 100,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """List what each workflow waits for, the longest wait first."""
    from durproxy.cli import asking, listing

    with asking.open_home(upstream, config) as home:
        filters = listing.Filters(None, label, role, since, limit)
        listing.list_waiting(home, filters, as_json)


def status(
    instance: InstanceId, as_json: Json = False, upstream: Upstream = None, config: Config = None
) -> None:
    """Print a workflow's status."""
    from durproxy.cli import asking, telling

    with asking.open_home(upstream, config) as home:
        telling.show_status(home, instance, as_json)


def result(
    instance: InstanceId, as_json: Json = False, upstream: Upstream = None, config: Config = None
) -> None:
    """Print a completed workflow's result."""
    from durproxy.cli import asking, telling

    with asking.open_home(upstream, config) as home:
        telling.show_result(home, instance, as_json)


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|EXPRESSION",
            help="A workflow, or a text.",
            autocompletion=complete_instance,
        ),
    ],
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Print a workflow as a tree with the state of each step, or what an expression would do."""
    from durproxy.cli import asking, telling

    with asking.open_home(upstream, config) as home:
        telling.show_explanation(home, what, as_json)


def history(
    instance: InstanceId,
    status: Annotated[
        Literal["running", "completed", "failed"] | None,
        typer.Option(help="Only attempts with this status.", metavar="STATUS"),
    ] = None,
    limit: Limit = 1000,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Print every attempt of every step of a workflow, oldest first."""
    from durproxy.cli import asking, telling

    with asking.open_home(upstream, config) as home:
        telling.show_history(home, instance, status, limit, as_json)


def watch(
    instance: InstanceId,
    every: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="How often to look.")
    ] = 0.5,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Default: until it has ended.")
    ] = None,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Show a workflow as it goes, until its end; exits with 0 if it has completed, else with 1."""
    from durproxy.cli import asking, watching

    code = watching.watch(
        asking.prepare_upstream(upstream, config), instance, every, timeout, as_json
    )
    raise typer.Exit(code)
