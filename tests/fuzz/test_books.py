"""Random conversations with a real server: the books agree with it about what is outstanding.

A conversation ends with a marker that the server answers last. Until then something has to be
expected, or a drain would cut an answer; afterwards nothing, or the session would never be quiet.
"""

from __future__ import annotations

import select
import socket
from time import monotonic

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from durproxy.wire.backend import IDLE
from durproxy.wire.framing import MessageReader, encode_message
from durproxy.wire.frontend import (
    NO_PARAMETER_TYPES,
    SYNC,
    Bind,
    Close,
    Describe,
    Execute,
    Parse,
    Query,
)
from tests.fix_postgres import Database, Role
from tests.fuzz.test_wire_streams import Ends
from tests.relay.peers import log_in

_MARKER = b"the end"
_SYNC = encode_message(SYNC, b"")
_FLUSH = encode_message(ord("H"), b"")
_END = _SYNC + Query(b"ROLLBACK").encode() + Query(b"SELECT '%s'" % _MARKER).encode()

texts = st.sampled_from(
    [
        b"SELECT 1",
        b"SELECT nosuch",
        b"",
        b"SELECT df.seq('a' ~> 'b', 'c')",
        b"SELECT df.seq('a' ~> nosuch)",
        b"SELECT 1/0",
        b"BEGIN",
        b"ROLLBACK",
        b"SELECT generate_series(1, 3000)",
    ]
)
names = st.sampled_from([b"", b"s"])


_DATA = encode_message(ord("d"), b"1\n")
_WRONG_DATA = encode_message(ord("d"), b"x\n")
_DONE = encode_message(ord("c"), b"")
_GIVEN_UP = encode_message(ord("f"), b"no more\0")
_COPY = b"COPY copied FROM STDIN"
_EXECUTED_COPY = (
    Parse(b"", _COPY, NO_PARAMETER_TYPES).encode()
    + Bind(b"", b"", (), (), ()).encode()
    + Execute(b"", 0).encode()
)
copies = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from([Query(_COPY).encode(), _EXECUTED_COPY]),
    st.sampled_from([_DATA, _WRONG_DATA, b""]),
    st.sampled_from([_DONE, _GIVEN_UP]),
)

messages = st.one_of(
    st.builds(Parse, names, texts, st.just(NO_PARAMETER_TYPES)).map(Parse.encode),
    st.builds(Bind, st.just(b""), names, st.just(()), st.just(()), st.just(())).map(Bind.encode),
    st.builds(Describe, st.sampled_from(b"SP"), names).map(Describe.encode),
    st.builds(Close, st.sampled_from(b"SP"), names).map(Close.encode),
    st.builds(Execute, st.just(b""), st.sampled_from([0, 2])).map(Execute.encode),
    st.builds(Query, texts).map(Query.encode),
    st.just(Query(b"SELECT 1; SELECT 1/0; SELECT 2").encode()),
    copies,
    st.sampled_from([_SYNC, _SYNC, _FLUSH]),
)
# The data of both copies is under way before the server begins the first.
_TWO_COPIES = [
    Query(_COPY).encode() + _DONE + Parse(b"s", b"BEGIN", NO_PARAMETER_TYPES).encode(),
    _EXECUTED_COPY + _DONE,
    _SYNC + Query(b"SELECT df.seq('a' ~> 'b', 'c')").encode(),
    Parse(b"s", b"SELECT 1", NO_PARAMETER_TYPES).encode() + Query(b"SELECT 1/0").encode(),
]

packets = st.lists(st.lists(messages, min_size=1, max_size=4).map(b"".join), max_size=6)


@pytest.fixture
def role(home: Database) -> Role:
    role = home.add_role(login="by_trust")
    home.psql(f"SELECT df.grant_usage('{role.name}')")
    home.psql(f"CREATE TABLE copied (n int); GRANT INSERT ON copied TO {role.name}")
    return role


class Session(Ends):
    """A link whose server is real, and whose client reads everything."""

    def __init__(self, server: socket.socket) -> None:
        super().__init__()
        self.link.status = IDLE
        self._reader = MessageReader(1 << 20)
        self._real = server

    def __enter__(self) -> Session:
        return self

    def exchange(self) -> list[str]:
        """Pass on what either side has said; the types of what came to the client."""
        link, kinds = self.link, []
        link.up.relay()
        select.select([self._real, self.server], [], [], 0.01)
        _move(self.server, self._real)
        _move(self._real, self.server)
        link.down.relay()
        try:
            self._reader.feed(self.client.recv(1 << 20))
        except BlockingIOError:
            return []
        while (message := self._reader.maybe_read()) is not None:
            kinds.append(chr(message[0]))
            if message[0] == ord("D") and _MARKER in message[1]:
                kinds.append("marker")
        return kinds


def _has_query_in_group_with_copy(packets: list[bytes]) -> bool:
    """After one a session may count as busy: what becomes of data without waiting is not known."""
    reader, in_group = MessageReader(1 << 20), False
    reader.feed(b"".join(packets))
    while (message := reader.maybe_read()) is not None:
        kind = chr(message[0])
        if kind == "Q" and in_group:
            return any(_COPY in packet for packet in packets)
        in_group = kind in "PBDECH" or (in_group and kind != "S")
    return False


def _move(source: socket.socket, sink: socket.socket) -> None:
    try:
        data = source.recv(1 << 16)
    except BlockingIOError:
        return
    except ConnectionResetError:  # it was told to copy and was sent something else
        reject()
    sink.setblocking(True)
    sink.sendall(data)
    sink.setblocking(False)


@pytest.mark.soak
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(packets=_TWO_COPIES, waits=[0, 0, 5, 0])
@given(packets=packets, waits=st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_nothing_is_outstanding_exactly_when_the_server_waits(
    home: Database, role: Role, packets: list[bytes], waits: list[int]
) -> None:
    """``waits`` says how often both sides are looked at before the next packet is sent."""
    real = socket.create_connection(("127.0.0.1", home.postgres.port))
    with log_in(real, role.name, home.name), Session(real) as session:
        real.setblocking(False)
        for packet, wait in zip(packets, waits, strict=False):
            session.client.send(packet)
            for _ in range(wait):
                session.exchange()
        session.client.send(_END)
        deadline = monotonic() + 20
        seen: list[str] = []
        done = False
        while not done:
            assert monotonic() < deadline, "the server did not answer the marker"
            seen += session.exchange()
            done = "marker" in seen and seen[-1] == "Z"
            assert done or session.link.expected, "an answer comes that is not expected"
        if not _has_query_in_group_with_copy(packets):
            assert session.link.quiet
            assert not session.link.mid_group
