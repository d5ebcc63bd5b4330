"""Several statements, one outcome, one commit: a TRANSACTION node, or a step of several statements.

They run one after the other in one transaction, which ends with the outcome's row and whatever it
decides. A node sees what earlier ones have named, and a statement's columns may be those of a table
that an earlier one has made; nothing of that is stored, so the whole either is there with its
outcome, or runs again from its beginning.

What a failure means is told for a single step in `sql_step`; here it is always the whole that
fails, runs again, or is looked for.
"""

from __future__ import annotations

from typing import Protocol

import trio

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection, ServerError
from durproxy.engine.core.actions import EndsInstance, RunStep
from durproxy.engine.core.graph import NodeType, Use
from durproxy.engine.core.states import Key, StepError, StepResult
from durproxy.engine.encoding import array_literal, frames_literals
from durproxy.engine.inner_step import run_inner
from durproxy.engine.rows import decision_values, types_json
from durproxy.engine.session import clean_session
from durproxy.engine.sql_step import by_quota, raise_if_refused, step_error
from durproxy.engine.step_text import (
    ReadyStep,
    Shapes,
    StepFailure,
    prepare_shape,
    rendered_step,
    without_rows,
)
from durproxy.engine.trigger import passed

_FINISH = (
    "SELECT df._finish_1($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6::integer, $7, "
    '$8::json, $9::json, $10::text[], $11::"char", $12::integer)'
)
_ROLLED_BACK = frozenset(("40001", "40P01"))  # the server undid it: it may simply run again
_STALE = frozenset(("WF004", "42804", "42P10"))  # a remembered column is another one now
_ATTEMPTS = 10


class Ending(Protocol):
    """How a transaction's outcome is written in it, and found again."""

    async def find(self, connection: Connection, action: RunStep) -> StepResult | None:
        """The outcome, if the transaction has been here before."""

    async def write(self, connection: Connection, action: RunStep, result: StepResult) -> None:
        """Write it, as part of the transaction."""


async def run_transaction(
    connection: Connection,
    shapes: Shapes,
    claim: Claim,
    action: RunStep,
    ending: Ending | None = None,
) -> StepResult:
    """Run all of it; the last one's result, as far as anything here reads it.

    `ending`: where the outcome is not the checkpoint in this database; the result is whole then.
    Raises StepFailure, LostHold, ConnectionLost; ServerError when its outcome cannot be written.
    """
    attempt = 0
    while True:
        attempt += 1
        running = _Transaction(connection, shapes, claim, action, ending or Checkpointing(claim))
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
        self,
        connection: Connection,
        shapes: Shapes,
        claim: Claim,
        action: RunStep,
        ending: Ending,
    ) -> None:
        self._connection = connection
        self._shapes = shapes
        self._claim = claim
        self._action = action
        self._ending = ending
        self._names = dict(action.environment)
        self._at = action.node
        self._ready: ReadyStep | None = None

    async def run(self) -> StepResult:
        action, connection = self._action, self._connection
        await clean_session(connection, self._claim)
        connection.session_of = self._claim.id  # cleaning now would take what was made before
        passed("step.before")
        await connection.script("BEGIN READ WRITE")
        result = await self._ending.find(connection, action)
        if result is None:
            if action.node.type is NodeType.TRANSACTION:
                result = await self._run_nodes()
            else:
                result = await self._run(action)
            await self._ending.write(connection, action, result)
        passed("step.sent")
        await connection.script("COMMIT")
        passed("step.after")
        if not isinstance(self._ending, Checkpointing):
            return result
        is_read = bool(action.node.use) and action.decides != EndsInstance()
        return result if is_read else StepResult()

    def forget(self) -> bool:
        """What is remembered of the statement that failed; False when nothing was."""
        return self._ready is not None and self._shapes.forget(self._ready.plain)

    def failure(self, error: ServerError) -> StepError:
        return by_quota(step_error(error, self._at.number, self._ready), self._shapes)

    async def _run_nodes(self) -> StepResult:
        result = StepResult()
        for node in self._action.node.branches:
            self._at = node
            key = Key(node.number, self._action.key.path)
            result = await self._run(RunStep(key, self._action.scopes, node, self._names, None))
            if node.use is not Use.NOBODY:
                self._names |= dict.fromkeys(node.names, result)
        return result

    async def _run(self, step: RunStep) -> StepResult:
        connection, claim = self._connection, self._claim
        shape, bound = rendered_step(claim, step)
        if shape.last is not None:
            self._ready = without_rows(shape.before, bound)
            await run_inner(connection, claim, self._ready)
            shape = shape.last
        self._ready = None
        ready = await prepare_shape(connection, self._shapes, claim, step, shape, bound)
        self._ready = ready
        return await run_inner(connection, claim, ready)


class Checkpointing:
    """The outcome is a checkpoint beside the effects: no second run gets as far as to commit."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    async def find(self, connection: Connection, action: RunStep) -> StepResult | None:
        """It is loaded with the instance: who holds that need not look."""
        return None

    async def write(self, connection: Connection, action: RunStep, result: StepResult) -> None:
        """With what it decides."""
        claim = self._claim
        types = result.types if action.node.use else None
        exact = result.exact if action.node.use else None
        await connection.call(
            "durproxy finish whole",
            _FINISH,
            (
                claim.id, claim.token, *frames_literals(action.scopes),
                str(action.key.node), action.key.path, result.text, types_json(types),
                None if exact is None else array_literal(exact), *decision_values(action.decides),
            ),
        )  # fmt: skip


async def _roll_back(connection: Connection) -> None:
    await connection.script("ROLLBACK")
