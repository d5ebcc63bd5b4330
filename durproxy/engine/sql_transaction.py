"""The TRANSACTION activity: several SQL steps, one outcome, one commit.

The steps run one after the other in one transaction, which ends with the outcome's row and
whatever it decides. A step sees what earlier ones have named; nothing of that is stored, so the
whole either is there with its outcome, or runs again from its beginning.

What a failure means is told for a single step in `sql_step`; here it is always the whole that
fails, runs again, or is looked for.
"""

from __future__ import annotations

import trio

from durproxy.engine.connection import Connection, ServerError
from durproxy.engine.core.actions import EndsInstance, RunStep
from durproxy.engine.core.graph import Node, Use
from durproxy.engine.core.states import Key, StepError, StepResult
from durproxy.engine.encoding import array_literal, frames_literals
from durproxy.engine.inner_step import run_inner
from durproxy.engine.session import UNKNOWN, clean_session
from durproxy.engine.sql_step import raise_if_refused
from durproxy.engine.step_text import Shapes, StepFailure, prepare_step
from durproxy.engine.store import Claim, decision_values, types_json
from durproxy.engine.trigger import passed

_FINISH = (
    "SELECT df._finish_1($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6::integer, $7, "
    '$8::json, $9::json, $10::text[], $11::"char", $12::integer)'
)
_ROLLED_BACK = frozenset(("40001", "40P01"))  # the server undid it: it may simply run again
_STALE = frozenset(("WF004", "42804", "42P10"))  # a remembered column is another one now
_ATTEMPTS = 10


async def run_transaction(
    connection: Connection, shapes: Shapes, claim: Claim, action: RunStep
) -> StepResult:
    """Run all steps; the last one's result, as far as anything here reads it.

    Raises StepFailure, LostHold, ConnectionLost; ServerError when its outcome cannot be written.
    """
    attempt = 0
    while True:
        attempt += 1
        running = _Transaction(connection, shapes, claim, action)
        try:
            return await running.run()
        except ServerError as error:
            await _roll_back(connection)
            raise_if_refused(error)
            again = error.code in _ROLLED_BACK or (error.code in _STALE and running.forget())
            if attempt == _ATTEMPTS or not again:
                raise StepFailure(running.failure(error)) from None
        except StepFailure:
            await _roll_back(connection)
            raise
        await trio.sleep(0.01 * 2**attempt)


class _Transaction:
    """One attempt."""

    def __init__(
        self, connection: Connection, shapes: Shapes, claim: Claim, action: RunStep
    ) -> None:
        self._connection = connection
        self._shapes = shapes
        self._claim = claim
        self._action = action
        self._names = dict(action.environment)
        self._at = action.node.branches[0]
        self._plain = ""

    async def run(self) -> StepResult:
        action, connection = self._action, self._connection
        await clean_session(connection, self._claim)
        connection.session_of = UNKNOWN
        passed("step.before")
        await connection.script("BEGIN READ WRITE")
        result = StepResult()
        for node in action.node.branches:
            result = await self._run(node)
        await self._finish(result)
        passed("step.after")
        connection.session_of = self._claim.id
        is_read = bool(action.node.use) and action.decides != EndsInstance()
        return result if is_read else StepResult()

    def forget(self) -> bool:
        """What is remembered of the statement that failed; False when nothing was."""
        return self._shapes.forget(self._plain)

    def failure(self, error: ServerError) -> StepError:
        return StepError(error.message, error.code, error.detail, error.hint, node=self._at.number)

    async def _run(self, node: Node) -> StepResult:
        self._at = node
        key = Key(node.number, self._action.key.path)
        step = RunStep(key, self._action.scopes, node, self._names, None)
        ready = await prepare_step(self._connection, self._shapes, self._claim, step)
        self._plain = ready.plain
        result = await run_inner(self._connection, self._claim, ready)
        if node.use is not Use.NOBODY:
            self._names |= dict.fromkeys(node.names, result)
        return result

    async def _finish(self, result: StepResult) -> None:
        action, claim = self._action, self._claim
        types = result.types if action.node.use else None
        exact = result.exact if action.node.use else None
        await self._connection.call(
            "durproxy finish whole",
            _FINISH,
            (
                claim.id, claim.token, *frames_literals(action.scopes),
                str(action.key.node), action.key.path, result.text, types_json(types),
                None if exact is None else array_literal(exact), *decision_values(action.decides),
            ),
        )  # fmt: skip
        passed("step.sent")
        await self._connection.script("COMMIT")


async def _roll_back(connection: Connection) -> None:
    await connection.script("ROLLBACK")
