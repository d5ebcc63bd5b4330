"""What a reference stands for: from the results that names are bound to, to typed values.

An SQL step's result gives its values from the record text and types of its checkpoint, so every
value comes back exactly. Any other node's result is JSON: `$name` is the whole of it, `$name.field`
one field; strings, numbers and booleans are SQL values of that kind, all else is json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from durproxy.engine.core.json_text import elements, members
from durproxy.engine.core.references import (
    Reference,
    ReferenceKind,
    Rows,
    Value,
    find_text_references,
    parse_record,
)
from durproxy.engine.core.states import StepError, StepResult

MAX_ROWS = 10_000
_NO_VALUE = Value(None, "")


class ReferenceFailure(Exception):
    """A reference has no value; the step that holds it fails with this."""

    def __init__(self, message: str, sqlstate: str = "22004", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.hint = hint

    def as_step_error(self, node: int) -> StepError:
        return StepError(self.message, self.sqlstate, hint=self.hint, node=node)


def resolve(reference: Reference, environment: Mapping[str, StepResult]) -> Value | Rows:
    """The value or rows that `reference` stands for.

    Raises ReferenceFailure when the name is not bound, or a reference without `?` has no value.
    """
    bound = environment.get(reference.name)
    if bound is None:
        if reference.kind is ReferenceKind.ROWS:
            return Rows((), ())
        if reference.optional:
            return _NO_VALUE
        raise ReferenceFailure(
            f'result name "{reference.name}" is not bound',
            "42704",
            hint=f'Write "{reference}?" for NULL where the name may not be bound.',
        )
    if bound.types is None:
        return (
            _json_rows(reference, bound)
            if reference.kind is ReferenceKind.ROWS
            else _json_value(reference, bound)
        )
    if reference.kind is ReferenceKind.ROWS:
        return _rows(reference, bound)
    return _column(reference, bound)


def substitute_text(text: str, environment: Mapping[str, StepResult]) -> str:
    """Plain text with each reference replaced by its value's text; NULL by nothing."""
    parts: list[str] = []
    done = 0
    for reference in find_text_references(text):
        value = resolve(reference, environment)
        if isinstance(value, Rows):
            raise ReferenceFailure(
                f'"{reference}" stands for rows and cannot be used as text', "42601"
            )
        parts += text[done : reference.start], value.text or ""
        done = reference.end
    return "".join(parts) + text[done:]


def _column(reference: Reference, bound: StepResult) -> Value:
    types = bound.types or ()
    if not bound.exact:
        return _absent(reference, "has no rows", "02000")
    index = _column_index(reference, types)
    kind = types[index][1]
    if not kind:
        raise ReferenceFailure(
            f'"{reference}" is a column without a type of its own',
            "42846",
            hint="Cast the column in the step that it comes from.",
        )
    text = parse_record(bound.exact[0])[index]
    return _absent(reference, "is NULL", "22004") if text is None else Value(text, kind)


def _column_index(reference: Reference, types: tuple[tuple[str, str], ...]) -> int:
    if not types:
        raise ReferenceFailure(f'"{reference}" has no columns', "42703")
    if reference.column is None:
        return 0
    names = [name for name, _ in types]
    for wanted in (reference.column, reference.column.lower()):
        if wanted in names:
            return names.index(wanted)
    raise ReferenceFailure(
        f'column "{reference.column}" of result "{reference.name}" does not exist',
        "42703",
        hint=f"Its columns are {', '.join(names)}.",
    )


def _rows(reference: Reference, bound: StepResult) -> Rows:
    exact = bound.exact or ()
    if len(exact) > MAX_ROWS:
        raise ReferenceFailure(
            f'"{reference}" has {len(exact)} rows, more than the {MAX_ROWS} that can be expanded',
            "54000",
            hint="Keep the rows in a table and join it.",
        )
    types = bound.types or ()
    return Rows(types, [parse_record(row) if types else [] for row in exact])


def _json_value(reference: Reference, bound: StepResult) -> Value:
    text = (bound.text or "null").strip()
    if reference.column is not None:
        fields = members(text)
        if fields is not None and reference.column not in fields:
            return _absent(reference, f'has no field "{reference.column}"', "42703")
        text = "null" if fields is None else fields[reference.column]
    return _absent(reference, "is NULL", "22004") if text == "null" else _typed(reference, text)


def _typed(reference: Reference, text: str) -> Value:
    match text[0]:
        case "t" | "f":
            return Value(text, "pg_catalog.bool")
        case "{" | "[":
            return Value(text, "pg_catalog.jsonb")
        case '"':
            return Value(_storable(reference, json.loads(text)), "pg_catalog.text")
        case _:
            return Value(text, "pg_catalog.numeric")


def _storable(reference: Reference, text: str) -> str:
    """JSON can name characters that no text of the server can hold."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ReferenceFailure(
            f'"{reference}" holds a character that cannot be converted to text', "22P05"
        )
    return text


def _json_rows(reference: Reference, bound: StepResult) -> Rows:
    """An array is one row an element, anything else one row; the column is `value`, as JSON."""
    text = (bound.text or "null").strip()
    values = elements(text)
    if values is None:
        values = [] if text == "null" else [text]
    return Rows((("value", "pg_catalog.jsonb"),), [[value] for value in values])


def _absent(reference: Reference, why: str, sqlstate: str) -> Value:
    if reference.optional:
        return _NO_VALUE
    raise ReferenceFailure(
        f'"{reference}" {why}',
        sqlstate,
        hint=f'Write "{reference}?" for NULL where there may be no value.',
    )
