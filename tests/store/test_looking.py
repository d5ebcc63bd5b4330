"""Lists, pages, nodes and explain: derived from graphs and hand-made checkpoints."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.store.asking import refusal, rows, value

ONE = '{"rows":[{"a":1}],"row_count":1}'
TRUE = '{"rows":[{"bool":true}],"row_count":1}'


class Run:
    """An instance whose checkpoints the test writes, as an engine would."""

    def __init__(self, session: psycopg.Connection, owner: psycopg.Connection, graph: str) -> None:
        self.session, self.owner = session, owner
        self.id: str = value(session, f"SELECT df.start({graph}, 'run')")
        owner.execute(
            "UPDATE df._instances SET status = 'running', ready_at = NULL,"
            " owner = gen_random_uuid(), token = gen_random_uuid() WHERE id = %s",
            [self.id],
        )

    def row(self, node: int, status: str, result: str | None = ONE, **columns: Any) -> None:
        columns = {"status": status, "result": result if status == "d" else None, **columns}
        names = ", ".join(columns)
        places = ", ".join(["%s"] * len(columns))
        self.owner.execute(
            f"INSERT INTO df._checkpoints (instance_id, node, {names})"
            f" VALUES (%s, %s, {places}) ON CONFLICT (instance_id, node, path) DO UPDATE SET"
            " status = excluded.status, result = excluded.result, at = clock_timestamp()".encode(),
            [self.id, node, *columns.values()],
        )

    def end(self, status: str, result: str | None = None, message: str | None = None) -> None:
        self.owner.execute(
            "UPDATE df._instances SET status = %s, result = %s, error = %s, owner = NULL,"
            " token = NULL, completed_at = clock_timestamp() WHERE id = %s",
            [status, result, message and json.dumps({"message": message}), self.id],
        )

    def shown(self) -> dict[int, str]:
        """What instance_nodes infers for each node."""
        found = rows(
            self.session,
            "SELECT node_id, inferred_status FROM df.instance_nodes(%s)",
            [self.id],
        )
        return {int(node, 16): status for node, status in found}

    def explain(self) -> list[str]:
        text: str = value(self.session, "SELECT df.explain(%s)", [self.id])
        return text.split("\n")


def statuses(*names: str) -> dict[int, str]:
    letters = {
        "p": "pending",
        "r": "running",
        "c": "completed",
        "f": "failed",
        "s": "skipped",
    }
    return {number: letters[name] for number, name in enumerate(names, 1)}


# --- states of nodes ---


def test_a_chain_shows_how_far_it_is(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "'a' ~> 'b' ~> 'c'")  # 1 THEN (2 THEN (3 a, 4 b), 5 c)
    assert run.shown() == statuses("r", "r", "r", "p", "p")
    run.row(3, "d")
    assert run.shown() == statuses("r", "r", "c", "r", "p")
    run.row(4, "f", error='{"message":"no","sqlstate":"22012"}')
    assert run.shown() == statuses("f", "f", "c", "f", "s")
    [result] = rows(session, "SELECT result, error FROM df.nodes WHERE id = '00000004'")
    assert result == ("no", "no")
    from_ancestor = value(
        session,
        "SELECT inferred_status_from_ancestor_id FROM df.instance_nodes(%s)"
        " WHERE node_id = '00000005'",
        [run.id],
    )
    assert from_ancestor == "00000001"


def test_pending_instance_has_pending_nodes(session: psycopg.Connection) -> None:
    instance = value(session, "SELECT df.start('a' & 'b')")
    asked = rows(
        session,
        "SELECT status, inferred_status, status_details FROM df.instance_nodes(%s)",
        [instance],
    )
    assert asked == [("pending", "pending", None)] * 3


@pytest.mark.parametrize(
    ("result", "types", "then", "otherwise"),
    [
        (TRUE, None, "r", "p"),
        ('{"rows":[{"x":"No"}],"row_count":1}', None, "p", "r"),
        ('{"rows":[{"x":0,"y":1}],"row_count":1}', None, "p", "r"),
        ('{"rows":[{"x":"0.00"}],"row_count":1}', '[["x","pg_catalog.numeric"]]', "p", "r"),
        ('{"rows":[{"x":"0.00"}],"row_count":1}', '[["x","pg_catalog.text"]]', "r", "p"),
        ('{"rows":[{"x":[]}],"row_count":1}', None, "p", "r"),
        ('{"rows":[],"row_count":0}', None, "p", "r"),
        ('{"rows":[{"x":null}],"row_count":1}', None, "p", "r"),
    ],
)
def test_a_condition_chooses_its_branch(
    session: psycopg.Connection,
    owner: psycopg.Connection,
    result: str,
    types: str | None,
    then: str,
    otherwise: str,
) -> None:
    run = Run(session, owner, "'c' ?> 'a' !> 'b'")
    run.row(2, "d", result, types=types)
    assert run.shown() == statuses("r", "c", then, otherwise)


def test_an_if_without_else_is_done_when_its_condition_is_false(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "('c' ?> 'a') ~> 'n'")  # 1 THEN (2 IF (3 c, 4 a), 5 n)
    run.row(3, "d", '{"rows":[],"row_count":0}')
    assert run.shown() == statuses("r", "c", "c", "s", "r")


def test_a_join_waits_for_all_and_then_fails_for_one(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "df.join3('a', 'b', 'c')")
    run.row(2, "f", error='{"message":"no","sqlstate":"22012"}')
    run.row(3, "d")
    assert run.shown() == statuses("r", "f", "c", "r")
    run.row(4, "d")
    assert run.shown() == statuses("f", "f", "c", "c")


def test_a_races_losers_read_skipped_and_a_losing_loop_failed(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    graph = "df.race(df.race('a' ~> 'b', 'w'), df.loop('c'))"
    run = Run(session, owner, graph)  # 1 RACE (2 RACE (3 THEN (4 a, 5 b), 6 w), 7 LOOP (8 c))
    run.row(1, "o", kind="RACE")
    run.row(2, "o", kind="RACE")
    run.row(4, "d")
    assert run.shown() == statuses("r", "r", "r", "c", "r", "r", "r", "p")
    run.row(6, "d", ONE)
    run.row(2, "d", '{"winner":1}')
    run.row(1, "d", '{"winner":0}')
    assert run.shown() == statuses("c", "c", "s", "c", "s", "c", "f", "s")
    results = rows(session, "SELECT result FROM df.nodes ORDER BY id LIMIT 2")
    assert results == [(json.loads(ONE),)] * 2


def test_a_loop_shows_its_round_and_its_body_of_now(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "df.loop('a' ~> ('c' ?> df.break('x')), 'more')")
    # 1 LOOP (2 more, 3 THEN (4 a, 5 IF (6 c, 7 BREAK)))
    run.row(1, "o", kind="LOOP", n=4)
    run.row(4, "d", path=".4")
    assert run.shown() == statuses("r", "p", "r", "c", "r", "r", "p")
    assert "LOOP ⏳ round 5" in run.explain()
    run.row(6, "d", '{"rows":[],"row_count":0}', path=".4")
    assert run.shown() == statuses("r", "r", "c", "c", "c", "c", "s")
    assert value(session, "SELECT execution_count FROM df.list_instances()") == 5
    assert value(session, "SELECT current_execution_id FROM df.instance_info(%s)", [run.id]) == 5
    stamps = rows(session, "SELECT DISTINCT status_details->>'execution_id' FROM df.nodes")
    assert sorted(stamps, key=str) == [(f"{run.id}::5",), (None,)]


def test_cancel_skips_what_was_not_done(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "'a' ~> df.sleep(5)")
    run.row(2, "d")
    run.row(3, "o", kind="SLEEP", due="2030-01-02 03:04:05+00")
    assert "→ SLEEP 5s ⏳ until 2030-01-02 03:04:05Z" in run.explain()
    value(session, "SELECT df.cancel(%s, 'enough')", [run.id])
    assert run.shown() == statuses("s", "c", "s")
    assert run.explain()[:3] == [
        f"Instance: {run.id} (run)",
        "Status:   ✗ Cancelled",
        "Error:    enough",
    ]


def test_scopes_are_stamped(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    run = Run(
        session, owner, "'a' ~> ('b' & df.loop('c'))"
    )  # 1 THEN (2 a, 3 JOIN (4 b, 5 LOOP (6)))
    run.row(2, "d")
    run.row(5, "o", kind="LOOP", n=2)
    stamps = rows(session, "SELECT status_details->>'execution_id' FROM df.nodes ORDER BY id")
    root = f"{run.id}::1"
    assert [stamp for (stamp,) in stamps] == [
        root,
        root,
        root,
        f"{root}::00000004::1",
        f"{root}::00000005::3",
        f"{root}::00000005::3",
    ]


def test_results_that_jsonb_cannot_hold_break_no_view(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    run = Run(session, owner, "'a' & 'b'")
    run.row(2, "d", r'{"body":"\u0000"}')
    run.row(3, "d", '{"n":1e999999}')
    results = rows(session, "SELECT result FROM df.nodes WHERE node_type = 'SQL' ORDER BY id")
    assert results == [(r'{"body":"\u0000"}',), ('{"n":1e999999}',)]
    assert "Running" in run.explain()[1]


def test_a_long_chain_can_be_looked_at(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    step = '{"node_type":"SQL","query":"s"}'
    text = step
    for _ in range(999):
        text = f'{{"node_type":"THEN","left_node":{text},"right_node":{step}}}'
    run = Run(session, owner, f"'{text}'")
    assert len(run.explain()) == 3 + 1000
    assert value(session, "SELECT count(*) FROM df.nodes") == 1999


# --- explain ---


def test_explain_of_a_run(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    run = Run(
        session,
        owner,
        "'SELECT 1 AS a' |=> 'x' ~> (E'SELECT $x\\n  FROM t' & df.sleep(30)) |=> 'j'"
        " ~> ('SELECT true' ?> 'yes' !> ('no' ~> 'no2'))"
        " ~> (df.wait_for_signal('go', 60) | 'slow')",
    )
    run.row(4, "d", ONE)
    run.row(6, "d", '{"rows":[{"b":2}],"row_count":1}')
    run.row(7, "d", '{"slept":true,"seconds":30}')
    run.row(9, "f", error='{"message":"no such table","sqlstate":"42P01","hint":"create it"}')
    run.end("failed", message="no such table")
    assert run.explain() == [
        f"Instance: {run.id} (run)",
        "Status:   ✗ Failed",
        "Error:    no such table",
        "",
        "SQL |=> 'x': SELECT 1 AS a ✓",
        f"     = {ONE}",
        "→ JOIN |=> 'j' ✓",
        '     = [{"rows":[{"b":2}],"row_count":1},{"slept":true,"seconds":30}]',
        "    branch 1:",
        "        SQL: SELECT $x",
        "               FROM t ✓",
        "    branch 2:",
        "        SLEEP 30s ✓",
        "→ IF ✗",
        "    condition:",
        "        SQL: SELECT true ✗",
        "             error: no such table (SQLSTATE 42P01)",
        "             hint: create it",
        "    then:",
        "        SQL: yes ⊘",
        "    else:",
        "        SQL: no ⊘",
        "        → SQL: no2 ⊘",
        "→ RACE ⊘",
        "    branch 1:",
        "        SIGNAL 'go' timeout 60s ⊘",
        "    branch 2:",
        "        SQL: slow ⊘",
    ]


DRY = {
    "'SELECT 1' |=> 'x' ~> df.sleep(2)": "SQL |=> 'x': SELECT 1\n→ SLEEP 2s",
    "df.loop('a', 'c')": "LOOP\n    while:\n        SQL: c\n    body:\n        SQL: a",
    "@> df.break('v')": "LOOP\n    body:\n        BREAK 'v'",
    "df.if_rows('x', 'a', 'b') -- why": (
        "IF ROWS $x\n    then:\n        SQL: a\n    else:\n        SQL: b"
    ),
    "SELECT 1 ~> 2": "SQL: SELECT 1 ~> 2",
    "('a' & 'b')": "JOIN\n    branch 1:\n        SQL: a\n    branch 2:\n        SQL: b",
    "  select 1;": "SQL: select 1",
    '{"node_type":"SLEEP","query":"5"}': "SLEEP 5s",
    "ffffffff": "Instance 'ffffffff' not found",
    "df.break()": "Invalid durable function graph: df.break() is used outside of a loop",
    '{"node_type":"X"}': "Invalid durable function graph: Unknown node_type 'X'",
    "df.sleep(-1)": "Invalid durable function graph: sleep duration must be non-negative, got -1",
    "'x' ~>": "Invalid durable function graph: syntax error at end of input",
    "df.seq(NULL, 'x')": "Invalid durable function graph: the expression is null",
}


@pytest.mark.parametrize(("text", "expected"), DRY.items())
def test_explain_of_an_expression(session: psycopg.Connection, text: str, expected: str) -> None:
    session.execute("RESET search_path")  # explain finds df by itself
    assert value(session, "SELECT df.explain(%s)", [text]) == expected


def test_a_dry_run_leaves_nothing(session: psycopg.Connection) -> None:
    path = value(session, "SHOW search_path")
    value(session, "SELECT df.explain(%s)", ["df.start('a')"])
    assert value(session, "SELECT count(*) FROM df.instances") == 0
    assert value(session, "SHOW search_path") == path


# --- lists ---


def test_pages_follow_each_other(session: psycopg.Connection) -> None:
    for number in range(5):
        value(session, "SELECT df.start('a', %s)", [f"n{number % 2}"])
    seen: list[str] = []
    cursor = None
    for size in (2, 2, 1):
        page = rows(session, "SELECT * FROM df.list_instances(NULL, 2, NULL, %s)", [cursor])
        assert len(page) == size
        seen += [row[0] for row in page]
        cursor = page[0][-1]
        assert {row[-1] for row in page} == {cursor}
    assert cursor is None
    newest_first = rows(session, "SELECT id FROM df.instances ORDER BY created_at DESC, id DESC")
    assert seen == [instance for (instance,) in newest_first]
    labelled = rows(session, "SELECT label FROM df.list_instances('pending', 10, 'n1')")
    assert labelled == [("n1",)] * 2
    assert rows(session, "SELECT * FROM df.list_instances('failed')") == []


def test_pages_cut_instances_of_one_transaction(session: psycopg.Connection) -> None:
    session.execute("SELECT df.start('a') FROM generate_series(1, 7)")
    seen: list[str] = []
    cursor = None
    while True:
        page = rows(session, "SELECT * FROM df.list_instances(NULL, 3, NULL, %s)", [cursor])
        seen += [row[0] for row in page]
        cursor = page[0][-1]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7


def test_both_lists_have_their_columns_in_order(session: psycopg.Connection) -> None:
    value(session, "SELECT df.start('a', 'l')")
    names = ["instance_id", "label", "function_name", "status", "execution_count", "output"]
    short = session.execute("SELECT * FROM df.list_instances() WITH ORDINALITY")
    assert short.description is not None
    assert [c.name for c in short.description] == [*names, "ordinality"]
    more = ["created_at", "completed_at", "next_cursor"]
    long = session.execute("SELECT * FROM df.list_instances(NULL, 5, 'l') WITH ORDINALITY")
    assert long.description is not None
    assert [c.name for c in long.description] == [*names, *more, "ordinality"]


LIST_REFUSALS = {
    "NULL, 0": "limit_count must be at least 1",
    "NULL, -1, NULL": "limit_count must be at least 1",
    "NULL, NULL": "limit_count must be at least 1",
    "NULL, 1001": "list_instances_max_limit (1000)",
    "NULL, 1001, NULL": "list_instances_max_limit (1000)",
    "NULL, 5, NULL, ''": "invalid after_cursor",
    "NULL, 5, NULL, 'zz'": "invalid after_cursor",
    f"NULL, 5, NULL, '{'ab' * 25}'": "invalid after_cursor",
}


@pytest.mark.parametrize(("arguments", "fragment"), LIST_REFUSALS.items())
def test_list_refuses(session: psycopg.Connection, arguments: str, fragment: str) -> None:
    error = refusal(session, f"SELECT * FROM df.list_instances({arguments})")
    assert fragment in (error.message_primary or "")


def test_a_cursor_that_was_tampered_with_is_refused(session: psycopg.Connection) -> None:
    for _ in range(2):
        value(session, "SELECT df.start('a')")
    cursor = value(session, "SELECT next_cursor FROM df.list_instances(NULL, 1, NULL)")
    for place in range(0, len(cursor), 2):
        changed = cursor[:place] + ("31" if cursor[place] != "3" else "62") + cursor[place + 2 :]
        if changed == cursor:
            continue
        with pytest.raises(psycopg.Error, match="invalid after_cursor"):
            session.execute("SELECT * FROM df.list_instances(NULL, 1, NULL, %s)", [changed])


def test_a_session_may_only_tighten_the_lists_limit(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    session.execute("SET pg_durable.list_instances_max_limit = 10")
    error = refusal(session, "SELECT * FROM df.list_instances(NULL, 11)")
    assert "list_instances_max_limit (10)" in (error.message_primary or "")
    session.execute("SET pg_durable.list_instances_max_limit = 5000")
    assert "(1000)" in str(
        refusal(session, "SELECT * FROM df.list_instances(NULL, 1001)").message_primary
    )
    owner.execute("INSERT INTO df._settings VALUES ('list_instances_max_limit', '2000')")
    session.execute("SELECT * FROM df.list_instances(NULL, 2000)")
    owner.execute("DELETE FROM df._settings WHERE name = 'list_instances_max_limit'")


def test_a_page_is_read_from_the_index(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    session.execute("SELECT df.start('a') FROM generate_series(1, 2000)")
    owner.execute("ANALYZE df._instances")
    query = (
        "EXPLAIN SELECT o.* FROM df._own_listed o"
        " WHERE (o.created_at, o.id) < (now(), ''::text COLLATE \"C\")"
        " ORDER BY o.created_at DESC, o.id DESC LIMIT 10"
    )
    plan = "\n".join(line for (line,) in rows(session, query))
    own, _, others = plan.partition("Sort  (")  # others' are for viewers, and skipped here
    assert "_instances_list" in own
    assert "One-Time Filter" in others


def test_relations_have_the_columns_that_scripts_read(session: psycopg.Connection) -> None:
    columns = {
        "instances": "id label root_node status submitted_by database created_at updated_at"
        " completed_at",
        "nodes": "id instance_id node_type query result_name left_node right_node status result"
        " error submitted_by database created_at updated_at status_details",
        "vars": "name value owner",
        "_worker_epoch": "epoch_id started_at last_seen_at",
    }
    for name, expected in columns.items():
        asked = session.execute(f"SELECT * FROM df.{name} LIMIT 0".encode())
        assert asked.description is not None
        assert " ".join(c.name for c in asked.description) == expected
    types = rows(
        session,
        "SELECT pg_typeof(result)::text, pg_typeof(status_details)::text,"
        " pg_typeof(submitted_by)::text FROM (SELECT (n).* FROM"
        " (SELECT NULL::df.nodes AS n) s) t",
    )
    assert types == [("jsonb", "jsonb", "regrole")]
