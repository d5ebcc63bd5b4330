"""Whether a DSN can be one, before anything connects with it."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

# what libpq reads as a number only when it connects, and some of it not even then
_NUMBERS = frozenset((
    "port", "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "tcp_user_timeout",
))  # fmt: skip


def checked_conninfo(text: str) -> str:
    """The text itself; a ValueError says what it must be, and quotes no password."""
    try:
        given = conninfo_to_dict(text)
    except psycopg.ProgrammingError as error:
        # libpq quotes what it could not read, which may hold the password
        reason = str(error).strip()
        if not reason.startswith(("invalid connection option", "invalid URI query parameter")):
            reason = "must be a postgresql:// URI or name=value pairs"
        raise ValueError(reason) from None
    if not text.strip():
        raise ValueError("must not be empty")
    for name in _NUMBERS & given.keys():
        for number in str(given[name]).split(","):
            if not re.fullmatch(r"\s*-?\d*\s*", number):
                raise ValueError(f'{name} "{number}" is not a number')
    return text
