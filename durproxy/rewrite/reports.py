"""The server's reports about a statement that we rewrote, in terms of the one that the user wrote.

Positions are moved back; where a report quotes code of a DO block, the operators are spelled as
they were.
"""

from __future__ import annotations

import re
from typing import Final

from durproxy.rewrite.dsl import BINARY, PREFIX
from durproxy.rewrite.plan import Plan
from durproxy.rewrite.splice import qualified

#: The fields of an error or notice: the letter's code, and the text.
Fields = tuple[tuple[int, bytes], ...]

_POSITION: Final = ord("P")
_INTERNAL_POSITION: Final = ord("p")
_INTERNAL_QUERY: Final = ord("q")
_CONTEXT: Final = ord("W")

_SPELLED: Final = {
    qualified(operator).encode(): operator.encode() for operator in (*BINARY, PREFIX)
}
_QUALIFIED: Final = re.compile(b"|".join(map(re.escape, _SPELLED)))


def original_fields(plan: Plan, fields: Fields) -> Fields:
    """Return the fields as they would be had the user's own text come to the server."""
    query = next((value for key, value in fields if key == _INTERNAL_QUERY), b"")
    return tuple((key, _original(plan, key, value, query)) for key, value in fields)


def _original(plan: Plan, key: int, value: bytes, query: bytes) -> bytes:
    if key in (_CONTEXT, _INTERNAL_QUERY):
        return _QUALIFIED.sub(lambda found: _SPELLED[found[0]], value)
    if not value.isdigit():
        return value
    if key == _POSITION:
        return b"%d" % plan.original_position(int(value))
    return b"%d" % _inside(query, int(value)) if key == _INTERNAL_POSITION else value


def _inside(query: bytes, position: int) -> int:
    """Return where a character of quoted code stands with its operators spelled as they were."""
    moved = 0
    for found in _QUALIFIED.finditer(query):
        start = len(query[: found.start()].decode("utf-8", "replace"))
        if start >= position:
            break
        longer = len(found[0]) - len(_SPELLED[found[0]])
        moved += min(longer, position - 1 - start)
    return position - moved
