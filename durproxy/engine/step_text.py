"""A step's text as the server runs it: references bound, and rows wrapped into JSON.

What a statement returns is asked for once for each text and role (`Shapes`): numeric must show as
a string that keeps its scale, and what a reference gives back must come with its type. With that
known a SELECT goes into an aggregate, `SELECT count(*), rows as JSON, rows as record text FROM
(the step) q(c0, c1, …)`; the positional names keep the step's own column names out of the way.
A domain's values come back as its base type: that is what the server tells of a domain.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Column, Connection, Result
from durproxy.engine.core.actions import RunStep
from durproxy.engine.core.bindings import ReferenceFailure, resolve
from durproxy.engine.core.graph import Use
from durproxy.engine.core.references import quote_name, render, substitute_variables
from durproxy.engine.core.states import StepError
from durproxy.engine.encoding import array_literal
from durproxy.engine.session import clean_session
from durproxy.errors import LanguageError
from durproxy.rewrite.step import StepKind, StepShape, classify

_TYPES = """
    SELECT t.oid,
        pg_catalog.concat_ws(
            '.', pg_catalog.quote_ident(n.nspname), pg_catalog.quote_ident(t.typname)),
        pg_catalog.format_type(t.oid, m.modifier), t.typtype OPERATOR(pg_catalog.=) 'p'
    FROM ROWS FROM (
        pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.int4[])
    ) WITH ORDINALITY AS m(oid, modifier, k)
    JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) m.oid
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
    ORDER BY m.k"""

_ROWS = "durproxy_rows"  # a name among the step's own
_TEXT_ARRAY = 1009
_NUMERIC = 1700
_FLOATS = (700, 701)
_STAR = re.compile(r"(?<!count\()\*|\btable\b", re.IGNORECASE)
_ANY_SIZE = 2**31 - 1  # bytes: the server had it in a row
_SHAPES = 2000  # statements whose columns are remembered, for each role


@dataclass(frozen=True, slots=True)
class _Typed:
    """A result column: its type as a cast and as a definition."""

    name: str
    oid: int
    cast: str
    definition: str
    pseudo: bool


class StepFailure(Exception):
    """The step's own error; nothing of it was kept."""

    def __init__(self, error: StepError) -> None:
        super().__init__(error.message)
        self.error = error


class SeveralStatements(StepFailure):
    """The last of a step's statements gives rows: what they are is known after the others only.

    Whoever can runs them in a transaction of several calls, see `sql_transaction`.
    """

    def __init__(self, node: int) -> None:
        super().__init__(StepError("several statements cannot stand here", "0A000", node=node))


