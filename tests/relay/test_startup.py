"""The first bytes of a connection: right, wrong, slow, or for somebody else."""

from __future__ import annotations

import struct

import psycopg
import pytest

from durproxy.embedded import free_port
from durproxy.wire import backend
from durproxy.wire.startup import (
    PROTOCOL_3_0,
    CancelRequest,
    StartupMessage,
    encode_cancel,
    encode_gssenc_request,
    encode_ssl_request,
    encode_startup,
)
from tests.fix_postgres import Database
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import RawPeer, log_in, sqlstate_of
from tests.waiting import wait_until


def still_serves(proxy: Proxy, database: Database) -> bool:
    with proxy.connect(database) as connection:
        return connection.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: database\r\n\r\n",
        struct.pack(">I", 1 << 30) + b"\0\3\0\0user\0",
        struct.pack(">I", 0),
        struct.pack(">I", 0xFFFFFFFF),
        struct.pack(">II", 13, PROTOCOL_3_0) + b"user\0",
        encode_cancel(CancelRequest(1, b"k" * 300)),
    ],
    ids=["http", "gigabyte", "zero", "negative", "half a pair", "long key"],
)
def test_broken_startup_packet_gets_an_error(proxy: Proxy, database: Database, data: bytes) -> None:
    with RawPeer(proxy.dial()) as peer:
        peer.send(data)
        assert sqlstate_of(peer.receive()) == "08P01"
        assert peer.is_closed()
    assert proxy.wait_log("connection.refused")["sqlstate"] == "08P01"
    assert still_serves(proxy, database)


def test_half_a_startup_packet_then_close_is_no_event(proxy: Proxy, database: Database) -> None:
    before = proxy.descriptors()
    for _ in range(5):
        with RawPeer(proxy.dial()) as peer:
            peer.send(encode_startup(StartupMessage(PROTOCOL_3_0, {"user": "u"}))[:7])
    assert still_serves(proxy, database)
    wait_until(lambda: proxy.descriptors() <= before, "the descriptors are closed")


def test_direct_tls_is_closed_with_a_log_line(proxy: Proxy) -> None:
    with RawPeer(proxy.dial()) as peer:
        peer.send(b"\x16\x03\x01\x02\x00\x01")
        assert peer.is_closed()
    assert "tls_cert" in proxy.wait_log("connection.tls_refused")["hint"]


def test_encryption_is_declined_and_the_session_goes_on(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")
    sock = proxy.dial()
    for request in (encode_gssenc_request(), encode_ssl_request()):
        sock.sendall(request)
        assert sock.recv(10) == b"N"
    with log_in(sock, role.name, database.name) as peer:
        assert peer.socket.fileno() > 0


def test_too_many_requests_for_encryption_are_refused(proxy: Proxy) -> None:
    with RawPeer(proxy.dial()) as peer:
        peer.send(encode_ssl_request() * 5)
        assert peer.read_exactly(2) == b"NN"
        assert sqlstate_of(peer.receive()) == "08P01"


def test_a_slow_login_is_closed_in_time(start_proxy: StartProxy, database: Database) -> None:
    proxy = start_proxy(database.dsn, auth_timeout=0.5)
    with RawPeer(proxy.dial()) as silent, RawPeer(proxy.dial()) as slow:
        slow.send(b"\0")
        assert slow.is_closed()
        assert silent.is_closed()
    assert proxy.wait_log("connection.too_slow")["state"] == "greeting"
    assert still_serves(proxy, database)


def test_a_client_of_protocol_2_gets_an_error_that_it_can_read(proxy: Proxy) -> None:
    with RawPeer(proxy.dial()) as peer:
        peer.send(struct.pack(">II", 12, 2 << 16) + b"\0\0\0\0")
        message = b"EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.2\n\0"
        assert peer.read_exactly(len(message)) == message
        assert peer.is_closed()


def test_a_client_of_protocol_4_gets_an_error(proxy: Proxy) -> None:
    with RawPeer(proxy.dial()) as peer:
        peer.send(struct.pack(">II", 9, 4 << 16) + b"\0")
        assert sqlstate_of(peer.receive()) == "0A000"


def test_a_name_that_is_no_text_is_refused_as_it_is(
    start_proxy: StartProxy, database: Database
) -> None:
    proxy = start_proxy(database.dsn, admin_users=("ann",))
    with RawPeer(proxy.dial()) as peer:
        names = {"user": "\udcff", "database": "durproxy"}
        peer.send(encode_startup(StartupMessage(PROTOCOL_3_0, names)))
        refusal = peer.receive()
        assert sqlstate_of(refusal) == "28000"
        assert refusal is not None
        assert b'role "\xff" is not one of' in refusal[1]
    assert still_serves(proxy, database)


def test_wrong_password_is_the_servers_error(proxy: Proxy, database: Database) -> None:
    dsn = proxy.dsn_for(database).replace(database.owner.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn)


@pytest.mark.parametrize("login", ["scram", "by_md5", "by_password", "by_trust"])
def test_every_login_passes_through(proxy: Proxy, database: Database, login: str) -> None:
    role = database.add_role(login=login)
    with proxy.connect(database, role) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (role.name,)


def test_an_upstream_that_is_down_is_told_with_a_hint(start_proxy: StartProxy) -> None:
    proxy = start_proxy(f"host=127.0.0.1 port={free_port()}")
    for _ in range(2):  # and the process stays
        with RawPeer(proxy.dial()) as peer:
            peer.send(encode_startup(StartupMessage(PROTOCOL_3_0, {"user": "u"})))
            message = peer.receive()
            assert sqlstate_of(message) == "08001"
            assert message is not None
            report = backend.ErrorResponse.parse(message[1])
            assert b"--upstream" in (report.get("H") or b"")
            assert b"refused" in (report.get("D") or b"")


def test_the_next_host_is_tried(start_proxy: StartProxy, database: Database) -> None:
    port = database.postgres.port
    proxy = start_proxy(f"host=127.0.0.1,127.0.0.1 port={free_port()},{port}")
    assert still_serves(proxy, database)


def test_an_upstream_on_a_unix_socket(start_proxy: StartProxy, database: Database) -> None:
    postgres = database.postgres
    assert still_serves(start_proxy(f"host={postgres.host} port={postgres.port}"), database)
