"""One ``serve`` takes the place of another on the same port, and no client finds it closed.

The new one gets the listening sockets themselves, not others on the same port: what the kernel has
queued on them stays there, whoever accepts it. Both accept until the new one is ready; then the old
one drains. As long as the new one has not said so, its end, whatever the reason, changes nothing.

States of the old one: alone; asked (its sockets are the successor's, too); draining. Events: a
question, the successor's word, the successor's end. It answers one at a time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from durproxy.bus import Takeover, question_to
from durproxy.config import Settings, parse_address
from durproxy.listening import Listening
from durproxy.private_folder import running_supervisors

_PATIENCE = 5.0  # seconds for an answer of a supervisor
_MOST_SOCKETS = 250  # the kernel carries 253 in one message
_LONGEST = 100

_DRAIN, _DRAIN_AND_LEAVE_PATH = b"drain", b"drain, and the unix socket's path is mine"


class Predecessor:
    """The running ``serve`` whose place we take."""

    def __init__(self, pid: int, way: socket.socket, sockets: Sequence[socket.socket]) -> None:
        self.pid = pid
        self.sockets = sockets  # those that it listens on
        self._way = way

    def dismiss(self, listening: Listening) -> None:
        """We do its work from now on: let it drain."""
        word = _DRAIN if listening.owns_path else _DRAIN_AND_LEAVE_PATH
        with suppress(OSError):  # it has died meanwhile
            self._way.send(word)
        listening.owns_path = True

    def close(self) -> None:
        """What we do not use of it; without ``dismiss`` it goes on as if nobody had asked."""
        self._way.close()
        for one in self.sockets:
            one.close()


def find_predecessor(settings: Settings) -> Predecessor | None:
    """The ``serve`` of this user on our port, with its folder in the same place as ours."""
    _, port = parse_address(settings.listen)
    for path in running_supervisors(settings.runtime_dir):
        found = _ask(path)
        if found is None:
            continue
        if any(_port(one) == port for one in found.sockets):
            return found
        found.close()
    return None


async def hand_over(asked: Takeover, listening: Listening) -> bool:
    """The old one's part. Whether the successor is ready; otherwise it has ended."""
    sockets = listening.all_sockets()
    if len(sockets) > _MOST_SOCKETS:
        return False
    descriptors = [one.fileno() for one in sockets]
    await asked.reply.say_with(str(os.getpid()).encode(), descriptors)
    word = await asked.reply.heard()
    if word == _DRAIN_AND_LEAVE_PATH:
        listening.owns_path = False
    return bool(word)


def _ask(path: Path) -> Predecessor | None:
    """A supervisor; None if it does not answer, as one that is busy with another successor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(_PATIENCE)
    try:
        with theirs:
            question_to(path, Takeover.word, theirs)
        said, descriptors, _, _ = socket.recv_fds(ours, _LONGEST, _MOST_SOCKETS)
    except OSError:
        ours.close()
        return None
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if not said.isdigit():
        ours.close()
        return None
    return Predecessor(int(said), ours, sockets)


def _port(listener: socket.socket) -> int | None:
    return None if listener.family == socket.AF_UNIX else int(listener.getsockname()[1])