class Shapes:
    """The columns of statements, remembered for one role.

    A statement with a star is asked about every time: its columns can change under the same text.
    Any other can only change its types, which the wrapped statement checks for itself.
    """

    def __init__(self, most_bytes: int, *, of_quota: bool = False) -> None:
        """`most_bytes`: of one statement's rows; `of_quota`: that is the role's own limit."""
        self.most_bytes = most_bytes
        self.of_quota = of_quota
        self._known: OrderedDict[str, tuple[_Typed, ...]] = OrderedDict()
        self._in_with: set[str] = set()

    def known(self, text: str) -> tuple[_Typed, ...] | None:
        """The columns, if they need not be asked for."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
        return known

    async def of(self, connection: Connection, claim: Claim, text: str) -> tuple[_Typed, ...]:
        known = self.known(text)
        if known is not None:
            return known
        await clean_session(connection, claim)  # a foreign search_path would find other tables
        typed = await _described(connection, text)
        if not _STAR.search(text):
            self._known[text] = typed
        if len(self._known) > _SHAPES:
            self._known.popitem(last=False)
        return typed

    def forget(self, text: str) -> bool:
        """A type behind the statement has changed; False when it was not remembered."""
        return self._known.pop(text, None) is not None

    def is_in_with(self, text: str) -> bool:
        return text in self._in_with

    def put_in_with(self, text: str) -> None:
        """The statement returns a domain, which a function that returns records does not take."""
        if len(self._in_with) == _SHAPES:
            self._in_with.clear()
        self._in_with.add(text)


async def _described(connection: Connection, text: str) -> tuple[_Typed, ...]:
    return await _typed(connection, await connection.describe(text, [_TEXT_ARRAY]))


async def _typed(connection: Connection, columns: list[Column]) -> tuple[_Typed, ...]:
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
        _Typed(column.name, int(oid or 0), cast or "", definition or "", pseudo == "t")
        for column, (oid, cast, definition, pseudo) in zip(columns, types, strict=True)
    )


@dataclass(frozen=True, slots=True)
class ReadyStep:
    """A step as it goes to df._run_1; `plain` is its own statement, should it have to run alone.

    `records`: its rows come through a function, by the types that the worker was told.
    """

    plain: str
    text: str
    rows: bool
    records: bool
    values: str | None
    types: tuple[tuple[str, str], ...] | None


async def prepare_step(
    connection: Connection, shapes: Shapes, claim: Claim, action: RunStep
) -> ReadyStep:
    """The step with its references bound.

    Raises StepFailure, and ServerError when the server refuses to describe the statement.
    """
    shape, bound = rendered_step(claim, action)
    if shape.last is not None:
        raise SeveralStatements(action.key.node)
    return await prepare_shape(connection, shapes, claim, action, shape, bound)


async def prepare_shape(
    connection: Connection,
    shapes: Shapes,
    claim: Claim,
    action: RunStep,
    shape: StepShape,
    bound: list[str | None],
) -> ReadyStep:
    """The same for a text that is rendered already, or a part of it."""
    columns: tuple[_Typed, ...] = ()
    if shape.kind not in (StepKind.COMMAND, StepKind.MULTI):
        columns = await shapes.of(connection, claim, shape.body)
    return _ready(connection, shapes, action, shape, columns, bound)


def ready_step(
    connection: Connection, shapes: Shapes, claim: Claim, action: RunStep
) -> ReadyStep | None:
    """The same where nothing is to be asked: one statement whose columns are known, or None."""
    shape, bound = rendered_step(claim, action)
    if shape.kind is StepKind.COMMAND:
        return _ready(connection, shapes, action, shape, (), bound)
    columns = None if shape.kind is StepKind.MULTI else shapes.known(shape.body)
    if columns is None:
        return None
    return _ready(connection, shapes, action, shape, columns, bound)


def _ready(
    connection: Connection,
    shapes: Shapes,
    action: RunStep,
    shape: StepShape,
    columns: tuple[_Typed, ...],
    bound: list[str | None],
) -> ReadyStep:
    values = array_literal(bound) if bound else None
    rows = bool(columns) or shape.kind is StepKind.QUERY
    use = action.node.use
    records = rows and shape.kind is not StepKind.QUERY and not shapes.is_in_with(shape.body)
    text = shape.body
    if rows:
        text = _with_rows(
            shape, columns, use, connection.functions,
            records=records, has_values=values is not None, most_bytes=shapes.most_bytes,
        )  # fmt: skip
    # types are stored where something reads values, or tests the truth of the first one
    types = tuple((c.name, "" if c.pseudo else c.cast) for c in columns) if use else None
    return ReadyStep(shape.body, text, rows, records, values, types)


def without_rows(text: str, bound: list[str | None]) -> ReadyStep:
    """Statements whose rows nobody reads."""
    return ReadyStep(
        text, text, rows=False, records=False, values=array_literal(bound) if bound else None,
        types=None,
    )  # fmt: skip


async def ready_row(connection: Connection, action: RunStep, answer: Result) -> ReadyStep:
    """A step that returns the one row which the server has just returned, as results are."""
    columns = await _typed(connection, answer.columns())
    places = ", ".join(
        f"($1)[{k}]::{column.cast} AS {quote_name(column.name)}"
        for k, column in enumerate(columns, 1)
    )
    shape = StepShape(StepKind.QUERY, f"SELECT {places}")
    return _ready(connection, Shapes(_ANY_SIZE), action, shape, columns, answer.one())


def rendered_step(claim: Claim, action: RunStep) -> tuple[StepShape, list[str | None]]:
    """What the step's text is, with places for values, and these. Raises StepFailure."""
    node = action.key.node
    try:
        text, bound = render(
            substitute_variables(action.node.query, claim.substitutions),
            lambda reference: resolve(reference, action.environment),
        )
    except ReferenceFailure as failure:
        raise StepFailure(failure.as_step_error(node)) from None
    except LanguageError as error:
        raise StepFailure(
            StepError(error.message, error.code, hint=error.hint, node=node)
        ) from None
    shape = classify(text)
    if shape.kind is StepKind.REFUSED:
        raise StepFailure(StepError(shape.reason or "refused", "0A000", node=node))
    return shape, bound


