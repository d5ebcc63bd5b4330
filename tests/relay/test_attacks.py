"""Clients that mean ill, or are out of order: thousands at once, slow ones, floods of cancels."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from durproxy.wire.startup import (
    PROTOCOL_3_0,
    CancelRequest,
    StartupMessage,
    encode_cancel,
    encode_startup,
)
from tests.fix_postgres import Database
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import RawPeer
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres

MEGABYTE = 1024 * 1024
CONNECT_LIMIT = 60.0  # seconds for all connections of a burst


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Of this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12_000:
        pytest.skip("this system allows too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def burst(stack: ExitStack, proxy: Proxy, number: int, first_words: bytes) -> None:
    until = time.monotonic() + CONNECT_LIMIT
    for done in range(number):
        assert time.monotonic() < until, f"only {done} connections in {CONNECT_LIMIT:g} s"
        stack.enter_context(proxy.dial()).sendall(first_words)


@pytest.mark.parametrize("number", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_burst_of_connections_that_never_log_in(
    many_descriptors: None, start_proxy: StartProxy, database: Database, number: int
) -> None:
    proxy = start_proxy(database.dsn, auth_timeout=5 + number / 300)
    with proxy.connect(database) as session, ExitStack() as stack:
        descriptors, memory = proxy.descriptors(), proxy.memory()
        burst(stack, proxy, number, b"\0\0\0")
        wait_until(lambda: proxy.counted("logins_now") == number, "all are accepted", 30)
        assert session.execute("SELECT 1").fetchone() == (1,)
        with proxy.connect(database) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)
        assert proxy.memory() - memory < number * 20_000
        wait_until(lambda: proxy.counted("logins_now") == 0, "their time is over", 40)
        assert session.execute("SELECT 1").fetchone() == (1,)
        assert proxy.descriptors() <= descriptors


def test_a_login_byte_by_byte_is_closed_in_time(
    start_proxy: StartProxy, database: Database
) -> None:
    proxy = start_proxy(database.dsn, auth_timeout=1)
    names = {"user": database.role, "database": database.name}
    packet = encode_startup(StartupMessage(PROTOCOL_3_0, names))
    stopped = threading.Event()
    began = time.monotonic()
    with RawPeer(proxy.dial()) as slow:

        def drip() -> None:
            for byte in packet:
                if stopped.wait(0.2):  # far too slow for the whole of it
                    return
                try:
                    slow.socket.sendall(bytes([byte]))
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert slow.is_closed()
        stopped.set()
        dripping.join()
    assert time.monotonic() - began < 0.2 * len(packet)
    with proxy.connect(database) as other:
        assert other.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_flood_of_cancels_with_wrong_keys(
    many_descriptors: None, proxy: Proxy, database: Database, number: int
) -> None:
    """All at once: sessions and new clients go on, and the server is not flooded, too."""
    with proxy.connect(database) as session, ExitStack() as stack:
        before = proxy.descriptors()
        pid = session.info.backend_pid
        peers: list[socket.socket] = []
        for guess in range(number):
            peers.append(stack.enter_context(proxy.dial()))
            request = encode_cancel(CancelRequest(pid, guess.to_bytes(4, "big")))
            peers[-1].sendall(request)
            if guess % 100 == 0:
                assert session.execute("SELECT 1").fetchone() == (1,)
                # of the flood itself at most fifty are on their way to the server
                assert proxy.descriptors() - before <= len(peers) + 50 + 5
        assert session.execute("SELECT pg_sleep(0.05), 1").fetchone() == ("", 1)
        wait_until(lambda: proxy.counted("cancels") == number, "all were taken", 60)
        with proxy.connect(database) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)
        wait_until(lambda: proxy.descriptors() <= before, "none is left", 60)
