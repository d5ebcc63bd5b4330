"""The SQL that gives roles what they need and nothing more, with the reason beside each statement.

Two roles, so that what runs all day owns nothing: the migrate role owns the schema and brings it
up to date with ``durproxy init``; ``durproxy serve`` logs in as the run role. Each user starts
workflows as itself. None is a superuser or has BYPASSRLS or CREATEROLE. Safe to repeat.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from durproxy.engine.core.references import quote_name
from durproxy.errors import ConfigurationError
from durproxy.providers import MANNERS, Provider

_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is to get what."""

    database: str
    migrate_role: str
    run_role: str
    users: tuple[str, ...] = ()
    http_users: tuple[str, ...] = ()  # of the users, those whose steps may call out
    viewers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = (self.database, self.migrate_role, self.run_role, *self.users, *self.http_users,
                 *self.viewers, *self.operators)  # fmt: skip
        for name in named:
            if not name or not name.isprintable():
                raise ConfigurationError(f"invalid name {name!r}")

    @property
    def is_one_role(self) -> bool:
        return self.migrate_role == self.run_role


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and why it is there."""

    why: str
    sql: str


def admin_part(plan: Plan) -> Iterator[Statement]:
    """What the administrator runs, once, before ``durproxy init``."""
    database, owner = quote_name(plan.database), quote_name(plan.migrate_role)
    yield Statement(
        "Owns the schema df, and does nothing else all day: only durproxy init logs in as it.",
        _create(plan.migrate_role),
    )
    if not plan.is_one_role:
        yield Statement("Runs the engine and owns nothing.", _create(plan.run_role))
    yield Statement(
        "durproxy init makes the schemas df and df_held.",
        f"GRANT CONNECT, CREATE ON DATABASE {database} TO {owner};",
    )
    if not plan.is_one_role:
        run = quote_name(plan.run_role)
        yield Statement(
            "Everybody may connect unless that was revoked: then these may.",
            f"GRANT CONNECT ON DATABASE {database} TO {run};",
        )
        yield Statement(
            "The functions of the schema run as its owner, and only a member of a role sees which"
            " of its sessions, the engines, are alive. The owner gets no more by it than it has.",
            f"GRANT {run} TO {owner};",
        )
    for user in plan.users:
        yield Statement(
            f'Steps of "{user}" run on connections of their own; the role exists, and has LOGIN.',
            f"GRANT CONNECT ON DATABASE {database} TO {quote_name(user)};",
        )


def owner_part(plan: Plan) -> Iterator[Statement]:
    """What the migrate role runs after ``durproxy init``."""
    if not plan.is_one_role:
        yield Statement(
            "The functions of the engine, and the schema's tables to read.",
            f"SELECT df.grant_engine({_text(plan.run_role)});",
        )
    for user in plan.users:
        http = ", include_http => true" if user in plan.http_users else ""
        also = ", and their steps may make HTTP calls" if http else ""
        yield Statement(
            f"Starts workflows, sees and steers its own{also}.",
            f"SELECT df.grant_usage({_text(user)}{http});",
        )
    for viewer in plan.viewers:
        yield Statement(
            "Sees the workflows of all roles, but not their variables.",
            f"SELECT df.grant_viewer({_text(viewer)});",
        )
    for operator in plan.operators:
        yield Statement(
            "Sees and steers the workflows of all roles.",
            f"SELECT df.grant_operator({_text(operator)});",
        )


def script(plan: Plan, provider: Provider) -> str:
    """All of it, to be read from the beginning."""
    manner = MANNERS[provider]
    own = f"user={plan.migrate_role} dbname={plan.database}"
    return "\n".join(
        (
            _comment(f"durproxy on {manner.title}: who owns, who runs, who uses it."),
            "",
            _comment(f'1. In database "{plan.database}", as {manner.admin}.'),
            *_written(admin_part(plan)),
            *(_comment(note) for note in manner.notes),
            "",
            _comment(f'2. In a shell: durproxy init --upstream "host=... {own}"'),
            "",
            _comment(f'3. In database "{plan.database}", as {plan.migrate_role}.'),
            *_written(owner_part(plan)),
            _comment(
                f"4. durproxy serve logs in as {plan.run_role}. Its passfile needs a line for that"
                " role and for each user, unless a command or a certificate does it."
                " durproxy doctor says what is missing."
            ),
            "",
        )
    )


def _written(statements: Iterator[Statement]) -> Iterator[str]:
    for statement in statements:
        yield f"\n{_comment(statement.why)}\n{statement.sql}"
    yield ""


def _comment(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="-- ", subsequent_indent="-- ", break_on_hyphens=False
    )


def _create(role: str) -> str:
    tag = "$do$"
    while tag in role:
        tag = f"$o{tag[1:]}"
    return (
        f"DO {tag} BEGIN\n"
        f"    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {_text(role)}) THEN\n"
        f"        CREATE ROLE {quote_name(role)} LOGIN;\n    END IF;\nEND {tag};"
    )


def _text(text: str) -> str:
    escaped = text.replace("'", "''")
    return f" E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{escaped}'"
