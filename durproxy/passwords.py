"""Passwords that a command prints: tokens of a cloud's identity service, and what else expires.

Where ``password_command`` is set it is run, without a shell, for each role, host, port and
database whose password no DSN holds. What it prints is kept for ``password_command_ttl`` and never
logged: an error tells how the command failed, in the words of its standard error, from which what
it printed is taken out. A login that fails with a password that has been kept asks for a new one.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy.conninfo import libpq_defaults
from durproxy.errors import UpstreamUnreachable

if TYPE_CHECKING:  # commands that only look read no settings
    from durproxy.config import Settings

_YOUNG = 5.0  # seconds: a password of that age is not asked for again
_LONGEST = 64 * 1024  # bytes; tokens have a few thousand
_SHOWN = 300  # characters of what a command complains of
# what libpq connects to when a DSN does not say
_DEFAULTS = {"host": "localhost", "port": "5432"}


@dataclass(frozen=True, slots=True)
class Login:
    """Whose password, and where it is for."""

    role: str
    host: str
    port: str
    database: str

    @classmethod
    def of(cls, conninfo: str) -> Login:
        given = _DEFAULTS | libpq_defaults()
        given |= {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value}
        role = given.get("user", "")
        host = given.get("host") or given.get("hostaddr") or "localhost"
        return cls(role, host, given["port"], given.get("dbname") or role)


class PasswordCommand:
    """Asks a command, and remembers what it said; any thread may call it."""

    def __init__(self, argv: Sequence[str], ttl: float, timeout: float) -> None:
        self._argv = tuple(argv)
        self._ttl = ttl
        self._timeout = timeout
        self._known: dict[Login, tuple[str, float]] = {}
        self._locks: dict[Login, threading.Lock] = {}

    def password(self, login: Login) -> str:
        """Kept, or asked for now, which blocks. Raises UpstreamUnreachable."""
        with self._locks.setdefault(login, threading.Lock()):  # one asks, the others wait for it
            kept, at = self._known.get(login, ("", 0.0))
            if kept and time.monotonic() - at < self._ttl:
                return kept
            found = self._ask(login)
            self._known[login] = found, time.monotonic()
            return found

    def forget(self, login: Login) -> bool:
        """A login with it has failed; False when it is too new to be the reason."""
        _, at = self._known.get(login, ("", 0.0))
        if time.monotonic() - at < min(_YOUNG, self._ttl):
            return False
        self._known.pop(login, None)
        return True

    def _ask(self, login: Login) -> str:
        values = {"{role}": login.role, "{host}": login.host, "{port}": login.port,
                  "{database}": login.database}  # fmt: skip
        argv = [_filled(argument, values) for argument in self._argv]
        about = f'password_command for role "{login.role}"'
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._timeout,
                check=False, env=_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UpstreamUnreachable(f"{about} gave no answer in {self._timeout:g} s") from None
        except OSError as error:
            raise UpstreamUnreachable(f"{about} cannot be run: {error}") from None
        printed = done.stdout[:_LONGEST].decode("utf-8", "replace").strip("\r\n")
        if done.returncode != 0:
            raise UpstreamUnreachable(
                f"{about} failed with exit code {done.returncode}"
                + _complaint(done.stderr.decode("utf-8", "replace"), printed)
            )
        if not printed or "\n" in printed or "\0" in printed:
            told = "nothing" if not printed else "more than one line"
            raise UpstreamUnreachable(f"{about} printed {told} where a password should be")
        return printed


def _filled(argument: str, values: dict[str, str]) -> str:
    """In one pass, so that a role's name that looks like a place is left as it is."""
    out, rest = "", argument
    while rest:
        found = [(rest.index(place), place) for place in values if place in rest]
        if not found:
            break
        at, place = min(found)
        out += rest[:at] + values[place]
        rest = rest[at + len(place) :]
    return out + rest


def _environment() -> dict[str, str]:
    """Ours, without what may hold another password."""
    return {name: text for name, text in os.environ.items() if name != "PGPASSWORD"}


def _complaint(told: str, printed: str) -> str:
    words = " ".join(told.split())
    for line in filter(None, (line.strip() for line in printed.splitlines())):
        words = words.replace(line, "***")
    return f": {words[-_SHOWN:]}" if words else ""


_command: PasswordCommand | None = None


def configure(settings: Settings) -> None:
    """Follow the settings in this process."""
    global _command
    _command = None
    if settings.password_command:
        _command = PasswordCommand(
            settings.password_command,
            settings.password_command_ttl,
            settings.password_command_timeout,
        )


def is_asked_for(conninfo: str) -> bool:
    """Whether the command is the one to give the password for it."""
    return _command is not None and not conninfo_to_dict(conninfo).get("password")


def with_password(conninfo: str) -> str:
    """The conninfo with its password, where a command gives it; blocks."""
    if _command is None or not is_asked_for(conninfo):
        return conninfo
    return make_conninfo(conninfo, password=_command.password(Login.of(conninfo)))


def was_refused(conninfo: str) -> bool:
    """The login failed; whether it is worth another try, with a new password."""
    return _command is not None and is_asked_for(conninfo) and _command.forget(Login.of(conninfo))


def connect(conninfo: str) -> psycopg.Connection:
    """A connection in autocommit, by the command's password where it gives one; blocks."""
    try:
        return psycopg.connect(with_password(conninfo), autocommit=True)
    except psycopg.OperationalError:
        if not was_refused(conninfo):
            raise
        return psycopg.connect(with_password(conninfo), autocommit=True)
