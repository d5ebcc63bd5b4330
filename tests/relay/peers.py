"""The two ends of a relayed connection without a driver: what is sent is what the test says."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from durproxy.wire import backend
from durproxy.wire.framing import HEADER_SIZE, MessageReader, encode_message
from durproxy.wire.startup import PROTOCOL_3_0, StartupMessage, encode_startup

Message = tuple[str, bytes]


class RawPeer:
    """Sends and receives single messages, as a client or as a server."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._reader = MessageReader(1 << 30)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> Message | None:
        """The next message's type and body; None at the end of the stream."""
        while (message := self._reader.maybe_read()) is None:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._reader.feed(data)
        return chr(message[0]), message[1][HEADER_SIZE:]

    def receive_all(self) -> list[Message]:
        """Everything until the peer closes."""
        return list(iter(self.receive, None))

    def until_ready(self) -> list[Message]:
        """Everything up to a ReadyForQuery."""
        messages = []
        while (message := self.receive()) is not None:
            messages.append(message)
            if message[0] == "Z":
                return messages
        raise AssertionError(f"the server closed after {messages}")

    def read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the peer closed"
            data += more
        return data

    def is_closed(self) -> bool:
        """Whether the peer has closed; waits for it."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def log_in(sock: socket.socket, user: str, database: str) -> RawPeer:
    """A session of a role that needs no password."""
    peer = RawPeer(sock)
    peer.send(encode_startup(StartupMessage(PROTOCOL_3_0, {"user": user, "database": database})))
    peer.until_ready()
    return peer


def sqlstate_of(message: Message | None) -> str | None:
    assert message is not None
    assert message[0] == "E", message
    code = backend.ErrorResponse.parse(message[1]).get("C")
    return code.decode() if code else None


def login_replies() -> bytes:
    """What a server says to a role that it trusts, up to the first ReadyForQuery."""
    return (
        backend.encode_authentication(backend.AUTHENTICATION_OK)
        + backend.ParameterStatus(b"client_encoding", b"UTF8").encode()
        + encode_message(ord("K"), struct.pack(">I", 4711) + b"secret key of 3.2")
        + ready()
    )


def ready(status: bytes = b"I") -> bytes:
    return encode_message(ord("Z"), status)


@contextmanager
def scripted_server(script: Callable[[RawPeer], None]) -> Iterator[str]:
    """A server that reads a startup packet, runs the script for the connection, and closes it.

    Gives the conninfo; every connection gets the same script.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.settimeout(20)
            with RawPeer(sock) as peer, suppress(OSError, AssertionError):
                length = struct.unpack(">I", peer.read_exactly(4))[0]
                peer.read_exactly(length - 4)
                script(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"host=127.0.0.1 port={port} sslmode=disable"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
