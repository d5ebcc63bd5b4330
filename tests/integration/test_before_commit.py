"""Starts and signals with transaction_mode 'new': they happen whatever the transaction does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest

from tests.fix_serve import ServeWith, Visitor
from tests.store.asking import refusal, value
from tests.waiting import wait_until

START = "SELECT df.start('SELECT 1 AS a', %s, transaction_mode => 'new')"
ISOLATIONS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def client(visitor: Visitor) -> Iterator[psycopg.Connection]:
    with visitor.connect() as connection:
        yield connection


def count(client: psycopg.Connection) -> int:
    return int(value(client, "SELECT count(*) FROM df.instances"))


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_start_survives_its_transactions_rollback(
    client: psycopg.Connection, isolation: str
) -> None:
    client.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    count(client)  # the snapshot is taken
    first = value(client, START, ["one"])
    second = value(client, START, ["two"])
    client.execute("ROLLBACK")
    assert value(client, "SELECT df.await_instance(%s, 20)", [first]) == "completed"
    assert value(client, "SELECT df.await_instance(%s, 20)", [second]) == "completed"
    labels = "SELECT array_agg(label ORDER BY label) FROM df.instances"
    assert value(client, labels) == ["one", "two"]


def test_psql_scripts(visitor: Visitor) -> None:
    done = visitor.run_psql(
        """
        \\set VERBOSITY verbose
        BEGIN;
        SELECT df.start('SELECT 1' ~> 'SELECT 2', transaction_mode => 'new') AS id \\gset
        SAVEPOINT a;
        SELECT df.start('SELECT 3', transaction_mode => 'new') AS other \\gset
        ROLLBACK TO a;
        ROLLBACK;
        SELECT df.await_instance(:'id'), df.await_instance(:'other');
        """,
        "-At",
    )
    assert done.stdout.splitlines()[-1] == "completed|completed"
    assert done.stderr == ""


def test_a_block_starts_and_awaits(client: psycopg.Connection) -> None:
    client.execute("""
        DO $$
        DECLARE v_id text; v_status text;
        BEGIN
            FOR k IN 1 .. 3 LOOP
                BEGIN
                    v_id := df.start('SELECT 1', 'in a block', transaction_mode => 'new');
                    v_status := df.await_instance(v_id, 20);
                    IF v_status <> 'completed' THEN
                        RAISE EXCEPTION 'it is %', v_status;
                    END IF;
                    RAISE division_by_zero;  -- undoes all but the start
                EXCEPTION WHEN division_by_zero THEN NULL;
                END;
            END LOOP;
        END $$""")
    assert count(client) == 3


def test_extended_protocol_and_pipelines(client: psycopg.Connection) -> None:
    client.prepare_threshold = 0
    notices: list[str] = []
    client.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    with client.pipeline(), client.transaction(force_rollback=True):
        cursors = [client.execute(START, [f"number {k}"]) for k in range(5)]
        many = client.execute(
            "SELECT df.start('SELECT 1', 'of ' || n, transaction_mode => 'new')"
            " FROM generate_series(1, 5) n"
        )
        found = [cursor.fetchone() for cursor in cursors] + many.fetchall()
    assert len(set(found)) == 10
    assert count(client) == 10
    assert notices == []


def test_a_long_graph_in_another_encoding(client: psycopg.Connection) -> None:
    client.execute("SET client_encoding = 'LATIN1'")
    client.execute("SET client_min_messages = error")
    instance = value(
        client,
        "SELECT df.start(format('SELECT length(%L) AS n', repeat(U&'\\20AC', 100000)), U&'\\20AC',"
        " transaction_mode => 'new')",
    )
    client.execute("SET client_encoding = 'UTF8'")
    assert value(client, "SELECT df.await_instance(%s, 20)", [instance]) == "completed"
    assert "100000" in value(client, "SELECT df.result(%s)", [instance])
    assert value(client, "SELECT label FROM df.instances") == "€"


def test_what_is_too_long_is_refused(client: psycopg.Connection) -> None:
    error = refusal(
        client,
        "SELECT df.start('SELECT ' || quote_literal(repeat('x', 700000)),"
        " transaction_mode => 'new')",
    )
    assert error.sqlstate == "54000"
    assert count(client) == 0


def test_identity_is_that_of_the_caller_of_start(visitor: Visitor) -> None:
    home = visitor.database
    other = home.add_role()
    schema = visitor.role.name
    with visitor.connect() as owner:
        owner.execute(
            f"CREATE FUNCTION {schema}.begin_one() RETURNS text LANGUAGE sql SECURITY DEFINER AS"
            " $$SELECT df.start('SELECT session_user', transaction_mode => 'new')$$;"
            f" GRANT USAGE ON SCHEMA {schema} TO {other.name}".encode()
        )
        home.psql(f"SELECT df.grant_usage('{other.name}')")
        home.psql(f"GRANT {schema} TO {other.name}", "postgres")
        with visitor.serve.connect(other) as caller:
            by_function = value(caller, f"SELECT {schema}.begin_one()")
            caller.execute(f"SET ROLE {schema}".encode())
            by_role = value(caller, START, ["role"])
            caller.execute("RESET ROLE")
            assert count(caller) == 0
        for instance in (by_function, by_role):
            assert value(owner, "SELECT df.await_instance(%s, 20)", [instance]) == "completed"


def test_errors_are_those_of_an_ordinary_start(client: psycopg.Connection) -> None:
    assert "invalid transaction_mode" in str(
        refusal(client, "SELECT df.start('SELECT 1', transaction_mode => 'later')").message_primary
    )
    start = "SELECT df.start(%s, %s, %s, 'new')"
    assert refusal(client, start, ["SELECT 1", "x" * 1001, None]).sqlstate == "22001"
    assert refusal(client, start, ["SELECT 1", None, "no such"]).sqlstate == "3D000"
    assert refusal(client, start, [None, None, None]).sqlstate == "22004"
    inside = value(client, "SELECT df.start(%s)", [START.replace("%s", "NULL")])
    assert value(client, "SELECT df.await_instance(%s, 20)", [inside]) == "failed"
    error = value(client, "SELECT output FROM df.instance_info(%s)", [inside])
    assert "cannot be called inside a workflow" in error


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT df.start('SELECT 1', transaction_mode => 'new')",
        "SELECT df.start('SELECT 1') -- " + "x" * 6000,  # read by the helper process
    ],
)
def test_a_session_waits_for_its_own_work_alone(client: psycopg.Connection, statement: str) -> None:
    """Not for the pump, which likes to linger for 50 ms where there was traffic."""

    def seconds() -> float:
        began = time.monotonic()
        value(client, statement)
        return time.monotonic() - began

    assert min(seconds() for _ in range(20)) < 0.04


# --- signals


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_signal_arrives_before_the_commit(client: psycopg.Connection, isolation: str) -> None:
    instance = value(client, "SELECT df.start(df.wait_for_signal('go', 20))")
    client.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    count(client)
    signal = "SELECT df.signal(%s, 'go', '{\"n\": 1}', transaction_mode => 'new')"
    assert value(client, signal, [instance]) == "OK"
    client.execute("ROLLBACK")
    assert value(client, "SELECT df.await_instance(%s, 20)", [instance]) == "completed"
    result = json.loads(value(client, "SELECT df.result(%s)", [instance]))
    assert result == {"signal_name": "go", "timed_out": False, "data": {"n": 1}}


def test_a_block_signals_and_awaits(client: psycopg.Connection) -> None:
    client.execute("SET pg_durable.signal_transaction_mode = 'new'")
    client.execute("""
        DO $$
        DECLARE v_id text := df.start(df.wait_for_signal('go'), transaction_mode => 'new');
        BEGIN
            PERFORM df.signal(v_id, 'go');
            IF df.await_instance(v_id, 20) <> 'completed' THEN
                RAISE EXCEPTION 'not completed';
            END IF;
        END $$""")
    client.execute("SET pg_durable.signal_transaction_mode = 'sometimes'")
    message = refusal(client, "SELECT df.signal('00000000', 'go')").message_primary
    assert "invalid transaction_mode" in str(message)


def test_refused_signals(client: psycopg.Connection) -> None:
    signal = "SELECT df.signal(%s, 'go', transaction_mode => 'new')"
    error = refusal(client, signal, ["00000000"])
    assert error.sqlstate == "42704"
    assert "not found or access denied" in str(error.message_primary)
    client.execute("BEGIN")
    instance = value(client, "SELECT df.start('SELECT 1')")
    assert "commit first" in str(refusal(client, signal, [instance]).message_primary)
    client.execute("ROLLBACK")
    client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert refusal(client, signal, ["00000000"]).sqlstate == "55000"
    client.execute("ROLLBACK")


# --- who may ask


def overheard(visitor: Visitor) -> tuple[str, str]:
    """The request that a session without a proxy sends to nobody, and its error's SQLSTATE."""
    with visitor.database.connect(visitor.role) as direct:
        details: list[str] = []
        direct.add_notice_handler(lambda notice: details.append(notice.message_detail or ""))
        direct.execute("SET pg_durable.new_transaction_start_timeout = 1")
        error = refusal(direct, START, ["nobody"])
        return details[0], str(error.sqlstate)


