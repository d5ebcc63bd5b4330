"""What a client may say first: a startup packet, a request for encryption, or a cancel.

These have no type byte: a length that counts itself, a code, a body. The code is a protocol
version, or one of three numbers that can be none (1234 in the upper half; src/include/libpq/
pqcomm.h). A client that begins with a TLS record instead wants TLS without asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from durproxy.errors import DurproxyError, ProtocolViolation
from durproxy.wire import sqlstate

MAJOR = 3
PROTOCOL_3_0 = MAJOR << 16
PROTOCOL_3_2 = MAJOR << 16 | 2
SSL_REQUEST_CODE = 1234 << 16 | 5679
GSSENC_REQUEST_CODE = 1234 << 16 | 5680
CANCEL_REQUEST_CODE = 1234 << 16 | 5678

TLS_HANDSHAKE = 0x16  # the first byte of a TLS record that opens a connection
MAX_CANCEL_KEY = 256  # of protocol 3.2; 3.0 has always 4 bytes

_head = Struct(">II")
_int32 = Struct(">I")


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """May we speak TLS? Answered by one byte."""


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """May we encrypt by GSSAPI? Answered by one byte."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Cancel what the backend with this pid and key is doing; never answered."""

    process_id: int
    secret_key: bytes


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """Who wants to speak to which database, and how."""

    version: int
    parameters: dict[str, str]

    @property
    def user(self) -> str:
        return self.parameters.get("user", "")

    @property
    def database(self) -> str:
        return self.parameters.get("database", self.user)

    @property
    def wants_replication(self) -> bool:
        """Anything but a plain session; the server knows which words mean false."""
        word = self.parameters.get("replication", "").lower()
        return word not in ("", "0", "off", "of", "false", "fals", "fal", "fa", "f", "no", "n")


class UnsupportedVersion(DurproxyError):
    """A client of another major version, which may not even read our errors."""

    sqlstate = sqlstate.FEATURE_NOT_SUPPORTED

    def __init__(self, version: int) -> None:
        self.major = version >> 16
        super().__init__(
            f"unsupported frontend protocol {self.major}.{version & 0xFFFF}:"
            f" server supports {MAJOR}.0 to {MAJOR}.2"
        )


FirstMessage = SSLRequest | GSSENCRequest | CancelRequest | StartupMessage


@dataclass(frozen=True, slots=True)
class Received:
    """A first message, the bytes it came as, and what came behind it."""

    message: FirstMessage
    raw: bytes
    rest: bytes


def maybe_parse_first(data: bytes, max_packet: int) -> Received | None:
    """The first message in ``data``, or None until more has come."""
    if len(data) < 4:
        return None
    length: int = _int32.unpack_from(data)[0]
    if not 8 <= length <= max_packet:
        raise ProtocolViolation(f"invalid length {length} of startup packet")
    if len(data) < length:
        return None
    raw = data[:length]
    return Received(_parse(raw), raw, data[length:])


def _parse(raw: bytes) -> FirstMessage:
    code: int = _head.unpack_from(raw)[1]
    if code == SSL_REQUEST_CODE:
        return SSLRequest()
    if code == GSSENC_REQUEST_CODE:
        return GSSENCRequest()
    if code == CANCEL_REQUEST_CODE:
        return _parse_cancel(raw)
    if code >> 16 != MAJOR:
        raise UnsupportedVersion(code)
    return StartupMessage(code, _parse_parameters(raw))


def _parse_cancel(raw: bytes) -> CancelRequest:
    key = raw[12:]
    if not 1 <= len(key) <= MAX_CANCEL_KEY:
        raise ProtocolViolation(f"invalid length {len(key)} of cancel key")
    return CancelRequest(_int32.unpack_from(raw, 8)[0], key)


def _parse_parameters(raw: bytes) -> dict[str, str]:
    # names and values in turn, each with a zero byte, and one more at the end
    if not raw.endswith(b"\0") or len(raw) < 9:
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    words = raw[8:-1].split(b"\0")
    if words.pop() != b"" or len(words) % 2 or b"" in words[::2]:
        raise ProtocolViolation("invalid startup packet layout: names and values do not pair up")
    texts = [word.decode("utf-8", "surrogateescape") for word in words]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def encode_startup(message: StartupMessage) -> bytes:
    body = b"".join(
        text.encode("utf-8", "surrogateescape") + b"\0"
        for pair in message.parameters.items()
        for text in pair
    )
    return _head.pack(len(body) + 9, message.version) + body + b"\0"


def encode_cancel(message: CancelRequest) -> bytes:
    head = _head.pack(12 + len(message.secret_key), CANCEL_REQUEST_CODE)
    return head + _int32.pack(message.process_id) + message.secret_key


def encode_ssl_request() -> bytes:
    return _head.pack(8, SSL_REQUEST_CODE)


def encode_gssenc_request() -> bytes:
    return _head.pack(8, GSSENC_REQUEST_CODE)
