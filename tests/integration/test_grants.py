"""What ``durproxy grants`` prints: it works as it stands, for roles of no great power."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from durproxy.grants import Plan, script
from durproxy.providers import Provider
from tests.fix_postgres import Database, Postgres, Role
from tests.fix_serve import Serve, run_durproxy

RIGHTS = "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb FROM pg_roles"


def parts(text: str) -> tuple[str, str]:
    """What the administrator runs, and what the owner runs."""
    first, rest = text.split("\n-- 2. ")
    return first, "-- " + rest.split("\n-- 3. ")[1]


@pytest.fixture
def managed(postgres: Postgres) -> Iterator[tuple[Database, Role]]:
    """A database of an administrator that is no superuser, as providers have it."""
    database = postgres.fresh_database()
    admin = database.add_role("CREATEROLE")
    with database.connect("postgres") as superuser:
        name = sql.Identifier
        superuser.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name(database.name), name(admin.name))
        )
        superuser.execute(
            sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name(database.name))
        )
    yield database, admin
    postgres.drop_database(database)


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_printed_sql_works_and_gives_no_role_more_than_it_needs(
    managed: tuple[Database, Role], running: ExitStack
) -> None:
    database, admin = managed
    odd = f"Odd \"{database.name}\" 'x' $do$"
    owner, runner, user = (Role(f"{odd} {part}", "pass-word") for part in ("own", "run", "user"))
    viewers = Role(f"viewers \\ of {database.name}", "")
    with database.connect(admin) as session:
        for role in (user, viewers):
            session.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role.name)))
    plan = Plan(database.name, owner.name, runner.name, (user.name,), (user.name,), (viewers.name,))
    first, second = parts(script(plan, Provider.PLAIN))
    for _ in range(2):
        done = database.postgres.run_psql(database.dsn_for(admin), first)
        assert done.returncode == 0, done.stderr
    with database.connect(admin) as session:
        for role in (owner, runner, user):
            session.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role.name), sql.Literal(role.password)
                )
            )
            database.add_known_role(role)
    own = conninfo(database, owner)
    assert run_durproxy("init", upstream=own).returncode == 0
    for _ in range(2):
        done = database.postgres.run_psql(own, second)
        assert done.returncode == 0, done.stderr
    with database.connect("postgres") as superuser:
        for role in (owner, runner, user):
            asked = superuser.execute(f"{RIGHTS} WHERE rolname = %s".encode(), [role.name])
            assert asked.fetchone() == (False,)
    with psycopg.connect(conninfo(database, user), autocommit=True) as client:
        server = running.enter_context(
            closing(Serve(database, {"upstream": conninfo(database, runner)}, {}))
        )
        server.wait_ready()
        started = client.execute("SELECT df.start('SELECT current_user AS me')").fetchone()
        assert started is not None
        assert client.execute("SELECT df.await_instance(%s)", started).fetchone() == ("completed",)
        row = client.execute("SELECT df.result(%s)::json #>> '{rows,0,me}'", started).fetchone()
        assert row == (user.name,)
        client.execute("SELECT df.http('https://example.com')")  # the node, not the call


def conninfo(database: Database, role: Role) -> str:
    return make_conninfo(
        host="127.0.0.1", port=database.postgres.port, dbname=database.name, user=role.name,
        password=role.password,
    )  # fmt: skip


@pytest.mark.parametrize("provider", Provider)
def test_each_provider_has_the_same_statements_and_its_own_words(provider: Provider) -> None:
    plan = Plan("shop", "own", "run", ("ann",))
    text, plain = script(plan, provider), script(plan, Provider.PLAIN)
    assert _statements(text) == _statements(plain)
    assert provider is Provider.PLAIN or text != plain
    assert all(len(line) < 100 for line in text.splitlines())


def _statements(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("--")]


def test_one_role_for_both_needs_no_engine_role() -> None:
    text = script(Plan("shop", "durproxy", "durproxy"), Provider.PLAIN)
    assert "grant_engine" not in text
    assert len(re.findall("CREATE ROLE", text)) == 1


def test_a_name_cannot_leave_its_comment() -> None:
    done = run_durproxy("grants", "--database", "shop\nDROP TABLE x; --")
    assert done.returncode == 2
    assert "invalid name" in done.stderr
