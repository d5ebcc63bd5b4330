"""Whether a DSN can be one, before anything connects with it."""

from __future__ import annotations

import re

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# what libpq reads as a number only when it connects, and some of it not even then
_NUMBERS = frozenset((
    "port", "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "tcp_user_timeout",
))  # fmt: skip

# what names a file, or a section of one
_FILES = frozenset((
    "passfile", "service", "servicefile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir",
    "sslkeylogfile",
))  # fmt: skip


# what lets in whoever has it: all that libpq would not show, and the keys of SCRAM
_SECRETS = frozenset(("scram_client_key", "scram_server_key")) | {
    option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"
}


def libpq_defaults() -> dict[str, str]:
    """What holds where a DSN says nothing: libpq's own defaults and the environment's."""
    return {
        option.keyword.decode(): option.val.decode()
        for option in pq.Conninfo.get_defaults()
        if option.val is not None
    }


def without_secrets(text: str) -> str:
    """The same DSN, to be shown."""
    given = conninfo_to_dict(text)
    return make_conninfo("", **(given | dict.fromkeys(_SECRETS & given.keys(), "***")))


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


def checked_step_options(text: str | None) -> str | None:
    """The same for a part of a DSN, in which {role} and {database} may stand."""
    if not text:
        return None
    if text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be name=value pairs")
    checked_conninfo(text)
    if "dbname" in conninfo_to_dict(text):
        raise ValueError("must not name a database: a step's is its workflow's")
    return text


def names_user(step_options: str | None) -> bool:
    return "user" in conninfo_to_dict(step_options or "")


def filled_step_options(text: str, role: str, database: str) -> dict[str, str]:
    """The options for one role and database; a ValueError where a name would lead elsewhere."""
    filled: dict[str, str] = {}
    for name, value in conninfo_to_dict(text).items():
        pattern = str(value)
        if name in _FILES and any(
            place in pattern and ("/" in inside or inside.startswith("."))
            for place, inside in (("{role}", role), ("{database}", database))
        ):
            raise ValueError(f'{name} "{pattern}" is not possible for role "{role}"')
        parts = (part.replace("{database}", database) for part in pattern.split("{role}"))
        filled[name] = role.join(parts)
    return filled
