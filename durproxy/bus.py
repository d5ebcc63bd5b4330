"""Hints and questions between the children of one `serve`: unix datagrams, best effort.

A hint only says "look now". Whoever misses one looks by itself a little later (the slow poll, the
batched query for holds), so a full or missing socket is no error.

    wake     proxy -> engines      a statement that may have made work has committed
    ended    engine -> proxies     instances reached a final status
    gone     supervisor -> engines the engine process with this pid is dead
    suspects engine -> supervisor  instances wait for an engine that takes suspects
    settings supervisor -> proxies a file with the settings that hold from now on, as JSON

A question carries one end of a stream of its own, for the answer. Who has nothing to say closes it,
as does the kernel for a process that dies: so "nobody" is known without waiting for a time.

    cancel   proxy -> proxies      a CancelRequest came whose session is not the sender's
    kill, pause, resume, sessions proxy -> proxies; reload proxy -> supervisor: of a console
    report   web -> all others   what have you done so far, as a line of JSON
    takeover another serve -> supervisor  let me have your listening sockets (``handover``)
"""

from __future__ import annotations

import math
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import trio

from durproxy.private_folder import running_folders

_MAX_DATAGRAM = 64 * 1024
_IDS_AT_ONCE = 100  # that fit into one
_RECEIVE_SIZE = 64 * 1024
_PATIENCE = 10.0  # seconds for an answer
_PATIENCE_FOR_REPORTS = 2.0  # who scrapes metrics does not wait long, and one may be stopped
_FULL_QUEUE_PAUSE = 0.01  # seconds
_NEIGHBOURS_KNOWN = 0.2  # seconds
_COMMANDS = frozenset((b"kill", b"pause", b"reload", b"resume", b"sessions"))
_CANCEL = re.compile(rb"(\d+) ((?:[0-9a-f]{2})+)")


@dataclass(frozen=True, slots=True)
class Wake:
    """There may be new work."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The instances have a final status."""

    instance_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gone:
    """The engine process with this pid has died."""

    pid: int


class Reply:
    """The end of a stream on which a question is answered; closed when it is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)

    def __del__(self) -> None:
        self._socket.close()

    async def say(self, data: bytes) -> None:
        """Nothing is wrong with an asker who has gone."""
        with suppress(OSError):
            view = memoryview(data)
            while view:
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket)

    async def say_with(self, data: bytes, descriptors: Sequence[int]) -> None:
        """One message, with copies of the descriptors."""
        with suppress(OSError):
            socket.send_fds(self._socket, [data], descriptors)
        await trio.lowlevel.checkpoint()

    async def heard(self) -> bytes:
        """What the asker says to that; nothing when it has gone."""
        while True:
            try:
                return self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError:
                return b""

    def close(self) -> None:
        """That was all."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Whose session has this key cancels what it does, says so, and closes when that is done."""

    process_id: int
    secret_key: bytes
    reply: Reply


@dataclass(frozen=True, slots=True)
class Command:
    """Of an admin console: carry it out, and say what came of it."""

    verb: str
    operand: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Report:
    """What has this process done so far?"""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Suspects:
    """Instances wait that ordinary engines leave alone."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Other settings hold from now on."""

    settings: bytes


@dataclass(frozen=True, slots=True)
class Takeover:
    """Another ``serve`` wants to take our place."""

    word: ClassVar[bytes] = b"takeover"
    reply: Reply


