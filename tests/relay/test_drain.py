"""SIGTERM: no new clients, idle ones say goodbye, busy ones finish first, all of it bounded."""

from __future__ import annotations

import threading

import psycopg
import pytest

from durproxy.wire.backend import PARSE_COMPLETE, ErrorResponse
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import NO_PARAMETER_TYPES, SYNC, Execute, Parse, Query
from tests.fix_postgres import Database
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import (
    RawPeer,
    log_in,
    login_replies,
    ready,
    scripted_server,
    sqlstate_of,
)


def test_idle_sessions_end_with_57p01_and_busy_ones_at_their_commit(
    start_proxy: StartProxy, database: Database
) -> None:
    proxy = start_proxy(database.dsn, drain_timeout=20)
    role = database.add_role(login="by_trust")
    with (
        log_in(proxy.dial(), role.name, database.name) as idle,
        log_in(proxy.dial(), role.name, database.name) as busy,
    ):
        busy.send(Query(b"BEGIN").encode())
        busy.until_ready()
        proxy.terminate()
        assert sqlstate_of(idle.receive()) == "57P01"
        assert idle.is_closed()
        busy.send(Query(b"SELECT 1").encode())
        assert busy.until_ready()[-1] == ("Z", b"T")
        busy.send(Query(b"COMMIT").encode())
        assert busy.until_ready()[-1] == ("Z", b"I")
        assert sqlstate_of(busy.receive()) == "57P01"
        assert busy.is_closed()
        assert proxy.wait() == 0
    assert proxy.wait_log("proxy.drained")["cut"] == 0


def test_the_drain_is_bounded(start_proxy: StartProxy, database: Database) -> None:
    proxy = start_proxy(database.dsn, drain_timeout=0.3)
    with proxy.connect(database) as connection:
        connection.execute("BEGIN")
        proxy.terminate()
        assert proxy.wait() == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert proxy.wait_log("proxy.drained")["cut"] == 1


def test_no_new_clients_while_draining(start_proxy: StartProxy, database: Database) -> None:
    proxy: Proxy = start_proxy(database.dsn, drain_timeout=20)
    with proxy.connect(database) as connection:
        connection.execute("BEGIN")
        proxy.terminate()
        proxy.wait_log("proxy.draining")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            proxy.connect(database)
        connection.execute("COMMIT")
        assert proxy.wait() == 0


def test_a_query_inside_a_failed_group_is_not_waited_for(
    start_proxy: StartProxy, database: Database
) -> None:
    proxy = start_proxy(database.dsn, drain_timeout=20)
    role = database.add_role(login="by_trust")
    wrong = Parse(b"", b"no statement", NO_PARAMETER_TYPES).encode()
    query = Query(b"SELECT 1").encode()
    sync = encode_message(SYNC, b"")
    with (
        log_in(proxy.dial(), role.name, database.name) as at_once,
        log_in(proxy.dial(), role.name, database.name) as later,
    ):
        at_once.send(wrong + query + sync)
        assert [kind for kind, _ in at_once.until_ready()] == ["E", "Z"]
        later.send(wrong)
        assert sqlstate_of(later.receive()) == "42601"
        later.send(query)
        later.send(sync)
        assert [kind for kind, _ in later.until_ready()] == ["Z"]
        proxy.terminate()
        for peer in (at_once, later):
            assert sqlstate_of(peer.receive()) == "57P01"
    assert proxy.wait() == 0
    assert proxy.wait_log("proxy.drained")["cut"] == 0


@pytest.mark.parametrize("lone", [True, False], ids=["in pieces", "with other groups"])
def test_a_query_is_not_waited_for_whose_group_failed_in_an_earlier_packet(
    start_proxy: StartProxy, lone: bool
) -> None:
    """The server is slow: it answers when all has come."""
    wrong = Parse(b"", b"no statement", NO_PARAMETER_TYPES).encode()
    execute = Execute(b"", 0).encode()
    query, sync = Query(b"SELECT 1").encode(), encode_message(SYNC, b"")
    error = ErrorResponse(((ord("C"), b"42601"),)).encode()
    before = b"" if lone else Parse(b"", b"SELECT 1", NO_PARAMETER_TYPES).encode() + sync
    packets = [before + wrong, execute[:7], execute[7:] + query, query, sync]

    def script(server: RawPeer) -> None:
        server.send(login_replies())
        for packet in packets:
            server.read_exactly(len(packet))
            arrived.release()
        first = b"" if lone else encode_message(PARSE_COMPLETE, b"") + ready()
        server.send(first + error + ready())
        server.receive_all()

    arrived = threading.Semaphore(0)
    with scripted_server(script) as upstream:
        proxy = start_proxy(upstream, drain_timeout=20)
        with log_in(proxy.dial(), "u", "d") as client:
            for packet in packets:
                client.send(packet)
                assert arrived.acquire(timeout=20)
            for _ in range(1 if lone else 2):
                client.until_ready()
            proxy.terminate()
            assert sqlstate_of(client.receive()) == "57P01"
        assert proxy.wait() == 0
