"""The commands that bring the home schema and take it away, and the version."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

import durproxy
from durproxy.cli.options import Config, Json, Upstream


def add_commands(app: typer.Typer) -> None:
    for command in (init, acknowledge_restore, uninstall, version):
        app.command()(command)


def init(as_json: Json = False, upstream: Upstream = None, config: Config = None) -> None:
    """Install or upgrade the home schema (schema df) in the database; safe to repeat."""
    from durproxy import passwords
    from durproxy.cli.tables import print_json
    from durproxy.config import load_settings
    from durproxy.connecting import connect
    from durproxy.home import set_audit_days
    from durproxy.schema.install import install

    settings = load_settings({"upstream": upstream}, config)
    passwords.configure(settings)
    connect(settings.upstream).close()
    report = install(settings.upstream)
    if "audit_days" in settings.model_fields_set:
        set_audit_days(settings)
    if as_json:
        print_json(asdict(report))
        return
    done = f"applied {', '.join(report.applied)}" if report.changed else "nothing to do"
    typer.echo(f'database "{report.database}": home schema version {report.version}, {done}')


def acknowledge_restore(
    as_json: Json = False, upstream: Upstream = None, config: Config = None
) -> None:
    """Let engines go on with the workflows of a database that was restored or copied."""
    from durproxy import passwords
    from durproxy.cli.tables import print_json
    from durproxy.config import load_settings
    from durproxy.restored import acknowledge

    settings = load_settings({"upstream": upstream}, config)
    passwords.configure(settings)
    held_back = acknowledge(settings.upstream)
    if as_json:
        print_json({"held_back": held_back})
    elif held_back is None:
        typer.echo("nothing to do, engines were not held back")
    else:
        typer.echo(f"engines go on; they were held back because {held_back}")


def uninstall(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Drop the home schema with every workflow in it."""
    from durproxy import passwords
    from durproxy.cli.tables import print_json
    from durproxy.config import load_settings
    from durproxy.connecting import connect
    from durproxy.schema import install as schema

    settings = load_settings({"upstream": upstream}, config)
    passwords.configure(settings)
    with connect(settings.upstream) as connection:
        database = connection.info.dbname
    if not yes:
        typer.confirm(f'Drop schema df of database "{database}" with every workflow?', abort=True)
    dropped = schema.uninstall(settings.upstream)
    if as_json:
        print_json({"database": database, "dropped": dropped})
        return
    done = "schema df is dropped" if dropped else "nothing to do, there is no home schema"
    typer.echo(f'database "{database}": {done}')


def version(as_json: Json = False) -> None:
    """Print durproxy's version."""
    if as_json:
        from durproxy.cli.tables import print_json

        print_json({"version": durproxy.__version__})
    else:
        typer.echo(f"durproxy {durproxy.__version__}")
