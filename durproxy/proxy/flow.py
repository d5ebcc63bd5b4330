"""One direction of a relayed connection: what socket mechanics need, whatever the bytes mean.

Backpressure. A flow never holds more than what one receive gave it: when the sink takes only
part of a chunk, the rest waits in ``pending`` and the source is not read until the sink has taken
it, so a peer that does not read stops the one that writes to it, through the kernel's windows.

The sockets are used by ``recv_into`` and ``send`` only, which may raise BlockingIOError: anything
that behaves so (a TLS object, too) can stand in their place.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from durproxy.wire.framing import HEADER_SIZE

if TYPE_CHECKING:
    from durproxy.proxy.link import Link

LONGEST_HELD = 64 * 1024  # bytes; a longer message is never looked into, it streams
FOREVER = 1 << 62  # where the next header is, when nobody looks for one any more


class Flow:
    """From ``source`` to ``sink``; subclasses say what is looked at on the way."""

    __slots__ = (
        "_buffer",
        "_carry",
        "_need",
        "_receive_into",
        "_send",
        "_skip",
        "_view",
        "ended",
        "link",
        "pending",
        "sink",
        "source",
        "suspended",
        "wanted",
    )

    wanted: frozenset[int]

    def __init__(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        self.link = link
        self.source = source
        self.sink = sink
        self.pending: memoryview | None = None  # received, but the sink would not take it yet
        self.suspended = False  # a statement waits: nothing is read
        self.ended = False  # the source has nothing more to say
        self._receive_into = source.recv_into
        self._send = sink.send
        self._buffer = link.pump.buffer
        self._view = link.pump.view
        self._carry: bytearray | None = None  # the beginning of a message that must be whole
        self._need = 0  # bytes, before it is worth looking at the carry again
        self._skip = 0  # bytes of a body that goes on, which pass unread

    @property
    def reading(self) -> bool:
        return not (self.pending or self.suspended or self.ended)

    def relay(self) -> None:
        """Take what the source has and pass it on; called when there is something."""
        raise NotImplementedError

    def take(self, buffer: bytearray, view: memoryview, end: int) -> None:
        """Look at ``buffer[:end]``, which continues the stream, and pass it on."""
        raise NotImplementedError

    def take_more(self, end: int) -> None:
        """Put the ``end`` bytes that were received behind the carry, then look at both."""
        carry = self._carry
        assert carry is not None
        carry += self._view[:end]
        if len(carry) >= self._need:
            self._carry = None
            self.take(carry, memoryview(carry), len(carry))

    def take_initial(self, data: bytes) -> None:
        """What came in the same packet as the end of the login."""
        buffer = bytearray(data)
        self.take(buffer, memoryview(buffer), len(buffer))

    def pass_on(
        self,
        view: memoryview,
        position: int,
        end: int,
        parts: Sequence[memoryview | bytes] = (),
        passed: int = 0,
    ) -> None:
        """Send on what was looked at up to ``position``, where the next header is.

        ``parts`` stand for what is before ``passed``.
        """
        if position < end:  # that header is cut
            self.keep(view[position:end], HEADER_SIZE)
            end = position
        self._skip = position - end
        if parts:
            self.forward(memoryview(b"".join((*parts, view[passed:end]))))
        elif end:
            self.forward(view[:end])

    def keep(self, view: memoryview, need: int) -> None:
        """Hold these bytes back until there are ``need``."""
        self._carry = bytearray(view)
        self._need = need

    def forward(self, data: memoryview) -> None:
        if self.pending:
            self.pending = memoryview(bytes(self.pending) + data)
            return
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.sink_broke()
            return
        if sent != len(data):
            self.pending = memoryview(bytes(data[sent:]))
            self.link.rearm()

    def suspend(self) -> None:
        """What is kept waits for something, and nothing more is read."""
        self.suspended = True
        self.link.rearm()

    def resume(self) -> None:
        """What was kept can be looked at again, and what came behind it."""
        self.suspended = False
        carry, self._carry = self._carry, None
        if carry:
            self.take(carry, memoryview(carry), len(carry))
        self.link.rearm()

    def flush(self) -> None:
        """The sink can take more."""
        pending = self.pending
        if pending:
            try:
                pending = pending[self._send(pending) :]
            except BlockingIOError:
                return
            except OSError:
                self.sink_broke()
                return
            self.pending = pending or None
        if not self.pending:
            self.flushed()

    def flushed(self) -> None:
        """Everything is out: read on, or pass on the end of the stream."""
        if self.ended:
            self.pass_end_on()
        self.link.rearm()

    def finish(self) -> None:
        """The source ended: so does the sink, after everything before."""
        self.ended = True
        if self._carry:  # half a message: the peer is told by the end, not by us
            carry, self._carry = self._carry, None
            self.forward(memoryview(carry))
        if not self.pending:
            self.pass_end_on()
        self.link.rearm()

    def pass_end_on(self) -> None:
        """The sink gets the end of the stream, after all that was said."""
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.link.close("both sides left")
        else:
            self.link.maybe_close()

    def sink_broke(self) -> None:
        raise NotImplementedError

    def give_up_reading(self, reason: str) -> int:
        """The stream broke the protocol: from here on it passes unread, the peer will judge."""
        self.link.lost_track(reason)
        return FOREVER
