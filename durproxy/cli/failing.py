"""What a command prints, and exits with, when it fails.

Exit codes: 0 ok, 1 not done or failed, 2 wrong usage or configuration, 3 the upstream cannot be
reached, 130 interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import typer

from durproxy.cli.tables import lines_of
from durproxy.errors import ConfigurationError, DurproxyError, UpstreamUnreachable

NOT_DONE = 1
MISCONFIGURED = 2
UNREACHABLE = 3

_GONE = ("08", "57P")  # classes of a connection that is lost, of a server that shuts down


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the user sees it."""

    message: str
    detail: str | None
    hint: str | None
    exit_code: int

    def complain(self) -> None:
        _print(f"durproxy: error: {self.message}")
        if self.detail:
            _print(f"detail: {self.detail}")
        if self.hint:
            _print(f"hint: {self.hint}")


def _print(text: str) -> None:
    """What the server quotes may be anybody's: it does not act on the terminal."""
    for line in lines_of(text.expandtabs()):
        typer.echo(line, err=True)


def failure_of(error: Exception) -> Failure | None:
    """None for what nobody has foreseen: a defect, which should show its traceback."""
    if isinstance(error, DurproxyError):
        return Failure(error.message, error.detail, error.hint, _exit_code(error))
    if isinstance(error, psycopg.Error):
        diagnosis = error.diag
        message = diagnosis.message_primary or str(error).strip()
        code = f" ({error.sqlstate})" if error.sqlstate else ""
        return Failure(
            message + code,
            diagnosis.message_detail,
            diagnosis.message_hint,
            UNREACHABLE if is_connection_lost(error) else NOT_DONE,
        )
    return None


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the server is gone, as against having refused something."""
    if error.sqlstate is None:  # libpq's own, not the server's
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_GONE)


def _exit_code(error: DurproxyError) -> int:
    if isinstance(error, ConfigurationError):
        return MISCONFIGURED
    return UNREACHABLE if isinstance(error, UpstreamUnreachable) else NOT_DONE
