"""The admin console of a whole ``serve`` with two proxies."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import Query
from durproxy.wire.startup import PROTOCOL_3_0, StartupMessage, encode_startup
from tests.fix_postgres import Database, Role
from tests.fix_serve import Serve, ServeWith
from tests.relay.peers import RawPeer
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def administrator(home: Database) -> Role:
    return home.add_role()


@pytest.fixture
def served(serve_with: ServeWith, administrator: Role) -> Serve:
    return serve_with(proxies=2, admin_users=f'["{administrator.name}"]', drain_timeout=3)


def console_dsn(served: Serve, role: Role) -> str:
    return served.dsn_for(role).replace(f"dbname={served.home.name}", "dbname=durproxy")


def port_of(connection: psycopg.Connection) -> str:
    """Of the client's end."""
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        return str(sock.getsockname()[1])


class Console:
    """A session of the simple protocol, as psql's."""

    def __init__(self, served: Serve, role: Role) -> None:
        self._connection = psycopg.connect(console_dsn(served, role), autocommit=True)
        self.notices: list[str] = []
        self._connection.add_notice_handler(
            lambda notice: self.notices.append(notice.message_primary or "")
        )

    def run(self, command: str) -> list[dict[str, str]]:
        result = self._connection.pgconn.exec_(command.encode())
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.get_error_message())
        names = [(result.fname(n) or b"").decode() for n in range(result.nfields)]
        return [
            {name: (result.get_value(row, n) or b"").decode() for n, name in enumerate(names)}
            for row in range(result.ntuples)
        ]

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def console(served: Serve, administrator: Role) -> Iterator[Console]:
    console = Console(served, administrator)
    yield console
    console.close()


def test_what_it_shows(served: Serve, console: Console, administrator: Role) -> None:
    with served.connect() as one, served.connect() as other:
        pids = {str(one.info.backend_pid), str(other.info.backend_pid)}
        assert {row["pid"] for row in console.run("SHOW clients;")} == pids
        clients = console.run("show CLIENTS")
        assert {row["state"] for row in clients} == {"relaying"}
        assert {row["port"] for row in clients} == {port_of(one), port_of(other)}
        one.execute("SET application_name = 'tester'")
        wait_until(
            lambda: "tester" in {row["application_name"] for row in console.run("SHOW CLIENTS")},
            "its name is shown",
        )
        one.execute("BEGIN")
        transactions = {row["pid"]: row["transaction"] for row in console.run("SHOW servers")}
        assert transactions[str(one.info.backend_pid)] == "open"
        assert transactions[str(other.info.backend_pid)] == "idle"
    [counted] = [row for row in console.run("SHOW stats") if row["name"] == "connections"]
    assert sum(int(counted[name]) for name in ("proxy-0", "proxy-1")) == 2
    assert [row["kind"] for row in console.run("SHOW engines")] == ["engine"]
    kinds = [row["kind"] for row in console.run("SHOW processes")]
    assert sorted(kinds) == ["engine", "proxy", "proxy"]
    settings = {row["key"]: row for row in console.run("SHOW config")}
    assert [settings["proxies"][name] for name in ("value", "default", "changeable")] == [
        "2", "1", "no",
    ]  # fmt: skip
    assert settings["max_connections"]["changeable"] == "yes"
    assert served.home.owner.password not in settings["upstream"]["value"]
    assert settings["runtime_dir"]["value"] == str(served.home.passfile.parent)
    assert console.run("SHOW version")[0]["version"].startswith("durproxy ")
    assert len(console.run("SHOW help")) > 5
    with pytest.raises(psycopg.OperationalError, match="not a command of the console"):
        console.run("DROP TABLE users")
    with pytest.raises(psycopg.OperationalError, match=f'"DROP {"x" * 55}\\.\\.\\."'):
        console.run(f"DROP {'x' * 100}")
    with pytest.raises(psycopg.OperationalError, match="KILL needs the pid of a backend"):
        console.run("KILL")
    done = served.home.postgres.psql(console_dsn(served, administrator), "SHOW VERSION")
    assert done.startswith("durproxy ")


