"""What a server sends to answer a Query: rows of text, and the end of each statement."""

from __future__ import annotations

from collections.abc import Sequence

from durproxy.wire.backend import COMMAND_COMPLETE, EMPTY_QUERY_RESPONSE, ROW_DESCRIPTION
from durproxy.wire.fields import encode_int16, encode_int32, encode_string
from durproxy.wire.framing import encode_message

_DATA_ROW = ord("D")
_TEXT_OID = 25

Row = Sequence[str | None]


def encode_rows(columns: Sequence[str], rows: Sequence[Row], tag: str) -> bytes:
    """A whole result; every column is of type text."""
    parts = [_description(columns), *map(_row, rows), encode_complete(f"{tag} {len(rows)}")]
    return b"".join(parts)


def encode_complete(tag: str) -> bytes:
    return encode_message(COMMAND_COMPLETE, encode_string(tag.encode()))


def encode_empty() -> bytes:
    """To a text without a statement."""
    return encode_message(EMPTY_QUERY_RESPONSE, b"")


def _description(columns: Sequence[str]) -> bytes:
    # after the name: table, column, type, length of the type (varies), modifier, format (text)
    shape = encode_int32(0) + encode_int16(0) + encode_int32(_TEXT_OID) + encode_int16(-1)
    shape += encode_int32(-1) + encode_int16(0)
    fields = b"".join(encode_string(name.encode()) + shape for name in columns)
    return encode_message(ROW_DESCRIPTION, encode_int16(len(columns)) + fields)


def _row(values: Row) -> bytes:
    parts = [encode_int16(len(values))]
    for value in values:
        data = None if value is None else value.encode()
        parts.append(encode_int32(-1 if data is None else len(data)))
        parts.append(data or b"")
    return encode_message(_DATA_ROW, b"".join(parts))
