"""Starting, steering and waiting: transactional, own rows only, exact messages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import psycopg
import pytest

from durproxy import __version__
from durproxy.engine.core.states import CheckpointStatus, InstanceStatus
from tests.fix_postgres import Database, Role
from tests.store.asking import refusal, rows, value
from tests.store.conftest import Connect


def start(session: psycopg.Connection, graph: str = "'SELECT 1'") -> str:
    instance: str = value(session, f"SELECT df.start({graph})")
    return instance


def finish(owner: psycopg.Connection, instance: str, result: str = '{"rows":[]}') -> None:
    """What an engine writes at the end."""
    owner.execute(
        "UPDATE df._instances SET status = 'completed', ready_at = NULL, result = %s,"
        " completed_at = clock_timestamp() WHERE id = %s",
        [result, instance],
    )


# --- start ---


def test_start_writes_one_pending_row_of_its_role(
    session: psycopg.Connection, user: Role, store: Database
) -> None:
    instance = value(session, "SELECT df.start('SELECT 1' |=> 'x', 'first')")
    assert len(instance) == 8
    assert int(instance, 16) >= 2**28
    [row] = rows(session, "SELECT * FROM df.instances")
    assert row[:6] == (instance, "first", "00000001", "pending", user.name, store.name)
    assert value(session, "SELECT df.status(%s)", [instance]) == "pending"
    assert value(session, "SELECT df.result(%s)", [instance]) is None
    assert value(session, "SELECT graph FROM df._own") == {
        "node_type": "SQL",
        "query": "SELECT 1",
        "result_name": "x",
    }


def test_a_label_is_no_id(session: psycopg.Connection) -> None:
    value(session, "SELECT df.start('SELECT 1', 'my-label')")
    assert value(session, "SELECT df.status('my-label')") is None
    assert value(session, "SELECT df.result('my-label')") is None
    assert "not found or access denied" in (
        refusal(session, "SELECT df.cancel('my-label')").message_primary or ""
    )


START_REFUSALS = {
    "NULL": ("22004", "must not be null"),
    "df.seq('a', NULL)": ("22004", "must not be null"),
    "'a', transaction_mode => 'other'": ("22023", 'invalid transaction_mode "other"'),
    "'a', transaction_mode => NULL": ("22023", "invalid transaction_mode"),
    "'a', database => 'nowhere'": ("3D000", 'database "nowhere" does not exist'),
    "'a', database => 'template0'": ("3D000", 'database "template0" does not exist'),
    "'a', label => repeat('x', 1001)": ("22001", "label of 1001 characters is too long"),
    "df.sql('a') || ' b'": ("22023", "not valid JSON"),
    "df.break()": ("22023", "outside of a loop"),
}


@pytest.mark.parametrize(("arguments", "expected"), START_REFUSALS.items())
def test_start_refuses(
    session: psycopg.Connection, arguments: str, expected: tuple[str, str]
) -> None:
    error = refusal(session, f"SELECT df.start({arguments})")
    assert error.sqlstate == expected[0]
    assert expected[1] in (error.message_primary or "")
    assert value(session, "SELECT count(*) FROM df.instances") == 0


def test_start_belongs_to_the_callers_transaction(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    session.execute("BEGIN")
    gone = start(session)
    session.execute("ROLLBACK")
    session.execute("BEGIN")
    kept = start(session)
    session.execute("SAVEPOINT s")
    undone = start(session)
    signalled = value(session, "SELECT df.signal(%s, 'go')", [kept])
    value(session, "SELECT df.cancel(%s)", [kept])
    session.execute("ROLLBACK TO s")
    session.execute("COMMIT")
    assert signalled == "OK"
    assert rows(session, "SELECT id, status FROM df.instances") == [(kept, "pending")]
    assert len({gone, kept, undone}) == 3
    assert value(owner, "SELECT count(*) FROM df._signals WHERE instance_id = %s", [kept]) == 0


def test_start_runs_as_current_user(
    session: psycopg.Connection, connect: Connect, add_user: Callable[[], Role], user: Role
) -> None:
    """The definer inside a SECURITY DEFINER function, the role after SET ROLE."""
    other = add_user()
    superuser = connect("postgres")
    superuser.execute(f"GRANT {other.name} TO {user.name}")
    superuser.execute(f"""
        CREATE SCHEMA shop_{user.name} AUTHORIZATION {other.name};
        GRANT USAGE ON SCHEMA shop_{user.name} TO {user.name};
        SET ROLE {other.name};
        CREATE FUNCTION shop_{user.name}.order_placed() RETURNS text LANGUAGE sql
            SECURITY DEFINER AS $$ SELECT df.start('SELECT 1', 'definer') $$;
        CREATE FUNCTION shop_{user.name}.orders() RETURNS bigint LANGUAGE sql
            SECURITY DEFINER AS $$ SELECT count(*) FROM df.instances $$;
        RESET ROLE""")
    mine = start(session)
    theirs = value(session, f"SELECT shop_{user.name}.order_placed()")
    assert rows(session, "SELECT id FROM df.instances") == [(mine,)]
    assert value(session, f"SELECT shop_{user.name}.orders()") == 1
    session.execute(f"SET ROLE {other.name}")
    assert rows(session, "SELECT id, submitted_by::text FROM df.instances") == [
        (theirs, other.name)
    ]
    assert value(session, "SELECT df.cancel(%s)", [theirs]).startswith("Instance")
    assert "access denied" in str(refusal(session, "SELECT df.cancel(%s)", [mine]).message_primary)


def test_superusers_start_only_when_the_setting_says_so(
    connect: Connect, session: psycopg.Connection, owner: psycopg.Connection, store: Database
) -> None:
    superuser = connect("postgres")
    error = refusal(superuser, "SELECT df.start('a')")
    assert error.sqlstate == "42501"
    assert "enable_superuser_instances" in (error.message_hint or "")
    superuser.execute("SET pg_durable.enable_superuser_instances = on")
    start(superuser)
    superuser.execute("RESET pg_durable.enable_superuser_instances")
    # a definer function of the superuser lends this right to nobody
    superuser.execute("""
        CREATE FUNCTION public.as_superuser() RETURNS text LANGUAGE sql SECURITY DEFINER
            AS $$ SELECT df.start('a') $$""")
    session.execute("SET pg_durable.enable_superuser_instances = on")
    assert refusal(session, "SELECT public.as_superuser()").sqlstate == "42501"
    owner.execute("INSERT INTO df._settings VALUES ('enable_superuser_instances', 'on')")
    start(superuser)
    superuser.execute("SET pg_durable.enable_superuser_instances = off")
    assert refusal(superuser, "SELECT df.start('a')").sqlstate == "42501"
    owner.execute("DELETE FROM df._settings WHERE name = 'enable_superuser_instances'")


def test_role_without_login_may_not_start(connect: Connect, store: Database) -> None:
    superuser = connect("postgres")
    superuser.execute("DROP ROLE IF EXISTS no_login")
    superuser.execute("CREATE ROLE no_login")
    superuser.execute("SELECT df.grant_usage('no_login')")
    superuser.execute("SET ROLE no_login")
    error = refusal(superuser, "SELECT df.start('a')")
    assert error.sqlstate == "28000"
    assert "LOGIN" in (error.message_detail or "")
    superuser.execute("RESET ROLE")
    superuser.execute("SELECT df.revoke_usage('no_login')")
    superuser.execute("DROP ROLE no_login")


def test_start_captures_the_variables_of_its_role(session: psycopg.Connection) -> None:
    for name, text in (("b", "2"), ("a", "1"), ("b", "3")):
        assert value(session, "SELECT df.setvar(%s, %s)", [name, text]) == "OK"
    instance = start(session)
    assert value(session, "SELECT df.unsetvar('a')") == "OK"
    assert value(session, "SELECT df.getvar('b')") == "3"
    assert value(session, "SELECT df.getvar('a')") is None
    assert value(session, "SELECT df.clearvars()") == "OK"
    assert rows(session, "TABLE df.vars") == []
    assert value(session, "SELECT vars FROM df._own WHERE id = %s", [instance]) == {
        "a": "1",
        "b": "3",
    }


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        ("df.setvar('1x', 'v')", "not a valid identifier"),
        ("df.setvar(NULL, 'v')", "not a valid identifier"),
        ("df.setvar('x', NULL)", "must not be null"),
        ("df.setvar('sys_label', 'v')", "is reserved"),
    ],
)
def test_variables_refuse(session: psycopg.Connection, call: str, fragment: str) -> None:
    assert fragment in (refusal(session, f"SELECT {call}").message_primary or "")


@pytest.mark.parametrize(
    "call", ["setvar('x', '1')", "getvar('x')", "unsetvar('x')", "clearvars()"]
)
def test_variables_cannot_be_used_in_a_step(session: psycopg.Connection, call: str) -> None:
    session.execute("SET durproxy.instance = '10000000'")
    error = refusal(session, f"SELECT df.{call}")
    assert "cannot be called inside a workflow" in (error.message_primary or "")


def test_ids_are_unique_in_twenty_thousand_starts(session: psycopg.Connection) -> None:
    count = 20_000
    query = (
        "SELECT count(DISTINCT id) FROM (SELECT df.start('SELECT 1') AS id"
        f" FROM generate_series(1, {count})) s"
    )
    assert value(session, query) == count


def test_start_costs_little_more_than_its_row(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    """A coarse bound: a start took 1.8 times a bare insert when it was written."""
    graph = '{"node_type":"SQL","query":"SELECT 1"}'

    def seconds(connection: psycopg.Connection, body: str) -> float:
        def once() -> float:
            before = time.monotonic()
            connection.execute(
                f"DO $$ BEGIN FOR i IN 1 .. 3000 LOOP {body}; END LOOP; END $$".encode()
            )
            return time.monotonic() - before

        return min(once() for _ in range(3))

    owner.execute(
        "CREATE TEMP TABLE bare (LIKE df._instances INCLUDING INDEXES INCLUDING DEFAULTS)"
    )
    owner.execute("ALTER TABLE bare ALTER id SET DEFAULT gen_random_uuid()::text")
    owner.execute("ALTER TABLE bare ALTER seq DROP NOT NULL")
    columns = (
        "INSERT INTO bare (graph, submitted_by, fmt, database, status, takeovers, created_at,"
        f" updated_at, ready_at) VALUES ('{graph}', quote_ident(current_user)::regrole, 1,"
        " current_database(), 'pending', 0, now(), now(), clock_timestamp())"
    )
    bare = seconds(owner, columns)
    started = seconds(session, "PERFORM df.start('SELECT 1')")
    assert started < 10 * bare


# --- cancel and signal ---


def test_cancel_is_one_change_and_then_nothing(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    instance = start(session)
    owner.execute(
        "UPDATE df._instances SET status = 'running', ready_at = NULL,"
        " owner = gen_random_uuid(), token = gen_random_uuid() WHERE id = %s",
        [instance],
    )
    answer = value(session, "SELECT df.cancel(%s, 'enough')", [instance])
    assert answer == f"Instance {instance} cancelled: enough"
    [row] = rows(
        owner,
        "SELECT status, owner, token, ready_at, error, completed_at IS NOT NULL"
        " FROM df._instances WHERE id = %s",
        [instance],
    )
    assert row == (
        "cancelled",
        None,
        None,
        None,
        {"message": "enough", "sqlstate": "57014"},
        True,
    )
    again = value(session, "SELECT df.cancel(%s)", [instance])
    assert again == f"Instance {instance} cancelled: Cancelled by user"
    assert value(session, "SELECT error->>'message' FROM df._own") == "enough"
    assert value(session, "SELECT completed_at FROM df.instances") is None


def test_cancel_of_a_completed_instance_changes_nothing(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    instance = start(session)
    finish(owner, instance, '{"rows":[{"b":2}],"row_count":1}')
    value(session, "SELECT df.cancel(%s)", [instance])
    assert value(session, "SELECT df.status(%s)", [instance]) == "completed"
    assert value(session, "SELECT df.result(%s)", [instance]) == '{"rows":[{"b":2}],"row_count":1}'


def test_a_step_cannot_cancel_its_own_instance(session: psycopg.Connection) -> None:
    own, other = start(session), start(session)
    session.execute("SELECT set_config('durproxy.instance', %s, false)", [own])
    error = refusal(session, "SELECT df.cancel(%s)", [own])
    assert "cannot be called inside a workflow" in (error.message_primary or "")
    value(session, "SELECT df.cancel(%s)", [other])


@pytest.mark.parametrize(
    ("data", "stored"),
    [('{"a": [1]}', {"a": [1]}), ("plain", "plain"), ("5", 5), ("", ""), (r'"\u0000"', "\0")],
)
def test_signal_waits_in_the_mailbox(
    session: psycopg.Connection, owner: psycopg.Connection, data: str, stored: object
) -> None:
    instance = start(session)
    assert value(session, "SELECT df.signal(%s, 'go', %s)", [instance, data]) == "OK"
    [row] = rows(
        owner, "SELECT name, data::text FROM df._signals WHERE instance_id = %s", [instance]
    )
    assert (row[0], json.loads(row[1])) == ("go", stored)


def test_signal_refuses(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    instance = start(session)
    empty = refusal(session, "SELECT df.signal(%s, '')", [instance])
    assert empty.message_primary == "Signal name cannot be empty"
    unknown = refusal(session, "SELECT df.signal('00000000', 'go')")
    assert unknown.message_primary == 'instance "00000000" not found or access denied'
    owner.execute(
        "INSERT INTO df._signals (instance_id, name) SELECT %s, 'x' FROM generate_series(1, 10000)",
        [instance],
    )
    assert refusal(session, "SELECT df.signal(%s, 'go')", [instance]).sqlstate == "53400"
    finish(owner, instance)
    done = refusal(session, "SELECT df.signal(%s, 'go')", [instance])
    assert done.message_primary == f'instance "{instance}" is completed'


# --- notifications ---


def notifications(listener: psycopg.Connection) -> list[str]:
    """What has arrived: a round trip brings all that was sent before it."""
    listener.execute("SELECT 1")
    return [n.payload for n in listener.notifies(timeout=0)]


def test_start_notifies_at_commit_and_only_an_idle_engine(
    session: psycopg.Connection, owner: psycopg.Connection, connect: Connect
) -> None:
    listener = connect()
    listener.execute("LISTEN durproxy")
    owner.execute("SELECT setval('df._idle', 1)")
    session.execute("BEGIN")
    start(session)
    owner.execute("SELECT setval('df._idle', 2)")  # falls idle before the commit
    session.execute("COMMIT")
    assert notifications(listener) == ["w"]
    owner.execute("SELECT setval('df._idle', 1)")
    start(session)
    assert notifications(listener) == []


def test_cancel_and_signal_notify_unless_that_is_off(
    session: psycopg.Connection, owner: psycopg.Connection, connect: Connect
) -> None:
    listener = connect()
    listener.execute("LISTEN durproxy")
    instance = start(session)
    value(session, "SELECT df.signal(%s, 'go')", [instance])
    value(session, "SELECT df.cancel(%s)", [instance])
    assert notifications(listener) == [f"s:{instance}", f"c:{instance}"]
    owner.execute("INSERT INTO df._settings VALUES ('notify', 'off')")
    value(session, "SELECT df.cancel(%s)", [start(session)])
    owner.execute("DELETE FROM df._settings WHERE name = 'notify'")
    assert notifications(listener) == []


def test_two_phase_commit_works_while_no_engine_is_idle(
    session: psycopg.Connection, owner: psycopg.Connection, user: Role
) -> None:
    owner.execute("SELECT setval('df._idle', 1)")
    session.execute("BEGIN")
    instance = start(session)
    session.execute(f"PREPARE TRANSACTION '{user.name}'")
    assert value(session, "SELECT df.status(%s)", [instance]) is None
    session.execute(f"COMMIT PREPARED '{user.name}'")
    assert value(session, "SELECT df.status(%s)", [instance]) == "pending"
    # a transaction that notifies cannot be prepared: those clients need notify = off
    owner.execute("SELECT setval('df._idle', 2)")
    session.execute("BEGIN")
    start(session)
    assert refusal(session, f"PREPARE TRANSACTION '{user.name}'").sqlstate == "0A000"
    owner.execute("SELECT setval('df._idle', 1)")


# --- waiting ---


@pytest.mark.parametrize("schema", ["df", "df_held"])
def test_await_gives_the_final_status(
    session: psycopg.Connection, owner: psycopg.Connection, schema: str
) -> None:
    instance = start(session)
    finish(owner, instance)
    asked = session.execute(f"SELECT {schema}.await_instance(%s)".encode(), [instance])
    assert asked.description is not None
    assert asked.description[0].name == "await_instance"
    assert asked.fetchone() == ("completed",)


def test_await_sees_what_others_commit(
    session: psycopg.Connection, owner: psycopg.Connection, connect: Connect, user: Role
) -> None:
    instance = start(session)
    session.pgconn.send_query(f"SELECT df.await_instance('{instance}', 20)".encode())
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event = 'PgSleep'"
    superuser = connect("postgres")
    while value(superuser, waiting, [user.name]) == 0:
        pass
    finish(owner, instance)
    result = session.pgconn.get_result()
    assert result is not None
    assert result.get_value(0, 0) == b"completed"
    session.pgconn.get_result()


@pytest.mark.parametrize("schema", ["df", "df_held"])
def test_await_times_out_with_an_error(session: psycopg.Connection, schema: str) -> None:
    instance = start(session)
    error = refusal(session, f"SELECT {schema}.await_instance(%s, 1)", [instance])
    assert error.sqlstate == "WF010"
    assert error.message_primary == f'timed out after 1 s waiting for instance "{instance}"'


def test_await_refuses_what_it_could_only_time_out_on(session: psycopg.Connection) -> None:
    instance = start(session)
    unknown = refusal(session, "SELECT df.await_instance('00000000')")
    assert "not found or access denied" in (unknown.message_primary or "")
    positive = refusal(session, "SELECT df.await_instance(%s, 0)", [instance])
    assert "Timeout must be positive" in (positive.message_primary or "")
    for savepoint in ("", "SAVEPOINT s"):
        session.execute("BEGIN")
        session.execute(savepoint.encode())
        own = start(session)
        error = refusal(session, "SELECT df.await_instance(%s)", [own])
        assert "commit first" in (error.message_primary or "")
        session.execute("ROLLBACK")
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    error = refusal(session, "SELECT df.await_instance(%s)", [instance])
    assert "isolation level repeatable read" in (error.message_primary or "")
    session.execute("ROLLBACK")


def test_wait_for_completion_is_deprecated(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    instance = start(session)
    finish(owner, instance)
    warnings: list[str | None] = []
    session.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    assert value(session, "SELECT df.wait_for_completion(%s)", [instance]) == "completed"
    assert warnings == ["df.wait_for_completion() is deprecated"]


# --- the schema itself ---


def test_version_is_the_packages(session: psycopg.Connection) -> None:
    assert value(session, "SELECT df.version()") == __version__


def test_statuses_in_sql_are_those_of_the_engine(owner: psycopg.Connection) -> None:
    def checked(table: str) -> str:
        text: str = value(
            owner,
            "SELECT string_agg(pg_get_constraintdef(oid), ' ') FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype = 'c' AND 1 = cardinality(conkey)",
            [table],
        )
        return text

    instances, checkpoints = checked("df._instances"), checked("df._checkpoints")
    assert {s.value for s in InstanceStatus} == set(_literals(instances))
    assert {s.value for s in CheckpointStatus} == set(_literals(checkpoints))


def _literals(text: str) -> list[str]:
    return text.split("'")[1::2]
