"""TLS on either leg: contexts from the settings and the conninfo, handshakes, and the sockets.

A ``TlsSocket`` stands where a plain socket stood, with the same descriptor: reading and sending
raise BlockingIOError when they cannot go on, so that the pump need not know. It reads whole records
only, as long as it is given room for one, so nothing stays in it of which epoll would not know.

Both directions may be ended on their own. To a client we say so in TLS's words (close_notify), as
Postgres does; to the server only in TCP's, since it may have more to say, and Python's end of TLS
is always that of both directions.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any

from trio.lowlevel import wait_readable, wait_writable

ALPN = "postgresql"
_LARGEST_RECORD = 16 * 1024  # bytes of plain text
_MORE_LIKELY = 4 * 1024  # bytes; after a shorter record there is hardly another


class TlsSocket(ssl.SSLSocket):
    """A non-blocking connection whose handshake is done, or is being made by ``handshake``."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        assert buflen >= _LARGEST_RECORD
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As many records as have come and fit."""
        view = memoryview(buffer)
        total = 0
        try:
            while len(view) - total >= _LARGEST_RECORD:
                size = super().recv_into(view[total:])
                total += size
                if size < _MORE_LIKELY:
                    break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not total:
                raise BlockingIOError from None
        return total

    def send(self, data: Any, flags: int = 0) -> int:
        """As many records as the kernel takes; what is left must be tried again as it is."""
        view = memoryview(data)
        total = 0
        try:
            while total < len(view):
                total += super().send(view[total : total + _LARGEST_RECORD])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not total:
                raise BlockingIOError from None
        return total

    def shutdown(self, how: int) -> None:
        self._say_goodbye()
        socket.socket.shutdown(self, how)  # ours would forget the keys: the other way may go on

    def close(self) -> None:
        self._say_goodbye()
        super().close()

    def _say_goodbye(self) -> None:
        if self.server_side and self.fileno() >= 0:
            with suppress(OSError, ValueError):  # it cannot wait for the other side's goodbye
                self.unwrap()


def wrap(
    context: ssl.SSLContext, sock: socket.socket, *, server_side: bool, name: str | None = None
) -> TlsSocket:
    """The socket's TLS side, which takes its descriptor over; ``handshake`` has to follow."""
    wrapped = context.wrap_socket(
        sock, server_side=server_side, do_handshake_on_connect=False, server_hostname=name
    )
    assert isinstance(wrapped, TlsSocket)
    return wrapped


async def handshake(sock: TlsSocket) -> None:
    """Agree on keys; ssl.SSLError says why not."""
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            await wait_readable(sock)
        except ssl.SSLWantWriteError:
            await wait_writable(sock)
        else:
            return


def reason(error: OSError) -> str:
    """Why a connection failed, in the words of whoever knows."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return error.strerror or str(error)
