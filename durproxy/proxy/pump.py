"""The pump: one task that moves the bytes of every relayed connection.

Theory of operation. A trio task per direction costs a trip through trio's scheduler for each
packet. Here one task owns an epoll set of all relayed sockets; trio waits for the epoll's own file
descriptor, and once that is readable the task runs a tight loop: poll, receive, look, send, all
without blocking. Rules:

- Nothing in the loop awaits. Whatever has to wait (a hold, a long statement to be parsed) stops
  only its own connection's flow and lets another task resume it.
- While there is traffic the loop blocks in its own poll for up to _LINGER, because going to sleep
  in trio between two packets of a lone client would cost more than the packets. It gives way to
  trio at once when a socket that trio's tasks wait for (`watch`) has something, or while a session
  waits for a task (`guests`), and after _SPELL in any case; so a timer may be late by that much.
- Level triggered: one receive per event, so that no connection can keep the others waiting.
- An exception in one connection's code closes that connection, and is logged; never the pump.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import trio

from durproxy.log import get_logger
from durproxy.proxy.downward import is_plain_answer
from durproxy.proxy.flow import Flow
from durproxy.proxy.link import Link
from durproxy.proxy.sampling import Sampling, Stopwatch
from durproxy.proxy.statistics import Counters
from durproxy.proxy.upward import Upward, is_plain_group
from durproxy.wire.shapes import Shapes

log = get_logger(__name__)

_RECEIVE_SIZE = 128 * 1024  # bytes; what one flow can have in memory at most, beside the kernel
_MOST_EVENTS = 64  # of one poll
_LINGER = 0.05  # seconds
_SPELL = 0.02  # seconds
_LINGERING_LIMIT = 5.0  # seconds for a client to read what the server said last
_LINGERING_WHILE_DRAINING = 0.5  # a client that is idle in its pool does not read it at all
_SWEEP = 0.25  # seconds

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_LEFT = select.EPOLLRDHUP
_BROKEN = select.EPOLLHUP | select.EPOLLERR


class Pump:
    """The epoll set and the loop over it."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.draining = False
        self.paused = False
        self.quiet = trio.Event()  # during a pause: no session is busy any more
        self.guests = 0  # tasks of trio's that clients wait for
        self.buffer = bytearray(_RECEIVE_SIZE)  # every receive's; valid until the next one
        self.view = memoryview(self.buffer)
        self.groups = Shapes(is_plain_group)
        self.answers = Shapes(is_plain_answer)
        self.links: set[Link] = set()
        self._gave_way = False  # at the end of the last spell
        self._epoll = select.epoll()
        self._masks: dict[int, int] = {}  # what the epoll set was last told, by descriptor
        # who reads the descriptor
        self._sources: dict[int, Flow | _Lingering | Stopwatch] = {}
        self._sinks: dict[int, Flow] = {}  # who writes to it
        self._lingering: dict[Link, float] = {}  # and when it is closed anyway
        self._empty = trio.Event()  # no link is left; made anew when one is adopted
        self._empty.set()
        self.sampling = Sampling(self)

    def watch(self, sock: socket.socket) -> None:
        """Give way to trio when there is something on this socket, which one of its tasks reads.

        Edge triggered: nothing is lost if the task is not reading just now. Ends with the
        socket's close, or with its adoption.
        """
        self._epoll.register(sock, _IN | select.EPOLLET)

    def adopt(self, link: Link) -> None:
        """Relay the link's sockets, of which the client's was watched so far."""
        client, server = link.client.fileno(), link.server.fileno()
        self._sources[client] = self._sinks[server] = link.up
        self._sources[server] = self._sinks[client] = link.down
        self._masks[client], self._masks[server] = -1, 0
        if not self.links:
            self._empty = trio.Event()
        self.links.add(link)
        self.arm(link)

    def arm(self, link: Link) -> None:
        """Wait for what the link's flows can use now."""
        up, down = link.up, link.down
        client = _IN * up.reading | _OUT * bool(down.pending) | _LEFT * up.suspended
        server = _IN * down.reading | _OUT * bool(up.pending)
        self._set_mask(link.client.fileno(), client)
        self._set_mask(link.server.fileno(), server)

    def read_answer_by(self, link: Link, now: Flow | Stopwatch, before: Flow | Stopwatch) -> None:
        """Let another one be called when the server says something, unless that has changed."""
        descriptor = link.server.fileno()
        if self._sources.get(descriptor) is before:
            self._sources[descriptor] = now

    def linger(self, link: Link) -> None:
        """The server's side is over: wait for the client to leave, with all that it was sent.

        A close would make the kernel discard what the client has not read, if it has sent
        something since: the server's last words, which say why.
        """
        client, server = link.client.fileno(), link.server.fileno()
        self._sources[client] = _Lingering(link)
        self._sinks.pop(client, None)
        self._sources.pop(server, None)
        self._sinks.pop(server, None)
        self._set_mask(server, 0)
        self._set_mask(client, _IN)
        limit = _LINGERING_WHILE_DRAINING if self.draining else _LINGERING_LIMIT
        self._lingering[link] = monotonic() + limit

    @contextmanager
    def dismissing(self) -> Iterator[None]:
        """A guest waits for nothing but a socket that is watched, perhaps for long."""
        self.guests -= 1
        try:
            yield
        finally:
            self.guests += 1

    @contextmanager
    def guarding(self, link: Link) -> Iterator[None]:
        """Close the link when its own code fails outside the loop, as inside it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  one connection's fault, not the others'
            self._give_up(link, error)

    def forget(self, link: Link) -> None:
        """Before the link's sockets are closed."""
        for sock in (link.client, link.server):
            descriptor = sock.fileno()
            if self._masks.pop(descriptor, 0):
                self._epoll.unregister(descriptor)
            self._sources.pop(descriptor, None)
            self._sinks.pop(descriptor, None)
        self._lingering.pop(link, None)
        self.links.discard(link)
        self.look_for_quiet()
        if not self.links:
            self._empty.set()

    def look_for_quiet(self) -> None:
        """Whether what was under way at a pause has ended."""
        if self.paused and not any(link.busy for link in self.links):
            self.quiet.set()

    async def wait_empty(self) -> None:
        """Until no connection is relayed."""
        await self._empty.wait()

    async def run(self) -> None:
        """Relay, for ever."""
        with self._epoll:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._work()

    async def sweep(self) -> None:
        """Close the clients that linger too long, for ever."""
        while True:
            await trio.sleep(_SWEEP)
            now = monotonic()
            for link in [link for link, until in self._lingering.items() if until < now]:
                link.close("server left")

    def _work(self) -> None:
        """Until nothing has come for a moment, trio is needed, or the spell is over."""
        poll = self._epoll.poll
        sources = self._sources
        until = monotonic() + _SPELL
        # who made us give way is awake by now, but may not have had its turn before ours
        linger = 0 if self._gave_way else _LINGER
        self._gave_way = give_way = sampled = False
        while not give_way:
            events = poll(0 if self.guests else linger, _MOST_EVENTS)
            if not events:
                return
            for descriptor, event in events:
                flow = sources.get(descriptor)
                if flow is None:
                    give_way |= descriptor not in self._masks
                    continue
                try:
                    if event == _IN:
                        flow.relay()
                    else:
                        self._relay_unusual(descriptor, event)
                except Exception as error:  # noqa: BLE001  # one connection's fault, not the others'
                    self._give_up(flow.link, error)
            if not sampled:
                sampled = True
                if isinstance(flow, Upward):
                    self.sampling.maybe_begin(flow.link, until - _SPELL)
            give_way |= self.guests > 0 or monotonic() > until
        self._gave_way = True

    def _relay_unusual(self, descriptor: int, event: int) -> None:
        sink = self._sinks.get(descriptor)
        if event & _OUT and sink is not None:
            sink.flush()
        source = self._sources.get(descriptor)  # the flush may have closed the link
        if source is None:
            return
        if event & _IN:
            source.relay()
        elif event & (_LEFT | _BROKEN):
            # nothing left to read here, or a client that left while its statement waits
            source.link.close("connection broke")

    def _give_up(self, link: Link, error: Exception) -> None:
        log.error("connection.failed", peer=link.peer, pid=link.pid, user=link.user, exc_info=error)
        link.close("internal error")

    def _set_mask(self, descriptor: int, mask: int) -> None:
        known = self._masks[descriptor]
        if mask == known:
            return
        self._masks[descriptor] = mask
        if known == 0:
            self._epoll.register(descriptor, mask)
        elif mask == 0:  # a mask of 0 would still report every hang-up, again and again
            self._epoll.unregister(descriptor)
        else:
            self._epoll.modify(descriptor, mask)


class _Lingering:
    """Reads what a client still sends, for nobody."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def relay(self) -> None:
        try:
            data = self.link.client.recv_into(self.link.pump.buffer)
        except BlockingIOError:
            return
        except OSError:
            data = 0
        if not data:
            self.link.close("both sides left")
