"""A statement that refuses to be in a transaction, in another database: the same rules as at home.

The backend that will run it is written down at home, under the token, before it is sent; backends
are the whole server's, so the next attempt finds it there and ends it from its own connection, as
the same role.
"""

from __future__ import annotations

from durproxy.engine.alone import refuse_references, run_plain
from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection
from durproxy.engine.core.actions import RunStep
from durproxy.engine.core.states import StepResult
from durproxy.engine.step_text import ReadyStep
from durproxy.engine.store import Store
from durproxy.engine.trigger import passed

_OWN = "a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"
# as JSON writes it, whatever the session's DateStyle is
_WHO_AM_I = (
    "SELECT a.pid, pg_catalog.to_json(a.backend_start) OPERATOR(pg_catalog.#>>) '{}'"
    f" FROM pg_catalog.pg_stat_activity AS a WHERE {_OWN}"
)
_END = (
    "SELECT pg_catalog.pg_terminate_backend(a.pid, 10000) FROM pg_catalog.pg_stat_activity AS a"
    " WHERE a.pid OPERATOR(pg_catalog.=) $1::integer"
    f" AND a.backend_start OPERATOR(pg_catalog.=) $2::timestamptz AND NOT {_OWN}"
)


async def run_alone_there(
    connection: Connection, store: Store, claim: Claim, action: RunStep, ready: ReadyStep
) -> StepResult:
    """Run the statement by itself; its whole result.

    Raises StepFailure, LostHold, ConnectionLost; ServerError when it cannot be written down.
    """
    refuse_references(action, ready)
    before = await store.alone_before(claim, action.key)
    if before is not None:
        while len(await connection.run(_END, before)):
            pass  # each look waits for it in the server
    pid, began = (await connection.run(_WHO_AM_I)).one()
    await store.begin_alone(claim, action, pid or "", began or "")
    passed("alone_away.before")
    result = await run_plain(connection, claim, action, ready)
    passed("alone_away.after")
    await store.alone_done(claim, action.key)
    return result
