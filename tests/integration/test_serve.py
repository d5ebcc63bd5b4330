"""``durproxy serve`` as a process: readiness, restarts, drains, and what stops its start."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from durproxy.embedded import free_port
from durproxy.interpreter import interpreter
from tests.fix_postgres import Database
from tests.fix_serve import Serve, ServeWith, run_durproxy
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def by_command() -> bool:
    return True


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ready_line_comes_when_clients_can_connect_and_an_engine_runs(serve: Serve) -> None:
    assert serve.events("child.ready", kind="engine")
    assert serve.psql("SELECT current_user") == serve.home.role


def test_first_serve_installs_the_home_schema(database: Database) -> None:
    with closing(Serve(database, {}, by_command=True)) as server:
        server.wait_ready()
        assert server.psql("SELECT df.version() IS NOT NULL") == "t"
        assert server.events("home.installed")


def test_serve_that_may_not_install_says_what_to_run(database: Database) -> None:
    stranger = database.add_role()
    upstream = database.dsn_for(stranger)
    done = run_durproxy("serve", upstream=upstream, listen="127.0.0.1:0", web="off")
    assert done.returncode == 2
    assert "the home schema is missing" in done.stderr
    assert "durproxy init" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_needs_no_standard_output() -> None:
    program = " ".join(map(shlex.quote, interpreter()))
    options = "--upstream 'host=127.0.0.1 port=1' --listen 127.0.0.1:0 --web off"
    done = subprocess.run(
        ["sh", "-c", f"{program} -m durproxy.cli serve {options} >&-"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_serve_before_itself_is_refused(listen: str) -> None:
    port = free_port()
    upstream = f"host=nowhere.invalid,localhost port=5432,{port} user=me"
    done = run_durproxy("serve", upstream=upstream, listen=f"{listen}:{port}", web="off")
    assert done.returncode == 2
    assert f'leads to durproxy itself, at "localhost" port {port}' in done.stderr


@pytest.mark.parametrize("where", ["DSN", "PGPASSWORD"])
def test_password_of_the_upstream_role_is_not_offered_for_another(
    serve_with: ServeWith, home: Database, where: str
) -> None:
    owner, other = home.owner, home.add_role()
    home.psql(f"SELECT df.grant_usage('{other.name}')")
    passwords = home.passfile.read_text().splitlines()
    home.passfile.write_text("".join(f"{p}\n" for p in passwords if f":{other.name}:" in p))
    place = f"host=127.0.0.1 port={home.postgres.port} dbname={home.name}"
    if where == "DSN":
        server = serve_with(upstream=f"{place} user={owner.name} password={owner.password}")
    else:  # and the user from the environment too
        server = serve_with({"PGUSER": owner.name, "PGPASSWORD": owner.password}, upstream=place)
    for role in (owner, other):
        with server.connect(role) as client:
            started = client.execute("SELECT df.start('SELECT 1')").fetchone()
            ended = client.execute("SELECT df.await_instance(%s, 20)", started).fetchone()
            assert ended == ("completed",)


def test_without_engines_proxies_alone_are_ready(serve_with: ServeWith) -> None:
    server = serve_with(engines=0, proxies=2)
    assert len(server.proxy_pids()) == 2
    assert server.engine_pids() == []
    assert server.psql("SELECT 1") == "1"


def test_unix_socket_serves_too_and_is_removed(serve_with: ServeWith, tmp_path: Path) -> None:
    server = serve_with(listen_socket=tmp_path, proxies=2)
    owner = server.home.owner
    dsn = f"host={tmp_path} port={server.port} dbname={server.home.name}"
    with psycopg.connect(f"{dsn} user={owner.name} password={owner.password}") as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert server.stop() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["proxy", "engine"])
def test_child_that_dies_is_started_again_at_once(serve: Serve, kind: str) -> None:
    [victim] = serve.child_pids(kind)
    os.kill(victim, signal.SIGKILL)
    serve.wait_log("child.ended", kind=kind, pid=victim, signal="SIGKILL")
    # a client that comes now waits for the new proxy instead of being refused
    assert serve.psql("SELECT 1") == "1"
    wait_until(lambda: serve.child_pids(kind) not in ([], [victim]), f"another {kind}")
    wait_until(lambda: len(serve.events("child.ready", kind=kind)) == 2, f"the {kind} is ready")


def test_client_of_another_proxy_notices_nothing_of_a_proxys_death(serve_with: ServeWith) -> None:
    server = serve_with(proxies=2)
    victims = server.proxy_pids()
    with closing(server.connect()) as client:
        [carrier] = [
            pid for pid in victims if holds_connection(pid, client.info.backend_pid, server)
        ]
        [other] = [pid for pid in victims if pid != carrier]
        os.kill(other, signal.SIGKILL)
        server.wait_log("child.ended", pid=other)
        assert client.execute("SELECT 1").fetchone() == (1,)


def holds_connection(pid: int, backend_pid: int, server: Serve) -> bool:
    """Whether this process is the upstream's client in that backend."""
    with server.home.connect("postgres") as admin:
        row = admin.execute(
            "SELECT client_port FROM pg_stat_activity WHERE pid = %s", [backend_pid]
        ).fetchone()
    assert row is not None
    local = f"0100007F:{row[0]:04X}"
    inodes = [
        fields[9]
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()
        if (fields := line.split())[1] == local
    ]
    links = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return any(f"socket:[{inode}]" in links for inode in inodes)


