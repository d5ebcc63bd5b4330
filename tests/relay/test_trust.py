"""A server that asks for no password has judged the proxy, not the client."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from durproxy.wire.startup import PROTOCOL_3_0, StartupMessage, encode_startup
from tests.fix_postgres import Database, Role
from tests.relay.conftest import StartProxy
from tests.relay.peers import Message, RawPeer, sqlstate_of

pytestmark = pytest.mark.one_postgres

SOMEBODY_ELSE = 65534
SUPERUSER = Role("postgres", "")  # whom the fixtures' server trusts over its unix socket


def by_socket(database: Database) -> str:
    return f"host={database.postgres.host} port={database.postgres.port}"


@pytest.fixture
def place() -> Iterator[Path]:
    """Of a unix socket, where every user may go."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "s"


def dial(path: Path, user_id: int | None = None) -> socket.socket:
    """A connection to a unix socket, as another user."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    own = os.geteuid()
    os.seteuid(own if user_id is None else user_id)
    try:
        client.connect(str(path))
    finally:
        os.seteuid(own)
    return client


def first_reply(client: socket.socket, database: Database, role: Role) -> Message | None:
    with RawPeer(client) as peer:
        names = {"user": role.name, "database": database.name}
        peer.send(encode_startup(StartupMessage(PROTOCOL_3_0, names)))
        return peer.receive()


def test_the_proxys_own_user_may_use_its_unix_sockets(
    start_proxy: StartProxy, database: Database, place: Path
) -> None:
    start_proxy(by_socket(database), host=str(place), allow_trust=False)
    reply = first_reply(dial(place), database, SUPERUSER)
    assert reply == ("R", b"\0\0\0\0")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be another user for a moment")
def test_another_user_of_this_machine_may_not(
    start_proxy: StartProxy, database: Database, place: Path
) -> None:
    start_proxy(by_socket(database), host=str(place), allow_trust=False)
    reply = first_reply(dial(place, SOMEBODY_ELSE), database, SUPERUSER)
    assert sqlstate_of(reply) == "28000"
    assert reply is not None
    assert b"unix socket as the user that durproxy runs as" in reply[1]


@pytest.mark.parametrize("allow_trust", [False, True])
def test_over_tcp_it_takes_a_setting(
    start_proxy: StartProxy, database: Database, allow_trust: bool
) -> None:
    """Whose connection it is, and whom the server has taken it for, nobody can tell."""
    trusted = database.add_role(login="by_trust")
    cases = [(by_socket(database), SUPERUSER), (database.dsn, trusted)]
    for upstream, role in cases:
        proxy = start_proxy(upstream, allow_trust=allow_trust)
        reply = first_reply(proxy.dial(), database, role)
        if allow_trust:
            assert reply == ("R", b"\0\0\0\0")
        else:
            assert sqlstate_of(reply) == "28000"
            assert reply is not None
            assert b"allow_trust" in reply[1]


def test_a_socket_in_front_of_a_server_elsewhere_says_nothing_about_its_clients(
    start_proxy: StartProxy, database: Database, place: Path
) -> None:
    role = database.add_role(login="by_trust")
    start_proxy(database.dsn, host=str(place), allow_trust=False)
    reply = first_reply(dial(place), database, role)
    assert sqlstate_of(reply) == "28000"


def test_who_proves_itself_needs_no_setting(start_proxy: StartProxy, database: Database) -> None:
    for upstream in (database.dsn, by_socket(database)):
        proxy = start_proxy(upstream, allow_trust=False)
        with proxy.connect(database) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
