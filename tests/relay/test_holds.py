"""df.await_instance without an engine: the test itself ends the instances, and looks who waits."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from durproxy.bus import LocalBus
from durproxy.schema.install import install
from durproxy.wire.backend import BackendKeyData
from durproxy.wire.frontend import Query
from durproxy.wire.startup import (
    PROTOCOL_3_0,
    CancelRequest,
    StartupMessage,
    encode_cancel,
    encode_startup,
)
from tests.fix_postgres import Database, Role
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import RawPeer, log_in, sqlstate_of
from tests.waiting import wait_until


@pytest.fixture
def proxy(start_proxy: StartProxy, home: Database) -> Proxy:
    return start_proxy(home.dsn)


@pytest.fixture
def role(home: Database) -> Role:
    """Needs no password, and may use df."""
    role = home.add_role(login="by_trust")
    with home.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [role.name])
    return role


@pytest.fixture
def peer(proxy: Proxy, home: Database, role: Role) -> Iterator[RawPeer]:
    with log_in(proxy.dial(), role.name, home.name) as peer:
        yield peer


def start(home: Database, role: Role) -> str:
    with home.connect(role) as connection:
        [instance] = connection.execute("SELECT df.start('SELECT 1')").fetchone() or [None]
        return instance.decode() if isinstance(instance, bytes) else str(instance)


def end(home: Database, instance: str) -> None:
    with home.connect() as owner:
        owner.execute(
            "UPDATE df._instances SET status = 'completed', ready_at = NULL, owner = NULL,"
            " token = NULL, completed_at = now(), result = '{}' WHERE id = %s",
            [instance],
        )


def activity(home: Database, role: Role) -> tuple[str, str]:
    """The state of the role's one backend, and the statement that it had last."""
    with home.connect("postgres") as admin:

        def rows() -> list[tuple[str, str]]:
            return admin.execute(
                "SELECT state, query FROM pg_stat_activity WHERE usename = %s", [role.name]
            ).fetchall()

        wait_until(lambda: len(rows()) == 1, "the session that started the instance has gone")
        [row] = rows()
    return row


def await_text(instance: str, timeout: int = 30) -> bytes:
    return Query(f"SELECT df.await_instance('{instance}', {timeout})".encode()).encode()


def test_no_backend_waits_with_a_held_client(peer: RawPeer, home: Database, role: Role) -> None:
    instance = start(home, role)
    peer.send(await_text(instance))
    time_held = time.monotonic() + 1.2  # more than one question to the home schema
    wait_until(lambda: time.monotonic() > time_held, "some time has passed")
    state, query = activity(home, role)
    assert (state, "await_instance" in query) == ("idle", False)
    end(home, instance)
    messages = peer.until_ready()
    assert [kind for kind, _ in messages] == ["T", "D", "C", "Z"]
    assert b"await_instance\0" in messages[0][1]
    assert b"completed" in messages[1][1]
    assert "df_held" in activity(home, role)[1]


def test_a_drain_ends_a_held_session_at_once_and_says_so(
    proxy: Proxy, peer: RawPeer, home: Database, role: Role
) -> None:
    peer.send(await_text(start(home, role), timeout=600))
    with proxy.connect(home) as other:  # what was sent before has been seen when this is answered
        other.execute("SELECT 1")
    proxy.terminate()
    assert sqlstate_of(peer.receive()) == "57P01"
    assert proxy.wait() == 0
    assert proxy.wait_log("proxy.draining")["held"] == 1


def test_an_engine_on_the_bus_is_faster_than_the_next_question(
    peer: RawPeer, home: Database, role: Role, tmp_path: Path
) -> None:
    instance = start(home, role)
    with LocalBus(tmp_path, "engine-0") as bus:
        peer.send(await_text(instance))
        end(home, instance)
        bus.tell_proxies_ended(instance)
        assert peer.until_ready()[-1] == ("Z", b"I")


def test_a_timeout_is_waited_for_once(peer: RawPeer, home: Database, role: Role) -> None:
    instance = start(home, role)
    began = time.monotonic()
    peer.send(await_text(instance, 2))
    messages = peer.until_ready()
    assert 1.9 < time.monotonic() - began < 3.8
    assert sqlstate_of(messages[-2]) == "WF010"


