"""The checks of ``durproxy doctor``: settings, this machine, the server, the schema, the roles.

Each looks at one thing and changes nothing. What a check needs and cannot have, such as a
connection, was told by an earlier one, and it is left out then.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from durproxy import passwords
from durproxy.config import Settings
from durproxy.connecting import connect
from durproxy.doctor import home, listeners, logins, server
from durproxy.doctor.findings import Finding, Severity, error
from durproxy.errors import DurproxyError
from durproxy.proxy.loaded import load

_ORDER = list(Severity)


def examine(settings: Settings) -> list[Finding]:
    """All findings, the worst first."""
    passwords.configure(settings)
    return sorted(_examine(settings), key=lambda finding: _ORDER.index(finding.severity))


def _examine(settings: Settings) -> Iterator[Finding]:
    try:
        load(settings)
    except DurproxyError as problem:
        yield error("settings", _sentence(problem), problem.hint or "Correct the setting.")
    yield from listeners.check(settings)
    yield from logins.check_passfile()
    try:
        connection = connect(settings.upstream)
    except DurproxyError as problem:
        remedy = problem.hint or "Look at option --upstream, and whether the server runs."
        yield error("upstream", _sentence(problem), remedy)
        return
    with connection:
        yield from server.check(connection, settings)
        try:
            is_usable = True
            for finding in home.check(connection, settings):
                is_usable = is_usable and finding.check != "schema"
                yield finding
            if is_usable:
                yield from logins.check_roles(connection, settings)
        except psycopg.Error as problem:
            yield error(
                "rights",
                f"The schema cannot be looked at: {str(problem).strip()}",
                "As its owner: SELECT df.grant_engine('role'), with the role of option --upstream.",
            )


def _sentence(problem: DurproxyError) -> str:
    detail = " ".join((problem.detail or "").split())
    return f"{problem.message}: {detail}" if detail else problem.message
