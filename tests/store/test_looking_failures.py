"""Failure handling, undos and maps as df.explain and df.nodes show them, from hand-made rows."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.store.asking import rows, value
from tests.store.test_looking import Run, statuses

ERROR = json.dumps({"message": "card declined", "sqlstate": "P0001", "node": 2})
LATER = "2090-01-02 03:04:05+00"


def test_a_retry_between_two_attempts(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "df.retry('a', 5)")  # 1 RETRY (2 a)
    assert run.shown() == statuses("r", "r")
    run.row(1, "o", kind="RETRY", n=2, due=LATER, error=ERROR)
    assert run.shown() == statuses("r", "p")
    assert run.explain()[3:] == [
        "RETRY up to 5 attempts, after 1s x 2 up to 300s ⏳ attempt 3 of 5 at 2090-01-02 03:04:05Z",
        "     last error: card declined (SQLSTATE P0001)",
        "    body:",
        "        SQL: a ○",
    ]
    run.row(2, "d", path="~2")
    assert run.shown() == statuses("c", "c")


def test_a_handler_takes_over(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    run = Run(session, owner, "df.catch('a', 'b') ~> 'c'")  # 1 THEN (2 CATCH (3 a, 4 b), 5 c)
    assert run.shown() == statuses("r", "r", "r", "p", "p")
    run.row(3, "f", error=ERROR)
    assert run.shown() == statuses("r", "r", "f", "r", "p")
    run.row(4, "d")
    assert run.shown() == statuses("r", "c", "f", "c", "r")
    assert "        SQL: a ✗" in run.explain()
    run = Run(session, owner, "df.catch('a', 'b')")
    run.row(2, "d")
    assert run.shown() == statuses("c", "c", "s")


@pytest.mark.parametrize(("ending", "shown"), [("d", "c"), ("f", "f")])
def test_a_cleanup_runs_whatever_happened(
    session: psycopg.Connection, owner: psycopg.Connection, ending: str, shown: str
) -> None:
    run = Run(session, owner, "df.finally('a', 'b')")  # 1 FINALLY (2 a, 3 b)
    assert run.shown() == statuses("r", "p", "p")
    run.row(1, "o", kind="FINALLY")
    assert run.shown() == statuses("r", "r", "p")
    run.row(2, ending, error=ERROR)
    assert run.shown() == statuses("r", shown, "r")
    run.row(3, "d", path="!")
    assert run.shown() == statuses(shown, shown, "c")


def test_a_failed_cleanup_fails_its_node(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "df.finally('a', 'b')")
    run.row(1, "o", kind="FINALLY")
    run.row(2, "d")
    run.row(3, "f", path="!", error=ERROR)
    assert run.shown() == statuses("f", "c", "f")


def test_an_undo_is_pending_until_its_saga_has_ended(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    # 1 THEN (2 SAGA (3 COMPENSATE (4 a, 5 undo)), 6 b)
    run = Run(session, owner, "df.saga(('a' <-> 'undo') ~> 'c') ~> 'b'")
    # 1 THEN (2 SAGA (3 THEN (4 COMPENSATE (5 a, 6 undo), 7 c)), 8 b)
    assert run.shown() == statuses("r", "r", "r", "r", "r", "p", "p", "p")
    run.row(5, "d")
    assert run.shown() == statuses("r", "r", "r", "c", "c", "p", "r", "p")
    run.row(7, "d")
    assert run.shown() == statuses("r", "c", "c", "c", "c", "s", "c", "r")


def test_an_undo_of_the_instance_is_shown_as_it_goes(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "('a' <-> 'undo') ~> 'b'")  # 1 THEN (2 COMPENSATE (3 a, 4 undo), 5 b)
    run.row(3, "d")
    run.row(5, "f", error=ERROR)
    assert run.shown() == statuses("f", "c", "c", "p", "f")
    run.row(2, "o", path="!", kind="COMPENSATE", n=1, due=LATER)
    assert run.explain()[3] == "COMPENSATE ✓ undo, attempt 2 at 2090-01-02 03:04:05Z"
    run.row(4, "d", path="!~1")
    assert run.shown() == statuses("f", "c", "c", "c", "f")
    run.end("failed", message="card declined")
    assert run.shown() == statuses("f", "c", "c", "c", "f")


def test_a_cancel_that_still_owes_something_is_told(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "('a' <-> 'undo') ~> 'b'")
    run.row(3, "d")
    value(session, "SELECT df.cancel(%s, 'enough')", [run.id])
    assert run.explain()[:3] == [
        f"Instance: {run.id} (run)",
        "Status:   ⏳ Running",
        "Ending:   cancelled (enough), once its cleanups and undos are done",
    ]


def test_a_timeout_shows_when_it_fires(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "df.timeout('a', '5 seconds')")  # 1 TIMEOUT (2 a)
    run.row(1, "o", kind="TIMEOUT", due=LATER)
    assert run.shown() == statuses("r", "r")
    assert run.explain()[3] == "TIMEOUT 5s ⏳ until 2090-01-02 03:04:05Z"
    run.row(2, "d")
    assert run.shown() == statuses("c", "c")
    run = Run(session, owner, "df.timeout('a', '5 seconds')")
    error = json.dumps({"message": "timeout of 5 s expired", "sqlstate": "57014", "node": 1})
    run.row(1, "f", kind="TIMEOUT", due=LATER, error=error)
    assert run.shown() == statuses("f", "s")
    assert "     error: timeout of 5 s expired (SQLSTATE 57014)" in run.explain()


def test_the_first_success_decides(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    run = Run(session, owner, "df.any('a', 'b', 'c')")  # 1 ANY (2 a, 3 b, 4 c)
    run.row(1, "o", kind="ANY")
    run.row(2, "f", error=ERROR)
    assert run.shown() == statuses("r", "f", "r", "r")
    run.row(3, "d")
    run.row(1, "d", '{"winner":1}')
    assert run.shown() == statuses("c", "f", "c", "s")
    found = value(session, "SELECT result FROM df.instance_nodes(%s) LIMIT 1", [run.id])
    assert json.loads(found) == {"rows": [{"a": 1}], "row_count": 1}


SOURCE = '{"rows":[{"a":1},{"a":2},{"a":3}],"row_count":3}'


def test_a_map_counts_its_items(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    # 1 MAP (2 source, 3 THEN (4 a, 5 b))
    run = Run(session, owner, "df.map('source', 'a' ~> 'b', 2, 1)")
    assert run.shown() == statuses("r", "p", "p", "p", "p")
    run.row(1, "o", kind="MAP")
    run.row(2, "d", SOURCE)
    run.row(4, "d", path=":0")
    run.row(5, "d", path=":0")
    run.row(4, "d", path=":1")
    run.row(4, "f", path=":2", error=ERROR)
    assert run.explain()[3:] == [
        "MAP 2 at a time, tolerating 1 failures ⏳ 2 of 3 items",
        "    source:",
        "        SQL: source ✓",
        "    for each:",
        "        SQL: a ✓ 2 ✗ 1",
        "        → SQL: b ✓ 1",
    ]
    run.row(5, "d", path=":1")
    run.row(1, "d", "[1,2,3]")
    assert run.explain()[3] == "MAP 2 at a time, tolerating 1 failures ✓ 3 of 3 items"


def test_a_transaction_is_one_row(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    run = Run(session, owner, "df.transaction('a', 'b')")
    assert run.shown() == statuses("r", "r", "r")
    run.row(1, "d")
    assert run.shown() == statuses("c", "c", "c")
    run = Run(session, owner, "df.transaction('a', 'b')")
    run.row(1, "f", error=ERROR)
    assert run.shown() == statuses("f", "s", "s")
    assert "     error: card declined (SQLSTATE P0001)" in run.explain()


DRY = {
    "df.sleep(interval '90 minutes') |=> 'x'": ["SLEEP PT1H30M |=> 'x'"],
    "df.sleep_until('2030-01-01 00:00+00')": ["SLEEP UNTIL 2030-01-01T00:00:00+00:00"],
    "df.wait_for_condition('SELECT 1', '1 minute')": ["WAIT CONDITION every 60s: SELECT 1"],
    "df.retry('a', 2, retry_on => '{40,http_5xx}', jitter => false)": [
        "RETRY up to 2 attempts, after 1s x 2 up to 300s without jitter, on 40, http_5xx",
        "    body:",
        "        SQL: a",
    ],
    "df.finally('a', 'b') & df.saga('c')": [
        "JOIN",
        "    branch 1:",
        "        FINALLY",
        "            body:",
        "                SQL: a",
        "            cleanup:",
        "                SQL: b",
        "    branch 2:",
        "        SAGA",
        "            body:",
        "                SQL: c",
    ],
    "df.transaction('a', 'b', 'c')": [
        "TRANSACTION",
        *("    step 1:", "        SQL: a", "    step 2:", "        SQL: b"),
        *("    step 3:", "        SQL: c"),
    ],
    "df.parallel('a')": ["JOIN", "    branch 1:", "        SQL: a"],
    "'VACUUM t'": ["SQL: VACUUM t (at least once)"],
    "'CREATE INDEX CONCURRENTLY ON t (a)'": [
        "SQL: CREATE INDEX CONCURRENTLY ON t (a) (at least once)"
    ],
}


@pytest.mark.parametrize(("expression", "shown"), DRY.items())
def test_explain_of_an_expression(
    session: psycopg.Connection, expression: str, shown: list[str]
) -> None:
    assert value(session, f"SELECT df.explain({expression})").split("\n") == shown


def test_another_role_sees_nothing_of_it(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "df.map('source', 'a')")
    run.row(1, "o", kind="MAP")
    assert rows(session, "SELECT count(*) FROM df._own_outcomes") == [(1,)]
    owner.execute("SET search_path = df")
    assert rows(owner, "SELECT count(*) FROM df._own_outcomes") == [(0,)]
