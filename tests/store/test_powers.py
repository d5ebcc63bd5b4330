"""Who sees and steers more than its own: viewers, operators, and nobody else by any function."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from durproxy.schema import install as installer
from tests.fix_postgres import Database, Role
from tests.store.asking import refusal, rows, value
from tests.store.conftest import Connect

GRAPH = "SELECT ''treasure''"
# One value for each type that a function of ours takes; ids are put in by their name.
ARGUMENTS = {
    "text": "'x'", "integer": "1", "bigint": "1", "smallint": "1::smallint", "boolean": "false",
    "uuid": "gen_random_uuid()", "json": "'{}'", "jsonb": "'{}'", "double precision": "1",
    '"char"': "'w'", "oid": "0", "name": "'x'", "regrole": "current_user::regrole",
    "regclass": "'df._signals'::regclass", "regprocedure": "'df.version()'::regprocedure",
    "interval": "'1 s'", "timestamp with time zone": "now()",
}  # fmt: skip
CALLS = """
    SELECT p.oid::regprocedure, p.proargnames[: p.pronargs], ARRAY(
        SELECT pg_catalog.format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u (t, n)
        ORDER BY n), p.prokind
    FROM pg_proc p
    WHERE p.pronamespace IN ('df'::regnamespace, 'df_held'::regnamespace)
      AND EXISTS (SELECT FROM unnest(p.proargnames[: p.pronargs]) a (name)
                  WHERE name ~ 'instance' OR name IN ('input', 'expression', 'p_after', 'p_input'))
"""
EVERYTHING = """
    SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM (
        SELECT i::text FROM df._instances i UNION ALL SELECT c::text FROM df._checkpoints c
        UNION ALL SELECT s::text FROM df._signals s UNION ALL SELECT a::text FROM df._attempts a
        UNION ALL SELECT v::text FROM df._vars v UNION ALL SELECT a::text FROM df._alone a
        UNION ALL SELECT s::text FROM df._schedules s) AS everything (t)
