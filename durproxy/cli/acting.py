"""The commands that act on a workflow: cancel, signal, pause, resume, rerun."""

from __future__ import annotations

from typing import Annotated

import typer

from durproxy.cli.completing import complete_signal
from durproxy.cli.options import Config, InstanceId, Json, LiveInstanceId, Upstream


def add_commands(app: typer.Typer) -> None:
    for command in (cancel, signal, pause, resume, rerun):
        app.command()(command)


def cancel(
    instance: LiveInstanceId,
    reason: Annotated[str, typer.Option(help="Kept as its error.")] = "Cancelled by user",
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Cancel a workflow; afterwards none of its steps can commit."""
    from durproxy.cli import asking, commanding

    with asking.open_home(upstream, config) as home:
        commanding.cancel(home, instance, reason, as_json)


def signal(
    instance: LiveInstanceId,
    name: Annotated[
        str,
        typer.Argument(help="What df.wait_for_signal waits for.", autocompletion=complete_signal),
    ],
    data: Annotated[str, typer.Option(help="JSON, else a string.")] = "{}",
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Send a signal to a workflow."""
    from durproxy.cli import asking, commanding

    with asking.open_home(upstream, config) as home:
        commanding.signal(home, instance, name, data, as_json)


def pause(
    instance: LiveInstanceId,
    reason: Annotated[str, typer.Option(help="Kept until it is resumed.")] = "Paused by user",
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Pause a workflow: steps in flight finish, nothing new begins."""
    from durproxy.cli import asking, commanding

    with asking.open_home(upstream, config) as home:
        commanding.pause(home, instance, reason, as_json)


def resume(
    instance: LiveInstanceId,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Let a paused workflow go on."""
    from durproxy.cli import asking, commanding

    with asking.open_home(upstream, config) as home:
        commanding.resume(home, instance, as_json)


def rerun(
    instance: InstanceId,
    from_node: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="Where to go on. Default: where it has stopped."),
    ] = None,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Run a workflow that has ended again, with the results it has; prints the new one's id."""
    from durproxy.cli import asking, commanding

    with asking.open_home(upstream, config) as home:
        commanding.rerun(home, instance, from_node, as_json)
