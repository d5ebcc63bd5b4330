"""Non-blocking sockets under trio, without a wrapper: the pump takes them over as they are."""

from __future__ import annotations

import errno
import os
import socket
import struct

from trio.lowlevel import wait_readable, wait_writable

_RECEIVE_SIZE = 16 * 1024
_KEEPALIVE_IDLE = 60  # seconds; a peer that vanished is noticed within two minutes
_KEEPALIVE_INTERVAL = 15
_KEEPALIVE_COUNT = 4
_USER_TIMEOUT = 120_000  # milliseconds that sent bytes may stay unacknowledged

# what accept says of a connection that was gone before we looked, or may not be
_OF_THE_NEW_ONE = frozenset((
    errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENOPROTOOPT,
    errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH,
))  # fmt: skip
_CREDENTIALS = struct.Struct("=iII")  # of SO_PEERCRED: process, user and group

Address = tuple[str, int] | str  # TCP, or the path of a unix socket


def tune(sock: socket.socket) -> None:
    """No waiting for more bytes to send, and no waiting for ever for a dead peer."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)


async def accept(listener: socket.socket) -> socket.socket:
    while True:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            await wait_readable(listener)
            continue
        except OSError as error:
            if error.errno not in _OF_THE_NEW_ONE:
                raise
            continue
        return client


async def receive(sock: socket.socket) -> bytes:
    """What has come, at least one byte; empty at the end of the stream."""
    while True:
        try:
            return sock.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            await wait_readable(sock)


async def receive_byte(sock: socket.socket) -> bytes:
    """The next one, and nothing of what may stand behind it; empty at the end of the stream."""
    while True:
        try:
            return sock.recv(1)
        except BlockingIOError:
            await wait_readable(sock)


async def peek(sock: socket.socket) -> int | None:
    """The next byte, which stays there; None at the end of the stream."""
    while True:
        try:
            data = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            await wait_readable(sock)
            continue
        return data[0] if data else None


async def send_all(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await wait_writable(sock)


async def connect(
    family: socket.AddressFamily, address: Address | tuple[object, ...]
) -> socket.socket:
    """A connected socket; OSError says why there is none."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        tune(sock)
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            code = sock.connect_ex(address)  # on this machine, or refused there: it is done by now
        if code == errno.EALREADY:
            await wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == errno.EAGAIN:
            # a unix socket whose queue is full is not under way: it has to be tried again
            raise BlockingIOError(code, os.strerror(code))
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def peer_user_id(sock: socket.socket) -> int | None:
    """Of the process at the other end, as the kernel saw it connect; None if that is not known."""
    if sock.family != socket.AF_UNIX:
        return None
    _, user_id, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return int(user_id)


def peer_name(sock: socket.socket) -> str:
    """The peer's address for a log line."""
    if sock.family == socket.AF_UNIX:
        return "unix"
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return "gone"
    return f"{host}:{port}"