def _with_rows(
    shape: StepShape,
    columns: Sequence[_Typed],
    use: Use,
    functions: str,
    *,
    records: bool,
    has_values: bool,
    most_bytes: int,
) -> str:
    """The statement inside an aggregate: count, rows as JSON, rows as record text.

    `functions`: the schema with the functions of ours that it calls.
    """
    names = ", ".join(f"c{k}" for k in range(len(columns)))
    before = ""
    if shape.kind is StepKind.QUERY:
        source = f"({shape.body}\n) AS q" + (f"({names})" if names else "")
    elif not records and shape.main is not None:
        inside, query = shape.body[: shape.main], shape.body[shape.main :]
        before, source = f"{inside}, {_ROWS}({names}) AS ({query}\n) ", f"{_ROWS} AS q"
    elif not records:
        before, source = f"WITH q({names}) AS ({shape.body}\n) ", "q"
    else:
        definitions = ", ".join(f"c{k} {c.definition}" for k, c in enumerate(columns))
        text = _dollar_quoted(shape.body)
        values = "$1" if has_values else "NULL"
        source = f"{functions}._rows_1({text}, {values}) AS q({definitions})"
    encoded = ", ".join(
        f"{_encoded(c, k, functions)} AS {quote_name(c.name)}" for k, c in enumerate(columns)
    )
    return (
        f"{before}SELECT pg_catalog.count(*), {functions}._fits_1("
        f"pg_catalog.string_agg(pg_catalog.row_to_json(z.*)::pg_catalog.text, ','), {most_bytes}), "
        f"{_exact(use, functions)} FROM {source}, LATERAL (SELECT {encoded}) AS z"
    )


def _encoded(column: _Typed, k: int, functions: str) -> str:
    """The column as the result's JSON shows it, once its type is still what it was."""
    if column.pseudo:
        return f"q.c{k}"
    # what a domain's value and its base type have in common is the base type
    value = f"(CASE WHEN false THEN NULL::{column.cast} ELSE q.c{k} END)"
    text = "::pg_catalog.text" if column.oid == _NUMERIC else ""
    shown = f"{value}{text}"
    stale = f"{functions}._stale_1({value}){text}"
    same = f"pg_catalog.pg_typeof({value}) OPERATOR(pg_catalog.=) {column.oid}::pg_catalog.regtype"
    cases = f"WHEN {same} THEN {shown} ELSE {stale}"
    if column.oid in (_NUMERIC, *_FLOATS):
        special = f"'{{NaN,Infinity,-Infinity}}'::{column.cast}[]"
        cases = f"WHEN {value} OPERATOR(pg_catalog.=) ANY ({special}) THEN NULL {cases}"
    return f"CASE {cases} END"


def _exact(use: Use, functions: str) -> str:
    if Use.ALL_ROWS in use:
        return f"pg_catalog.array_agg({functions}._record_1(q.*))"
    if Use.FIRST_ROW in use:
        return f"(pg_catalog.array_agg({functions}._record_1(q.*)))[1:1]"
    return "NULL::pg_catalog.text[]"


def _dollar_quoted(text: str) -> str:
    tag = "$df$"
    while tag in text:
        tag = f"{tag[:-1]}_$"
    return f"{tag}{text}{tag}"
