"""Steps sent ahead of their turn: what follows a step whatever it returns goes with it.

Steps of a sequence whose results nothing reads go to the server in one call (`df._runs_2`), which
runs each in a transaction of its own and stops at the first that fails. The core asks for every
step in its turn, as always; for one that ran ahead the answer is here already:

    done     its transaction has committed; it needs nothing any more
    met      it failed: the error is handled in its turn, as if it had run only then

Without `flush_each` the steps of a call reach the disk with its last commit: all that is done about
them, here and by others who are told, comes after it. A server that crashes before that undoes the
last of them together with their checkpoints, and they run again.

When the reply of a call is lost nothing is known of any of its steps, and the instance is given
back like after any other lost reply.
"""

from __future__ import annotations

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection, Result, ServerError
from durproxy.engine.core.actions import EndsInstance, RunStep
from durproxy.engine.core.advance import Execution
from durproxy.engine.core.states import Key, StepResult
from durproxy.engine.encoding import array_literal, frames_literals
from durproxy.engine.rows import decision_values, types_json
from durproxy.engine.session import UNKNOWN, is_foreign
from durproxy.engine.sql_step import Met, raise_if_refused, run_step, sent_back
from durproxy.engine.step_text import ReadyStep, Shapes, StepFailure, ready_step
from durproxy.engine.store import Store
from durproxy.engine.trigger import passed

_RUNS = (
    "CALL df._runs_2($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6, $7::integer[], "
    '$8::text[], $9::boolean[], $10::text[], $11::json, $12::"char", $13::integer, $14::boolean, '
    "$15::boolean, $16::interval, $17::boolean, NULL, NULL)"
)
_MOST = 50  # steps in a call
_PATIENCE = "50 ms"  # no step begins later in a call: a pause or a drain waits for its end


class RunsAhead:
    """The SQL steps of one instance."""

    def __init__(
        self,
        claim: Claim,
        execution: Execution,
        store: Store,
        shapes: Shapes,
        *,
        flush_each: bool,
    ) -> None:
        """`flush_each`: every step waits until it is on disk, and not only the last of a call."""
        self._claim = claim
        self._execution = execution
        self._store = store
        self._shapes = shapes
        self._flush_each = flush_each
        self._most = _MOST
        self._done: dict[Key, StepResult] = {}
        self._met: dict[Key, Met] = {}

    def __bool__(self) -> bool:
        """Whether a step's success waits to be told to the core."""
        return bool(self._done)

    def take(self, key: Key) -> StepResult | None:
        """The result of a step that ran ahead."""
        return self._done.pop(key, None)

    async def run(self, connection: Connection, action: RunStep) -> StepResult:
        """Run the step, and what may go with it. Raises what run_step raises."""
        met = self._met.pop(action.key, None)
        steps = [] if met else self._steps(connection, action)
        if len(steps) < 2:
            return await run_step(connection, self._shapes, self._claim, action, met=met)
        try:
            done, result = await self._call(connection, steps)
        except ServerError as error:
            raise_if_refused(error)
            done, result = await self._count_done(steps), StepResult()
            failed, ready = steps[done]
            self._met[failed.key] = Met(ready, error)
            if done == 0:
                return await self.run(connection, action)
        for step, _ in steps[:done]:
            self._done[step.key] = StepResult()
        if done == len(steps):
            self._done[steps[-1][0].key] = result
        else:  # slow ones, or a limit on their time: they gain nothing by going together
            self._most = done
        return self._done.pop(action.key)

    def _steps(self, connection: Connection, action: RunStep) -> list[tuple[RunStep, ReadyStep]]:
        """The step and those that can go with it: all that is to be asked about them is known."""
        steps: list[tuple[RunStep, ReadyStep]] = []
        if self._most < 2:
            return steps
        following = self._execution.following(action, self._most - 1)
        for step in [action, *following] if following else ():
            try:
                ready = ready_step(connection, self._shapes, self._claim, step)
            except StepFailure:  # it will fail in its turn
                break
            if ready is None:
                break
            steps.append((step, ready))
        return steps

    async def _call(
        self, connection: Connection, steps: list[tuple[RunStep, ReadyStep]]
    ) -> tuple[int, StepResult]:
        """Run them; how many, and the result of the last if that was reached."""
        claim, (last, last_ready) = self._claim, steps[-1]
        ready = [ready for _, ready in steps]
        back = bool(last.node.use) and last.decides != EndsInstance()
        clean = is_foreign(connection, claim)
        connection.session_of = UNKNOWN  # until the cleaning has committed with the first step
        passed("step.before")
        answer: Result = await connection.call(
            "durproxy runs",
            _RUNS,
            (
                claim.id, claim.token, *frames_literals(last.scopes), last.key.path,
                "{" + ",".join(str(step.key.node) for step, _ in steps) + "}",
                array_literal(one.text for one in ready),
                "{" + ",".join("t" if one.rows else "f" for one in ready) + "}",
                array_literal(one.values for one in ready),
                types_json(last_ready.types), *decision_values(last.decides),
                "t" if back else "f", "t" if clean else "f", _PATIENCE,
                "t" if self._flush_each else "f",
            ),
            lambda: passed("step.sent"),
        )  # fmt: skip
        passed("step.after")
        connection.session_of = claim.id
        done, sent = answer.one()
        return int(done or 0), sent_back(sent, last_ready)

    async def _count_done(self, steps: list[tuple[RunStep, ReadyStep]]) -> int:
        """How many have succeeded, of which one has not."""
        keys = [step.key for step, _ in steps]
        return min(await self._store.count_done(self._claim, keys), len(keys) - 1)
