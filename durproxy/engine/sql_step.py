"""The SQL activity: one step, its checkpoint and what it decides, in one commit.

The usual way is one round trip: `df._run_1` runs the step's text inside the server, in the rights
and settings of the step's own role, and writes the checkpoint. A statement that returns rows needs
its column types first (numeric keeps its scale as a string, references give values back exactly);
they are asked for once for each text and role.

What a failure means:
    refused by df._finish_1 (WF00x)    nothing was kept, look again           -> LostHold
    lock, timeout, full disk in finish nothing was kept, run it again         -> later
    40001, 40P01                       nothing was kept, run it again         -> here, bounded
    what a foreign setting may cause   nothing was kept, clean and run again   -> here, once
    a type that has changed (WF004)    nothing was kept, ask and run again    -> here, once
    25001, 2D000                       it must not be in a transaction       -> alone, at least once
    connection lost                    whether it committed is not known      -> ConnectionLost
    anything else                      the step's own error                   -> StepFailure
A step may raise any of these SQLSTATEs itself, so ours count only where they come from finish.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import trio

from durproxy.engine.alone import must_be_alone, run_alone
from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection, ServerError
from durproxy.engine.core.actions import EndsInstance, RunStep
from durproxy.engine.core.states import StepError, StepResult
from durproxy.engine.encoding import frames_literals
from durproxy.engine.rows import decision_values, types_json
from durproxy.engine.session import UNKNOWN, clean_session, is_foreign
from durproxy.engine.step_text import ReadyStep, Shapes, StepFailure, prepare_step
from durproxy.engine.store import lost_hold
from durproxy.engine.trigger import passed

_RUN = (
    "SELECT df._run_1($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6::integer, $7, $8, "
    '$9::boolean, $10::text[], $11::json, $12::"char", $13::integer, $14::boolean, $15::boolean)'
)
# the server undid the step for reasons that are not its own: it may simply run again
_ROLLED_BACK = frozenset(("40001", "40P01"))
# lock not available, statement timeout, disk full: of the outcome, not of the step
_NOT_NOW = frozenset(("55P03", "57014", "53100"))
# a remembered column has another type now, or is not there any more
_OTHER_TYPE = "42804"
_OTHER_FORM_REFUSED = frozenset(("0A000", "42601"))
_STALE = frozenset(("WF004", _OTHER_TYPE, "42P10"))
_TOO_MUCH = "54000"  # program limit exceeded
# what a setting that another instance left can do before the statement cleans the session: a
# read-only transaction, a statement timeout, array_nulls where the parameters are read
_BEFORE_CLEANING = frozenset(("25006", "57014", "22P02"))
_OURS = re.compile(
    r"(?<![\w.])(?:df\.)?(?P<name>_run_received_1|_run_1|_runs_2|_finish_1|_receive_1)\("
)
_RETURN_LESS = "Keep it in a table, and let the step return less."  # as df._fits_1 says it
_ATTEMPTS = 10


Attempt = Callable[[Connection, Claim, RunStep, ReadyStep], Awaitable[StepResult]]


@dataclass(frozen=True, slots=True)
class Met:
    """A step that was run already, and how it failed: it is not run again without reason."""

    ready: ReadyStep
    error: ServerError


async def run_step(
    connection: Connection,
    shapes: Shapes,
    claim: Claim,
    action: RunStep,
    attempt_once: Attempt | None = None,
    *,
    met: Met | None = None,
) -> StepResult:
    """Run one step; its result, as far as anything here reads it.

    `attempt_once`: another way to run it than with its checkpoint, in this database.
    Raises StepFailure, LostHold, ConnectionLost; ServerError when its outcome cannot be written.
    """
    ready: ReadyStep | None = None
    stale: ServerError | None = None
    attempt = 0
    foreign = True
    while True:
        attempt += 1
        foreign = foreign and is_foreign(connection, claim)
        try:
            if met is not None and attempt == 1:
                ready = met.ready
                return await _after(met.error, connection, claim, action, ready)
            ready = await prepare_step(connection, shapes, claim, action)
            return await (attempt_once or _attempt)(connection, claim, action, ready)
        except ServerError as error:
            raise_if_refused(error)
            if error.code in _BEFORE_CLEANING and foreign and attempt_once is None:
                foreign = False
                await clean_session(connection, claim)
                continue
            if ready is not None and error.code in _STALE and stale is None:
                stale = error
                if _asks_again(shapes, ready, error):
                    continue
            if attempt == _ATTEMPTS or error.code not in _ROLLED_BACK:
                told = stale if stale and error.code in _OTHER_FORM_REFUSED else error
                failure = step_error(told, action.key.node, ready)
                if _is_beyond_memory(error, ready):
                    failure = _too_large(failure, shapes)
                failure = by_quota(failure, shapes)
                raise StepFailure(failure) from None
        await trio.sleep(0.01 * 2**attempt)


async def _attempt(
    connection: Connection, claim: Claim, action: RunStep, ready: ReadyStep
) -> StepResult:
    back = bool(action.node.use) and action.decides != EndsInstance()
    clean = is_foreign(connection, claim)
    connection.session_of = UNKNOWN  # until the cleaning has committed with the step
    passed("step.before")
    try:
        answer = await connection.call(
            "durproxy run",
            _RUN,
            (
                claim.id, claim.token, *frames_literals(action.scopes),
                str(action.key.node), action.key.path, ready.text, "t" if ready.rows else "f",
                ready.values, types_json(ready.types), *decision_values(action.decides),
                "t" if back else "f", "t" if clean else "f",
            ),
            lambda: passed("step.sent"),
        )  # fmt: skip
    except ServerError as error:
        return await _after(error, connection, claim, action, ready)
    passed("step.after")
    connection.session_of = claim.id
    return sent_back(answer.one()[0], ready)


async def _after(
    error: ServerError, connection: Connection, claim: Claim, action: RunStep, ready: ReadyStep
) -> StepResult:
    """Once more in another way, if that is all the error asks for."""
    if not must_be_alone(error, ready):
        raise error
    return await run_alone(connection, claim, action, ready)


def sent_back(answer: str | None, ready: ReadyStep) -> StepResult:
    """A result as df._run_1 and df._runs_2 send it, if something here reads it."""
    if answer is None:
        return StepResult()
    text, exact = json.loads(answer)
    return StepResult(text, ready.types, None if exact is None else tuple(exact))


def _asks_again(shapes: Shapes, ready: ReadyStep, error: ServerError) -> bool:
    """Whether another form of the statement may do; one that was remembered is asked about anew."""
    if ready.records and error.code == _OTHER_TYPE:
        shapes.put_in_with(ready.plain)
        return True
    return shapes.forget(ready.plain)


def raise_if_refused(error: ServerError) -> None:
    """Raise LostHold, or the error as it is, when it is the outcome that was not to be written."""
    if _is_from_finish(error):
        if (lost := lost_hold(error)) is not None:
            raise lost from None
        if error.code in _NOT_NOW:
            raise error


def _is_from_finish(error: ServerError) -> bool:
    """Raised where the outcome is written, and not by the step.

    That runs in an EXECUTE, or is rejected by the COMMIT, of the function that the outermost line
    of the context is about (in another database in a function that this one calls); these words
    in it are never translated.
    """
    outermost = error.context.rpartition("\n")[2]
    found = _OURS.search(outermost)
    if found is None:
        return False
    if found["name"] == "_run_received_1":
        return "PERFORM" in outermost
    if found["name"] in ("_run_1", "_runs_2"):
        return "EXECUTE" not in outermost and "COMMIT" not in outermost
    return True


def _is_beyond_memory(error: ServerError, ready: ReadyStep | None) -> bool:
    """The rows, put together, are more than the server can have in one value."""
    if ready is None or not ready.rows or error.code != _TOO_MUCH or error.hint:
        return False
    return _users_context(error.context, ready) is None


def by_quota(error: StepError, shapes: Shapes) -> StepError:
    """The same error, if it is not about a limit that is the role's own."""
    if not shapes.of_quota or error.sqlstate != _TOO_MUCH or error.hint != _RETURN_LESS:
        return error
    message = f'result is larger than the role\'s quota "result_bytes", {shapes.most_bytes}'
    return replace(error, message=message, sqlstate="53400")


def _too_large(error: StepError, shapes: Shapes) -> StepError:
    message = f"result is larger than max_result_bytes, which is {shapes.most_bytes}"
    return StepError(message, error.sqlstate, error.detail, _RETURN_LESS, None, error.node)


def step_error(error: ServerError, node: int, ready: ReadyStep | None) -> StepError:
    """The error as the step's own, with the context of what the step itself called."""
    context = _users_context(error.context, ready) if ready else None
    return StepError(error.message, error.code, error.detail, error.hint, context, node)


def _users_context(context: str, ready: ReadyStep) -> str | None:
    """The context as far as it is about what the step itself called."""
    inside, _, _ = context.partition(f'SQL statement "{ready.text}"')
    return "\n".join(line for line in inside.splitlines() if "function df._" not in line) or None
