"""The commands for who sets it up: what roles need, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from durproxy.cli.options import Config, Json, Upstream
from durproxy.providers import Provider


def add_commands(app: typer.Typer) -> None:
    for command in (grants, doctor):
        app.command()(command)


def grants(
    provider: Annotated[Provider, typer.Option(help="Where the database is.")] = Provider.PLAIN,
    database: Annotated[str | None, typer.Option(help="Default: that of --upstream.")] = None,
    migrate_role: Annotated[str, typer.Option(help="Owns the schema.")] = "durproxy_owner",
    run_role: Annotated[str, typer.Option(help="serve logs in as it.")] = "durproxy",
    users: Annotated[str, typer.Option(help="Who starts workflows: names with commas.")] = "",
    http_users: Annotated[str, typer.Option(help="Those of them that may call out.")] = "",
    viewers: Annotated[str, typer.Option(help="Who sees all workflows.")] = "",
    operators: Annotated[str, typer.Option(help="Who also steers all.")] = "",
    upstream: Upstream = None,
    config: Config = None,
) -> None:
    """Print the SQL that gives roles what they need, each statement with its reason."""
    from durproxy.grants import Plan, script

    calling = _names(http_users)
    plan = Plan(
        database or _database(upstream, config),
        migrate_role,
        run_role,
        tuple(dict.fromkeys((*_names(users), *calling))),
        calling,
        _names(viewers),
        _names(operators),
    )
    typer.echo(script(plan, provider), nl=False)


def doctor(as_json: Json = False, upstream: Upstream = None, config: Config = None) -> None:
    """Check the settings, the server and the roles; exit code 1 where something cannot work."""
    from durproxy.cli.finding import print_findings
    from durproxy.cli.tables import print_json
    from durproxy.config import load_settings
    from durproxy.doctor import examine
    from durproxy.doctor.findings import Severity

    findings = examine(load_settings({"upstream": upstream}, config))
    if as_json:
        print_json([finding.as_json() for finding in findings])
    else:
        print_findings(findings)
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _database(upstream: str | None, config: Path | None) -> str:
    from psycopg.conninfo import conninfo_to_dict

    from durproxy.cli.asking import find_upstream
    from durproxy.errors import ConfigurationError

    given = conninfo_to_dict(find_upstream(upstream, config))
    if not (name := given.get("dbname")):
        raise ConfigurationError("option --database is missing", hint="Or name it in --upstream.")
    return str(name)
