"""The page of metrics: it tells what was done, and its document names all of it."""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from pathlib import Path

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from durproxy.config import Settings
from durproxy.embedded import free_port
from durproxy.measures import Family
from durproxy.web.queue import Queue
from tests.fix_serve import Serve, ServeWith
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres

DOCUMENT = Path("docs/metrics.md").read_text()
PROCESS = {"engine", "proxy"}
Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


@pytest.fixture
def web_port() -> int:
    return free_port()


@pytest.fixture
def served(serve_with: ServeWith, web_port: int) -> Serve:
    return serve_with(web=f"127.0.0.1:{web_port}", http_allow_private=True)


def page(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text


def samples(port: int) -> Samples:
    found: Samples = defaultdict(dict)
    for family in text_string_to_metric_families(page(port)):
        for sample in family.samples:
            labels = frozenset(item for item in sample.labels.items() if item[0] not in PROCESS)
            found[sample.name][labels] = sample.value
    return found


def of(found: Samples, name: str, **labels: str) -> float:
    return found[name][frozenset(labels.items())]


def documented() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels by name."""
    rows = re.findall(r"^\| `(durproxy_\w+)` \| (\w+) \|([^|]*)\|", DOCUMENT, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def shown(text: str) -> dict[str, tuple[str, set[str]]]:
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = (family.type, labels - PROCESS - {"le"})
    return found


def test_every_metric_is_documented_and_nothing_else(served: Serve, web_port: int) -> None:
    with served.connect() as owner:
        lives = "FROM pg_stat_activity WHERE application_name = 'durproxy engine'"
        owner.execute(f"SELECT pg_terminate_backend(pid) {lives} AND usename = user".encode())
    lost = 'durproxy_child_ends_total{how="exit 75",index="0",kind="engine"} 1.0'
    wait_until(lambda: lost in page(web_port), "the lost lease is told")
    wait_until(lambda: 'engine_retries_total{engine="0"}' in page(web_port), "it is back")
    assert shown(page(web_port)) == documented()


def test_what_engines_did_is_counted(served: Serve, web_port: int) -> None:
    url = f"http://127.0.0.1:{free_port()}/"  # nobody is there
    with served.connect() as client:
        started = [
            "SELECT df.start('SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3')",
            "SELECT df.start(df.retry('SELECT 1/0', 2, backoff => '1 ms', retry_on => '{22012}'))",
            f"SELECT df.start(df.http('{url}'))",
            "SELECT df.start(df.sleep(1000))",
            "SELECT df.start(df.sleep(1), start_at => now() + interval '1 day')",
        ]
        *ids, _, later = [client.execute(text.encode()).fetchone() for text in started]
        for row in ids:
            client.execute("SELECT df.await_instance(%s)", row)
        client.execute("SELECT df.pause(%s)", later)
        owned = "SELECT count(*) FROM df._instances WHERE owner IS NOT NULL"
        wait_until(lambda: client.execute(owned).fetchone() == (0,), "it has left memory")
        found = samples(web_port)
    assert of(found, "durproxy_engine_steps_total", kind="sql", outcome="completed") == 3
    assert of(found, "durproxy_engine_steps_total", kind="sql", outcome="failed") == 2
    assert of(found, "durproxy_engine_steps_total", kind="http", outcome="failed") == 1
    assert of(found, "durproxy_engine_retries_total") == 1
    assert of(found, "durproxy_engine_http_calls_total", outcome="network") == 1
    assert of(found, "durproxy_engine_instances_ended_total", status="completed") == 1
    assert of(found, "durproxy_engine_instances_ended_total", status="failed") == 2
    assert of(found, "durproxy_engine_claimed_instances_sum") >= 4
    assert of(found, "durproxy_engine_step_seconds_bucket", kind="sql", le="+Inf") >= 3
    assert of(found, "durproxy_instances", state="completed") == 1
    assert of(found, "durproxy_instances", state="waiting") == 1
    assert of(found, "durproxy_instances", state="paused") == 1
    assert of(found, "durproxy_queue_age_seconds") == 0
    assert of(found, "durproxy_home_up") == 1


def test_the_time_that_requests_take_is_sampled(served: Serve, web_port: int) -> None:
    name = "durproxy_proxy_request_seconds"
    with served.connect() as client:

        def measured() -> float:
            client.execute("SELECT pg_sleep(0.03)")
            return of(samples(web_port), f"{name}_count")

        wait_until(lambda: measured() >= 5, "some are measured")
    found = samples(web_port)
    slow = of(found, f"{name}_count") - of(found, f"{name}_bucket", le="0.025")
    assert slow >= 1
    assert 0.03 <= of(found, f"{name}_sum") < 30


def test_a_server_that_says_nothing_does_not_hold_the_page_up() -> None:
    async def read(settings: Settings) -> list[Family]:
        with trio.fail_after(8):
            return await Queue(settings).read()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        [family] = trio.run(read, Settings(upstream=f"host=127.0.0.1 port={port} dbname=x user=x"))
    assert (family["name"], family["samples"]) == ("durproxy_home_up", [((), 0)])
