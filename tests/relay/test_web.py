"""The web port of a whole ``serve``: what it says is true, also when something is missing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from psycopg import sql

from durproxy.embedded import free_port
from tests.fix_postgres import Database
from tests.fix_serve import Serve, ServeWith
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def web_port() -> int:
    return free_port()


@pytest.fixture
def served(serve_with: ServeWith, web_port: int) -> Serve:
    return serve_with(web=f"127.0.0.1:{web_port}", proxies=2)


def get(port: int, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=30)


def metrics(port: int) -> dict[str, float]:
    page = get(port, "metrics")
    assert page.headers["content-type"].startswith("text/plain")
    lines = [line for line in page.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def total(numbers: dict[str, float], name: str) -> float:
    return sum(value for key, value in numbers.items() if key.startswith(f"{name}{{"))


def test_metrics_count_what_all_proxies_did(served: Serve, web_port: int) -> None:
    before = total(metrics(web_port), "durproxy_proxy_connections_total")
    for _ in range(6):
        with served.connect() as connection:
            connection.execute("SELECT df.version()")
    with served.connect() as connection:
        connection.execute("SELECT 1")
        numbers = metrics(web_port)
    assert total(numbers, "durproxy_proxy_connections_total") - before == 7
    assert total(numbers, "durproxy_proxy_connections_now") >= 1
    assert total(numbers, "durproxy_proxy_statements_planned_total") >= 6
    assert total(numbers, "durproxy_child_up") == 4  # two proxies, an engine, the web port
    assert 'durproxy_build_info{version="' in "".join(numbers)


def test_ready_means_upstream_schema_and_engine(
    served: Serve, home: Database, web_port: int
) -> None:
    assert get(web_port, "readyz").json() == {
        "status": "ready",
        "upstream": "ok",
        "schema": "ok",
        "engine": "ok",
    }
    with home.connect() as owner:
        owner.execute("DELETE FROM df._migrations WHERE version > 3")
        answer = get(web_port, "readyz")
    assert answer.status_code == 503
    assert re.match(r"at version 3, needed is \d+", answer.json()["schema"])


def test_an_engine_that_cannot_live_is_told(served: Serve, home: Database, web_port: int) -> None:
    for pid in served.engine_pids():
        os.kill(pid, signal.SIGSTOP)
    with home.connect() as owner:
        owner.execute("UPDATE df._engines SET seen_at = seen_at - interval '1 hour'")
    answer = get(web_port, "readyz")
    assert (answer.status_code, answer.json()["engine"]) == (503, "none is alive")
    for pid in served.engine_pids():
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: get(web_port, "readyz").status_code == 200, "it is ready again")


def test_an_upstream_that_lets_nobody_in_is_told(
    served: Serve, home: Database, web_port: int
) -> None:
    with home.connect("postgres") as admin:
        admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(home.role)))
        answer = get(web_port, "readyz")
        admin.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(home.role)))
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert "option --upstream" in answer.json()["upstream"]
    assert get(web_port, "healthz").json() == {"status": "ok"}


def descendants(pid: int) -> list[tuple[int, str, str]]:
    """(pid, state, command) of the process's children and theirs."""
    listed = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid=,stat=,args="],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = []
    for line in listed.stdout.splitlines():
        child, state, command = line.split(None, 2)
        found += [(int(child), state, command), *descendants(int(child))]
    return found


def readers(served: Serve) -> list[int]:
    return [pid for pid, _, command in descendants(served.pid) if "reader" in command]


def test_a_killed_proxy_leaves_no_reader_behind(served: Serve) -> None:
    text = ("SELECT df.explain('a' ~> 'b'), '" + "x" * 20_000 + "'").encode()
    with served.connect() as connection:
        connection.execute(text)
    left = readers(served)
    assert left
    for pid in served.proxy_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not [pid for pid in left if Path(f"/proc/{pid}").exists()], "no reader left")
    wait_until(lambda: len(served.proxy_pids()) == 2, "the proxies are back")
    assert not [state for _, state, _ in descendants(served.pid) if state.startswith("Z")]
