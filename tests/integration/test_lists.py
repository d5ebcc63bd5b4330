"""``durproxy list`` and ``waiting``: the filters, and that tables and JSON tell the same."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durproxy.cli.asking import Home
from durproxy.cli.listing import Filters, list_instances, list_waiting
from durproxy.cli.tables import one_line
from tests.fix_serve import ENVIRONMENT, Visitor, run_durproxy
from tests.waiting import wait_until

SHAPE = ["instance_id", "label", "role", "status", "created_at", "ended_at", "output",
         "database", "paused"]  # fmt: skip

INSTANCES = r"""
SELECT df.start('SELECT 1 AS a', 'one');
SELECT df.start('SELECT 1 / 0', 'one');
SELECT df.start('SELECT 2 AS two, ''  ü'' AS "ä"', E'[red]two\n\x1b[31m');
SELECT df.start(df.sleep(1000));
SELECT df.cancel(df.start(df.sleep(1000), 'one'), 'not needed');
SELECT df.pause(df.start(df.wait_for_signal('a b'), 'paused'), 'why  not');
SELECT df.start(df.wait_for_signal('go') & df.sleep(1000), 'two waits');
"""


@pytest.fixture
def asked(visitor: Visitor) -> Iterator[Home]:
    visitor.psql(INSTANCES)
    wait_until(
        lambda: (
            visitor.psql("SELECT count(*) FROM df.instances WHERE status = 'pending'") == "1"
            and visitor.psql("SELECT count(*) FROM df.waiting WHERE waits_for = 'timer'") == "2"
        ),
        "all but the paused one have begun",
    )
    with Home(visitor.database.dsn_for(visitor.role)) as connected:
        yield connected


def printed(what: Any, home: Home, filters: Filters, as_json: bool) -> str:
    caught = io.StringIO()
    with redirect_stdout(caught):
        what(home, filters, as_json)
    return caught.getvalue()


def cells_of(table: str) -> list[dict[str, str]]:
    """By the first word of its column's heading; headings stand where their columns begin."""
    head, *lines = table.splitlines()
    begins = [found.start() for found in re.finditer(r"(?<!\S)(?=\S)(?<!\w )", head)]
    ends = [*begins[1:], None]
    names = [head[b:e].split("  ")[0].split(" (")[0] for b, e in zip(begins, ends, strict=True)]
    return [
        {name: line[b:e].strip() for name, b, e in zip(names, begins, ends, strict=True)}
        for line in lines
    ]


@pytest.mark.one_postgres
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    status=st.sampled_from([None, "pending", "running", "completed", "failed", "cancelled"]),
    label=st.sampled_from([None, "one", "paused", "nothing", "[red]two\n\x1b[31m"]),
    role=st.sampled_from([None, "me", "nobody"]),
    since=st.sampled_from([None, "1h", "0s", "2020-01-01"]),
    limit=st.integers(1, 8),
)
def test_tables_json_and_filters_agree(
    asked: Home,
    visitor: Visitor,
    status: str | None,
    label: str | None,
    role: str | None,
    since: str | None,
    limit: int,
) -> None:
    role = visitor.role.name if role == "me" else role
    filters = Filters(status, label, role, since, limit)
    everything = json.loads(printed(list_instances, asked, Filters(limit=9999), True))
    rows = json.loads(printed(list_instances, asked, filters, True))
    assert (
        rows
        == [
            row
            for row in everything
            if (status is None or row["status"] == status)
            and (label is None or row["label"] == label)
            and (role is None or row["role"] == role)
            and since != "0s"
        ][:limit]
    )
    assert [row["created_at"] for row in rows] == sorted(
        (row["created_at"] for row in rows), reverse=True
    )
    table = cells_of(printed(list_instances, asked, filters, False))
    assert len(table) == len(rows)
    for cells, row in zip(table, rows, strict=True):
        assert list(row) == SHAPE
        assert (cells["id"], cells["status"]) == (row["instance_id"], row["status"])
        assert cells["label"] == one_line(row["label"]).strip()
        created = datetime.fromisoformat(row["created_at"]).astimezone()
        assert cells["created"] == f"{created:%Y-%m-%d %H:%M:%S}"
        paused = row["paused"] and f"paused: {row['paused']}"
        assert cells["output"] == one_line(paused or row["output"]).strip()
        assert (row["ended_at"] is None) == (row["status"] in ("pending", "running"))


@pytest.mark.one_postgres
def test_waiting_tells_each_wait_of_each_instance(asked: Home) -> None:
    rows = json.loads(printed(list_waiting, asked, Filters(), True))
    assert sorted(
        (row["label"], row["waits_for"], row["detail"]) for row in rows if row["label"]
    ) == [
        ("paused", "resume", "why  not"),
        ("two waits", "signal", "go"),
        ("two waits", "timer", None),
    ]
    table = cells_of(printed(list_waiting, asked, Filters(), False))
    assert [(c["id"], c["waits for"]) for c in table] == [
        (row["instance_id"], row["waits_for"]) for row in rows
    ]
    [one] = json.loads(printed(list_waiting, asked, Filters(None, "paused", None, "1h", 1), True))
    assert list(one) == ["instance_id", "label", "role", "node_id", "waits_for", "detail",
                         "since", "due"]  # fmt: skip


@pytest.mark.one_postgres
def test_a_list_may_be_longer_than_a_page(visitor: Visitor) -> None:
    count = 1003
    later = "df.start('SELECT 1', start_at => now() + interval '1 year')"
    visitor.psql(f"SELECT count({later}) FROM generate_series(1, {count})")
    dsn = visitor.database.dsn_for(visitor.role)
    for options, expected in ((["--limit", "1002"], 1002), (["--role", visitor.role.name], 100)):
        done = run_durproxy("list", "--json", *options, upstream=dsn)
        ids = [row["instance_id"] for row in json.loads(done.stdout)]
        assert (len(set(ids)), len(ids)) == (expected, expected)


@pytest.mark.one_postgres
def test_settings_of_the_role_do_not_make_it_unreadable(visitor: Visitor) -> None:
    visitor.psql("SELECT df.start('SELECT 1', E'\u00e4\u6f22')")
    for setting in ("datestyle = 'German'", "client_encoding = 'LATIN1'", "TimeZone = '<+07>-7'"):
        visitor.database.psql(f"ALTER ROLE {visitor.role.name} SET {setting}", "postgres")
    dsn = visitor.database.dsn_for(visitor.role)
    done = subprocess.run(
        [sys.executable, "-m", "durproxy.cli", "list"],
        env=ENVIRONMENT | {"DURPROXY_UPSTREAM": dsn, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\xe4\u6f22" in done.stdout, "what the terminal cannot show is escaped"
