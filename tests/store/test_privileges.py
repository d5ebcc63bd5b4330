"""What a hostile role tries: forging, reading, locking or delaying what is not its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.asking import refusal, rows, value
from tests.store.conftest import Connect


@pytest.fixture
def victim(connect: Connect, add_user: Callable[[], Role]) -> psycopg.Connection:
    """A session of another role, with an instance and a variable."""
    session = connect(add_user())
    session.execute("SELECT df.setvar('secret', 'treasure')")
    session.execute("SELECT df.start('SELECT 1', 'victim')")
    return session


@pytest.fixture
def prey(victim: psycopg.Connection) -> str:
    instance: str = value(victim, "SELECT id FROM df.instances")
    return instance


GRAPH = """'{"node_type":"SQL","query":"x"}'"""

DENIED = [
    # forging columns that decide who holds an instance and whose it is
    f"INSERT INTO df._instances (graph) VALUES ({GRAPH})",
    f"INSERT INTO df._own (graph, status) VALUES ({GRAPH}, 'completed')",
    f"INSERT INTO df._own (graph, submitted_by) VALUES ({GRAPH}, 'postgres')",
    f"INSERT INTO df._own (graph, id) VALUES ({GRAPH}, '00000001')",
    f"INSERT INTO df._own (graph, vars) VALUES ({GRAPH}, '{{}}')",
    "INSERT INTO df._commands (verb, who) VALUES ('clearvars', 'postgres')",
    "INSERT INTO df._commands (verb) VALUES ('clearvars') RETURNING who",
    # changing rows
    "UPDATE df._own SET status = 'completed'",
    "UPDATE df.instances SET label = 'x'",
    "UPDATE df.vars SET value = 'x'",
    "DELETE FROM df._own",
    "DELETE FROM df.nodes",
    "TRUNCATE df._instances",
    "INSERT INTO df._checkpoints (instance_id, node, status) VALUES ('10000000', 1, 'd')",
    "INSERT INTO df._signals (instance_id, name) VALUES ('10000000', 'x')",
    "INSERT INTO df._vars (name, value) VALUES ('x', 'y')",
    "INSERT INTO df.vars (name, value) VALUES ('x', 'y')",
    "INSERT INTO df._settings VALUES ('notify', 'off')",
    # locking
    "SELECT * FROM df._own FOR UPDATE",
    "SELECT * FROM df._own FOR KEY SHARE",
    "LOCK TABLE df._instances IN ACCESS SHARE MODE",
    "LOCK TABLE df._own IN ROW EXCLUSIVE MODE",
    "LOCK TABLE df._own IN SHARE MODE",
    "LOCK TABLE df._migrations IN ACCESS SHARE MODE",
    # reading tables
    "TABLE df._instances",
    "TABLE df._checkpoints",
    "TABLE df._signals",
    "TABLE df._vars",
    "TABLE df._engines",
    "TABLE df._settings",
    "TABLE df._commands",
    "TABLE df._migrations",
    "TABLE df._rounds",
    "TABLE df._receipts",
    "TABLE df._guests",
    "SELECT * FROM df._visit_1('10000000', gen_random_uuid())",
    "SELECT * FROM df.metrics()",
    # the idle flag and the sequence
    "SELECT setval('df._idle', 1)",
    "SELECT last_value FROM df._idle",
    "SELECT nextval('df._instances_seq_seq')",
    # administration
    "SELECT df.grant_usage(current_user)",
    "SELECT df.revoke_usage('postgres')",
    "INSERT INTO df._commands (verb, name) VALUES ('grant_usage', 'postgres')",
    "CREATE TABLE df.mine ()",
    "CREATE FUNCTION df.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP VIEW df.instances",
    # helpers of triggers, called by hand
    "SELECT df._do_cancel('postgres', '10000000', 'x')",
    "SELECT df._do_signal('postgres', '10000000', 'x', 'y')",
    "SELECT df._do_variable('postgres', 'clearvars', NULL, NULL)",
    "SELECT df._notify('c:10000000')",
    "SELECT df._superuser_may_start()",
]


@pytest.mark.parametrize("attempt", DENIED)
def test_denied(session: psycopg.Connection, attempt: str) -> None:
    session.execute("BEGIN")  # LOCK TABLE needs one
    error = refusal(session, attempt)
    # not allowed, not an updatable view, a generated column
    assert error.sqlstate in ("42501", "55000", "428C9"), error.message_primary


OWNERS = (
    *("claim", "takeover", "release", "tick", "open", "close"),
    *("next", "take", "fire", "end", "fail"),
)


def test_owners_functions_are_closed_except_what_checks_by_itself(
    owner: psycopg.Connection, session: psycopg.Connection
) -> None:
    """Also those that a later migration brings: the list is read from the catalog."""
    opened = rows(
        session,
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'df'::regnamespace"
        " AND p.prosecdef AND has_function_privilege(p.oid, 'execute')",
    )
    assert {name for (name,) in opened} == {
        *("_finish_1", "_greet_1", "_receipt_1", "_receive_1", "_guarantee"),
        *("_alone_before_1", "_alone_1", "_alone_done_1"),
    }
    for name in OWNERS:
        granted = rows(
            session,
            "SELECT has_function_privilege(p.oid, 'execute') FROM pg_proc p"
            " WHERE p.pronamespace = 'df'::regnamespace AND p.proname = %s",
            [f"_{name}_1"],
        )
        assert granted == [(False,)], name
    unpinned = rows(
        owner,
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace IN"
        " ('df'::regnamespace, 'df_held'::regnamespace) AND p.prosecdef"
        " AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)",
    )
    assert unpinned == []


def test_triggers_do_not_work_on_a_table_of_ones_own(
    session: psycopg.Connection, owner: psycopg.Connection, prey: str
) -> None:
    session.execute(
        "CREATE TEMP TABLE forged (verb text, instance_id text, name text,"
        " payload text, who regrole)"
    )
    for function in ("_execute_command", "_check_instance", "_wake_engine"):
        error = refusal(
            session,
            "CREATE TRIGGER t BEFORE INSERT ON forged FOR EACH ROW"
            f" EXECUTE FUNCTION df.{function}()",
        )
        assert error.sqlstate == "42501"
    # and were it open, it would still refuse
    owner.execute("CREATE TEMP TABLE forged (LIKE df._commands)")
    owner.execute(
        "CREATE TRIGGER t BEFORE INSERT ON forged FOR EACH ROW"
        " EXECUTE FUNCTION df._execute_command()"
    )
    attempt = "INSERT INTO forged (verb, instance_id, who) VALUES ('cancel', %s, 'postgres')"
    assert "df._commands only" in (refusal(owner, attempt, [prey]).message_primary or "")


READS = [
    "SELECT count(*) FROM df.instances",
    "SELECT count(*) FROM df.nodes",
    "SELECT count(*) FROM df.vars",
    "SELECT count(*) FROM df._own",
    "SELECT count(*) FROM df._own_nodes",
    "SELECT count(*) FROM df._own_listed",
    "SELECT count(*) FROM df._described_nodes",
    "SELECT count(*) FROM df.list_instances()",
    "SELECT count(*) FROM df.list_instances(NULL, 100, NULL)",
    "SELECT count(*) FROM df.list_instances(NULL, 100, 'victim')",
    "SELECT count(*) FROM df.instance_info('{prey}')",
    "SELECT count(*) FROM df.instance_nodes('{prey}')",
    "SELECT count(*) FROM df.instance_nodes('{prey}', 5)",
    "SELECT count(df.status('{prey}'))",
    "SELECT count(df.result('{prey}'))",
    "SELECT count(df.getvar('secret'))",
    "SELECT count(*) FROM (SELECT df.explain('{prey}') AS e) x WHERE e NOT LIKE '%not found%'",
]


@pytest.mark.parametrize("row_security", ["on", "off"])
@pytest.mark.parametrize("query", READS)
def test_nothing_of_others_can_be_read(
    session: psycopg.Connection,
    victim: psycopg.Connection,
    prey: str,
    query: str,
    row_security: str,
) -> None:
    session.execute(f"SET row_security = {row_security}".encode())
    assert value(session, query.replace("{prey}", prey)) == 0
    assert value(victim, query.replace("{prey}", prey)) > 0 or "df.result" in query


def test_a_leaky_function_sees_own_rows_only(
    session: psycopg.Connection, prey: str, owner: psycopg.Connection, user: Role
) -> None:
    owner.execute(f"GRANT CREATE ON SCHEMA public TO {user.name}".encode())
    session.execute(
        f"""
        CREATE FUNCTION public.leak_{user.name}(text) RETURNS boolean LANGUAGE plpgsql
        COST 0.0000001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$""".encode()
    )
    session.execute("SELECT df.start('SELECT 1', 'mine')")
    leaked: list[str | None] = []
    session.add_notice_handler(lambda notice: leaked.append(notice.message_primary))
    for view in ("instances", "_own", "_own_listed"):
        session.execute(f"SELECT * FROM df.{view} WHERE public.leak_{user.name}(label)".encode())
    session.execute(f"SELECT * FROM df.vars WHERE public.leak_{user.name}(value)".encode())
    assert leaked == ["mine"] * 3


@pytest.mark.parametrize(
    "call",
    [
        "df.cancel('{prey}')",
        "df.signal('{prey}', 'go')",
        "df.await_instance('{prey}')",
        "df_held.await_instance('{prey}')",
    ],
)
def test_nothing_of_others_can_be_steered(
    session: psycopg.Connection, victim: psycopg.Connection, prey: str, call: str
) -> None:
    error = refusal(session, f"SELECT {call.replace('{prey}', prey)}")
    assert error.message_primary == f'instance "{prey}" not found or access denied'
    assert value(victim, "SELECT status FROM df.instances") == "pending"


def test_an_order_by_hand_acts_for_its_own_role_only(
    session: psycopg.Connection, prey: str
) -> None:
    order = "INSERT INTO df._commands (verb, instance_id) VALUES ('cancel', %s)"
    assert "access denied" in (refusal(session, order, [prey]).message_primary or "")
    unknown = refusal(session, "INSERT INTO df._commands (verb) VALUES ('drop')")
    assert unknown.message_primary == 'unknown command "drop"'


def test_oversized_text_is_refused(session: psycopg.Connection) -> None:
    insert = f"INSERT INTO df._own (graph, label) VALUES ({GRAPH}, repeat('x', 10000000))"
    assert "too long" in (refusal(session, insert).message_primary or "")


def test_a_role_without_the_grant_can_do_nothing(store: Database, connect: Connect) -> None:
    stranger = connect(store.add_role())
    for query in ("SELECT df.start('x')", "TABLE df.instances", "SELECT df.sql('x')"):
        assert refusal(stranger, query).sqlstate == "42501"


@pytest.mark.parametrize("name", ["Odd \"Role\" 'x'", "-", "123", "none ", "ünïcode", "select"])
def test_role_names_that_need_quoting(connect: Connect, name: str) -> None:
    superuser = connect("postgres")
    quoted = '"' + name.replace('"', '""') + '"'
    superuser.execute(f"CREATE ROLE {quoted} LOGIN".encode())
    superuser.execute("SELECT df.grant_usage(%s)", [name])
    superuser.execute(f"SET ROLE {quoted}".encode())
    instance = value(superuser, "SELECT df.start('SELECT 1', 'odd')")
    assert rows(superuser, "SELECT id FROM df.instances") == [(instance,)]
    assert value(superuser, "SELECT df.setvar('x', '1')") == "OK"
    assert value(superuser, "SELECT df.getvar('x')") == "1"
    assert "cancelled" in value(superuser, "SELECT df.cancel(%s)", [instance])
    superuser.execute("RESET ROLE")
    superuser.execute("SELECT df.revoke_usage(%s)", [name])
    superuser.execute(f"DROP ROLE {quoted}".encode())  # no right is left behind


def test_the_grant_can_be_handed_on_and_taken_back(
    store: Database, connect: Connect, owner: psycopg.Connection
) -> None:
    manager, member = store.add_role(), store.add_role()
    owner.execute("SELECT df.grant_usage(p_role => %s, with_grant => true)", [manager.name])
    managing, using = connect(manager), connect(member)
    managing.execute("SELECT df.grant_usage(%s)", [member.name])
    value(using, "SELECT df.start('SELECT 1')")
    assert refusal(using, "SELECT df.grant_usage(%s)", [member.name]).sqlstate == "42501"
    managing.execute("SELECT df.revoke_usage(%s)", [member.name])
    assert refusal(using, "SELECT df.start('SELECT 1')").sqlstate == "42501"
    owner.execute("SELECT df.revoke_usage(%s)", [manager.name])
    assert refusal(managing, "SELECT df.grant_usage(%s)", [member.name]).sqlstate == "42501"
    unknown = refusal(owner, "SELECT df.grant_usage('nobody')")
    assert unknown.message_primary == 'role "nobody" does not exist'


def test_grants_at_the_same_time_queue(store: Database) -> None:
    members = [store.add_role() for _ in range(8)]

    def grant(member: Role) -> None:
        with store.connect() as owner:
            owner.execute("SELECT df.grant_usage(%s)", [member.name])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(grant, members))