def test_without_the_proxy_there_is_a_clear_error(visitor: Visitor) -> None:
    with visitor.database.connect(visitor.role) as direct:
        direct.execute("SET pg_durable.new_transaction_start_timeout = 1")
        error = refusal(direct, START, ["nobody"])
        assert error.sqlstate == "WF011"
        assert "go through durproxy?" in str(error.message_hint)
        assert count(direct) == 0


def test_a_forged_request_is_an_ordinary_notice(
    visitor: Visitor, client: psycopg.Connection
) -> None:
    detail, _ = overheard(visitor)
    details: list[str] = []
    client.add_notice_handler(lambda notice: details.append(notice.message_detail or ""))
    request = json.loads(detail)
    _, _, deadline, role, verb, payload = request["request"].split(" ")
    pid = client.info.backend_pid
    forged = [
        detail,  # from another session
        json.dumps({**request, "request": f"999999 {pid} {deadline} {role} {verb} {payload}"}),
        json.dumps({"request": 1, "signature": None}),
        json.dumps([detail]),
        "{",
        "",
    ]
    for text in forged:
        client.execute("SELECT set_config('x.detail', %s, false)", [text])
        client.execute(
            "DO $$ BEGIN RAISE INFO USING ERRCODE = 'WF020',"
            " DETAIL = current_setting('x.detail'); END $$"
        )
    assert details == forged
    assert count(client) == 0


