"""Read the text of a composite value, the form in which exact results are kept."""

from __future__ import annotations

import re

_FIELD = re.compile(r'(?:"((?>[^"\\]+|""|\\.)*+)"|([^,"\\()]*+))([,)])', re.DOTALL)
_ESCAPE = re.compile(r'""|\\.', re.DOTALL)


def parse_record(text: str) -> list[str | None]:
    """Return the fields of a composite value's text, such as ``(1,"a b",)``; NULL is None.

    ``()`` reads as one NULL field; only the type tells it from a record without columns.
    """
    if text[:1] != "(" or text[-1:] != ")":
        raise ValueError("a record's text stands in parentheses")
    fields: list[str | None] = []
    at = 1
    while True:
        match = _FIELD.match(text, at)
        if match is None:
            raise ValueError(f"malformed record text at character {at + 1}")
        quoted, bare, separator = match.groups()
        if quoted is not None:
            fields.append(_ESCAPE.sub(lambda m: m.group()[1], quoted))
        else:
            fields.append(bare or None)
        at = match.end()
        if separator == ")":
            break
    if at != len(text):
        raise ValueError(f"malformed record text at character {at + 1}")
    return fields
