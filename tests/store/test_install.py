"""The installer: twice, by two at once, over something newer or something else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from durproxy.engine.core.lexer import TokenKind
from durproxy.errors import ConfigurationError, UpstreamUnreachable
from durproxy.rewrite import literals
from durproxy.schema import install as installer
from durproxy.schema.install import install, installed_version, migrations, uninstall
from tests.fix_postgres import Database

DUMP = """
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT concat(p.oid::regprocedure, md5(pg_get_functiondef(p.oid)), p.proacl)
        FROM pg_proc p WHERE pronamespace IN ('df'::regnamespace, 'df_held'::regnamespace)
        UNION ALL
        SELECT concat(c.relname, c.relkind, c.relacl)
        FROM pg_class c WHERE relnamespace = 'df'::regnamespace) AS shape(line)
"""


def test_migrations_are_numbered_without_gaps() -> None:
    assert [m.version for m in migrations()] == list(range(1, len(migrations()) + 1))
    assert all(m.text.startswith(b"--") for m in migrations())  # each says what it is
    assert all(m.text.isascii() for m in migrations())  # loads whatever the encoding


def test_functions_read_the_same_whatever_standard_conforming_strings_is() -> None:
    for migration in migrations():
        text = migration.text.decode()
        bodies = (
            literals.value(text, token)
            for token in literals.string_tokens(text, 0)
            if token.kind is TokenKind.DOLLAR_STRING
        )
        assert not any(literals.has_plain_backslash(body) for body in bodies), migration.name


def test_an_old_session_sees_the_same(home: Database) -> None:
    with home.connect() as connection:
        [instance] = connection.execute("SELECT df.start('SELECT 1')").fetchone() or [None]
        ask = "SELECT df.explain(%s), df.explain('df . sleep(1)'), df.as(df.as('a', 'n'), 'm')"
        seen = connection.execute(ask, [instance]).fetchone()
    with home.connect() as connection:
        connection.execute("SET standard_conforming_strings = off")
        assert connection.execute(ask, [instance]).fetchone() == seen


def test_an_ordinary_owner_installs_and_again_changes_nothing(database: Database) -> None:
    assert installed_version(database.dsn) is None
    report = install(database.dsn)
    assert report.applied == tuple(m.name for m in migrations())
    assert report.version == installed_version(database.dsn) == len(migrations())
    with database.connect() as owner:
        before = owner.execute(DUMP).fetchone()
        again = install(database.dsn)
        assert not again.changed
        assert owner.execute(DUMP).fetchone() == before


def test_installs_at_the_same_time_do_it_once(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(install, [database.dsn] * 4))
    applied = [name for report in reports for name in report.applied]
    assert sorted(applied) == [m.name for m in migrations()]


def test_uninstall_leaves_nothing_and_a_new_install_works(home: Database) -> None:
    with home.connect() as owner:
        owner.execute("SELECT df.start('SELECT 1')")
        assert uninstall(home.dsn) is True
        left = owner.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'df%'")
        assert left.fetchone() == (0,)
    assert uninstall(home.dsn) is False
    assert install(home.dsn).changed


def test_a_newer_schema_is_refused(home: Database) -> None:
    with home.connect() as owner:
        owner.execute("INSERT INTO df._migrations VALUES (999, 'future', 'x')")
    with pytest.raises(ConfigurationError, match="version 999, this durproxy knows") as raised:
        install(home.dsn)
    assert raised.value.hint == "Upgrade this durproxy too."


def test_a_changed_migration_is_refused(home: Database) -> None:
    with home.connect() as owner:
        owner.execute("UPDATE df._migrations SET sha256 = 'x' WHERE version = 2")
    with pytest.raises(ConfigurationError, match=r"0002_language\.sql"):
        install(home.dsn)


def test_somebody_elses_schema_is_refused(database: Database) -> None:
    with database.connect() as owner:
        owner.execute("CREATE SCHEMA df CREATE TABLE mine (x int)")
        with pytest.raises(ConfigurationError, match='schema "df" that is not'):
            install(database.dsn)
        assert uninstall(database.dsn) is False
        owner.execute("TABLE df.mine")


def test_a_database_with_the_extension_is_refused(database: Database) -> None:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as superuser:
        # as CREATE EXTENSION would leave it
        superuser.execute("SET allow_system_table_mods = on")
        superuser.execute(
            "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable,"
            " extversion) SELECT 4242424, 'pg_durable', extowner, extnamespace, false, '0.2.6'"
            " FROM pg_extension WHERE extname = 'plpgsql'"
        )
        with pytest.raises(ConfigurationError, match="has the extension pg_durable"):
            install(database.dsn)
        superuser.execute("DELETE FROM pg_extension WHERE extname = 'pg_durable'")


def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnreachable, match="could not connect"):
        install(f"host={tmp_path} connect_timeout=2")


def test_settings_of_the_installing_role_do_not_matter(database: Database) -> None:
    hostile = {
        "search_path": "public, pg_catalog",
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "serializable",
        "standard_conforming_strings": "off",
        "check_function_bodies": "off",
        "statement_timeout": "100",
    }
    with psycopg.connect(database.superuser_dsn, autocommit=True) as superuser:
        for name, text in hostile.items():
            superuser.execute(f"ALTER ROLE {database.role} SET {name} = {text}".encode())
    assert install(database.dsn).changed


@pytest.mark.parametrize(("encoding", "marker"), [("LATIN1", "o"), ("SQL_ASCII", "○")])
def test_any_encoding_of_the_database_will_do(
    database: Database, encoding: str, marker: str
) -> None:
    other = f"{database.name}_{encoding.lower()}"
    with psycopg.connect(database.superuser_dsn, autocommit=True) as superuser:
        superuser.execute(
            f"CREATE DATABASE {other} OWNER {database.role} TEMPLATE template0"
            f" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
        dsn = f"{database.dsn} dbname={other}"
        install(dsn)
        with psycopg.connect(dsn, autocommit=True, client_encoding="UTF8") as owner:
            owner.execute("SET search_path = df")
            asked = owner.execute("SELECT df.as(df.seq('é', 'b'), 'x')").fetchone()
            assert asked is not None
            assert '"query":"é"' in asked[0]
            explained = owner.execute("SELECT df.explain(df.start('é' ~> 'b'))").fetchone()
            assert explained is not None
            assert f"SQL: é {marker}" in explained[0]
        superuser.execute(f"DROP DATABASE {other}".encode())


def test_a_users_open_transaction_makes_the_upgrade_wait(
    home: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "SESSION", installer.SESSION + b"SET lock_timeout = '20ms';")
    monkeypatch.setattr(installer, "LOCK_ATTEMPTS", 2)
    with home.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE df._migrations IN ACCESS SHARE MODE")
        with pytest.raises(ConfigurationError, match="could not lock the home schema"):
            install(home.dsn)
