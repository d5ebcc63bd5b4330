"""Limits of connections, and a whole ``serve`` that follows other settings at SIGHUP."""

from __future__ import annotations

import math
import signal
import socket
import struct
import threading
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import trio
import trio.testing

from durproxy.proxy.limits import Strangers
from durproxy.wire.startup import PROTOCOL_3_0, StartupMessage, encode_startup
from tests.fix_postgres import Database
from tests.fix_serve import ServeWith
from tests.relay.certificates import write_authority, write_certificate
from tests.relay.conftest import StartProxy
from tests.relay.peers import RawPeer, login_replies, scripted_server
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres


def test_too_many_connections_of_a_role_are_refused(
    start_proxy: StartProxy, database: Database
) -> None:
    proxy = start_proxy(database.dsn, max_role_connections=2)
    other = database.add_role()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(proxy.connect(database))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            proxy.connect(database)
        with proxy.connect(database, other) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    # those that have left, or never came in, do not count, nor do those that may yet come
    wait_until(lambda: proxy.counted("connections_now") == 0, "all have left")
    for _ in range(5):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(proxy.dsn_for(database).replace(database.owner.password, "wrong"))
    with ExitStack() as stack:
        names = {"user": database.role, "database": database.name}
        for _ in range(2):  # who knows the role's name only
            stranger = stack.enter_context(RawPeer(proxy.dial()))
            stranger.send(encode_startup(StartupMessage(PROTOCOL_3_0, names)))
            assert stranger.receive() is not None  # the server's question
        for _ in range(2):
            stack.enter_context(proxy.connect(database))


def test_too_many_connections_in_total_are_refused(
    start_proxy: StartProxy, database: Database
) -> None:
    proxy = start_proxy(database.dsn, max_connections=1)
    with (
        proxy.connect(database),
        pytest.raises(psycopg.OperationalError, match="sorry, too many clients already"),
    ):
        proxy.connect(database, database.add_role())


def test_who_leaves_at_the_very_end_of_a_login_does_not_count(start_proxy: StartProxy) -> None:
    lets_in = threading.Event()

    def script(server: RawPeer) -> None:
        lets_in.wait(20)
        server.send(login_replies())
        server.receive()

    with scripted_server(script) as upstream:
        proxy = start_proxy(upstream, max_connections=1)
        startup = encode_startup(StartupMessage(PROTOCOL_3_0, {"user": "u"}))
        with proxy.dial() as leaving:
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaving.sendall(startup)
            wait_until(lambda: proxy.counted("logins_now") == 1, "the login has begun")
        lets_in.set()

        def comes_in() -> bool:
            with RawPeer(proxy.dial()) as peer:
                peer.send(startup)
                reply = peer.receive()
                return reply is not None and reply[0] == "R"

        wait_until(comes_in, "there is room")


def test_of_too_many_strangers_the_oldest_has_to_go() -> None:
    strangers = Strangers(most=2)
    gone: list[int] = []

    async def come(number: int, task_status: trio.TaskStatus[None]) -> None:
        with strangers.one() as scope:
            task_status.started()
            await trio.sleep(math.inf)
        if scope.cancelled_caught:
            gone.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                await nursery.start(come, number)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert sorted(gone) == [0, 1, 2]


def test_a_reload_is_followed_as_a_whole_or_not_at_all(
    serve_with: ServeWith, home: Database, tmp_path: Path
) -> None:
    settings = tmp_path / "durproxy.toml"
    settings.write_text("max_role_connections = 1\n")
    server = serve_with(config=settings)
    root = write_authority(tmp_path)
    first = write_certificate(tmp_path, "localhost")
    with server.connect() as connection:
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            server.connect()
        settings.write_text(f'tls_cert = "{first.bundle}"\nmax_role_connections = 0\n')
        server.terminate(signal.SIGHUP)
        server.wait_log("proxy.reloaded")
        assert connection.execute("SELECT 1").fetchone() == (1,)
        text = f"{server.dsn} sslmode=verify-ca sslrootcert={root}"
        with psycopg.connect(text) as encrypted:
            assert encrypted.pgconn.ssl_in_use
        settings.write_text('tls_cert = "/nowhere"\nmax_role_connections = 1\n')
        server.terminate(signal.SIGHUP)
        assert "/nowhere" in server.wait_log("serve.not_reloaded")["error"]
        with psycopg.connect(text) as encrypted:
            assert encrypted.pgconn.ssl_in_use


def test_a_setting_of_the_engines_restarts_them(
    serve_with: ServeWith, home: Database, tmp_path: Path
) -> None:
    settings = tmp_path / "durproxy.toml"
    settings.write_text("max_held = 10\n")
    server = serve_with(config=settings)
    before = server.engine_pids()
    settings.write_text("max_held = 20\nproxies = 3\n")
    server.terminate(signal.SIGHUP)
    assert server.wait_log("serve.reloaded")["at_next_start"] == ["proxies"]
    wait_until(lambda: server.engine_pids() not in ([], before), "another engine runs")
    with server.connect() as connection:
        [row] = connection.execute("SELECT df.start('SELECT 1')").fetchall()
        found = connection.execute("SELECT df.await_instance(%s, 20)", row).fetchone()
        assert found == ("completed",)