"""


@pytest.fixture
def victim(connect: Connect, add_user: Callable[[], Role]) -> psycopg.Connection:
    session = connect(add_user())
    session.execute("SELECT df.setvar('secret', 'treasure')")
    session.execute(f"SELECT df.start('{GRAPH}', 'treasure')")
    return session


@pytest.fixture
def prey(victim: psycopg.Connection) -> str:
    instance: str = value(victim, "SELECT id FROM df.instances")
    return instance


def claim(owner: psycopg.Connection, instance: str) -> None:
    """The instance runs, with a step that is done."""
    owner.execute("SELECT * FROM df._claim_one_1(gen_random_uuid(), %s, 1::smallint)", [instance])
    owner.execute(
        "INSERT INTO df._checkpoints (instance_id, node, status, result)"
        " VALUES (%s, 1, 'd', '\"treasure\"')",
        [instance],
    )


def call(name: str, parameters: list[str], types: list[str], instance: str) -> str:
    values = []
    for parameter, type_ in zip(parameters, types, strict=True):
        is_id = "instance" in parameter or parameter in ("input", "expression", "p_input")
        if type_.endswith("[]"):
            values.append(f"ARRAY['{instance}']" if is_id else f"'{{}}'::{type_}")
        elif is_id and type_ == "text":
            values.append(f"'{instance}'")
        else:
            values.append(ARGUMENTS.get(type_, f"NULL::{type_}"))
    return f"{name.partition('(')[0]}({', '.join(values)})"


def outcome(session: psycopg.Connection, statement: str) -> tuple[str, str | None]:
    """What the session is told, and the SQLSTATE of a refusal."""
    try:
        return str(rows(session, statement)), None
    except psycopg.Error as error:
        return f"{error.diag.message_primary} {error.diag.message_detail}", error.sqlstate


def test_no_function_that_takes_an_id_shows_or_changes_anothers_instance(
    session: psycopg.Connection, owner: psycopg.Connection, prey: str
) -> None:
    """Every function of the catalog, those of later migrations too."""
    claim(owner, prey)
    session.execute("SET statement_timeout = '5s'")
    before = value(owner, EVERYTHING)
    functions = rows(owner, CALLS)
    assert len(functions) > 70
    for name, parameters, types, kind in functions:
        statement = call(name, parameters, types, prey)
        statement = f"CALL {statement}" if kind == "p" else f"SELECT * FROM {statement}"
        answer, code = outcome(session, statement)
        assert code not in ("57014", "XX000"), (statement, answer)  # waited, or broke
        assert "treasure" not in answer, statement
        assert value(owner, EVERYTHING) == before, statement


LOOKS = [
    "SELECT count(*) FROM df.instances WHERE id = '{prey}'",
    "SELECT count(*) FROM df.nodes WHERE instance_id = '{prey}'",
    "SELECT count(*) FROM df.waiting WHERE instance_id = '{prey}'",
    "SELECT count(*) FROM df.list_instances() WHERE instance_id = '{prey}'",
    "SELECT count(*) FROM df.list_instances(NULL, 100, 'treasure') WHERE instance_id = '{prey}'",
    "SELECT count(*) FROM df.instance_info('{prey}')",
    "SELECT count(*) FROM df.instance_nodes('{prey}')",
    "SELECT count(*) FROM df.instance_executions('{prey}')",
    "SELECT (df.status('{prey}') IS NOT NULL)::integer",
    "SELECT (df.explain('{prey}') ~ 'treasure')::integer",
]


def seen(session: psycopg.Connection, prey: str) -> set[int]:
    """How much each way of looking shows."""
    return {value(session, look.replace("{prey}", prey)) for look in LOOKS}


def test_a_viewer_sees_all_instances_and_no_variable_and_steers_nothing(
    connect: Connect, store: Database, owner: psycopg.Connection, prey: str
) -> None:
    viewer = store.add_role()
    owner.execute("SELECT df.grant_viewer(%s)", [viewer.name])
    session = connect(viewer)
    assert seen(session, prey) == {1}
    assert value(session, "SELECT total_instances FROM df.metrics()") > 0
    assert value(session, "SELECT count(*) FROM df.vars") == 0
    for steering in ("df.start('SELECT 1')", f"df.cancel('{prey}')", f"df.rerun('{prey}')"):
        assert refusal(session, f"SELECT {steering}").sqlstate == "42501"
    owner.execute("SELECT df.revoke_usage(%s)", [viewer.name])
    assert refusal(session, LOOKS[0]).sqlstate == "42501"


def test_powers_come_by_a_grant_only_and_by_inheritance(
    connect: Connect, store: Database, owner: psycopg.Connection, prey: str
) -> None:
    """Not by owning the schema, nor by a role of a well-known name, nor by SET ROLE to oneself."""
    assert seen(owner, prey) == {0}
    superuser = connect("postgres")
    group, heir, other = store.add_role(), store.add_role(), store.add_role("NOINHERIT")
    for member in (heir, other):
        superuser.execute(f"GRANT {group.name} TO {member.name}".encode())
        owner.execute("SELECT df.grant_usage(%s)", [member.name])
    assert seen(connect(heir), prey) == {0}
    owner.execute("SELECT df.grant_viewer(%s)", [group.name])
    assert seen(connect(heir), prey) == {1}
    assert seen(owner, prey) == {0}
    stepping = connect(other)
    assert seen(stepping, prey) == {0}
    stepping.execute(f"SET ROLE {group.name}".encode())
    assert seen(stepping, prey) == {1}
    owner.execute("SELECT df.revoke_usage(%s)", [group.name])
    assert seen(connect(heir), prey) == {0}


def test_an_operator_acts_on_all_as_their_owner(
    connect: Connect,
    store: Database,
    owner: psycopg.Connection,
    victim: psycopg.Connection,
    prey: str,
) -> None:
    operator = store.add_role()
    owner.execute("SELECT df.grant_operator(%s)", [operator.name])
    session = connect(operator)
    assert seen(session, prey) == {1}
    value(session, "SELECT df.pause(%s, 'looking into it')", [prey])
    paused = "SELECT detail FROM df.waiting WHERE waits_for = 'resume'"
    assert value(victim, paused) == "looking into it"
    value(session, "SELECT df.resume(%s)", [prey])
    assert rows(victim, paused) == []
    value(session, "SELECT df.signal(%s, 'go')", [prey])
    in_box = "SELECT name FROM df._signals WHERE instance_id = %s"
    assert value(owner, in_box, [prey]) == "go"
    value(session, "SELECT df.cancel(%s, 'stop')", [prey])
    assert value(victim, "SELECT df.status(%s)", [prey]) == "cancelled"
    again = value(session, "SELECT df.rerun(%s)", [prey])
    assert rows(victim, "SELECT id, status FROM df.instances WHERE id = %s", [again]) == [
        (again, "pending")
    ]
    assert refusal(session, "SELECT df.unschedule('x')").sqlstate == "42704"  # its own only


def test_with_a_power_that_was_taken_no_open_transaction_gives_orders(
    connect: Connect, store: Database, owner: psycopg.Connection, prey: str
) -> None:
    operator = store.add_role()
    owner.execute("SELECT df.grant_operator(%s)", [operator.name])
    session = connect(operator)
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert value(session, "SELECT df.status(%s)", [prey]) == "pending"
    owner.execute("SELECT df.revoke_usage(%s)", [operator.name])
    owner.execute("SELECT df.grant_usage(%s)", [operator.name])
    refused = refusal(session, "SELECT df.cancel(%s)", [prey])
    assert refused.message_primary == f'instance "{prey}" not found or access denied'


def test_a_key_of_another_role_is_not_an_operators(
    connect: Connect, store: Database, owner: psycopg.Connection, victim: psycopg.Connection
) -> None:
    theirs = value(victim, "SELECT df.start('SELECT 1', key => 'k')")
    operator = store.add_role()
    owner.execute("SELECT df.grant_operator(%s)", [operator.name])
    session = connect(operator)
    mine = value(session, "SELECT df.start('SELECT 1', key => 'k')")
    assert mine != theirs
    assert value(session, "SELECT df.start('SELECT 1', key => 'k')") == mine


def test_only_the_owner_gives_powers(session: psycopg.Connection, user: Role) -> None:
    for grant in ("df.grant_viewer", "df.grant_operator", "df.grant_engine"):
        assert refusal(session, f"SELECT {grant}('{user.name}')").sqlstate == "42501"
    for power in ("df._view_all()", "df._operate_all()"):
        attempt = f"GRANT EXECUTE ON FUNCTION {power} TO {user.name}"
        assert refusal(session, attempt).sqlstate == "42501"


def test_a_role_with_a_power_can_be_dropped_once_it_is_taken(
    connect: Connect, store: Database, owner: psycopg.Connection
) -> None:
    superuser = connect("postgres")
    for kind in ("viewer", "operator", "engine"):
        role = store.add_role()
        superuser.execute(f"GRANT {role.name} TO {store.role}".encode())
        owner.execute(f"SELECT df.grant_{kind}(%s)".encode(), [role.name])
        owner.execute("SELECT df.revoke_usage(%s)", [role.name])
        superuser.execute(f"DROP ROLE {role.name}".encode())
    assert "owns the schema" in str(
        refusal(owner, "SELECT df.revoke_usage(current_user)").message_primary
    )


def test_an_engine_role_must_be_one_of_the_owners(
    store: Database, owner: psycopg.Connection
) -> None:
    engine = store.add_role()
    error = refusal(owner, "SELECT df.grant_engine(%s)", [engine.name])
    assert error.message_hint == f"GRANT {engine.name} TO {store.role}"


def test_who_could_use_df_before_an_upgrade_can_afterwards(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = installer.migrations()
    monkeypatch.setattr(installer, "migrations", lambda: known[:20])
    installer.install(database.dsn)
    user, manager = database.add_role(), database.add_role()
    with database.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [user.name])
        owner.execute("SELECT df.grant_usage(%s, with_grant => true)", [manager.name])
    monkeypatch.undo()
    installer.install(database.dsn)
    with database.connect(user) as session:
        instance = value(session, "SELECT df.start('SELECT 1')")
        assert value(session, "SELECT df.status(%s)", [instance]) == "pending"
    third = database.add_role()
    with database.connect(manager) as session:
        session.execute("SELECT df.grant_usage(%s)", [third.name])
    with database.connect(third) as session:
        value(session, "SELECT df.status(df.start('SELECT 1'))")


def test_a_run_role_gets_the_functions_of_later_migrations(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tuple(m for m in installer.migrations() if m.name <= "0023_audit.sql")
    monkeypatch.setattr(installer, "migrations", lambda: first)
    installer.install(database.dsn)
    runner = database.add_role()
    database.psql(f"GRANT {runner.name} TO {database.role}", "postgres")
    database.psql(f"SELECT df.grant_engine('{runner.name}')")
    monkeypatch.undo()
    assert installer.install(database.dsn).changed
    with database.connect(runner) as session:
        closed = rows(
            session,
            "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'df'::regnamespace"
            " AND p.prosecdef AND p.proname ~ '_[0-9]+$'"
            " AND NOT has_function_privilege(p.oid, 'EXECUTE')",
        )
        assert closed == []
        readable = "SELECT bool_and(has_table_privilege(c.oid, 'SELECT')) FROM pg_class c"
        assert value(
            session, f"{readable} WHERE relnamespace = 'df'::regnamespace AND relkind = 'r'"
        )