Message = Command | Follow | Wake | Ended | Gone | Cancel | Report | Suspects | Takeover


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
        self._known_neighbours: list[Path] = []
        self._neighbours_at = -math.inf

    def __enter__(self) -> LocalBus:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def incoming(self) -> socket.socket:
        """What `receive` reads."""
        return self._socket

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def wake_engines(self) -> None:
        self._send("engine", b"wake")

    def tell_proxies_ended(self, instance_ids: Sequence[str]) -> None:
        for first in range(0, len(instance_ids), _IDS_AT_ONCE):
            some = instance_ids[first : first + _IDS_AT_ONCE]
            self._send("proxy", b"ended " + " ".join(some).encode())

    def tell_engines_gone(self, pid: int) -> None:
        self._send("engine", b"gone %d" % pid)

    async def tell_proxies_settings(self, settings: bytes) -> None:
        """In a file, since they may be longer than a datagram, and without fail: it is no hint."""
        with os.fdopen(os.memfd_create("settings"), "wb") as file:
            file.write(settings)
            file.flush()
            for path in self._dir.glob("proxy*.sock"):
                with suppress(OSError):  # it is just restarting, and begins with them
                    await self._send_file(path, b"settings", file.fileno())

    def tell_supervisor_suspects(self) -> None:
        self._send("supervisor", b"suspects")

    async def ask_proxies_cancel(self, process_id: int, secret_key: bytes) -> bool:
        """Whether it was one of the others' to do; when this returns it is done.

        After those of this `serve` the proxies of this user's other ones are asked: the session
        may be of one that is being replaced, or replaces us.
        """
        question = b"cancel %d %s" % (process_id, secret_key.hex().encode())
        if any((await self._ask("proxy", question)).values()):
            return True
        for folder in self._neighbours():
            if any((await self._ask("proxy", question, folder=folder)).values()):
                return True
        return False

    async def ask_reports(self) -> dict[str, bytes]:
        """What everybody else has to report, by name; who is silent is missing."""
        answers = await self._ask("", b"report", _PATIENCE_FOR_REPORTS)
        return {name: answer for name, answer in answers.items() if answer}

    async def ask_proxies(self, verb: str, operand: str = "") -> dict[str, bytes]:
        """What the other proxies answer to a command, by name."""
        return await self._ask("proxy", f"{verb} {operand}".encode(), math.inf)

    async def ask_supervisor(self, verb: str) -> bytes:
        answers = await self._ask("supervisor", verb.encode(), math.inf)
        return answers.get("supervisor", b"")

    async def receive(self) -> AsyncIterator[Message]:
        """Messages as they come, for ever."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, _MAX_DATAGRAM, 1)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            if data == b"settings" and descriptors:
                yield Follow(_contents(descriptors[0]))
                continue
            reply = Reply(descriptors[0]) if descriptors else None
            message = parse_message(data, reply)
            if message is not None:
                yield message
            elif reply is not None:
                reply.close()

    def _neighbours(self) -> list[Path]:
        """The folders of other `serve`s, looked for now and then: anybody may send cancels."""
        now = trio.current_time()
        if now - self._neighbours_at > _NEIGHBOURS_KNOWN:
            self._known_neighbours = running_folders(self._dir.parent, but=self._dir)
            self._neighbours_at = now
        return self._known_neighbours

    async def _ask(
        self, kind: str, question: bytes, patience: float = _PATIENCE, folder: Path | None = None
    ) -> dict[str, bytes]:
        """The answers of all others of the kind, by name."""
        answers: dict[str, bytes] = {}
        async with trio.open_nursery() as nursery:
            for path in (folder or self._dir).glob(f"{kind}*.sock"):
                if path == self._path:
                    continue
                ours, theirs = socket.socketpair()
                with theirs, suppress(OSError):
                    self._socket.sendmsg([question], _carrying(theirs.fileno()), 0, str(path))
                nursery.start_soon(_gather, ours, path.stem, answers, patience)
        return answers

    async def _send_file(self, path: Path, word: bytes, descriptor: int) -> None:
        with trio.move_on_after(_PATIENCE):
            while True:
                try:
                    self._socket.sendmsg([word], _carrying(descriptor), 0, str(path))
                except BlockingIOError:  # full; there is no way to be told when it is not
                    await trio.sleep(_FULL_QUEUE_PAUSE)
                else:
                    return

    def _send(self, kind: str, data: bytes) -> None:
        for path in self._dir.glob(f"{kind}*.sock"):
            with suppress(OSError):  # full, just restarting, or gone: it looks by itself
                self._socket.sendto(data, str(path))


def question_to(path: Path, question: bytes, reply: socket.socket) -> None:
    """Of somebody who is not on this bus; OSError when nobody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendmsg([question], _carrying(reply.fileno()), 0, str(path))


def _carrying(descriptor: int) -> list[tuple[int, int, bytes]]:
    """What a datagram has beside its data to bring a copy of the descriptor."""
    # socket.send_fds forgets the address that it is given
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))]


def _contents(descriptor: int) -> bytes:
    """Of a file whose place to read is shared with others."""
    with os.fdopen(descriptor, "rb") as file:
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


async def _gather(
    ours: socket.socket, name: str, answers: dict[str, bytes], patience: float
) -> None:
    answer = bytearray()
    ours.setblocking(False)
    with ours, trio.move_on_after(patience):
        while True:
            try:
                data = ours.recv(_RECEIVE_SIZE)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(ours)
                continue
            except ConnectionResetError:  # it was dropped unread
                break
            if not data:
                break
            answer += data
    answers[name] = bytes(answer)


def parse_message(data: bytes, reply: Reply | None = None) -> Message | None:
    """The message in one datagram; None for what this version does not know."""
    word, _, rest = data.partition(b" ")
    if word == b"wake":
        return Wake()
    if word == b"ended":
        return Ended(tuple(rest.decode("ascii", "replace").split()))
    if word == b"gone" and rest.isdigit():
        return Gone(int(rest))
    if word == b"suspects":
        return Suspects()
    if reply is None:
        return None
    if word == b"cancel" and (found := _CANCEL.fullmatch(rest)) is not None:
        return Cancel(int(found[1]), bytes.fromhex(found[2].decode()), reply)
    if word in _COMMANDS:
        return Command(word.decode(), rest.decode("ascii", "replace"), reply)
    if word == Takeover.word:
        return Takeover(reply)
    return Report(reply) if word == b"report" else None
