"""Where messages begin and end in a stream of bytes.

A message after startup is one type byte, a big-endian length that counts itself but not the
type byte, and a body. A relay has no use for most bodies, so nothing here copies one:
``walk`` goes over the headers of a chunk that was received into a reusable buffer and stops at
the types that its caller wants to see. Both ways "the rest has not come yet" is a value.

Lengths come from the network. Below 4 a length is nonsense, above ``MAX_LENGTH`` Postgres itself
hangs up (PQ_LARGE_MESSAGE_LIMIT in src/include/libpq/libpq.h); both are a ProtocolViolation.
What is between is never allocated in advance.
"""

from __future__ import annotations

from struct import Struct

from durproxy.errors import ProtocolViolation

HEADER_SIZE = 5
MAX_LENGTH = 0x3FFFFFFF + 4

_unpack_header = Struct(">BI").unpack_from
_pack_header = Struct(">BI").pack

_ANYTHING = frozenset(range(1, 256))

Buffer = bytes | bytearray | memoryview


def walk(buffer: Buffer, position: int, end: int, wanted: frozenset[int]) -> tuple[int, int, int]:
    """Go from header to header, from the one at ``position`` to the next of a wanted type.

    The answer is (position, type, end of the message) for a wanted one, whose end may lie
    beyond ``end``. Without one the type is 0 and the position is where the next header begins:
    up to four bytes before ``end`` when the header itself is cut, beyond it when the last
    message's body goes on.
    """
    last = end - HEADER_SIZE
    length = 4
    while position <= last:
        kind, length = _unpack_header(buffer, position)
        if kind in wanted:
            return position, kind, position + 1 + checked_length(length)
        if length < 4:
            checked_length(length)
        position += 1 + length
    if position > end:
        checked_length(length)
    return position, 0, position


def split_messages(data: memoryview) -> list[tuple[int, memoryview]]:
    """The messages (type, body) that ``data`` consists of; none at all if the last is not whole."""
    messages = []
    position, end = 0, len(data)
    while position < end:
        position, kind, after = walk(data, position, end, _ANYTHING)
        if kind == 0 or after > end:
            return []
        messages.append((kind, data[position + HEADER_SIZE : after]))
        position = after
    return messages


def checked_length(length: int) -> int:
    """The length again, if a message may have it."""
    if not 4 <= length <= MAX_LENGTH:
        raise ProtocolViolation(f"invalid message length {length}")
    return length


def encode_message(kind: int, body: bytes) -> bytes:
    return _pack_header(kind, len(body) + 4) + body


class MessageReader:
    """Whole messages out of a stream, for the conversations in which each one matters.

    ``limit`` bounds the length field, and with it what is ever held in memory.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: Buffer) -> None:
        self._buffer += data

    def maybe_read(self) -> tuple[int, bytes] | None:
        """(type, the message with its header), or None until more has come."""
        if len(self._buffer) < HEADER_SIZE:
            return None
        kind, length = _unpack_header(self._buffer, 0)
        if not 4 <= length <= self._limit:
            raise ProtocolViolation(
                f"invalid length {length} of message type {printable_kind(kind)}"
            )
        if len(self._buffer) < length + 1:
            return None
        message = bytes(self._buffer[: length + 1])
        del self._buffer[: length + 1]
        return kind, message

    def take_rest(self) -> bytes:
        """What came after the last message that was read; the reader is empty then."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def printable_kind(kind: int) -> str:
    """A type byte as a message to a human shows it."""
    return f'"{chr(kind)}"' if 32 < kind < 127 else f"{kind:#04x}"
