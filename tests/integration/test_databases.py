"""Steps in another database: exactly once where it has receipts, at least once elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from durproxy.schema.install import install
from tests.fix_postgres import Database, Postgres, Role
from tests.fix_serve import Serve, ServeWith
from tests.waiting import wait_until


def postgres_session(postgres: Postgres) -> psycopg.Connection:
    return psycopg.connect(postgres.superuser_dsn, autocommit=True)


def started(client: psycopg.Connection, database: Database, expression: str) -> str:
    return str(one(client, f"SELECT df.start({expression}, database => '{database.name}')"))


def one(client: psycopg.Connection, query: str, *values: object) -> Any:
    row = client.execute(query.encode(), values or None).fetchone()
    assert row is not None
    return row[0]


def result(client: psycopg.Connection, instance: str) -> Any:
    status = one(client, "SELECT df.await_instance(%s, 20)", instance)
    assert status == "completed", one(client, "SELECT df.explain(%s)", instance)
    return json.loads(one(client, "SELECT df.result(%s)", instance))


def effects(database: Database) -> list[int]:
    with database.connect() as session:
        return [n for (n,) in session.execute("SELECT n FROM effects ORDER BY n").fetchall()]


@pytest.mark.parametrize("receipts", [False, True])
def test_steps_run_there_as_their_role_with_all_that_steps_can(
    serve: Serve, elsewhere: Database, receipts: bool
) -> None:
    user = serve.home.add_role()
    serve.home.psql(f"SELECT df.grant_usage('{user.name}')")
    if receipts:
        install(elsewhere.dsn)
        elsewhere.psql(f"SELECT df.grant_usage('{user.name}')")
    elsewhere.psql(
        "CREATE TABLE effects (n int, made timestamptz DEFAULT now(), price numeric DEFAULT 1.50);"
        f"GRANT ALL ON effects TO {user.name}; CREATE DOMAIN word AS text"
    )
    with serve.connect(user) as client:
        instance = started(
            client,
            elsewhere,
            "'SELECT current_user, current_database()' |=> 'who'"
            " ~> ('INSERT INTO effects (n) VALUES (1), (2) RETURNING n, made, price' |=> 'row')"
            " ~> ('SELECT $row.made = max(made) AS same, $row.price AS price, ''$who'' AS who,"
            "      ''x''::word AS word FROM effects' & 'SHOW work_mem' & 'UPDATE effects SET n = n'"
            "    & 'DO $$ BEGIN PERFORM 1; END $$' & 'SELECT count(*) FROM $row.*'"
            "    & 'CREATE TEMP TABLE two AS SELECT 2.0 AS n; SELECT n FROM two'"
            "    & df.transaction('SELECT 4 AS n' |=> 'four', 'SELECT $four + 1 AS n'))",
        )
        first, show, update, block, count, several, whole = flat(result(client, instance))
        assert first == [{"same": True, "price": "1.50", "who": user.name, "word": "x"}]
        assert show == [{"work_mem": "4MB"}]
        assert (update, block, count) == ([], [], [{"count": 2}])
        assert (several, whole) == ([{"n": "2.0"}], [{"n": 5}])
        assert one(client, "SELECT database FROM df.instances") == elsewhere.name
        explained = one(client, "SELECT df.explain(%s)", instance)
        promise = "exactly once" if receipts else "at least once"
        assert f"Database: {elsewhere.name} (each step {promise})\n" in explained
    if not receipts:
        assert elsewhere.psql("SELECT to_regnamespace('df') IS NULL") == "t"


def flat(joined: Any) -> list[Any]:
    """The rows of each branch of nested joins, in order."""
    if isinstance(joined, list):
        return [rows for branch in joined for rows in flat(branch)]
    return [joined["rows"]]


_TWO = "'INSERT INTO effects VALUES (1); SELECT 1 AS n, 2.50 AS price'"


@pytest.mark.parametrize(("receipts", "expected"), [(True, [1, 2]), (False, [1, 1, 2])])
@pytest.mark.parametrize(
    "first", ["'INSERT INTO effects VALUES (1) RETURNING n, 2.50 AS price'", _TWO]
)
def test_an_engine_killed_between_the_two_commits(
    serve_with: ServeWith,
    elsewhere: Database,
    tmp_path: Path,
    first: str,
    receipts: bool,
    expected: list[int],
) -> None:
    if receipts:
        install(elsewhere.dsn)
    elsewhere.psql("CREATE TABLE effects (n int)")
    ticket = tmp_path / "ticket"
    ticket.touch()
    serve = serve_with(env={"DURPROXY_TRIGGER": f"step.after:1:{ticket}"})
    with serve.connect() as client:
        instance = started(
            client,
            elsewhere,
            f"{first} |=> 'x' ~> 'INSERT INTO effects SELECT $x.n + 1 RETURNING $x.price AS price'",
        )
        assert result(client, instance)["rows"] == [{"price": "2.50"}]
        assert not ticket.exists()
    assert effects(elsewhere) == expected


def test_a_step_that_may_run_once_only_is_not_run_against_its_own_effect(
    serve_with: ServeWith, elsewhere: Database, tmp_path: Path
) -> None:
    install(elsewhere.dsn)
    elsewhere.psql("CREATE TABLE effects (n int PRIMARY KEY)")
    ticket = tmp_path / "ticket"
    ticket.touch()
    serve = serve_with(env={"DURPROXY_TRIGGER": f"step.after:3:{ticket}"})
    with serve.connect() as client:
        instance = started(
            client,
            elsewhere,
            "df.loop('INSERT INTO effects SELECT count(*) + 1 FROM effects RETURNING n' |=> 'i',"
            " '$i < 4')",
        )
        assert result(client, instance)["rows"] == [{"n": 4}]
        assert not ticket.exists()
    assert effects(elsewhere) == [1, 2, 3, 4]
    # what the home has copied is not kept: at most the last step's receipt
    assert int(elsewhere.psql("SELECT count(*) FROM df._receipts")) <= 1


def test_a_holder_of_before_commits_nothing_there(
    serve: Serve, elsewhere: Database, home: Database
) -> None:
    install(elsewhere.dsn)
    with elsewhere.connect() as old, elsewhere.connect() as new:
        greet = "SELECT df._greet_1(%s, '10000000', %s, %s)"
        names = one(old, "SELECT gen_random_uuid()"), one(old, "SELECT gen_random_uuid()")
        where = one(old, "SELECT gen_random_uuid()")
        old.execute(greet, [where, names[0], 1])
        run = (
            "SELECT df._run_received_1(%s, '10000000', %s, 1, '', 'SELECT 1', false, NULL, NULL,"
            " '{}')"
        )
        new.execute(greet, [where, names[1], 2])
        with pytest.raises(psycopg.Error) as refused:
            old.execute(run, [where, names[0]])
        assert refused.value.sqlstate == "WF001"
        with pytest.raises(psycopg.Error) as late:
            old.execute(greet, [where, names[0], 1])
        assert late.value.sqlstate == "WF001"
        first = one(new, run, where, names[1])
        assert one(new, run, where, names[1]) == first  # its receipt, not the step again


def test_an_idle_database_can_be_dropped_and_one_that_is_gone_fails_the_step(
    serve: Serve, elsewhere: Database, postgres: Postgres
) -> None:
    elsewhere.psql("CREATE TABLE effects (n int)")
    with serve.connect() as client, postgres_session(postgres) as superuser:
        instance = started(
            client,
            elsewhere,
            "'INSERT INTO effects VALUES (1)' ~> df.wait_for_signal('go') ~> 'SELECT 2'",
        )
        waits = "SELECT ready_at = 'infinity' FROM df._instances WHERE id = %s"
        wait_until(lambda: one(client, waits, instance), "it waits")
        superuser.execute(f"DROP DATABASE {elsewhere.name}".encode())  # not WITH (FORCE)
        client.execute("SELECT df.signal(%s, 'go')", [instance])
        assert one(client, "SELECT df.await_instance(%s, 20)", instance) == "failed"
        assert f'database "{elsewhere.name}" does not exist (SQLSTATE 3D000)' in one(
            client, "SELECT df.explain(%s)", instance
        )


def test_a_database_can_be_dropped_as_soon_as_its_workflow_has_ended(
    serve: Serve, elsewhere: Database, postgres: Postgres
) -> None:
    with serve.connect() as client, postgres_session(postgres) as superuser:
        instance = started(client, elsewhere, "'SELECT 1' ~> ('SELECT 2' & 'SELECT 3')")
        assert one(client, "SELECT df.await_instance(%s, 20)", instance) == "completed"
        superuser.execute(f"DROP DATABASE {elsewhere.name}".encode())


def test_a_failing_step_and_a_lost_race_leave_nothing_there(
    serve: Serve, elsewhere: Database
) -> None:
    install(elsewhere.dsn)
    elsewhere.psql("CREATE TABLE effects (n int)")
    with serve.connect() as client:
        failing = started(client, elsewhere, "'INSERT INTO effects SELECT 1/0'")
        assert one(client, "SELECT df.await_instance(%s, 20)", failing) == "failed"
        race = started(
            client,
            elsewhere,
            "'SELECT 7' | 'INSERT INTO effects SELECT 9 FROM pg_sleep(60)'",
        )
        assert result(client, race)["rows"] == [{"?column?": 7}]
        vacuum = started(client, elsewhere, "'VACUUM effects'")
        assert result(client, vacuum) == {"rows": [], "row_count": 0}
    assert effects(elsewhere) == []


def test_a_schema_df_of_somebody_else_is_not_used(
    serve: Serve, elsewhere: Database, postgres: Postgres
) -> None:
    stranger: Role = elsewhere.add_role()
    with postgres_session(postgres) as superuser:
        superuser.execute(f"GRANT CREATE ON DATABASE {elsewhere.name} TO {stranger.name}".encode())
    elsewhere.psql(
        "CREATE SCHEMA df; GRANT USAGE ON SCHEMA df TO PUBLIC;"
        "CREATE FUNCTION df._run_received_1(uuid, text, uuid, int, text, text, boolean, text[],"
        " json, text[]) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'taken'; END $$",
        stranger,
    )
    with serve.connect() as client:
        instance = started(client, elsewhere, "'SELECT 1 AS n'")
        assert result(client, instance)["rows"] == [{"n": 1}]
        assert "at least once" in one(client, "SELECT df.explain(%s)", instance)


def test_who_may_not_connect_there_cannot_start(
    serve: Serve, elsewhere: Database, postgres: Postgres
) -> None:
    with postgres_session(postgres) as superuser:
        superuser.execute(f"REVOKE CONNECT ON DATABASE {elsewhere.name} FROM PUBLIC".encode())
    user = serve.home.add_role()
    serve.home.psql(f"SELECT df.grant_usage('{user.name}')")
    with serve.connect(user) as client, pytest.raises(psycopg.Error) as refused:
        started(client, elsewhere, "'SELECT 1'")
    assert refused.value.sqlstate == "42501"
