"""Hostile peers on both sides of one proxy process, and a client that must not notice.

The server behind the proxy is ours: it does everything wrong, but for the user ``good``, whom it
serves well. A round is a client that does everything wrong; after some of them ``good`` logs in and
asks. At the end the process must be there, without an internal error, with no more descriptors than
before, and with little more memory.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from durproxy.config import Settings
from durproxy.wire import backend
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import Query
from tests.fuzz.hostile import ADMINISTRATOR, Hostile
from tests.relay.conftest import Proxy
from tests.relay.peers import RawPeer, log_in, login_replies, ready
from tests.waiting import wait_until

GOOD = "good"
_PATIENCE = 0.02  # seconds that a hostile peer waits for the other side
_LOGIN = 5  # seconds that the proxy gives one, also the bystander's on a busy machine
_ANSWER = encode_message(ord("C"), b"SELECT 1\0") + ready()
_MOST_MEMORY = 64 * 1024 * 1024  # more than at the beginning


@contextmanager
def hostile_server(seed: int) -> Iterator[str]:
    """Its conninfo."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    conversations: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            random = Hostile(f"{seed} server {len(conversations)}")
            thread = threading.Thread(target=_converse, args=(sock, random))
            conversations.append(thread)
            thread.start()

    accepting = threading.Thread(target=serve)
    accepting.start()
    try:
        yield f"host=127.0.0.1 port={listener.getsockname()[1]} user=own sslmode=disable"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in conversations:
            thread.join(20)


def _converse(sock: socket.socket, random: Hostile) -> None:
    sock.settimeout(5)
    with RawPeer(sock) as peer, suppress(OSError):
        try:
            startup = peer.read_exactly(struct.unpack(">I", peer.read_exactly(4))[0] - 4)
        except AssertionError:  # it left
            return
        if f"user\0{GOOD}\0".encode() in startup:
            peer.send(login_replies())
            while (asked := peer.receive()) is not None and asked[0] == "Q":
                peer.send(_ANSWER)
            return
        peer.send(random.server_login())
        for _ in range(random.randint(0, 8)):
            if random.random() < 0.5:
                _read_a_little(sock)
            for piece in random.pieces(random.server_message()):
                sock.send(piece)
        if random.random() < 0.5:
            peer.send(_ANSWER)
            _read_a_little(sock)
        _leave(sock, random)


@contextmanager
def attacked(folder: Path, seed: int) -> Iterator[Attack]:
    """A proxy in front of the hostile server; it has to end well, too."""
    with hostile_server(seed) as upstream:
        settings = Settings(
            upstream=upstream,
            runtime_dir=folder,
            auth_timeout=_LOGIN,
            drain_timeout=1,
            allow_trust=True,  # the bystander has no password
            admin_users=(ADMINISTRATOR,),
        )
        proxy = Proxy(settings, "127.0.0.1", 0)
        try:
            yield Attack(proxy, seed)
        finally:
            proxy.stop()


class Attack:
    """Rounds against one proxy."""

    def __init__(self, proxy: Proxy, seed: int) -> None:
        self.proxy = proxy
        self._seed = seed
        self._memory = proxy.memory()
        self._descriptors = proxy.descriptors()

    def round(self, number: int) -> None:
        """One hostile client."""
        random = Hostile(f"{self._seed} client {number}")
        with self.proxy.dial() as sock, suppress(OSError):
            sock.settimeout(_PATIENCE)
            for piece in random.pieces(random.startup()):
                sock.send(piece)
            for _ in range(random.randint(0, 10)):
                if random.random() < 0.6:
                    _read_a_little(sock)
                for piece in random.pieces(random.client_message()):
                    sock.send(piece)
            _leave(sock, random)

    def check_bystander(self) -> None:
        """The well-behaved client is served as if nothing were."""
        with log_in(self.proxy.dial(), GOOD, "d") as good:
            for _ in range(3):
                good.send(Query(b"SELECT 1").encode())
                assert [kind for kind, _ in good.until_ready()] == ["C", "Z"]

    def check_process(self) -> None:
        """Nothing is left of the attack."""
        failed = [line for line in self.proxy.log if line["event"] == "connection.failed"]
        assert not failed, failed[0]
        assert not self.proxy.other_output, self.proxy.other_output
        wait_until(
            lambda: self.proxy.descriptors() <= self._descriptors + 2,  # of its own upstream
            "the descriptors are closed",
            timeout=4 * _LOGIN,
        )
        grown = self.proxy.memory() - self._memory
        assert grown < _MOST_MEMORY, f"the proxy has {grown >> 20} MB more than before"


def _read_a_little(sock: socket.socket) -> None:
    sock.settimeout(_PATIENCE)
    with suppress(TimeoutError):
        sock.recv(65536)


def _leave(sock: socket.socket, random: Hostile) -> None:
    """At once, politely, or with a reset."""
    way = random.randrange(4)
    if way == 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif way == 1:
        sock.shutdown(socket.SHUT_WR)
        _read_a_little(sock)
    elif way == 2:
        sock.send(backend.encode_authentication(0))
