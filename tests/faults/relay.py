"""A relay between the engine and Postgres that can misbehave, on the loopback interface only.

It reads along as far as it must: who connects (application_name), which message a chunk ends with.
All of its work is done in one thread; what a test asks for is done when the call returns.

    cut         sessions of ours are closed, as when a firewall drops them
    hold        nothing is passed on any more, nothing is closed: a half-open network
    delay       the same, for a while
    lose_reply  the next statement of ours is passed on; when the server has answered, and so has
                committed, the answer is dropped and the session is cut
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

_CHUNK = 64 * 1024
_OURS = "durproxy"
_HEADER = 5


@dataclass
class _Framer:
    """Message types of one direction, in the order in which they end."""

    untyped: bool  # the client's first message has no type
    kinds: bytearray = field(default_factory=bytearray)
    first: bytes = b""
    _rest: bytes = b""

    def feed(self, data: bytes) -> bytes:
        """The types of the messages that this chunk ends."""
        data = self._rest + data
        at, kinds = 0, bytearray()
        while True:
            header = 4 if self.untyped else _HEADER
            if len(data) - at < header:
                break
            length = int.from_bytes(data[at + header - 4 : at + header], "big") + header - 4
            if len(data) - at < length:
                break
            if self.untyped:
                self.first, self.untyped = data[at : at + length], False
            else:
                kinds.append(data[at])
            at += length
        self._rest = data[at:]
        return bytes(kinds)


class _Link:
    """One client session and its connection to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = {client: server, server: client}
        self.client, self.server = client, server
        self.up, self.down = _Framer(untyped=True), _Framer(untyped=False)
        self.is_losing = False  # its next answer goes nowhere

    @property
    def application(self) -> str:
        fields = self.up.first[8:].split(b"\0")
        named = dict(zip(fields[::2], fields[1::2], strict=False))
        return named.get(b"application_name", b"").decode()


class Relay:
    """Passes on what comes to `port`."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._links: dict[socket.socket, _Link] = {}
        self._lock = threading.Lock()
        self._held_until = 0.0
        self._losing = False
        self._running = True
        self.lost = 0  # answers
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    # --- what a test asks for ---

    def point_to(self, host: str, port: int) -> None:
        """New sessions go there from now on."""
        self._upstream = (host, port)

    def cut(self, application: str = _OURS) -> int:
        """Close the sessions whose application_name begins so; how many."""
        with self._lock:
            found = [link for link in self._all() if link.application.startswith(application)]
            for link in found:
                self._drop(link)
            return len(found)

    def hold(self) -> None:
        self._hold_until(float("inf"))

    def delay(self, seconds: float) -> None:
        self._hold_until(time.monotonic() + seconds)

    def go_on(self) -> None:
        self._hold_until(0.0)

    def lose_reply(self) -> None:
        with self._lock:
            self._losing = True

    def forget(self) -> None:
        """Be an honest relay again."""
        with self._lock:
            self._losing = False
        self.go_on()

    def close(self) -> None:
        self._running = False
        self._waker.send(b"x")
        self._thread.join()
        for link in self._all():
            self._drop(link)
        for one in (self._listener, self._waker, self._woken):
            one.close()
        self._selector.close()

    # --- the thread ---

    def _hold_until(self, when: float) -> None:
        with self._lock:
            self._held_until = when
        self._waker.send(b"x")

    def _all(self) -> list[_Link]:
        return list({id(link): link for link in self._links.values()}.values())

    def _run(self) -> None:
        while self._running:
            left = self._held_until - time.monotonic()
            if left > 0:  # only the waker is heard
                self._woken.settimeout(None if left == float("inf") else left)
                self._swallow(self._woken)
                continue
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._swallow(self._woken)
                    break
                with self._lock:
                    self._serve(key.fileobj)

    def _swallow(self, waker: socket.socket) -> None:
        with suppress(TimeoutError):
            waker.recv(_CHUNK)

    def _serve(self, ready: object) -> None:
        if ready is self._listener:
            self._accept()
        elif isinstance(ready, socket.socket) and (link := self._links.get(ready)) is not None:
            try:
                self._pass_on(link, ready)
            except OSError:
                self._drop(link)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._upstream, timeout=5.0)
        except OSError:
            client.close()
            return
        link = _Link(client, server)
        for end in (client, server):
            end.settimeout(5.0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links[end] = link
            self._selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, link: _Link, source: socket.socket) -> None:
        data = source.recv(_CHUNK)
        if not data:
            self._drop(link)
            return
        is_up = source is link.client
        kinds = (link.up if is_up else link.down).feed(data)
        if is_up and self._losing and b"E" in kinds and link.application.startswith(_OURS):
            self._losing, link.is_losing = False, True
        if not is_up and link.is_losing:
            if b"Z" in kinds:
                self.lost += 1
                self._drop(link)
            return
        link.ends[source].sendall(data)

    def _drop(self, link: _Link) -> None:
        for end in link.ends:
            if self._links.pop(end, None) is not None:
                self._selector.unregister(end)
            end.close()
