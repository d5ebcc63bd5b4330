"""CREATE EXTENSION pg_durable and its kin: migrations written for the extension run."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_serve import Visitor
from tests.relay.conftest import StartProxy, start_proxy  # noqa: F401  a fixture
from tests.store.asking import value


def test_a_migration_runs(visitor: Visitor) -> None:
    done = visitor.run_psql("""
        CREATE EXTENSION IF NOT EXISTS pg_durable;
        COMMENT ON EXTENSION pg_durable IS 'durable functions';
        ALTER EXTENSION pg_durable UPDATE;
        DROP EXTENSION pg_durable CASCADE;
        CREATE EXTENSION pg_durable WITH SCHEMA public CASCADE;
        BEGIN;
        CREATE EXTENSION pg_durable;
        SELECT df.start('SELECT 1' ~> 'SELECT 2') AS id \\gset
        COMMIT;
        SELECT df.await_instance(:'id');
    """)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    tags = ["CREATE EXTENSION", "DO", "DO", "DROP EXTENSION", "CREATE EXTENSION", "BEGIN"]
    assert lines[:7] == [*tags, "CREATE EXTENSION"]
    assert " completed" in lines
    assert "plpgsql" not in done.stderr
    assert 'NOTICE:  extension "pg_durable" already exists, skipping' in done.stderr


def test_extended_protocol_and_several_statements(visitor: Visitor) -> None:
    with visitor.connect() as client:
        notices: list[str] = []
        client.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        assert client.execute("CREATE EXTENSION pg_durable", prepare=True).statusmessage == (
            "CREATE EXTENSION"
        )
        assert notices == ['extension "pg_durable" already exists, skipping']
        with client.pipeline():
            for _ in range(3):
                client.execute("CREATE EXTENSION IF NOT EXISTS pg_durable")
        assert set(notices) == {'extension "pg_durable" already exists, skipping'}
        client.execute("CREATE EXTENSION IF NOT EXISTS plpgsql")
        assert notices[-1] == 'extension "plpgsql" already exists, skipping'
        found = client.execute(
            "CREATE EXTENSION pg_durable; SELECT df.start('SELECT 1' ~> 'SELECT 2')"
        )
        assert found.nextset()
        assert found.fetchone()
        assert value(client, "SELECT 1") == 1


def test_another_database_has_no_stand_in(
    start_proxy: StartProxy,  # noqa: F811
    database: Database,
) -> None:
    proxy = start_proxy(database.dsn.replace(database.name, "postgres"))
    with proxy.connect(database) as client, pytest.raises(psycopg.Error):
        client.execute("CREATE EXTENSION pg_durable")
