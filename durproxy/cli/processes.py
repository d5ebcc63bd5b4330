"""The commands that stay: serve, dev, demo."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from durproxy.cli.options import Config, Upstream

if TYPE_CHECKING:
    from durproxy.listening import Listening

Listen = Annotated[
    str | None, typer.Option(help="HOST:PORT for clients. Default: 127.0.0.1:6432.", metavar="ADDR")
]
Web = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT for health checks, or off. Default: 127.0.0.1:6433.", metavar="ADDR"
    ),
]


def add_commands(app: typer.Typer) -> None:
    # the help lists what is asked for most; the other settings are options, too
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve)
    app.command()(dev)
    app.command()(demo)


def serve(
    context: typer.Context,
    upstream: Upstream = None,
    listen: Listen = None,
    listen_socket: Annotated[
        Path | None, typer.Option(help="A folder for a unix socket as well.", metavar="DIR")
    ] = None,
    proxies: Annotated[int | None, typer.Option(help="Proxy processes. Default: 1.")] = None,
    engines: Annotated[int | None, typer.Option(help="Engine processes. Default: 1.")] = None,
    web: Web = None,
    drain_timeout: Annotated[
        float | None, typer.Option(help="Seconds from SIGTERM to the end. Default: 30.")
    ] = None,
    allow_trust: Annotated[
        bool | None,
        typer.Option("--allow-trust", help="Let clients in whom the upstream asks no password."),
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console. Default: json.")] = None,
    config: Config = None,
    takeover: Annotated[
        bool,
        typer.Option(
            "--takeover", help="Take the place of the serve on this port, if there is one."
        ),
    ] = False,
) -> None:
    """Run the proxy and the engine in front of a Postgres.

    Every other setting of docs/settings.md is an option, too: --max-held 200.
    """
    from durproxy import supervise
    from durproxy.config import load_settings
    from durproxy.other_options import parse_others

    options = {
        "upstream": upstream,
        "listen": listen,
        "listen_socket": listen_socket,
        "proxies": proxies,
        "engines": engines,
        "web": web,
        "drain_timeout": drain_timeout,
        "allow_trust": allow_trust,
        "log_format": log_format,
        **parse_others(context.args),
    }
    read = partial(load_settings, options, config)
    raise typer.Exit(supervise.serve(read(), _say_ready, read, take_over=takeover))


def dev(
    data: Annotated[
        Path | None,
        typer.Option(help="A folder that keeps the database. Default: forget it at the end."),
    ] = None,
    listen: Listen = None,
    web: Web = None,
    postgres_port: Annotated[
        int | None, typer.Option(help="Of the embedded Postgres. Default: a free one.")
    ] = None,
    log_format: Annotated[str, typer.Option(help="json or console.")] = "console",
) -> None:
    """Run an embedded Postgres 18 with durproxy in front of it; Ctrl-C stops both."""
    from durproxy import dev as development

    options = {"listen": listen, "web": web, "log_format": log_format}
    raise typer.Exit(development.run(options, data, postgres_port))


def demo() -> None:
    """Tell a story on an embedded Postgres, with a kill -9 in it; checks itself, then ends."""
    from durproxy import demo as story

    raise typer.Exit(story.run())


def _say_ready(listening: Listening) -> None:
    where = f" socket={listening.socket_path}" if listening.socket_path else ""
    typer.echo(f"durproxy ready listen={listening.address}{where} web={listening.web_address}")
