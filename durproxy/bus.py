"""Hints between the children of one `serve`: unix datagrams, best effort, never needed for truth.

Every message only says "look now". Whoever misses one looks by itself a little later (the slow
poll, the batched query for holds), so a full or missing socket is no error. A cancel is best effort
in Postgres, too.

    wake     proxy -> engines      a statement that may have made work has committed
    ended    engine -> proxies     an instance reached a final status
    gone     supervisor -> engines the engine process with this pid is dead
    suspects engine -> supervisor  instances wait for an engine that takes suspects
    cancel   proxy -> proxies      a CancelRequest came whose session is not the sender's
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import trio

_MAX_DATAGRAM = 1024
_CANCEL = re.compile(rb"(\d+) ((?:[0-9a-f]{2})+)")


@dataclass(frozen=True, slots=True)
class Wake:
    """There may be new work."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The instance has a final status."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The engine process with this pid has died."""

    pid: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Whoever holds a statement of the session with this key lets it go, to be cancelled."""

    process_id: int
    secret_key: bytes


@dataclass(frozen=True, slots=True)
class Suspects:
    """Instances wait that ordinary engines leave alone."""


Message = Wake | Ended | Gone | Cancel | Suspects


class LocalBus:
    """One child's address on the bus, `NAME.sock` in the runtime directory.

    `name` starts with the child's kind: "engine-0", "proxy-1". The senders never block; they
    return nothing, since nothing may depend on them.
    """

    def __init__(self, runtime_dir: Path, name: str) -> None:
        self._dir = runtime_dir
        self._path = runtime_dir / f"{name}.sock"
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._path))

    def __enter__(self) -> LocalBus:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def wake_engines(self) -> None:
        self._send("engine", b"wake")

    def tell_proxies_ended(self, instance_id: str) -> None:
        self._send("proxy", b"ended " + instance_id.encode())

    def tell_engines_gone(self, pid: int) -> None:
        self._send("engine", b"gone %d" % pid)

    def tell_supervisor_suspects(self) -> None:
        self._send("supervisor", b"suspects")

    def tell_proxies_cancel(self, process_id: int, secret_key: bytes) -> None:
        self._send("proxy", b"cancel %d %s" % (process_id, secret_key.hex().encode()))

    async def receive(self) -> AsyncIterator[Message]:
        """Messages as they come, for ever."""
        while True:
            try:
                data = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            message = parse_message(data)
            if message is not None:
                yield message

    def _send(self, kind: str, data: bytes) -> None:
        for path in self._dir.glob(f"{kind}*.sock"):
            with suppress(OSError):  # full, just restarting, or gone: it looks by itself
                self._socket.sendto(data, str(path))


def parse_message(data: bytes) -> Message | None:
    """The message in one datagram; None for what this version does not know."""
    word, _, rest = data.partition(b" ")
    if word == b"wake":
        return Wake()
    if word == b"suspects":
        return Suspects()
    if word == b"ended":
        return Ended(rest.decode("ascii", "replace"))
    if word == b"gone" and rest.isdigit():
        return Gone(int(rest))
    if word == b"cancel" and (found := _CANCEL.fullmatch(rest)) is not None:
        return Cancel(int(found[1]), bytes.fromhex(found[2].decode()))
    return None
