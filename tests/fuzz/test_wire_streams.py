"""Any bytes in any pieces through both flows of a link: the same bytes come out, nothing raises."""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from durproxy.proxy.link import Link
from durproxy.proxy.pump import Pump
from durproxy.proxy.rewriting import Rewriter
from durproxy.proxy.shell import Shell
from durproxy.proxy.statistics import Counters
from durproxy.proxy.upstream import Place, Upstream
from durproxy.wire.framing import encode_message
from durproxy.wire.startup import PROTOCOL_3_0, StartupMessage
from durproxy.wire.states import Event
from tests.fuzz.hostile import LENGTHS

COUNTERS = Counters()
_MOST = 30_000  # bytes in a piece, so that sockets take it whole
texts = st.sampled_from([b"SELECT 1", b"SELECT df.version()", b"SELECT df", b"df.", b"\xff df.x"])
bodies = st.one_of(
    st.binary(max_size=50),
    texts.map(lambda text: text + b"\0"),
    texts.map(lambda text: b"s\0" + text + b"\0\0\0"),
    st.just(b"\0s\0\0\0\0\0\0\0"),
    st.just(b"Ss\0"),
)
kinds = st.sampled_from(b"QPBDECSHFXcdfZTGKN123Inst")
messages = st.builds(encode_message, kinds, bodies)
headers = st.builds(struct.Struct(">BI").pack, kinds, st.sampled_from(LENGTHS))
long = st.builds(encode_message, kinds, st.just(b"df." * 22_000))
streams = st.lists(
    st.one_of(messages, messages, messages, messages, long, headers, st.binary(max_size=9)),
    max_size=12,
).map(b"".join)
cuts = st.lists(st.integers(1, 40), max_size=20)


class Ends:
    """A link between two socket pairs."""

    def __init__(self) -> None:
        pump = Pump(COUNTERS)
        shell = SimpleNamespace(
            pump=pump, rewriter=Rewriter(COUNTERS), forget=lambda link: None, wake_engines=int
        )
        self.client, inner_client = socket.socketpair()
        inner_server, self.server = socket.socketpair()
        for sock in (self.client, inner_client, inner_server, self.server):
            sock.setblocking(False)
        self.link = Link(
            cast(Shell, shell),
            inner_client,
            inner_server,
            upstream=Upstream.from_conninfo("host=nowhere"),
            place=Place("nowhere", 1),
            peer="test",
            startup=StartupMessage(PROTOCOL_3_0, {"user": "u"}),
        )
        self.link.enter(Event.READY_RECEIVED)
        self.link.status = ord("T")  # nothing is held in a transaction
        pump.watch(inner_client)
        pump.adopt(self.link)

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *exc: object) -> None:
        self.link.close("test is over")
        self.client.close()
        self.server.close()


def drain(sock: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            more = sock.recv(1 << 16)
        except BlockingIOError:
            return data
        if not more:
            return data
        data += more


def pieces(stream: bytes, sizes: list[int]) -> list[bytes]:
    found = []
    for size in [*sizes, *[_MOST] * (len(stream) // _MOST + 1)]:
        found.append(stream[:size])
        stream = stream[size:]
    return [piece for piece in found if piece]


@settings(max_examples=150, deadline=None)
@given(streams, streams, cuts, st.booleans())
def test_what_goes_in_comes_out(up: bytes, down: bytes, sizes: list[int], mixed: bool) -> None:
    all_down = down
    with Ends() as ends:
        received_up = received_down = b""
        for piece in pieces(up, sizes):
            ends.client.send(piece)
            ends.link.up.relay()
            received_up += drain(ends.server)
            if mixed and down:
                head, down = down[:7], down[7:]
                ends.server.send(head)
                ends.link.down.relay()
                received_down += drain(ends.client)
        for piece in pieces(down, sizes):
            ends.server.send(piece)
            ends.link.down.relay()
            received_down += drain(ends.client)
        ends.client.shutdown(socket.SHUT_WR)
        ends.link.up.relay()
        received_up += drain(ends.server)
        ends.server.shutdown(socket.SHUT_WR)
        if ends.link in ends.link.pump.links:
            ends.link.down.relay()
            received_down += drain(ends.client)
        assert received_up == up
        assert received_down == all_down
