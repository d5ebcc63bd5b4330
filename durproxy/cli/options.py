"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from durproxy.cli.completing import complete_instance, complete_live_instance

Upstream = Annotated[
    str | None,
    typer.Option(help="The Postgres: a URI or libpq's name=value pairs.", metavar="DSN"),
]
Config = Annotated[
    Path | None, typer.Option(help="Settings. Default: durproxy.toml when it is there.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
InstanceId = Annotated[
    str,
    typer.Argument(metavar="ID", help="As df.start gave it.", autocompletion=complete_instance),
]
LiveInstanceId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="As df.start gave it.", autocompletion=complete_live_instance
    ),
]
Label = Annotated[str | None, typer.Option(help="Only those with this label.")]
Role = Annotated[str | None, typer.Option(help="Only those that this role started.")]
Since = Annotated[
    str | None,
    typer.Option(help="Only those started since then: 2h, 3d, 2026-01-31.", metavar="WHEN"),
]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")]
