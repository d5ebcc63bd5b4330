"""Parts of the protocol that few clients use: versions, long keys, function calls, replication."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest

from durproxy.wire.backend import BackendKeyData
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import FUNCTION_CALL, Query
from durproxy.wire.startup import (
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    CancelRequest,
    StartupMessage,
    encode_cancel,
    encode_startup,
)
from tests.fix_postgres import Database, Role
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import Message, RawPeer, log_in, sqlstate_of
from tests.waiting import wait_until

GREASE = 3 << 16 | 9999  # a version that no server has, which clients ask for to see


@pytest.fixture
def role(database: Database) -> Role:
    return database.add_role(login="by_trust")


def greeted(port: int, database: Database, role: Role, version: int, **options: str) -> RawPeer:
    peer = RawPeer(Proxy.dial_port(port))
    names = {"user": role.name, "database": database.name, **options}
    peer.send(encode_startup(StartupMessage(version, names)))
    return peer


def kinds_and_key(messages: list[Message]) -> tuple[list[str], bytes]:
    [key] = [body for kind, body in messages if kind == "K"]
    return [kind for kind, _ in messages if kind not in "NS"], key


@pytest.mark.parametrize("version", [PROTOCOL_3_0, PROTOCOL_3_2, GREASE])
@pytest.mark.parametrize("option", [False, True])
def test_versions_and_options_are_negotiated_as_by_the_server_itself(
    proxy: Proxy, database: Database, role: Role, version: int, option: bool
) -> None:
    options = {"_pq_.test_protocol_negotiation": "1"} if option else {}
    answers = []
    for port in (database.postgres.port, proxy.port):
        with greeted(port, database, role, version, **options) as peer:
            kinds, key = kinds_and_key(messages := peer.until_ready())
            said = [body for kind, body in messages if kind == "v"]
            answers.append((kinds, len(key), said))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("version", [PROTOCOL_3_0, PROTOCOL_3_2])
def test_a_cancel_with_a_key_of_any_length(
    start_proxy: StartProxy, database: Database, role: Role, version: int
) -> None:
    proxies = [start_proxy(database.dsn) for _ in range(2)]
    with greeted(proxies[0].port, database, role, version) as peer:
        _, key = kinds_and_key(peer.until_ready())
        found = BackendKeyData.parse(key)
        for receiving in proxies:  # the session's own, and another of the same port
            peer.send(Query(b"SELECT pg_sleep(30)").encode())
            wait_until(lambda: is_running(database, role), "the statement runs")
            with RawPeer(receiving.dial()) as other:
                other.send(encode_cancel(CancelRequest(found.process_id, found.secret_key)))
                assert other.is_closed()  # only when it is done: what comes next is not hit
            assert sqlstate_of(peer.until_ready()[-2]) == "57014"
            for _ in range(3):
                peer.send(Query(b"SELECT pg_sleep(0.01)").encode())
                assert "E" not in {kind for kind, _ in peer.until_ready()}
        assert proxies[0].counted("cancels") == proxies[1].counted("cancels") == 1


def is_running(database: Database, role: Role) -> bool:
    with database.connect("postgres") as admin:
        return bool(
            admin.execute(
                "SELECT 1 FROM pg_stat_activity WHERE usename = %s AND state = 'active'",
                [role.name],
            ).fetchone()
        )


def test_a_thousand_cancels_hit_nobody_else(proxy: Proxy, database: Database, role: Role) -> None:
    """Of a session whose statements end about when the cancels come."""
    with (
        greeted(proxy.port, database, role, PROTOCOL_3_0) as target,
        proxy.connect(database) as bystander,
    ):
        _, key = kinds_and_key(target.until_ready())
        found = BackendKeyData.parse(key)
        request = encode_cancel(CancelRequest(found.process_id, found.secret_key))
        stop = threading.Event()

        def cancel_again_and_again() -> None:
            for _ in range(1000):
                if stop.is_set():
                    return
                with RawPeer(proxy.dial()) as other:
                    other.send(request)
                    other.is_closed()

        cancelling = threading.Thread(target=cancel_again_and_again)
        cancelling.start()
        until = time.monotonic() + 5
        while time.monotonic() < until and cancelling.is_alive():
            target.send(Query(b"SELECT pg_sleep(0.002)").encode())
            last = target.until_ready()
            assert {sqlstate_of(m) for m in last if m[0] == "E"} <= {"57014"}
            assert bystander.execute("SELECT 1").fetchone() == (1,)
        stop.set()
        cancelling.join()


def test_a_function_call(proxy: Proxy, database: Database, role: Role) -> None:
    with database.connect() as owner:
        [(oid,)] = owner.execute("SELECT 'pg_catalog.int4pl'::regproc::oid::int").fetchall()
    binary = 1
    arguments = struct.pack(">IHHH", oid, 1, binary, 2)
    arguments += struct.pack(">iiii", 4, 40, 4, 2) + struct.pack(">H", binary)
    with log_in(proxy.dial(), role.name, database.name) as peer:
        peer.send(encode_message(FUNCTION_CALL, arguments) + Query(b"SELECT 1").encode())
        messages = peer.until_ready()
        assert messages[0] == ("V", struct.pack(">ii", 4, 42))
        assert [kind for kind, _ in peer.until_ready()] == ["T", "D", "C", "Z"]


@pytest.fixture
def replicating(database: Database) -> Role:
    return database.add_role("REPLICATION")


def program(database: Database, name: str) -> str:
    """Of any version that is installed: the embedded server comes without some."""
    own = database.postgres.bindir / name
    found = own if own.exists() else Path("/usr/bin") / name
    if not found.exists():
        pytest.skip(f"{name} is not installed")
    return str(found)


def test_a_base_backup_through_the_proxy(
    proxy: Proxy, database: Database, replicating: Role, tmp_path: Path
) -> None:
    dsn = f"host=127.0.0.1 port={proxy.port} user={replicating.name}"
    command = [program(database, "pg_basebackup"), "-d", dsn, "-D", str(tmp_path / "copy")]
    done = subprocess.run(
        [*command, "-X", "stream", "-c", "fast", "--no-sync"],
        env=os.environ | {"PGPASSWORD": replicating.password},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "server version" in done.stderr:  # an older program than the server
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / "PG_VERSION").exists()
    assert (tmp_path / "copy" / "backup_manifest").exists()


def test_logical_decoding_through_the_proxy(
    proxy: Proxy, database: Database, replicating: Role, tmp_path: Path
) -> None:
    out = tmp_path / "changes"
    slot = f"slot_{database.name}"
    with database.connect("postgres") as admin:
        admin.execute("CREATE TABLE noted (n int)")
        admin.execute("CREATE PUBLICATION news FOR TABLE noted")
        admin.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        dsn = f"host=127.0.0.1 port={proxy.port} user={replicating.name} dbname={database.name}"
        command = [program(database, "pg_recvlogical"), "-d", dsn, "-S", slot, "--start"]
        process = subprocess.Popen(
            [*command, "-o", "proto_version=1", "-o", "publication_names=news", "-f", str(out),
             "-F", "0", "-n"],
            env=os.environ | {"PGPASSWORD": replicating.password},
        )  # fmt: skip
        try:
            admin.execute("INSERT INTO noted SELECT generate_series(1, 1000)")
            wait_until(lambda: out.exists() and b"1000" in out.read_bytes(), "the changes came")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        changes = out.read_bytes()
        assert all(b"t\0\0\0%c%d" % (len(str(n)), n) in changes for n in range(1, 1001))

        def dropped() -> bool:
            try:
                admin.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            except psycopg.errors.ObjectInUse:
                return False
            return True

        wait_until(dropped, "the slot is free")


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close(proxy: Proxy, database: Database, role: Role, first: str) -> None:
    with log_in(proxy.dial(), role.name, database.name) as peer:
        if first == "client":  # it says all that it has to say, and reads the answers
            peer.send(Query(b"SELECT generate_series(1, 10000)").encode())
            peer.socket.shutdown(1)
            assert len(peer.until_ready()) == 10_003
        else:
            peer.send(Query(b"SELECT pg_terminate_backend(pg_backend_pid())").encode())
            assert sqlstate_of(peer.receive_all()[-1]) == "57P01"
        assert peer.receive() is None