def test_children_die_with_a_killed_supervisor(serve: Serve) -> None:
    children = [*serve.proxy_pids(), *serve.engine_pids()]
    serve.terminate(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in children), "the children are gone")


def test_sigterm_drains_and_exits_with_zero(serve: Serve) -> None:
    children = [*serve.proxy_pids(), *serve.engine_pids()]
    with closing(serve.connect()):  # idle: nothing to wait for
        assert serve.stop(timeout=10) == 0
    assert not any(is_alive(pid) for pid in children)
    assert [event["exit_code"] for event in serve.events("child.ended")] == [0, 0]


def test_drain_lets_a_running_statement_finish(serve: Serve) -> None:
    with closing(serve.connect()) as client:
        client.pgconn.send_query(b"SELECT pg_sleep(1.5), 7")
        wait_until(lambda: is_active(serve.home, client.info.backend_pid), "the statement runs")
        serve.terminate()
        serve.wait_log("serve.draining")
        result = client.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 1) == b"7"
    assert serve.stop() == 0


def test_drain_is_bounded(serve_with: ServeWith) -> None:
    server = serve_with(drain_timeout=0.5)
    with closing(server.connect()) as client:
        client.execute("BEGIN")  # a transaction that never ends
        assert server.stop(timeout=10) == 0


def is_active(home: Database, pid: int) -> bool:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
    return home.psql(query, "postgres") == "1"


def test_web_port_answers_health_checks(serve_with: ServeWith) -> None:
    port = free_port()
    server = serve_with(web=f"127.0.0.1:{port}")
    server.wait_log("child.ready", kind="web")
    for path, status in (("healthz", "ok"), ("readyz", "ready")):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            assert json.load(answer)["status"] == status


def test_port_in_use_is_exit_code_2(home: Database) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = "127.0.0.1:{1}".format(*taken.getsockname())
        done = run_durproxy("serve", upstream=home.dsn, listen=address, web="off")
    assert done.returncode == 2
    assert f'could not listen on "{address}": address already in use' in done.stderr
    assert "--listen" in done.stderr


def test_port_of_another_serve_is_in_use(serve: Serve) -> None:
    address = f"127.0.0.1:{serve.port}"
    done = run_durproxy("serve", upstream=serve.home.dsn, listen=address, web="off")
    assert done.returncode == 2
    assert f'could not listen on "{address}"' in done.stderr


def test_upstream_that_is_down_is_exit_code_3() -> None:
    upstream = f"host=127.0.0.1 port={free_port()} user=app dbname=app"
    done = run_durproxy("serve", upstream=upstream, listen="127.0.0.1:0", web="off")
    assert done.returncode == 3
    assert "could not connect to the upstream of option --upstream" in done.stderr
    assert "Connection refused" in done.stderr


def test_upstream_that_refuses_the_dsn_is_exit_code_2(home: Database) -> None:
    wrong_password = home.dsn.replace(home.owner.password, "wrong")
    wrong_database = home.dsn.replace(f"dbname={home.name}", "dbname=nowhere")
    for upstream, reason in (
        (wrong_password, "password authentication failed"),
        (wrong_database, 'database "nowhere" does not exist'),
        ("postgres//nonsense", "must be a postgresql:// URI"),
    ):
        done = run_durproxy("serve", upstream=upstream, listen="127.0.0.1:0", web="off")
        assert done.returncode == 2
        assert "--upstream" in done.stderr
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_runtime_dir_that_cannot_be_used_is_exit_code_2(home: Database, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    for folder, reason in ((tmp_path / "none", "no such file"), (long, "is too long")):
        done = run_durproxy(
            "serve", upstream=home.dsn, listen="127.0.0.1:0", web="off", runtime_dir=folder
        )
        assert done.returncode == 2, done.stderr
        assert reason in done.stderr
        assert "--runtime-dir" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_child_killed_by_a_signal_without_a_name_is_started_again(serve: Serve) -> None:
    [engine] = serve.engine_pids()
    os.kill(engine, 40)
    serve.wait_log("child.ended", pid=engine, signal="40")
    wait_until(lambda: [pid for pid in serve.engine_pids() if pid != engine], "another engine")


def test_the_soft_limit_of_descriptors_does_not_bound_the_clients(serve_with: ServeWith) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    try:
        server = serve_with()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    [proxy] = server.proxy_pids()
    assert resource.prlimit(proxy, resource.RLIMIT_NOFILE) == (most, most)


def test_children_come_back_after_the_zygote_was_killed_too(serve: Serve) -> None:
    os.kill(_zygote_of(serve.pid), signal.SIGKILL)
    killed = serve.kill_engine()
    serve.wait_log("child.ended", kind="engine", pid=killed)
    wait_until(lambda: serve.engine_pids() not in ([], [killed]), "another engine")
    instance = serve.psql("SELECT df.start('SELECT 1')").strip()
    assert serve.psql(f"SELECT df.await_instance('{instance}', 20)").strip() == "completed"


def _zygote_of(supervisor: int) -> int:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return next(
        int(pid)
        for pid in children
        if b"durproxy: zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
