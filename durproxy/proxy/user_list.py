"""The passwords of roles whose login cannot pass through: a file in the form of libpq's passfile.

So one file can serve the engines, which log in as these roles, and the proxies. A line is
``host:port:database:user:password``; ``*`` matches anything, a backslash escapes a colon or itself,
and the first line that matches counts. As libpq we refuse a file that others may read.

A line may also have pgbouncer's form, ``"user" "password"``. Instead of a password there may be
the role's SCRAM secret, as the server keeps it; its colons need no backslash. It is of no use to
the engines.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from durproxy.errors import ConfigurationError
from durproxy.proxy.scram import maybe_secret

_FIELD = re.compile(r"((?:[^\\:]|\\.)*)(?::|$)")
_ESCAPED = re.compile(r"\\(.)")
_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"')
_MD5 = re.compile("md5[0-9a-f]{32}")
_SCRAM = "SCRAM-SHA-256$"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    host: str
    port: str
    database: str
    user: str
    password: str

    def matches(self, host: str, port: int, database: str, user: str) -> bool:
        asked = (host, str(port), database, user)
        own = (self.host, self.port, self.database, self.user)
        return all(mine in ("*", theirs) for mine, theirs in zip(own, asked, strict=True))


@dataclass(frozen=True, slots=True)
class UserList:
    """The lines of the file."""

    entries: tuple[Entry, ...] = ()

    def password(self, host: str, port: int, database: str, user: str) -> str | None:
        matching = (e for e in self.entries if e.matches(host, port, database, user))
        found = next(matching, None)
        return None if found is None else found.password


def load_user_list(path: Path | None) -> UserList:
    """The file's lines; ConfigurationError says what is wrong with it."""
    if path is None:
        return UserList()
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "") if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigurationError(
            f'could not read "{path}" of option --auth-file: {why.lower()}'
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f'"{path}" of option --auth-file has group or world access',
            hint="Permissions should be u=rw (0600) or less.",
        )
    return parse_user_list(text, str(path))


def parse_user_list(text: str, name: str) -> UserList:
    """The lines of such a text; its name is for the error."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        where = f'line {number} of "{name}" of option --auth-file'
        read = _quoted_entry if line.lstrip().startswith('"') else _entry
        entry = read(line, where)
        if entry.password.startswith(_SCRAM) and maybe_secret(entry.password) is None:
            raise ConfigurationError(f"{where} has a SCRAM secret that is not whole")
        entries.append(entry)
    return UserList(tuple(entries))


def _entry(line: str, where: str) -> Entry:
    fields = [_ESCAPED.sub(r"\1", field) for field in _FIELD.findall(line)]
    if len(fields) < 5 or not fields[3]:
        raise ConfigurationError(f"{where} is not host:port:database:user:password")
    if fields[4].startswith(_SCRAM):
        fields[4] = ":".join(field for field in fields[4:] if field)
    return Entry(*fields[:5])


def _quoted_entry(line: str, where: str) -> Entry:
    found = _QUOTED.match(line)
    if found is None or not found[1]:
        raise ConfigurationError(f'{where} is not "user" "password"')
    user, password = (text.replace('""', '"') for text in found.groups())
    if _MD5.fullmatch(password):
        raise ConfigurationError(
            f"{where} has an MD5 hash, which is of no use for SCRAM",
            hint="Put the password there, or the role's SCRAM secret.",
        )
    return Entry("*", "*", "*", user, password)
