"""The SQL activity: one step, its checkpoint and what it decides, in one commit.

The usual way is one round trip: `df._run_1` runs the step's text inside the server, in the rights
and settings of the step's own role, and writes the checkpoint. A statement that returns rows needs
its column types first (numeric keeps its scale as a string, references give values back exactly);
they are asked for once for each text and role.

What a failure means:
    refused by df._finish_1 (WF00x)     nothing was kept, look again            -> LostHold
    40001, 40P01, lock wait in finish   nothing was kept, run it again          -> here, bounded
    25001, 2D000                        it cannot run inside a transaction      -> alone, at least once
    connection lost                     whether it committed is not known       -> ConnectionLost
    anything else                       the step's own error                    -> StepFailure
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from durproxy.engine.connection import Column, Connection, ServerError
from durproxy.engine.core.actions import ClosesRace, EndsInstance, RunStep
from durproxy.engine.core.bindings import ReferenceFailure, resolve
from durproxy.engine.core.graph import Use
from durproxy.engine.core.references import quote_name, render, substitute_variables
from durproxy.engine.core.states import StepError, StepResult
from durproxy.engine.encoding import array_literal, frames_literals
from durproxy.engine.store import Claim, lost_hold, types_json
from durproxy.engine.trigger import passed
from durproxy.errors import LanguageError
from durproxy.rewrite.step import StepKind, StepShape, classify

_RUN = (
    "SELECT df._run_1($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6::integer, $7, $8, "
    '$9::boolean, $10::text[], $11::json, $12::"char", $13::integer, $14::boolean)'
)
_FINISH = (
    "SELECT df._finish_1($1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], $6::integer, $7, "
    '\'{"rows":[],"row_count":0}\', NULL, NULL, $8::"char", $9::integer)'
)
_TYPES = """
    SELECT t.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
        pg_catalog.format_type(t.oid, m.modifier), t.typtype = 'p'
    FROM pg_catalog.unnest($1::pg_catalog.oid[], $2::pg_catalog.int4[]) WITH ORDINALITY AS m(oid, modifier, k)
    JOIN pg_catalog.pg_type t ON t.oid = m.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    ORDER BY m.k"""

_TEXT_ARRAY = 1009
_NUMERIC = 1700
_FLOATS = (700, 701)
_ROLLED_BACK = frozenset(("40001", "40P01"))
_NOT_IN_A_TRANSACTION = frozenset(("25001", "2D000"))
_ATTEMPTS = 10
_SHAPES = 2000  # statements whose columns are remembered, for each role


class StepFailure(Exception):
    """The step's own error; nothing of it was kept."""

    def __init__(self, error: StepError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class _Typed:
    """A result column: its type for a cast, for a column definition, and its encoding."""

    name: str
    oid: int
    cast: str
    definition: str
    pseudo: bool


class Shapes:
    """The columns of statements, remembered for one role."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[_Typed, ...]] = OrderedDict()

    async def of(self, connection: Connection, text: str) -> tuple[_Typed, ...]:
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        typed = await _described(connection, text)
        self._known[text] = typed
        if len(self._known) > _SHAPES:
            self._known.popitem(last=False)
        return typed

    def forget(self, text: str) -> None:
        """The table behind the statement has changed."""
        self._known.pop(text, None)


async def _described(connection: Connection, text: str) -> tuple[_Typed, ...]:
    columns: list[Column] = await connection.describe(text, [_TEXT_ARRAY])
    if not columns:
        return ()
    types = await connection.run(
        _TYPES,
        (
            array_literal(str(column.type_oid) for column in columns),
            array_literal(str(column.modifier) for column in columns),
        ),
    )
    return tuple(
        _Typed(column.name, column.type_oid, cast or "", definition or "", pseudo == "t")
        for column, (_, cast, definition, pseudo) in zip(columns, types, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Ready:
    """A step as it goes to df._run_1."""

    text: str
    rows: bool
    values: str | None
    types: tuple[tuple[str, str], ...] | None
    plain: str  # the statement itself, should it have to run alone


async def run_step(
    connection: Connection, shapes: Shapes, claim: Claim, action: RunStep
) -> StepResult:
    """Run one step; its result, as far as anything here reads it.

    Raises StepFailure, LostHold, ConnectionLost.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await _attempt(connection, shapes, claim, action)
        except ServerError as error:
            lost = lost_hold(error)
            if lost is not None:
                raise lost from None
            if attempt == _ATTEMPTS or not _was_rolled_back(error):
                raise StepFailure(_step_error(error, action)) from None
        await trio.sleep(0.01 * 2**attempt)
    raise AssertionError("the last attempt raises")


async def _attempt(
    connection: Connection, shapes: Shapes, claim: Claim, action: RunStep
) -> StepResult:
    ready = await _prepare(connection, shapes, claim, action)
    back = bool(action.node.use) and action.decides != EndsInstance()
    passed("step.before")
    try:
        answer = await connection.call(
            "run",
            _RUN,
            (
                claim.id, claim.token, *frames_literals(action.scopes),
                str(action.key.node), action.key.path, ready.text, "t" if ready.rows else "f",
                ready.values, types_json(ready.types), *_decision(action), "t" if back else "f",
            ),
            lambda: passed("step.sent"),
        )  # fmt: skip
    except ServerError as error:
        if (
            error.code in _NOT_IN_A_TRANSACTION
            and "function df._run_1" in error.context
            and not ready.rows
        ):
            return await _run_alone(connection, claim, action, ready)
        shapes.forget(ready.plain)
        raise
    passed("step.after")
    sent_back = answer.one()[0]
    if sent_back is None:
        return StepResult(None)
    text, exact = json.loads(sent_back)
    return StepResult(text, ready.types, None if exact is None else tuple(exact))


async def _run_alone(
    connection: Connection, claim: Claim, action: RunStep, ready: _Ready
) -> StepResult:
    """A statement that refuses to be in a transaction: by that refusal it has done nothing yet."""
    if ready.values is not None:
        raise StepFailure(
            StepError(
                "a statement that cannot run inside a transaction takes no references", "0A000",
                node=action.key.node,
            )
        )  # fmt: skip
    await connection.script(ready.plain)
    await connection.call(
        "finish",
        _FINISH,
        (
            claim.id, claim.token, *frames_literals(action.scopes),
            str(action.key.node), action.key.path, *_decision(action),
        ),
    )  # fmt: skip
    return StepResult('{"rows":[],"row_count":0}')


async def _prepare(connection: Connection, shapes: Shapes, claim: Claim, action: RunStep) -> _Ready:
    try:
        text, bound = render(
            substitute_variables(action.node.query, _variables(claim)),
            lambda reference: resolve(reference, action.environment),
        )
    except ReferenceFailure as failure:
        raise StepFailure(failure.as_step_error(action.key.node)) from None
    except LanguageError as error:
        problem = StepError(error.message, error.code, hint=error.hint, node=action.key.node)
        raise StepFailure(problem) from None
    shape = classify(text)
    if shape.kind is StepKind.REFUSED:
        raise StepFailure(StepError(shape.reason or "refused", "0A000", node=action.key.node))
    values = array_literal(bound) if bound else None
    if shape.kind in (StepKind.COMMAND, StepKind.MULTI):
        types = () if _keeps_types(action) else None
        return _Ready(shape.body, False, values, types, shape.body)
    columns = await shapes.of(connection, shape.body)
    if not columns and shape.kind is not StepKind.QUERY:
        return _Ready(shape.body, False, values, () if _keeps_types(action) else None, shape.body)
    return _Ready(
        _with_rows(shape, columns, values is not None, action.node.use),
        True,
        values,
        tuple((c.name, "" if c.pseudo else c.cast) for c in columns)
        if _keeps_types(action)
        else None,
        shape.body,
    )


def _with_rows(shape: StepShape, columns: Sequence[_Typed], has_values: bool, use: Use) -> str:
    """The statement inside an aggregate: count, rows as JSON, rows as record text."""
    names = ", ".join(f"c{k}" for k in range(len(columns)))
    if shape.kind is StepKind.QUERY:
        source = f"({shape.body}\n) AS q" + (f"({names})" if names else "")
    else:
        definitions = ", ".join(f"c{k} {c.definition}" for k, c in enumerate(columns))
        text = _dollar_quoted(shape.body)
        source = f"df._rows_1({text}, {'$1' if has_values else 'NULL'}) AS q({definitions})"
    encoded = ", ".join(f"{_encoded(c, k)} AS {quote_name(c.name)}" for k, c in enumerate(columns))
    return (
        "SELECT pg_catalog.count(*), "
        "pg_catalog.string_agg(pg_catalog.row_to_json(z)::pg_catalog.text, ','), "
        f"{_exact(use)} FROM {source}, LATERAL (SELECT {encoded}) AS z"
    )


def _encoded(column: _Typed, k: int) -> str:
    """The column as the result's JSON shows it."""
    if column.oid not in (_NUMERIC, *_FLOATS):
        return f"q.c{k}"
    shown = f"q.c{k}::pg_catalog.text" if column.oid == _NUMERIC else f"q.c{k}"
    special = f"'{{NaN,Infinity,-Infinity}}'::{column.cast}[]"
    if column.oid == _NUMERIC:  # infinities came with 14, and the cast knows them
        special = "'{NaN,Infinity,-Infinity}'::pg_catalog.numeric[]"
    return f"CASE WHEN q.c{k} OPERATOR(pg_catalog.=) ANY ({special}) THEN NULL ELSE {shown} END"


def _exact(use: Use) -> str:
    if Use.ALL_ROWS in use:
        return "pg_catalog.array_agg(df._record_1(q))"
    if Use.FIRST_ROW in use:
        return "(pg_catalog.array_agg(df._record_1(q)))[1:1]"
    return "NULL::pg_catalog.text[]"


def _keeps_types(action: RunStep) -> bool:
    """Types are stored where something reads values or tests the first one's truth."""
    return bool(action.node.use)


def _decision(action: RunStep) -> tuple[str | None, str | None]:
    match action.decides:
        case EndsInstance():
            return "e", None
        case ClosesRace(winner):
            return "r", str(winner)
        case None:
            return None, None


def _variables(claim: Claim) -> dict[str, str]:
    return {**claim.variables, "sys_instance_id": claim.id, "sys_label": claim.label or ""}


def _dollar_quoted(text: str) -> str:
    tag = "$df$"
    while tag in text:
        tag = f"{tag[:-1]}_$"
    return f"{tag}{text}{tag}"


def _was_rolled_back(error: ServerError) -> bool:
    """The server undid the step for reasons that are not its own: it may simply run again."""
    return error.code in _ROLLED_BACK or (
        error.code == "55P03" and "function df._finish_1" in error.context
    )


def _step_error(error: ServerError, action: RunStep) -> StepError:
    return StepError(
        error.message,
        error.code,
        error.detail,
        error.hint,
        _users_context(error.context),
        action.key.node,
    )


def _users_context(context: str) -> str | None:
    """The context without the lines that are about our own functions."""
    lines = [line for line in context.splitlines() if "function df._" not in line]
    return (
        "\n".join(
            line
            for line in lines
            if not line.startswith('SQL statement "SELECT pg_catalog.count(*)')
        )
        or None
    )
