"""A statement that refuses to be in a transaction: it runs alone, at least once, one at a time.

By its refusal (25001, 2D000) it has done nothing yet. A worker that dies leaves it running on the
server, where nothing can take it back, so the next attempt finds written down which backend that
is, ends it, and waits until it is gone. It is written down before the statement is sent, and under
the token, so a worker that has lost the instance cannot come in between.
"""

from __future__ import annotations

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection, ServerError
from durproxy.engine.core.actions import RunStep
from durproxy.engine.core.states import StepError, StepResult
from durproxy.engine.encoding import array_literal, frames_literals
from durproxy.engine.inner_step import run_inner
from durproxy.engine.rows import decision_values, types_json
from durproxy.engine.session import UNKNOWN, clean_session
from durproxy.engine.step_text import ReadyStep, StepFailure, ready_row
from durproxy.engine.store import lost_hold
from durproxy.engine.trigger import passed, when_sent

_NOT_IN_A_TRANSACTION = frozenset(("25001", "2D000"))
_OWN = "a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"
# ends the backend of an earlier attempt, and waits for that; no row: it is gone, or this one, idle
_END_PREDECESSOR = (
    "SELECT pg_catalog.pg_terminate_backend(a.pid, 10000) FROM df._alone_before_1($1, $2::uuid,"
    " $3::integer, $4) AS b JOIN pg_catalog.pg_stat_activity AS a ON"
    " a.pid OPERATOR(pg_catalog.=) b.pid"
    f" AND a.backend_start OPERATOR(pg_catalog.=) b.backend_start AND NOT {_OWN}"
)
_BEGIN = (
    "SELECT df._alone_1($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6::integer, $7,"
    f" a.pid, a.backend_start) FROM pg_catalog.pg_stat_activity AS a WHERE {_OWN}"
)
_FINISH = (
    "SELECT df._alone_done_1($1, $2::uuid, $6::integer, $7),"
    " df._finish_1($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6::integer, $7,"
    ' $10::json, $11::json, $12::text[], $8::"char", $9::integer)'
)


def must_be_alone(error: ServerError, ready: ReadyStep) -> bool:
    """Whether it refuses to be in a transaction; of what gives rows only a CALL can mean that."""
    is_call = ready.records and ready.plain.lstrip()[:4].lower() == "call"
    return error.code in _NOT_IN_A_TRANSACTION and (is_call or not ready.rows)


def refuse_references(action: RunStep, ready: ReadyStep) -> None:
    """Raise StepFailure for a statement with references: without a transaction it has no values."""
    if ready.values is not None:
        message = "a statement that cannot run inside a transaction takes no references"
        raise StepFailure(StepError(message, "0A000", node=action.key.node))


def _refuse_assumed(connection: Connection, action: RunStep) -> None:
    """Raise StepFailure where the session is another role's: only that role may see and end it."""
    if connection.assumes is not None:
        message = "a statement that cannot run inside a transaction needs a login of its role"
        hint = 'step_identity is "set_role" in the settings of this engine.'
        raise StepFailure(StepError(message, "0A000", hint=hint, node=action.key.node))


async def run_plain(
    connection: Connection, claim: Claim, action: RunStep, ready: ReadyStep
) -> StepResult:
    """The statement by itself. Raises StepFailure: what it had committed stays, so it runs once."""
    try:
        answer = await connection.script(ready.plain)
    except ServerError as error:
        raise StepFailure(
            StepError(
                error.message, error.code, error.detail, error.hint, error.context or None,
                action.key.node,
            )
        ) from None  # fmt: skip
    if not answer.columns():
        return StepResult('{"rows":[],"row_count":0}')
    # CALL gives the values of its OUT parameters
    return await run_inner(connection, claim, await ready_row(connection, action, answer))


async def run_alone(
    connection: Connection, claim: Claim, action: RunStep, ready: ReadyStep
) -> StepResult:
    """Run the statement by itself, then write its outcome.

    Raises StepFailure, ConnectionLost, and ServerError when it or its outcome is refused.
    """
    refuse_references(action, ready)
    _refuse_assumed(connection, action)
    await clean_session(connection, claim)
    connection.session_of = UNKNOWN
    key = (str(action.key.node), action.key.path)
    while len(await connection.run(_END_PREDECESSOR, (claim.id, claim.token, *key))):
        pass  # each look waits for it in the server
    held = (claim.id, claim.token, *frames_literals(action.scopes), *key)
    try:
        await connection.run(_BEGIN, held)
    except ServerError as error:
        raise lost_hold(error) or error from None
    passed("alone.before")
    result = await run_plain(connection, claim, action, ready)
    passed("alone.after")
    exact = None if result.exact is None else array_literal(result.exact)
    finish = (*held, *decision_values(action.decides), result.text, types_json(result.types), exact)
    await connection.call("durproxy finish", _FINISH, finish, when_sent("alone"))
    return result
