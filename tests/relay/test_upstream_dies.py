"""The upstream goes away in each state of a session: the client learns, the process stays."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest

from durproxy.wire import backend
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import Query
from durproxy.wire.startup import PROTOCOL_3_0, StartupMessage, encode_startup
from tests.relay.conftest import StartProxy
from tests.relay.peers import RawPeer, login_replies, ready, scripted_server, sqlstate_of
from tests.waiting import wait_until

STARTUP = encode_startup(StartupMessage(PROTOCOL_3_0, {"user": "u"}))
ASK_PASSWORD = backend.encode_authentication(3)


def dies_after_challenge(peer: RawPeer) -> None:
    peer.send(ASK_PASSWORD)
    peer.receive()


@pytest.mark.parametrize(
    "script",
    [
        lambda peer: None,
        lambda peer: peer.send(ASK_PASSWORD[:3]),
        dies_after_challenge,
        lambda peer: peer.send(login_replies()[:20]),
        lambda peer: peer.send(login_replies()[: -len(ready())]),
    ],
    ids=["at once", "in a message", "after the answer", "in the settings", "before ready"],
)
def test_in_the_login(start_proxy: StartProxy, script: Callable[[RawPeer], None]) -> None:
    with scripted_server(script) as upstream:
        proxy = start_proxy(upstream)
        before = proxy.descriptors()
        for _ in range(2):
            with RawPeer(proxy.dial()) as client:
                client.send(STARTUP)
                first = client.receive()
                if first == ("R", ASK_PASSWORD[5:]):
                    client.send(encode_message(ord("p"), b"secret\0"))
                messages = ([first] if first else []) + client.receive_all()
                assert sqlstate_of(messages[-1]) == "08006"
        wait_until(lambda: proxy.descriptors() <= before, "the descriptors are closed")


def test_garbage_in_the_login_is_refused(start_proxy: StartProxy) -> None:
    with (
        scripted_server(lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")) as upstream,
        RawPeer(start_proxy(upstream).dial()) as client,
    ):
        client.send(STARTUP)
        assert sqlstate_of(client.receive()) == "08P01"


def after_login(*replies: bytes, asks: int = 1) -> Callable[[RawPeer], None]:
    def script(peer: RawPeer) -> None:
        peer.send(login_replies())
        for _ in range(asks):
            peer.receive()
        peer.send(b"".join(replies))

    return script


ROW = encode_message(ord("D"), struct.pack(">h", 1) + struct.pack(">i", 3) + b"row")
LAST_WORDS = backend.fatal("57P01", "terminating connection").encode()


@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        (after_login(asks=0), ""),
        (after_login(), ""),
        (after_login(ROW, ROW), "DD"),
        (after_login(LAST_WORDS), "E"),
        (after_login(ROW, encode_message(ord("C"), b"SELECT 1\0"), ready()), "DCZ"),
        (after_login(encode_message(ord("G"), b"\0\0\0")), "G"),
    ],
    ids=["idle", "busy", "in a result", "with last words", "idle again", "in a copy"],
)
def test_in_the_session(
    start_proxy: StartProxy, script: Callable[[RawPeer], None], kinds: str
) -> None:
    with scripted_server(script) as upstream:
        proxy = start_proxy(upstream)
        before = proxy.descriptors()
        with RawPeer(proxy.dial()) as client:
            client.send(STARTUP)
            client.until_ready()
            client.send(Query(b"SELECT 1").encode())
            assert "".join(kind for kind, _ in client.receive_all()) == kinds
        wait_until(lambda: proxy.descriptors() <= before, "the descriptors are closed")


def test_half_a_reply_arrives_before_the_end(start_proxy: StartProxy) -> None:
    with (
        scripted_server(after_login(ROW, ROW[:9])) as upstream,
        RawPeer(start_proxy(upstream).dial()) as client,
    ):
        client.send(STARTUP)
        client.until_ready()
        client.send(Query(b"SELECT 1").encode())
        data = b""
        while more := client.socket.recv(100):
            data += more
        assert data == ROW + ROW[:9]


def test_garbage_in_the_session_passes_as_it_is(start_proxy: StartProxy) -> None:
    garbage = b"Z\0\0\0\0" + os.urandom(1000)
    with scripted_server(after_login(garbage)) as upstream:
        proxy = start_proxy(upstream)
        with RawPeer(proxy.dial()) as client:
            client.send(STARTUP)
            client.until_ready()
            client.send(Query(b"SELECT 1").encode())
            assert client.read_exactly(len(garbage)) == garbage
            assert client.is_closed()
        assert proxy.wait_log("connection.unreadable")["reason"] == "invalid message length 0"
