"""A statement inside a transaction of the engine's own, without a checkpoint of its own."""

from __future__ import annotations

import json

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection
from durproxy.engine.core.states import StepResult
from durproxy.engine.step_text import ReadyStep


async def run_inner(connection: Connection, claim: Claim, ready: ReadyStep) -> StepResult:
    """What the statement returns, whole. Raises ServerError, ConnectionLost."""
    answer = await connection.call(
        "durproxy inner",
        f"SELECT {connection.functions}._run_there_1($1, $2, $3::boolean, $4::text[])",
        (claim.id, ready.text, "t" if ready.rows else "f", ready.values),
    )
    text, exact = json.loads(answer.one()[0] or "")
    return StepResult(text, ready.types, None if exact is None else tuple(exact))
