"""A client that keeps every byte the server sends: no driver between the test and the wire."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType

Message = tuple[str, bytes]

_FIRST_USER_OID = 16384  # access/transam.h: FirstNormalObjectId


class RawClient:
    """One connection, logged in without a password."""

    def __init__(self, port: int, user: str, database: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._stream = self._socket.makefile("rb")
        parameters = {"user": user, "database": database, "client_encoding": "UTF8"}
        pairs = b"".join(cstring(name) + cstring(value) for name, value in parameters.items())
        body = struct.pack("!I", 196608) + pairs + b"\0"  # protocol 3.0
        self._socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.greeting = list(self.until_ready())

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._socket.close()

    def send(self, *messages: bytes) -> None:
        self._socket.sendall(b"".join(messages))

    def receive(self) -> Message:
        kind, length = struct.unpack("!cI", self._exactly(5))
        return kind.decode(), self._exactly(length - 4)

    def until_ready(self, copy_data: bytes = b"", after_copy: bytes = b"") -> Iterator[Message]:
        """Everything up to ReadyForQuery; a COPY FROM STDIN gets copy_data.

        A Sync that came before the data was ignored by the server: ``after_copy`` is another.
        """
        while True:
            kind, body = self.receive()
            yield kind, body
            if kind == "G":
                self.send(message(b"d", copy_data), message(b"c"), after_copy)
            if kind == "Z":
                return

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        assert len(data) == size, f"the server closed the connection after {data!r}"
        return data


def cstring(text: str) -> bytes:
    return text.encode() + b"\0"


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def query(text: str) -> bytes:
    return message(b"Q", cstring(text))


def parse(text: str, name: str = "") -> bytes:
    return message(b"P", cstring(name) + cstring(text) + struct.pack("!H", 0))


def bind(parameters: Iterable[bytes | None] = (), *, name: str = "", binary: bool = False) -> bytes:
    values = [
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
        for value in parameters
    ]
    formats = struct.pack("!HH", 1, int(binary))
    body = b"\0" + cstring(name) + struct.pack("!H", 0)
    return message(b"B", body + struct.pack("!H", len(values)) + b"".join(values) + formats)


def describe(kind: bytes, name: str = "") -> bytes:
    return message(b"D", kind + cstring(name))


def execute(max_rows: int = 0) -> bytes:
    return message(b"E", b"\0" + struct.pack("!I", max_rows))


SYNC = message(b"S")
FLUSH = message(b"H")


def comparable(messages: Iterable[Message]) -> list[Message]:
    """The messages without what differs between any two sessions: pids, keys, fresh oids."""
    return [_comparable(kind, body) for kind, body in messages]


def _comparable(kind: str, body: bytes) -> Message:
    if kind == "K":
        return kind, bytes(len(body))
    if kind == "A":  # NotificationResponse begins with the sender's pid
        return kind, bytes(4) + body[4:]
    if kind == "T":
        return kind, _without_fresh_oids(body)
    return kind, body


def _without_fresh_oids(row_description: bytes) -> bytes:
    """Objects made by the test itself have another oid in each run: theirs become 0."""
    [count] = struct.unpack_from("!H", row_description)
    out, at = [row_description[:2]], 2
    for _ in range(count):
        end = row_description.index(b"\0", at) + 1
        table, column, kind = struct.unpack_from("!IhI", row_description, end)
        fresh = [0 if oid >= _FIRST_USER_OID else oid for oid in (table, kind)]
        out += [row_description[at:end], struct.pack("!IhI", fresh[0], column, fresh[1])]
        at = end + 18
        out.append(row_description[end + 10 : at])
    return b"".join(out)


def read_corpus(text: str) -> list[tuple[str, str]]:
    """(title, SQL) of each block: a line "-- title", then SQL up to the next title."""
    blocks = re.split(r"^-- (.+)\n", text, flags=re.MULTILINE)
    return list(zip(blocks[1::2], (block.strip("\n") for block in blocks[2::2]), strict=True))