def test_a_request_is_accepted_once(visitor: Visitor, client: psycopg.Connection) -> None:
    home = visitor.database
    with home.connect() as owner:  # it could sign; a copy of what was signed is all the same
        number, pid = value(owner, "SELECT nextval('df._requests')"), client.info.backend_pid
        order = (
            "SELECT translate(encode(convert_to(json_build_object('seq',"
            " nextval('df._instances_seq_seq'), 'graph', df.sql('SELECT 1')::json,"
            " 'database', current_database())::text, 'UTF8'), 'base64'), E'\\n', '')"
        )
        signed = (
            f"{number} {pid} 9999999999999999"
            f" {value(owner, 'SELECT %s::regrole::oid', [visitor.role.name])}"
            f" start {value(owner, order)}"
        )
        signature = value(owner, "SELECT df._signature(%s)", [signed])
    detail = json.dumps({"request": signed, "signature": signature})
    seen: list[str] = []
    client.add_notice_handler(lambda notice: seen.append(notice.message_detail or ""))
    client.execute("SELECT set_config('x.detail', %s, false)", [detail])
    for _ in range(3):
        client.execute(
            "DO $$ BEGIN RAISE INFO USING ERRCODE = 'WF020',"
            " DETAIL = current_setting('x.detail'); END $$"
        )
    assert seen == [detail, detail]
    wait_until(lambda: count(client) == 1, "the first was done")
    with home.connect() as owner:
        again = "SELECT df._act_1(%s, 9999999999999999, 0, 'start', '')"
        assert value(owner, again, [number]) == "again"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO df._new (verb, payload, who) VALUES ('start', '{}', 'postgres')",
        "SELECT secret FROM df._signing",
        "SELECT df._signature('')",
        "SELECT df._ask_proxy('postgres', 'start', '{}')",
        "SELECT df._act_1(1, 1, 10, 'start', '')",
        "SELECT df._refuse_request_1(1, '{}')",
        "SELECT * FROM df._verdicts",
        "SELECT df._act_before_commit()",
    ],
)
def test_what_a_user_may_not(client: psycopg.Connection, statement: str) -> None:
    assert refusal(client, statement).sqlstate in ("42501", "0A000")


