"""The command line. Exit codes: 0 ok, 1 not done, 2 bad configuration, 3 upstream unreachable."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import psycopg
import typer

import durproxy
from durproxy import instances
from durproxy.config import load_settings
from durproxy.errors import ConfigurationError, DurproxyError, UpstreamUnreachable
from durproxy.instances import Config, Upstream
from durproxy.listening import Listening
from durproxy.other_options import parse_others

app = typer.Typer(
    name="durproxy",
    help="Durable SQL workflows for any Postgres: a proxy, nothing to install in the database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
instances.add_commands(app)

Listen = Annotated[
    str | None, typer.Option(help="HOST:PORT for clients. Default: 127.0.0.1:6432.", metavar="ADDR")
]
Web = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT for health checks, or off. Default: 127.0.0.1:6433.", metavar="ADDR"
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def common(
    wanted: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Like the command version."
        ),
    ] = False,
) -> None:
    pass


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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
) -> None:
    """Run the proxy and the engine in front of a Postgres.

    Every other setting of docs/settings.md is an option, too: --max-held 200.
    """
    from durproxy import supervise  # with it come trio and the bus: not for `durproxy list`

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
    raise typer.Exit(supervise.serve(read(), _say_ready, read))


@app.command()
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


@app.command()
def demo() -> None:
    """Tell a story on an embedded Postgres, with a kill -9 in it; checks itself, then ends."""
    from durproxy import demo as story

    raise typer.Exit(story.run())


@app.command()
def init(upstream: Upstream = None, config: Config = None) -> None:
    """Install or upgrade the home schema (schema df) in the database; safe to repeat."""
    from durproxy.home import connect
    from durproxy.schema.install import install

    settings = load_settings({"upstream": upstream}, config)
    connect(settings.upstream).close()
    report = install(settings.upstream)
    done = f"applied {', '.join(report.applied)}" if report.changed else "nothing to do"
    typer.echo(f'database "{report.database}": home schema version {report.version}, {done}')


@app.command()
def uninstall(
    upstream: Upstream = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
) -> None:
    """Drop the home schema with every workflow in it."""
    from durproxy.home import connect
    from durproxy.schema import install as schema

    settings = load_settings({"upstream": upstream}, config)
    with connect(settings.upstream) as connection:
        database = connection.info.dbname
    if not yes:
        typer.confirm(f'Drop schema df of database "{database}" with every workflow?', abort=True)
    dropped = schema.uninstall(settings.upstream)
    done = "schema df is dropped" if dropped else "nothing to do, there is no home schema"
    typer.echo(f'database "{database}": {done}')


@app.command()
def version() -> None:
    """Print durproxy's version."""
    typer.echo(f"durproxy {durproxy.__version__}")


def main() -> None:
    """Run the command line; an error of ours is a message and an exit code, not a traceback."""
    try:
        app()
    except DurproxyError as error:
        _complain(error.message, error.detail, error.hint)
        sys.exit(_exit_code(error))
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip()
        code = f" ({error.sqlstate})" if error.sqlstate else ""
        _complain(message + code, error.diag.message_detail, error.diag.message_hint)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _exit_code(error: DurproxyError) -> int:
    if isinstance(error, ConfigurationError):
        return 2
    return 3 if isinstance(error, UpstreamUnreachable) else 1


def _complain(message: str, detail: str | None, hint: str | None) -> None:
    typer.echo(f"durproxy: error: {message}", err=True)
    if detail:
        typer.echo(f"detail: {detail}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)


def _say_ready(listening: Listening) -> None:
    where = f" socket={listening.socket_path}" if listening.socket_path else ""
    typer.echo(f"durproxy ready listen={listening.address}{where} web={listening.web_address}")


if __name__ == "__main__":
    main()
