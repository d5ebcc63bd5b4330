"""Could this ``serve`` do its work now? Asked of the upstream itself, each time."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import psycopg
import trio

from durproxy.config import Settings
from durproxy.connecting import connect
from durproxy.errors import DurproxyError
from durproxy.restored import problem
from durproxy.schema.install import installed_version, migrations

_TIMEOUT = 5.0  # seconds: a slower upstream is not ready
_OK = "ok"

# An engine is alive while its connection is, and it has shown itself lately.
_ENGINES = """
    SELECT count(*)
      FROM df._engines e
      JOIN pg_catalog.pg_stat_activity a ON a.pid = e.pid AND a.backend_start = e.backend_start
     WHERE e.seen_at > pg_catalog.clock_timestamp() - %s * interval '1 second'
"""


@dataclass(slots=True)
class Readiness:
    """What is well, and why not."""

    upstream: str = "not reached"
    schema: str = "unknown"
    engine: str = "unknown"

    @property
    def ready(self) -> bool:
        return all(text == _OK for text in asdict(self).values())

    def as_json(self) -> dict[str, str]:
        return {"status": "ready" if self.ready else "not ready"} | asdict(self)


async def look(settings: Settings) -> Readiness:
    """How it stands, known in a few seconds at most."""
    found = Readiness()
    with trio.move_on_after(_TIMEOUT) as scope:
        await trio.to_thread.run_sync(_look_blocking, settings, found, abandon_on_cancel=True)
    if scope.cancelled_caught:
        return Readiness(upstream="does not answer in time")
    return found


def _look_blocking(settings: Settings, found: Readiness) -> None:
    try:
        with connect(settings.upstream) as connection:
            found.upstream = _OK
            found.schema = _judge_schema(installed_version(settings.upstream))
            found.engine = _judge_engines(settings, connection)
    except (DurproxyError, psycopg.Error) as error:
        problem = str(error).strip()
        if found.upstream != _OK:
            found.upstream = problem
        elif found.schema == "unknown":
            found.schema = problem
        else:
            found.engine = problem


def _judge_schema(version: int | None) -> str:
    needed = migrations()[-1].version
    if version is None:
        return "the home schema is missing"
    return _OK if version >= needed else f"at version {version}, needed is {needed}"


def _judge_engines(settings: Settings, connection: psycopg.Connection) -> str:
    """Where this ``serve`` has none, they are another's to run and to watch."""
    if settings.engines == 0:
        return _OK
    patience = 2 * (settings.poll_interval + settings.lease)
    copy = problem(connection, settings.upstream)
    if copy is not None:
        return f"held back until durproxy acknowledge-restore: {copy}"
    [(alive,)] = connection.execute(_ENGINES, [patience]).fetchall()
    return _OK if alive else "none is alive"
