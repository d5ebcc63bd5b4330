"""When a condition's result counts as true: the first column of its first row.

False: no rows, NULL, false, 0, the empty string, the strings `f no 0 false` in any case, an empty
array or object. All else is true.
"""

from __future__ import annotations

import json
from typing import Any

from durproxy.engine.core.json_text import is_nonzero
from durproxy.engine.core.states import StepResult

_FALSE_WORDS = frozenset(("", "f", "no", "0", "false"))
_NUMERIC = "pg_catalog.numeric"  # as the server quotes it, or not


def is_true(result: StepResult) -> bool:
    """Truth of a node's result (JSON of an SQL step, or of any other node)."""
    first = _first_value(_read(result.text))
    if isinstance(first, str) and result.types and _is_numeric(result.types[0][1]):
        return is_nonzero(first)
    return truth_of(first)


def has_rows(result: StepResult) -> bool:
    """Whether a named result has rows (df.if_rows)."""
    value = _read(result.text)
    if isinstance(value, dict) and "row_count" in value:
        return bool(value["row_count"])
    return truth_of(value)


def truth_of(value: Any) -> bool:
    """Truth of one JSON value."""
    if isinstance(value, str):
        return value.lower() not in _FALSE_WORDS
    return bool(value)


def _read(text: str | None) -> Any:
    """The JSON value, a number as whether it is another one than zero."""
    return json.loads(
        text or "null",
        object_pairs_hook=_first_wins,
        parse_int=is_nonzero,
        parse_float=is_nonzero,
    )


def _is_numeric(kind: str) -> bool:
    return kind.replace('"', "") == _NUMERIC


def _first_value(value: Any) -> Any:
    if not isinstance(value, dict) or "rows" not in value:
        return value
    rows = value["rows"]
    if not rows:
        return None
    row = rows[0]
    return next(iter(row.values()), None) if isinstance(row, dict) else row


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of columns with the same name the first counts, as in SQL's own order."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        made.setdefault(key, value)
    return made
