"""The command line as a whole: its commands, and what an error of theirs prints and exits with."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from durproxy.cli import acting, checking, installing, looking, processes

app = typer.Typer(
    name="durproxy",
    help="Durable SQL workflows for any Postgres: a proxy, nothing to install in the database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (processes, looking, acting, checking, installing):
    group.add_commands(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        installing.version()
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


def main() -> None:
    """Run the command line; an error of ours is a message and an exit code, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack characters that a label has
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from durproxy.cli.failing import failure_of

        failure = failure_of(error)
        if failure is None:
            raise
        failure.complain()
        sys.exit(failure.exit_code)
