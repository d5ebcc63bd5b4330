"""What is a copy of the database, and what is the same one after something ordinary."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from durproxy.restored import acknowledge, addresses_of, problem
from tests.fix_postgres import Database, Postgres
from tests.store.asking import value

ADDRESS = ["db:5432"]
SOMEWHERE = ["elsewhere:5432"]


@pytest.fixture
def owner(store: Database) -> Iterator[psycopg.Connection]:
    with store.connect() as owner:
        owner.execute("DELETE FROM df._identity")
        assert recognised(owner, ADDRESS) is None
        yield owner


def recognised(owner: psycopg.Connection, addresses: list[str]) -> str | None:
    found: str | None = value(owner, "SELECT df._recognise_1(%s)", [addresses])
    return found


def remembered(owner: psycopg.Connection, **changes: str) -> None:
    """Let the home remember another place than this one."""
    for column, expression in changes.items():
        owner.execute(f"UPDATE df._identity SET {column} = {expression}".encode())


def test_the_same_server_is_recognised_under_any_address(owner: psycopg.Connection) -> None:
    assert recognised(owner, SOMEWHERE) is None
    assert recognised(owner, ["a:1", "b:2"]) is None
    known = "SELECT addresses FROM df._identity"
    assert value(owner, known) == [*ADDRESS, *SOMEWHERE, "a:1", "b:2"]


@pytest.mark.parametrize(
    "changes",
    [
        {"started": "started - interval '1 hour'", "seen_at": "seen_at - interval '1 year'"},
        {"started": "started - interval '1 hour'", "timeline": "'00000000'"},
        {"system": "'1'", "major": "major - 1"},
        {"system": "NULL", "timeline": "NULL"},
    ],
    ids=["started again", "a standby was promoted", "upgraded", "a server that does not tell"],
)
def test_what_is_no_copy(owner: psycopg.Connection, changes: dict[str, str]) -> None:
    remembered(owner, **changes)
    assert recognised(owner, ["other:1", *ADDRESS]) is None
    owner.execute("SELECT df._seen_1()")
    assert value(owner, "SELECT seen_at > now() - interval '1 minute' FROM df._identity")


def test_a_standby_that_takes_over_soon_may_be_anywhere(owner: psycopg.Connection) -> None:
    remembered(owner, started="started - interval '1 hour'", timeline="'00000000'")
    assert recognised(owner, SOMEWHERE) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"system": "'1'"}, "it is in another cluster than before"),
        ({"system": "'1'", "major": "major - 1"}, "it is in another cluster than before"),
        ({"database": "1"}, "it is a copy of a database"),
        ({"relation": "1"}, "it was restored from a dump"),
        (
            {"started": "started - interval '1 h'", "seen_at": "seen_at - interval '6 minutes'"},
            "the server is at another address (elsewhere:5432) than before (db:5432)",
        ),
    ],
)
def test_what_is_a_copy(owner: psycopg.Connection, changes: dict[str, str], told: str) -> None:
    remembered(owner, **changes)
    for _ in range(2):
        reason = recognised(owner, SOMEWHERE)
        assert reason is not None
        assert reason.startswith(f"{told}; no engine has been at work in it since 20")


def test_a_copied_database_needs_a_word(store: Database, owner: psycopg.Connection) -> None:
    owner.close()
    copy = f"{store.name}_copy"
    names = {"copy": sql.Identifier(copy), "home": sql.Identifier(store.name),
             "owner": sql.Identifier(store.role)}  # fmt: skip
    make = sql.SQL("CREATE DATABASE {copy} OWNER {owner} TEMPLATE {home}").format(**names)
    dsn = store.dsn.replace(f"dbname={store.name}", f"dbname={copy}")
    with store.connect("postgres") as admin:
        admin.execute(make)
        try:
            with psycopg.connect(dsn) as there:
                assert str(problem(there, dsn)).startswith("it is a copy of a database")
                assert str(acknowledge(dsn)).startswith("it is a copy of a database")
                assert problem(there, dsn) is None
                assert acknowledge(dsn) is None
        finally:
            admin.execute(sql.SQL("DROP DATABASE {copy} WITH (FORCE)").format(**names))


def test_a_dump_that_is_restored_into_the_same_database_needs_a_word(
    home: Database, postgres: Postgres
) -> None:
    with home.connect() as owner:
        assert recognised(owner, ADDRESS) is None
        dump = subprocess.run(
            [str(postgres.bindir / "pg_dump"), home.dsn, "--schema=df", "--schema=df_held"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        owner.execute("DROP SCHEMA df_held CASCADE")
        owner.execute("DROP SCHEMA df CASCADE")
        postgres.psql(home.dsn, dump)
        assert str(recognised(owner, ADDRESS)).startswith("it was restored from a dump")


def test_another_role_learns_nothing_and_acknowledges_nothing(
    store: Database, owner: psycopg.Connection
) -> None:
    user = store.add_role()
    owner.execute("SELECT df.grant_usage(%s)", [user.name])
    calls = [f"df.{name}('{{a}}')" for name in ("_restored_1", "_recognise_1", "_acknowledge_1")]
    with store.connect(user) as session:
        for call in [*calls, "df._remember('{a}', true)"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(f"SELECT {call}".encode())


@pytest.mark.parametrize(
    ("upstream", "addresses"),
    [
        ("postgresql://me@DB.example/shop", ["db.example:5432"]),
        ("postgresql://me@b:1,a:2/shop", ["a:2", "b:1"]),
        ("host=b,a port=7", ["a:7", "b:7"]),
        ("host=/run/postgresql port=7 dbname=x", ["this machine"]),
        ("postgresql://localhost:5433,127.0.0.1:5434/x", ["this machine"]),
        ("service=shop", ["service shop"]),
        ("hostaddr=10.0.0.1 dbname=x", ["10.0.0.1:5432"]),
    ],
)
def test_addresses_are_those_of_the_settings(upstream: str, addresses: list[str]) -> None:
    assert addresses_of(upstream) == addresses
