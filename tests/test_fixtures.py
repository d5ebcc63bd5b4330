"""The test rig itself: databases are cheap, roles log in as asked."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_postgres import LOGIN_KINDS, Database


def test_database_belongs_to_an_ordinary_role(database: Database) -> None:
    with database.connect() as connection:
        row = connection.execute(
            "SELECT current_user, rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (database.role, False, False)
    assert database.psql("SELECT current_database()") == database.name
    assert database.psql("SELECT current_user", "postgres") == "postgres"


def test_wrong_password_is_refused(database: Database) -> None:
    dsn = database.dsn.replace(database.owner.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn)


@pytest.mark.parametrize("login", LOGIN_KINDS)
def test_role_logs_in_in_another_way(database: Database, login: str) -> None:
    role = database.add_role(login=login)
    assert database.psql("SELECT current_user", role) == role.name
