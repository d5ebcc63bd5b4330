"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Upstream = Annotated[
    str | None,
    typer.Option(help="The Postgres: a URI or libpq's name=value pairs.", metavar="DSN"),
]
Config = Annotated[
    Path | None, typer.Option(help="Settings. Default: durproxy.toml when it is there.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
