"""The server's messages whose bodies the proxy reads or, in the few allowed cases, writes.

Fields are named as in the manual (chapter "Message Formats").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from durproxy.errors import ProtocolViolation
from durproxy.wire.fields import BodyReader, encode_int32, encode_string
from durproxy.wire.framing import Buffer, encode_message

BIND_COMPLETE = ord("2")
CLOSE_COMPLETE = ord("3")
COMMAND_COMPLETE = ord("C")
COPY_IN_RESPONSE = ord("G")
EMPTY_QUERY_RESPONSE = ord("I")
NO_DATA = ord("n")
PARSE_COMPLETE = ord("1")
PORTAL_SUSPENDED = ord("s")
READY_FOR_QUERY = ord("Z")
ROW_DESCRIPTION = ord("T")

AUTHENTICATION_OK = 0
AUTHENTICATION_SASL = 10
AUTHENTICATION_SASL_CONTINUE = 11
AUTHENTICATION_SASL_FINAL = 12

IDLE = ord("I")  # ReadyForQuery outside a transaction


class BackendMessage:
    """Base of what a server sends."""

    __slots__ = ()
    kind: ClassVar[int]


@dataclass(frozen=True, slots=True)
class Authentication(BackendMessage):
    """One step of the login; the code says which."""

    kind: ClassVar[int] = ord("R")
    code: int

    @classmethod
    def parse(cls, body: Buffer) -> Authentication:
        return cls(BodyReader(body).read_int32())

    @property
    def wants_answer(self) -> bool:
        return self.code not in (AUTHENTICATION_OK, AUTHENTICATION_SASL_FINAL)


@dataclass(frozen=True, slots=True)
class ParameterStatus(BackendMessage):
    """A setting that the server reports, now or when it changes."""

    kind: ClassVar[int] = ord("S")
    name: bytes
    value: bytes

    @classmethod
    def parse(cls, body: Buffer) -> ParameterStatus:
        # without a BodyReader: a server reports a dozen settings at each login
        name, *rest = bytes(body).split(b"\0")
        if len(rest) != 2 or rest[1]:
            raise ProtocolViolation("invalid message format")
        return cls(name, rest[0])

    def encode(self) -> bytes:
        return encode_message(self.kind, encode_string(self.name) + encode_string(self.value))


@dataclass(frozen=True, slots=True)
class BackendKeyData(BackendMessage):
    """What a CancelRequest for this session has to show: 4 bytes in 3.0, up to 256 in 3.2."""

    kind: ClassVar[int] = ord("K")
    process_id: int
    secret_key: bytes

    @classmethod
    def parse(cls, body: Buffer) -> BackendKeyData:
        reader = BodyReader(body)
        return cls(reader.read_int32() & 0xFFFFFFFF, reader.read_rest())


@dataclass(frozen=True, slots=True)
class ReadyForQuery(BackendMessage):
    """Everything up to here is answered; the status is ``I``, ``T`` or ``E`` (failed)."""

    kind: ClassVar[int] = READY_FOR_QUERY
    status: int

    @classmethod
    def parse(cls, body: Buffer) -> ReadyForQuery:
        reader = BodyReader(body)
        message = cls(reader.read_byte())
        reader.finish()
        return message

    def encode(self) -> bytes:
        return encode_message(self.kind, bytes([self.status]))


@dataclass(frozen=True, slots=True)
class Report(BackendMessage):
    """The common body of ErrorResponse and NoticeResponse: one-letter fields in order."""

    fields: tuple[tuple[int, bytes], ...]

    @classmethod
    def read_fields(cls, body: Buffer) -> tuple[tuple[int, bytes], ...]:
        reader = BodyReader(body)
        fields = []
        while (field := reader.read_byte()) != 0:
            fields.append((field, reader.read_string()))
        reader.finish()
        return tuple(fields)

    def get(self, field: str) -> bytes | None:
        return next((value for key, value in self.fields if key == ord(field)), None)

    def encode(self) -> bytes:
        parts = [bytes([key]) + encode_string(value) for key, value in self.fields]
        return encode_message(self.kind, b"".join(parts) + b"\0")


@dataclass(frozen=True, slots=True)
class ErrorResponse(Report):
    """A statement, or the session, failed."""

    kind: ClassVar[int] = ord("E")

    @classmethod
    def parse(cls, body: Buffer) -> ErrorResponse:
        return cls(cls.read_fields(body))


@dataclass(frozen=True, slots=True)
class NoticeResponse(Report):
    """Something worth a look that stops nothing."""

    kind: ClassVar[int] = ord("N")

    @classmethod
    def parse(cls, body: Buffer) -> NoticeResponse:
        return cls(cls.read_fields(body))


def fatal(
    sqlstate: str, message: str, *, detail: str | None = None, hint: str | None = None
) -> ErrorResponse:
    """The last message of a session that we end ourselves.

    What it repeats of a startup packet comes out as the bytes that it was.
    """
    fields = {"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": message, "D": detail, "H": hint}
    return ErrorResponse(
        tuple(
            (ord(key), text.encode("utf-8", "surrogateescape"))
            for key, text in fields.items()
            if text is not None
        )
    )


def fatal_of_protocol_2(message: str) -> bytes:
    """The same for a client that is too old to read any other: one line, without a length."""
    return b"EFATAL:  " + message.encode() + b"\n\0"


def renamed_notice(body: Buffer, sqlstate: str, name: str, other: str) -> bytes | None:
    """A notice of this SQLSTATE with another name in its message; None for any other notice."""
    try:
        fields = Report.read_fields(body)
    except ProtocolViolation:
        return None
    if (ord("C"), sqlstate.encode()) not in fields:
        return None
    return NoticeResponse(
        tuple(
            (key, value.replace(name.encode(), other.encode()) if key == ord("M") else value)
            for key, value in fields
        )
    ).encode()


def report_fields(body: Buffer) -> tuple[tuple[int, bytes], ...] | None:
    """The fields of an error or notice; None when it breaks the format."""
    try:
        return Report.read_fields(body)
    except ProtocolViolation:
        return None


def encode_report(kind: int, fields: tuple[tuple[int, bytes], ...]) -> bytes:
    """An error or a notice with these fields."""
    return _REPORTS[kind](fields).encode()


_REPORTS: dict[int, type[ErrorResponse] | type[NoticeResponse]] = {
    ErrorResponse.kind: ErrorResponse,
    NoticeResponse.kind: NoticeResponse,
}


def encode_authentication(code: int, data: bytes = b"") -> bytes:
    return encode_message(Authentication.kind, encode_int32(code) + data)


def sasl_mechanisms(body: Buffer) -> tuple[str, ...] | None:
    """What an Authentication message offers, the best first; None if it is not that step."""
    reader = BodyReader(body)
    if reader.read_int32() != AUTHENTICATION_SASL:
        return None
    names = []
    while name := reader.read_string():
        names.append(name.decode("ascii", "replace"))
    reader.finish()
    return tuple(names)


def encode_sasl(mechanisms: tuple[str, ...]) -> bytes:
    names = b"".join(encode_string(name.encode()) for name in mechanisms)
    return encode_authentication(AUTHENTICATION_SASL, names + b"\0")


def encode_sasl_continue(text: str) -> bytes:
    return encode_authentication(AUTHENTICATION_SASL_CONTINUE, text.encode())


def encode_sasl_final(text: str) -> bytes:
    return encode_authentication(AUTHENTICATION_SASL_FINAL, text.encode())
