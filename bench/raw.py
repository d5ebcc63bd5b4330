"""A client that speaks the protocol itself: hardly anything of what is measured is its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from bench.rivals import DATABASE
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import COPY_DONE, TERMINATE, Query
from durproxy.wire.startup import PROTOCOL_3_0, StartupMessage, encode_startup

_RECEIVE_SIZE = 256 * 1024
_COPY_DATA = ord("d")
_READY = b"Z\0\0\0\5"  # and the transaction's state
_COPY_IN = ord("G")


class RawClient:
    """One session that is let in without a password."""

    def __init__(self, port: int, database: str = DATABASE) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._buffer = bytearray(_RECEIVE_SIZE)
        names = {"user": "postgres", "database": database}
        self._socket.sendall(encode_startup(StartupMessage(PROTOCOL_3_0, names)))
        self.read_until_ready()

    def ask(self, text: str) -> int:
        """Bytes of the whole answer."""
        self._socket.sendall(Query(text.encode()).encode())
        return self.read_until_ready()

    def copy_in(self, text: str, chunk: bytes, times: int) -> None:
        self._socket.sendall(Query(text.encode()).encode())
        answer = self._socket.recv(_RECEIVE_SIZE)
        if answer[0] != _COPY_IN:
            raise RuntimeError(answer.decode("latin-1"))
        message = encode_message(_COPY_DATA, chunk)
        for _ in range(times):
            self._socket.sendall(message)
        self._socket.sendall(encode_message(COPY_DONE, b""))
        self.read_until_ready()

    def read_until_ready(self) -> int:
        """Bytes; what comes last is known by its look, which no data here has."""
        count = 0
        tail = b""
        while tail[:5] != _READY:
            received = self._socket.recv_into(self._buffer)
            if not received:
                raise RuntimeError(f"the server left: {tail!r}")
            count += received
            tail = (tail + self._buffer[max(0, received - 6) : received])[-6:]
        return count

    def close(self) -> None:
        self._socket.sendall(TERMINATE)
        self._socket.close()


@contextmanager
def raw_client(port: int) -> Iterator[RawClient]:
    client = RawClient(port)
    try:
        yield client
    finally:
        client.close()
