"""A side that does not read stops the other one; the proxy's memory does not grow."""

from __future__ import annotations

from contextlib import suppress

import pytest

from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import SYNC, Query
from tests.fix_postgres import Database
from tests.relay.conftest import Proxy
from tests.relay.peers import log_in
from tests.waiting import wait_until

ALLOWED = 8 * 1024 * 1024  # bytes of growth: the pump's buffer and what Python makes of chunks
SYNCS = 200_000  # more than is kept of one session, and less than the sockets on the way hold
ROWS = 400_000  # of a kilobyte: far more than all socket buffers on the way


def backend_waits(database: Database, role: str, event: str) -> bool:
    with database.connect("postgres") as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event = %s",
            [role, event],
        ).fetchone()
    return found == (1,)


def test_a_client_that_never_reads(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")
    with log_in(proxy.dial(), role.name, database.name) as peer:
        before = proxy.memory()
        text = f"SELECT repeat('x', 1000) FROM generate_series(1, {ROWS})"
        peer.send(Query(text.encode()).encode())
        wait_until(lambda: backend_waits(database, role.name, "ClientWrite"), "the server waits")
        assert proxy.memory() - before < ALLOWED
        with proxy.connect(database) as other:  # the others notice nothing
            assert other.execute("SELECT 1").fetchone() == (1,)
        # it reads after all: everything arrives
        rows = sum(kind == "D" for kind, _ in peer.until_ready())
        assert rows == ROWS
        assert proxy.memory() - before < ALLOWED


def test_a_client_that_never_reads_and_leaves(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")
    before = proxy.descriptors()
    with log_in(proxy.dial(), role.name, database.name) as peer:
        text = f"SELECT repeat('x', 1000) FROM generate_series(1, {ROWS})"
        peer.send(Query(text.encode()).encode())
        wait_until(lambda: backend_waits(database, role.name, "ClientWrite"), "the server waits")
    wait_until(lambda: proxy.descriptors() <= before, "both sockets are closed")
    wait_until(lambda: not backend_waits(database, role.name, "ClientWrite"), "the backend is gone")


@pytest.mark.one_postgres
def test_a_client_that_uses_df_and_sends_without_end(proxy: Proxy, database: Database) -> None:
    """What is kept of each message until it is answered has an end, and nothing is lost."""
    role = database.add_role(login="by_trust")
    with (
        database.connect("postgres") as admin,
        log_in(proxy.dial(), role.name, database.name) as peer,
    ):
        admin.execute("SELECT pg_advisory_lock(1)")
        peer.send(Query(b"SELECT df.seq('a' ~> 'b', 'c')").encode())
        peer.until_ready()
        peer.send(Query(b"SELECT pg_advisory_lock(1)").encode())
        wait_until(lambda: backend_waits(database, role.name, "advisory"), "the server waits")
        before = proxy.memory()
        peer.send(encode_message(SYNC, b"") * SYNCS)
        wait_until(lambda: proxy.counted("bytes_from_clients") > 100_000, "it reads some")
        assert proxy.counted("bytes_from_clients") < 5 * SYNCS / 2
        assert proxy.memory() - before < 40 * 1024 * 1024
        admin.execute("SELECT pg_advisory_unlock(1)")
        for _ in range(1 + SYNCS):
            peer.until_ready()


def test_a_server_that_does_not_read(proxy: Proxy, database: Database) -> None:
    role = database.add_role(login="by_trust")
    with log_in(proxy.dial(), role.name, database.name) as peer:
        before = proxy.memory()
        peer.send(Query(b"SELECT pg_sleep(60)").encode())
        peer.socket.settimeout(0.5)
        block = Query(b"SELECT 1 -- " + b"x" * 60_000).encode() * 16
        sent = 0
        with suppress(TimeoutError):
            while sent < 256 * 1024 * 1024:
                sent += peer.socket.send(block)
        assert sent < 256 * 1024 * 1024, "nothing stopped the client"
        assert proxy.memory() - before < ALLOWED
        with proxy.connect(database) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)
    with database.connect("postgres") as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
            [role.name],
        )