def test_the_trigger_on_a_table_of_a_users(client: psycopg.Connection) -> None:
    client.execute("CREATE VIEW own AS SELECT ''::text AS verb, 10::regrole AS who")
    error = refusal(
        client,
        "CREATE TRIGGER t INSTEAD OF INSERT ON own"
        " FOR EACH ROW EXECUTE FUNCTION df._act_before_commit()",
    )
    assert error.sqlstate == "42501"


# --- faults


@pytest.mark.parametrize(
    ("point", "done"), [("act.before", 0), ("act.sent", None), ("act.after", 1)]
)
def test_a_proxy_killed_while_it_acts(
    serve_with: ServeWith, tmp_path_factory: pytest.TempPathFactory, point: str, done: int | None
) -> None:
    ticket = tmp_path_factory.mktemp("trigger") / "ticket"
    ticket.touch()
    serve = serve_with(
        env={"DURPROXY_TRIGGER": f"{point}:1:{ticket}"}, new_transaction_start_timeout=2
    )
    # after the act the answer may be faster than the signal
    with serve.connect() as client, suppress(psycopg.OperationalError):
        client.execute(START, ["killed"])
    serve.wait_log("child.ended", kind="proxy", signal="SIGKILL")
    with serve.home.connect() as direct:
        wait_until(lambda: not value(direct, _ASKING), "the backend that asked has come to an end")
        found = count(direct)
        assert found == done if done is not None else found in (0, 1)
        verdicts = value(direct, "SELECT count(*) FROM df._verdicts WHERE NOT refused")
        assert verdicts == found
    with serve.connect() as client:
        value(client, START, ["after"])
        assert count(client) == found + 1


_ASKING = """
    SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%transaction_mode => ''new''%'
        AND pid <> pg_backend_pid() AND datname = current_database() AND state <> 'idle'
"""


def test_a_proxy_that_hangs_is_an_error_in_time(serve_with: ServeWith) -> None:
    serve = serve_with(max_new_transaction_starts=1, new_transaction_start_timeout=1)
    signal = "SELECT df.signal(%s, 'go', transaction_mode => 'new')"
    with serve.home.connect() as blocker, serve.connect() as first, serve.connect() as second:
        instance = value(first, "SELECT df.start(df.wait_for_signal('go'))")
        with blocker.transaction():
            blocker.execute("LOCK TABLE df._signals IN SHARE MODE")
            with ThreadPoolExecutor() as threads:
                both = [
                    threads.submit(refusal, client, signal, [instance])
                    for client in (first, second)
                ]
                assert [error.result(20).sqlstate for error in both] == ["WF011", "WF011"]
            value(first, START, ["goes"])
        assert value(second, signal, [instance]) == "OK"
        assert value(second, "SELECT df.await_instance(%s, 20)", [instance]) == "completed"


def test_a_home_without_its_secret_harms_no_other_session(serve_with: ServeWith) -> None:
    serve = serve_with(new_transaction_start_timeout=1)
    with serve.connect() as client:
        client.execute("CREATE TABLE kept AS SELECT secret FROM df._signing")
        client.execute("DELETE FROM df._signing")
        assert refusal(client, START, ["nobody"]).sqlstate is not None
        client.execute(
            "DO $$ BEGIN RAISE INFO USING ERRCODE = 'WF020', DETAIL = json_build_object('request',"
            " format('1 %s 1 1 start x', pg_backend_pid()), 'signature', ''); END $$"
        )
        client.execute("INSERT INTO df._signing SELECT secret FROM kept")
        wait_until(lambda: _starts(client), "the secret has been read again")


def _starts(client: psycopg.Connection) -> bool:
    try:
        value(client, START, ["it goes"])
    except psycopg.Error:
        return False
    return True