@pytest.mark.parametrize("text", ["00000000", "not an id"])
def test_an_unknown_instance_is_the_servers_to_answer(peer: RawPeer, text: str) -> None:
    peer.send(await_text(text, 1))
    assert peer.until_ready()[0][0] in "ET"


def test_anothers_instance_is_not_waited_for_here(
    peer: RawPeer, home: Database, role: Role
) -> None:
    with home.connect() as owner:
        [instance] = owner.execute("SELECT df.start('SELECT 1')").fetchone() or [None]
    peer.send(await_text(str(instance), 2))
    wait_until(lambda: "df.await_instance" in activity(home, role)[1], "the server has it")
    peer.until_ready()


def test_nothing_is_held_in_a_transaction(peer: RawPeer, home: Database, role: Role) -> None:
    instance = start(home, role)
    peer.send(Query(b"BEGIN").encode())
    peer.until_ready()
    peer.send(await_text(instance, 20))
    wait_until(lambda: activity(home, role)[0] == "active", "the server waits itself")
    end(home, instance)
    assert peer.until_ready()[-1] == ("Z", b"T")


@pytest.mark.parametrize("before", [b"SELECT 1;", b"SELECT 1 UNION ALL SELECT 2;"])
def test_nothing_is_held_beside_another_statement(
    peer: RawPeer, home: Database, role: Role, before: bytes
) -> None:
    instance = start(home, role)
    both = before + f" SELECT df.await_instance('{instance}', 20)".encode()
    peer.send(Query(both).encode())
    wait_until(lambda: activity(home, role)[0] == "active", "the server waits itself")
    end(home, instance)
    peer.until_ready()


def test_a_client_that_leaves_while_held(proxy: Proxy, home: Database, role: Role) -> None:
    instance = start(home, role)
    before = proxy.descriptors()
    with log_in(proxy.dial(), role.name, home.name) as peer:
        peer.send(await_text(instance))
        wait_until(lambda: proxy.descriptors() > before, "it is connected")
    with home.connect("postgres") as admin:
        wait_until(
            lambda: (
                admin.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [role.name]
                ).fetchone()
                == (0,)
            ),
            "its backend is gone",
        )


def test_a_server_that_ends_the_session_while_it_is_held_has_the_last_word(
    proxy: Proxy, peer: RawPeer, home: Database, role: Role
) -> None:
    instance = start(home, role)
    activity(home, role)  # only the one that waits is left
    peer.send(await_text(instance))
    with proxy.connect(home) as other:  # what was sent before has been seen when this is answered
        other.execute("SELECT 1")
    with home.connect("postgres") as admin:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        admin.execute(kill, [role.name])
    assert sqlstate_of(peer.receive()) == "57P01"
    assert peer.receive() is None
    end(home, instance)
    with log_in(proxy.dial(), role.name, home.name) as again:
        again.send(await_text(instance))
        assert [kind for kind, _ in again.until_ready()] == ["T", "D", "C", "Z"]


def test_a_statement_timeout_is_respected(proxy: Proxy, home: Database, role: Role) -> None:
    with home.connect("postgres") as admin:
        admin.execute(f"ALTER ROLE {role.name} SET statement_timeout = '2s'")
    instance = start(home, role)
    with log_in(proxy.dial(), role.name, home.name) as peer:
        peer.send(await_text(instance))
        assert sqlstate_of(peer.until_ready()[-2]) == "57014"


def test_many_holds(proxy: Proxy, home: Database, role: Role) -> None:
    instance = start(home, role)
    peers = [log_in(proxy.dial(), role.name, home.name) for _ in range(50)]
    for peer in peers:
        peer.send(await_text(instance))
    end(home, instance)
    for peer in peers:
        assert b"completed" in peer.until_ready()[1][1]
        peer.socket.close()


