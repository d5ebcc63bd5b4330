"""A command starts quickly: what it does not need is not loaded."""

from __future__ import annotations

import subprocess
import sys

# what a command that only declares, or only asks the database, would load in vain
HEAVY = ("psycopg", "pydantic_settings", "pglast", "trio", "structlog", "httpx", "rich.table")


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split()) & set(HEAVY)


def test_declaring_the_commands_loads_none_of_what_they_do() -> None:
    assert (
        loaded("import durproxy.cli, typer.main; typer.main.get_command(durproxy.cli.app)") == set()
    )


def test_looking_loads_what_it_needs_and_nothing_of_serve() -> None:
    needed = loaded("import durproxy.cli.listing, durproxy.cli.telling, durproxy.cli.commanding")
    assert needed == {"psycopg", "rich.table"}
