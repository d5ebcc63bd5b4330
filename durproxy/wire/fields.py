"""The small parts that message bodies are made of: strings that end with a zero byte, integers."""

from __future__ import annotations

from struct import Struct

from durproxy.errors import ProtocolViolation
from durproxy.wire.framing import Buffer

_int16 = Struct(">h")
_int32 = Struct(">i")


class BodyReader:
    """Reads one body from front to back; every overrun is a ProtocolViolation."""

    __slots__ = ("_body", "_position")

    def __init__(self, body: Buffer) -> None:
        self._body = bytes(body)
        self._position = 0

    def read_byte(self) -> int:
        return self.read_bytes(1)[0]

    def read_int16(self) -> int:
        value: int = _int16.unpack(self.read_bytes(2))[0]
        return value

    def read_int32(self) -> int:
        value: int = _int32.unpack(self.read_bytes(4))[0]
        return value

    def read_bytes(self, size: int) -> bytes:
        end = self._position + size
        if size < 0 or end > len(self._body):
            raise ProtocolViolation("insufficient data left in message")
        data = self._body[self._position : end]
        self._position = end
        return data

    def read_string(self) -> bytes:
        end = self._body.find(b"\0", self._position)
        if end < 0:
            raise ProtocolViolation("invalid string in message")
        data = self._body[self._position : end]
        self._position = end + 1
        return data

    def read_rest(self) -> bytes:
        data = self._body[self._position :]
        self._position = len(self._body)
        return data

    def finish(self) -> None:
        if self._position != len(self._body):
            raise ProtocolViolation("invalid message format")


def encode_string(data: bytes) -> bytes:
    if b"\0" in data:
        raise ProtocolViolation("a string in a message cannot hold a zero byte")
    return data + b"\0"


def encode_int16(value: int) -> bytes:
    return _int16.pack(value)


def encode_int32(value: int) -> bytes:
    return _int32.pack(value)
