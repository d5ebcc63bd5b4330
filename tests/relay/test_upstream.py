"""Connecting to the upstream: what it is asked first."""

from __future__ import annotations

import socket
from time import monotonic

import pytest
import trio

from durproxy.proxy import upstream
from durproxy.proxy.upstream import Upstream
from durproxy.wire.startup import encode_ssl_request


def test_a_burst_of_connections_asks_a_server_without_tls_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        wishing = Upstream.from_conninfo(f"host=127.0.0.1 port={port} sslmode=prefer")
        insisting = Upstream.from_conninfo(f"host=127.0.0.1 port={port} sslmode=require")
        assert [_asked(wishing, listener) for _ in range(3)] == [True, False, False]
        monkeypatch.setattr(upstream, "monotonic", lambda: monotonic() + 2)
        assert [_asked(wishing, listener) for _ in range(2)] == [True, False]
        assert [_asked(insisting, listener) for _ in range(2)] == [True, True]


def _asked(place: Upstream, listener: socket.socket) -> bool:
    """Whether a connection begins with a request for TLS, which is refused."""

    def answer() -> bool:
        server, _ = listener.accept()
        with server:
            asked = server.recv(100)
            server.sendall(b"N")
            return asked == encode_ssl_request()

    async def connect() -> None:
        try:
            sock = await place.connect_to(place.places[0])
        except OSError:
            return
        sock.shutdown(socket.SHUT_WR)
        sock.close()

    async def run() -> bool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            return await trio.to_thread.run_sync(answer)

    return trio.run(run)