def test_nobody_else_is_let_in(served: Serve, home: Database, administrator: Role) -> None:
    with pytest.raises(psycopg.OperationalError, match="is not one of the setting admin_users"):
        psycopg.connect(console_dsn(served, home.owner))
    wrong = console_dsn(served, administrator).replace(administrator.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_killed_session_ends_busy_or_not(served: Serve, console: Console) -> None:
    with closing(served.connect()) as idle, closing(served.connect()) as busy:
        console.run(f"KILL {idle.info.backend_pid}")
        with pytest.raises(psycopg.errors.AdminShutdown, match="administrator"):
            idle.execute("SELECT 1")
        busy.pgconn.send_query(b"SELECT pg_sleep(60)")
        pid = busy.info.backend_pid
        wait_until(
            lambda: (
                served.home.psql(f"SELECT state FROM pg_stat_activity WHERE pid = {pid}")
                == "active"
            ),
            "the statement runs",
        )
        console.run(f"KILL {pid}")
        wait_until(
            lambda: (
                served.home.psql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == "0"
            ),
            "its backend is gone",
        )
    with pytest.raises(psycopg.OperationalError, match="there is no session"):
        console.run("KILL 1")


def test_a_pause_waits_for_transactions_and_holds_what_comes_then(
    served: Serve, console: Console, administrator: Role
) -> None:
    other = Console(served, administrator)
    with served.connect() as working, served.connect() as idle:
        working.execute("BEGIN")
        pausing = threading.Thread(target=console.run, args=["PAUSE"])
        pausing.start()
        wait_until(
            lambda: {row["state"] for row in other.run("SHOW clients")} == {"relaying", "paused"},
            "the idle one is paused",
        )
        working.execute("SELECT 1")
        working.execute("COMMIT")
        pausing.join()
        answers: list[object] = []
        asking = threading.Thread(target=lambda: answers.append(idle.execute("SELECT 1")))
        asking.start()
        coming = threading.Thread(target=lambda: answers.append(served.connect()))
        coming.start()
        states = {row["state"] for row in console.run("SHOW clients")}
        assert (states, answers) == ({"paused"}, [])
        console.run("RESUME")
        asking.join()
        coming.join()
        assert len(answers) == 2
        for answer in answers:
            assert isinstance(answer, psycopg.Cursor | psycopg.Connection)
            answer.close()
        assert working.execute("SELECT 1").fetchone() == (1,)
    other.close()


def test_a_login_that_had_begun_is_paused_when_it_is_over(
    served: Serve, console: Console, administrator: Role
) -> None:
    role = served.home.add_role(login="by_password")
    other = Console(served, administrator)
    with RawPeer(socket.create_connection(("127.0.0.1", served.port), 20)) as client:
        names = {"user": role.name, "database": served.home.name}
        client.send(encode_startup(StartupMessage(PROTOCOL_3_0, names)))
        assert client.receive() == ("R", b"\0\0\0\3")
        coming = threading.Thread(target=lambda: served.connect().close())
        console.run("PAUSE")
        coming.start()
        other.run("PAUSE")  # which is no other pause
        password = encode_message(ord("p"), role.password.encode() + b"\0")
        client.send(password + Query(b"SELECT 1").encode())
        client.until_ready()
        wait_until(
            lambda: {row["state"] for row in console.run("SHOW clients")} == {"paused"},
            "it is paused",
        )
        console.run("RESUME")
        assert [kind for kind, _ in client.until_ready()] == ["T", "D", "C", "Z"]
        coming.join()
    other.close()


def test_a_pause_does_not_wait_for_ever(served: Serve, console: Console) -> None:
    with served.connect() as working:
        working.execute("BEGIN")
        with pytest.raises(psycopg.OperationalError, match="have not ended in time"):
            console.run("PAUSE")
        working.execute("COMMIT")
        assert {row["state"] for row in console.run("SHOW clients")} == {"paused"}
        console.run("RESUME")
        assert working.execute("SELECT 1").fetchone() == (1,)


def test_it_reloads(
    serve_with: ServeWith, home: Database, administrator: Role, tmp_path: Path
) -> None:
    settings = tmp_path / "durproxy.toml"
    settings.write_text("max_role_connections = 10\n")
    served = serve_with(config=settings, admin_users=f'["{administrator.name}"]')
    console = Console(served, administrator)
    settings.write_text("max_role_connections = 11\n")
    console.run("RELOAD")

    def followed() -> bool:
        shown = {row["key"]: row["value"] for row in console.run("SHOW config")}
        return shown["max_role_connections"] == "11"

    wait_until(followed, "the proxy follows")
    settings.write_text('auth_file = "/nowhere"\n')
    with pytest.raises(psycopg.OperationalError, match="/nowhere"):
        console.run("RELOAD")
    settings.write_text("max_role_connections = 11\nproxies = 2\n")
    console.run("RELOAD")
    [notice] = console.notices
    assert 'setting "proxies" has changed, and waits for the next start' in notice
    console.close()


def test_another_way_to_the_server_is_followed_by_new_sessions(
    serve_with: ServeWith, home: Database, administrator: Role, tmp_path: Path
) -> None:
    settings = tmp_path / "durproxy.toml"
    settings.write_text(f'upstream = "{home.dsn}"\n')
    served = serve_with(config=settings, admin_users=administrator.name, upstream=None)
    console = Console(served, administrator)
    with served.connect() as before:
        settings.write_text(f'upstream = "{home.dsn} password=wrong"\n')
        with pytest.raises(psycopg.OperationalError, match="does not let us in"):
            console.run("RELOAD")
        local = home.dsn.replace("host=127.0.0.1", f"host={home.postgres.host}")
        settings.write_text(f'upstream = "{local}"\n')
        engines = served.engine_pids()
        console.run("RELOAD")
        wait_until(lambda: served.events("proxy.reloaded"), "the proxy follows")
        with served.connect() as after:
            ways = {row["pid"]: row["addr"] for row in console.run("SHOW SERVERS")}
            assert ways == {
                str(before.info.backend_pid): "127.0.0.1",
                str(after.info.backend_pid): home.postgres.host,
            }
            wait_until(lambda: served.engine_pids() not in ([], engines), "another engine runs")
            for client in (before, after):
                [row] = client.execute("SELECT df.start('SELECT 1')").fetchall()
                found = client.execute("SELECT df.await_instance(%s, 20)", row).fetchone()
                assert found == ("completed",)
    console.close()
