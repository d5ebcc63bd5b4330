"""Fixtures of the home schema's tests: one installed database per module, fresh roles per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fix_postgres import Database, Postgres, Role, install_checked

Connect = Callable[..., psycopg.Connection]


@pytest.fixture(scope="module")
def store(postgres: Postgres) -> Iterator[Database]:
    """A database with the home schema; its tests keep apart by their roles."""
    database = postgres.fresh_database()
    install_checked(database.dsn)
    yield database
    postgres.drop_database(database)


@pytest.fixture
def connect(store: Database) -> Iterator[Connect]:
    """Connections that close with the test; df is on the search_path."""
    opened: list[psycopg.Connection] = []

    def connect(role: Role | str | None = None) -> psycopg.Connection:
        connection = store.connect(role)
        opened.append(connection)
        connection.execute("SET search_path = public, df")
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def add_user(store: Database) -> Callable[[], Role]:
    """Makes ordinary roles that may use df."""

    def add_user() -> Role:
        role = store.add_role()
        with store.connect() as owner:
            owner.execute("SELECT df.grant_usage(%s)", [role.name])
        return role

    return add_user


@pytest.fixture
def user(add_user: Callable[[], Role]) -> Role:
    return add_user()


@pytest.fixture
def session(connect: Connect, user: Role) -> psycopg.Connection:
    """A session of a role that may use df and owns nothing."""
    return connect(user)


@pytest.fixture
def owner(connect: Connect) -> psycopg.Connection:
    """A session of the home schema's owner."""
    return connect()
