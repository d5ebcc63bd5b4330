"""The client's messages whose bodies the proxy has to understand.

Fields are named as in the manual (chapter "Message Formats"); strings stay bytes, because only
the session knows their encoding. All others pass by their header alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from durproxy.wire.fields import BodyReader, encode_int16, encode_int32, encode_string
from durproxy.wire.framing import Buffer, encode_message

COPY_DONE = ord("c")
COPY_FAIL = ord("f")
FLUSH = ord("H")
FUNCTION_CALL = ord("F")
SYNC = ord("S")
TERMINATE = b"X\0\0\0\4"

NO_PARAMETER_TYPES = b"\0\0"  # in a Parse: the server finds them out


class FrontendMessage:
    """Base of what a client sends."""

    __slots__ = ()
    kind: ClassVar[int]


@dataclass(frozen=True, slots=True)
class Query(FrontendMessage):
    """A text of one or more statements: the simple protocol."""

    kind: ClassVar[int] = ord("Q")
    query: bytes

    @classmethod
    def parse(cls, body: Buffer) -> Query:
        reader = BodyReader(body)
        message = cls(reader.read_string())
        reader.finish()
        return message

    def encode(self) -> bytes:
        return encode_message(self.kind, encode_string(self.query))


@dataclass(frozen=True, slots=True)
class Parse(FrontendMessage):
    """Prepare a statement."""

    kind: ClassVar[int] = ord("P")
    statement: bytes
    query: bytes
    parameter_types: bytes  # the count and the oids, as they came

    @classmethod
    def parse(cls, body: Buffer) -> Parse:
        reader = BodyReader(body)
        return cls(reader.read_string(), reader.read_string(), reader.read_rest())

    def encode(self) -> bytes:
        names = encode_string(self.statement) + encode_string(self.query)
        return encode_message(self.kind, names + self.parameter_types)


@dataclass(frozen=True, slots=True)
class Bind(FrontendMessage):
    """Give a prepared statement its parameters, which makes a portal."""

    kind: ClassVar[int] = ord("B")
    portal: bytes
    statement: bytes
    parameter_formats: tuple[int, ...]
    parameters: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]

    @classmethod
    def parse(cls, body: Buffer) -> Bind:
        reader = BodyReader(body)
        portal, statement = reader.read_string(), reader.read_string()
        formats = _read_int16s(reader)
        parameters = tuple(_read_parameter(reader) for _ in range(reader.read_int16()))
        message = cls(portal, statement, formats, parameters, _read_int16s(reader))
        reader.finish()
        return message

    def encode(self) -> bytes:
        parts = [encode_string(self.portal), encode_string(self.statement)]
        parts += _encode_int16s(self.parameter_formats)
        parts.append(encode_int16(len(self.parameters)))
        for value in self.parameters:
            parts.append(encode_int32(-1 if value is None else len(value)))
            parts.append(value or b"")
        parts += _encode_int16s(self.result_formats)
        return encode_message(self.kind, b"".join(parts))

    def format_of(self, index: int) -> int:
        """0 for text, 1 for binary."""
        if len(self.parameter_formats) > 1:
            return self.parameter_formats[index]
        return self.parameter_formats[0] if self.parameter_formats else 0


@dataclass(frozen=True, slots=True)
class Describe(FrontendMessage):
    """Ask for the shape of a statement (``S``) or portal (``P``)."""

    kind: ClassVar[int] = ord("D")
    what: int
    name: bytes

    @classmethod
    def parse(cls, body: Buffer) -> Describe:
        reader = BodyReader(body)
        message = cls(reader.read_byte(), reader.read_string())
        reader.finish()
        return message

    def encode(self) -> bytes:
        return encode_message(self.kind, bytes([self.what]) + encode_string(self.name))


@dataclass(frozen=True, slots=True)
class Execute(FrontendMessage):
    """Run a portal."""

    kind: ClassVar[int] = ord("E")
    portal: bytes
    max_rows: int

    @classmethod
    def parse(cls, body: Buffer) -> Execute:
        reader = BodyReader(body)
        message = cls(reader.read_string(), reader.read_int32())
        reader.finish()
        return message

    def encode(self) -> bytes:
        return encode_message(self.kind, encode_string(self.portal) + encode_int32(self.max_rows))


@dataclass(frozen=True, slots=True)
class Close(FrontendMessage):
    """Forget a statement (``S``) or portal (``P``)."""

    kind: ClassVar[int] = ord("C")
    what: int
    name: bytes

    @classmethod
    def parse(cls, body: Buffer) -> Close:
        reader = BodyReader(body)
        message = cls(reader.read_byte(), reader.read_string())
        reader.finish()
        return message

    def encode(self) -> bytes:
        return encode_message(self.kind, bytes([self.what]) + encode_string(self.name))


@dataclass(frozen=True, slots=True)
class SASLInitialResponse(FrontendMessage):
    """The client's choice among the offered mechanisms, and its first words."""

    kind: ClassVar[int] = ord("p")
    mechanism: bytes
    data: bytes | None

    @classmethod
    def parse(cls, body: Buffer) -> SASLInitialResponse:
        reader = BodyReader(body)
        message = cls(reader.read_string(), _read_parameter(reader))
        reader.finish()
        return message

    def encode(self) -> bytes:
        length = -1 if self.data is None else len(self.data)
        body = encode_string(self.mechanism) + encode_int32(length) + (self.data or b"")
        return encode_message(self.kind, body)


@dataclass(frozen=True, slots=True)
class SASLResponse(FrontendMessage):
    """The client's next words."""

    kind: ClassVar[int] = ord("p")
    data: bytes

    @classmethod
    def parse(cls, body: Buffer) -> SASLResponse:
        return cls(bytes(body))

    def encode(self) -> bytes:
        return encode_message(self.kind, self.data)


def _read_int16s(reader: BodyReader) -> tuple[int, ...]:
    return tuple(reader.read_int16() for _ in range(reader.read_int16()))


def _encode_int16s(values: tuple[int, ...]) -> list[bytes]:
    return [encode_int16(len(values)), *map(encode_int16, values)]


def _read_parameter(reader: BodyReader) -> bytes | None:
    length = reader.read_int32()
    return None if length == -1 else reader.read_bytes(length)
