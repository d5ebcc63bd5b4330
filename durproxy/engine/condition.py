"""Asking a WAIT_CONDITION's query: read only, and without a trace but its answer's truth."""

from __future__ import annotations

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection, ServerError
from durproxy.engine.core.actions import RunStep, WaitCondition
from durproxy.engine.core.graph import Node, NodeType, Use, as_statement
from durproxy.engine.core.states import StepError
from durproxy.engine.core.truth import is_true
from durproxy.engine.inner_step import run_inner
from durproxy.engine.session import UNKNOWN, clean_session
from durproxy.engine.step_text import Shapes, StepFailure, prepare_step


async def is_met(
    connection: Connection, shapes: Shapes, claim: Claim, action: WaitCondition
) -> bool:
    """Whether the condition is true now. Raises StepFailure, ConnectionLost."""
    node = Node(NodeType.SQL, action.key.node, query=as_statement(action.query), use=Use.VALUE)
    step = RunStep(action.key, action.scopes, node, action.environment, None)
    try:
        await clean_session(connection, claim)
        ready = await prepare_step(connection, shapes, claim, step)
        connection.session_of = UNKNOWN
        await connection.script("BEGIN READ ONLY")
        try:
            return is_true(await run_inner(connection, claim, ready))
        finally:
            if not connection.busy:
                await connection.script("ROLLBACK")
    except ServerError as error:
        told = StepError(error.message, error.code, error.detail, error.hint, node=action.key.node)
        raise StepFailure(told) from None
