"""Text forms that the engine writes and reads: arrays, the frames of a write, JSON in ASCII."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from durproxy.engine.core.states import Scope

_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)', re.DOTALL)
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def array_literal(values: Iterable[str | None]) -> str:
    """A text[] in its text form; every element quoted, None as NULL."""
    elements = (
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for value in values
    )
    return "{" + ",".join(elements) + "}"


def parse_array(text: str | None) -> list[str | None]:
    """The elements of a one-dimensional text[]; none for NULL."""
    if text is None:
        return []
    return [
        _ESCAPED.sub(r"\1", quoted) if bare == "" else None if bare == "NULL" else bare
        for quoted, bare in _ELEMENT.findall(text[1:-1])
    ]


def json_in_ascii(value: str | None) -> str | None:
    """The same JSON with escapes in its strings; what is no JSON stays as it is."""
    if value is None or value.isascii():
        return value
    try:
        json.loads(value, parse_int=str)
    except ValueError:
        return value
    return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], value)


def frames_literals(scopes: Sequence[Scope]) -> tuple[str, str, str]:
    """The enclosing frames as integer[], text[] and bigint[]: nodes, paths, rounds."""
    if not scopes:
        return "{}", "{}", "{}"
    return (
        "{" + ",".join(str(scope.node) for scope in scopes) + "}",
        array_literal(scope.path for scope in scopes),
        "{" + ",".join(str(scope.round) for scope in scopes) + "}",
    )