@pytest.mark.parametrize("prepared", [False, True])
def test_extended_protocol(proxy: Proxy, home: Database, role: Role, prepared: bool) -> None:
    with proxy.connect(home, role) as connection:
        connection.prepare_threshold = 0 if prepared else None
        for _ in range(3):
            instance = start(home, role)
            ending = threading.Timer(0.3, end, (home, instance))
            ending.start()
            found = connection.execute("SELECT df.await_instance(%s, %s)", [instance, 20])
            assert found.fetchone() == ("completed",)
            ending.join()


def test_a_prepared_statements_timeout_is_waited_for_once(
    proxy: Proxy, home: Database, role: Role
) -> None:
    instance = start(home, role)
    with proxy.connect(home, role) as connection:
        connection.prepare_threshold = 0
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(psycopg.Error) as caught:
                connection.execute("SELECT df.await_instance(%s, %s)", [instance, 2])
            assert caught.value.sqlstate == "WF010"
            assert time.monotonic() - began < 3.8
        end(home, instance)
        found = connection.execute("SELECT df.await_instance(%s, %s)", [instance, 1])
        assert found.fetchone() == ("completed",)


def test_a_cancel_of_a_held_statement_hits_no_other(
    proxy: Proxy, home: Database, role: Role
) -> None:
    instance = start(home, role)
    with proxy.connect(home, role) as connection:
        for _ in range(5):
            stopping = threading.Timer(0.1, connection.cancel_safe)
            stopping.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("SELECT df.await_instance(%s, 20)", [instance])
            for _ in range(3):
                connection.execute("SELECT pg_sleep(0.05)")
            stopping.join()


def test_a_cancel_that_comes_to_another_proxy(
    proxy: Proxy, start_proxy: StartProxy, home: Database, role: Role
) -> None:
    sibling = start_proxy(home.dsn)
    instance = start(home, role)
    with proxy.dial() as sock:
        peer = RawPeer(sock)
        peer.send(
            encode_startup(StartupMessage(PROTOCOL_3_0, {"user": role.name, "database": home.name}))
        )
        [key] = [body for kind, body in peer.until_ready() if kind == "K"]
        peer.send(await_text(instance, 20))
        found = BackendKeyData.parse(key)
        request = encode_cancel(CancelRequest(found.process_id, found.secret_key))

        def answered() -> bool:  # a cancel that came before the statement was held is lost
            with sibling.dial() as other:
                other.sendall(request)
                assert other.recv(1) == b""
            return bool(select.select([sock], [], [], 0.2)[0])

        wait_until(answered, "the held statement was cancelled")
        assert sqlstate_of(peer.until_ready()[-2]) == "57014"


def test_a_home_that_does_not_answer_holds_nobody(
    peer: RawPeer, home: Database, role: Role
) -> None:
    instance = start(home, role)
    peer.send(await_text(instance, 1))
    peer.until_ready()
    with home.connect("postgres") as admin:
        [backend] = admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'durproxy proxy'"
        ).fetchone() or [0]
        os.kill(backend, signal.SIGSTOP)
        try:
            peer.send(await_text(instance, 1))
            assert sqlstate_of(peer.until_ready()[-2]) == "WF010"
        finally:
            os.kill(backend, signal.SIGCONT)
    end(home, instance)
    peer.send(await_text(instance, 1))
    assert b"completed" in peer.until_ready()[1][1]


@pytest.mark.one_postgres
def test_a_database_of_bytes_holds_clients_too(start_proxy: StartProxy, database: Database) -> None:
    """With SQL_ASCII the server converts nothing, and names need not be text."""
    name = f"{database.name}_bytes"
    with database.connect("postgres") as admin:
        admin.execute(
            f"CREATE DATABASE {name} OWNER {database.role} TEMPLATE template0"
            " ENCODING 'SQL_ASCII' LOCALE 'C'".encode()
        )
        try:
            home = replace(database, name=name)
            install(home.dsn)
            with start_proxy(home.dsn).connect(home) as client:
                instance = start(home, home.owner)
                with pytest.raises(psycopg.Error) as caught:
                    client.execute("SELECT df.await_instance(%s, 1)", [instance])
                assert caught.value.sqlstate == "WF010"
                end(home, instance)
                found = client.execute("SELECT df.await_instance(%s, 1)", [instance]).fetchone()
                assert found == (b"completed",)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
