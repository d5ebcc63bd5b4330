"""``serve`` as a role that owns nothing, beside roles that start workflows."""

from __future__ import annotations

import psycopg
import pytest

from durproxy.config import Settings, load_settings
from durproxy.home import prepare_home, set_audit_days
from tests.fix_postgres import Database, Role
from tests.fix_serve import ServeWith, run_durproxy
from tests.waiting import wait_until

RIGHTS = "SELECT rolsuper OR rolbypassrls OR rolcreaterole FROM pg_roles WHERE rolname = %s"


@pytest.fixture
def runner(home: Database) -> Role:
    """A role that may run the engine."""
    role = home.add_role()
    with home.connect("postgres") as superuser:
        superuser.execute(f"GRANT {role.name} TO {home.role}".encode())
    with home.connect() as owner:
        owner.execute("SELECT df.grant_engine(%s)", [role.name])
    return role


@pytest.fixture
def user(home: Database) -> Role:
    role = home.add_role()
    with home.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [role.name])
    home.psql(f"CREATE SCHEMA AUTHORIZATION {role.name}", "postgres")
    return role


def ended(client: psycopg.Connection, instance: str) -> str:
    row = client.execute("SELECT df.await_instance(%s, 30)", [instance]).fetchone()
    assert row is not None
    return str(row[0])


def test_workflows_run_and_survive_without_owning_the_schema(
    serve_with: ServeWith, home: Database, runner: Role, user: Role
) -> None:
    server = serve_with(upstream=home.dsn_for(runner), engines=2, lease=2, audit_days=1)
    assert server.wait_log("home.audit_kept_longer")["audit_days"] == 90
    with home.connect("postgres") as superuser:
        for role in (runner.name, home.role):
            assert superuser.execute(RIGHTS, [role]).fetchone() == (False,)
    with server.connect(user) as client:
        client.execute("CREATE TABLE done (what text)")
        row = client.execute(
            "SELECT df.start(df.seq(df.seq('INSERT INTO done VALUES (current_user)',"
            " df.wait_for_signal('go')), 'INSERT INTO done VALUES (''after'')'))"
        ).fetchone()
        assert row is not None
        waiting = "SELECT FROM df.waiting WHERE waits_for = 'signal'"
        wait_until(lambda: client.execute(waiting).fetchone() is not None, "it waits")
        alone = client.execute(  # before it commits, and in no transaction
            "SELECT df.start('VACUUM done', transaction_mode => 'new')"
        ).fetchone()
        assert alone is not None
        assert ended(client, alone[0]) == "completed"
        # both engines are alive to each other, and what one holds the other takes over
        with home.connect(runner) as looking:
            gone = (
                "SELECT count(*) FROM df._engines e JOIN pg_stat_activity a ON a.pid = e.pid"
                " AND a.backend_start = e.backend_start"
            )
            assert looking.execute(gone).fetchone() == (2,)
        sleeping = client.execute("SELECT df.start('SELECT pg_sleep(2)')").fetchone()
        assert sleeping is not None
        for index in range(2):
            server.kill_engine(index)
        client.execute("SELECT df.signal(%s, 'go')", [row[0]])
        assert ended(client, row[0]) == "completed"
        assert ended(client, sleeping[0]) == "completed"
        assert client.execute("TABLE done").fetchall() == [(user.name,), ("after",)]
    assert server.stop() == 0


@pytest.mark.one_postgres
def test_who_owns_the_schema_shortens_the_audit(home: Database, runner: Role) -> None:
    def in_force() -> str:
        return home.psql("SELECT value FROM df._settings WHERE name = 'audit_days'").strip()

    def settings(upstream: str, days: float) -> Settings:
        return load_settings({"upstream": upstream, "audit_days": days})

    prepare_home(settings(home.dsn, 7))  # serve does this as it starts
    assert in_force() == "7"
    prepare_home(settings(home.dsn_for(runner), 3))
    assert in_force() == "7"
    assert run_durproxy("init", upstream=home.dsn, audit_days=3).returncode == 0
    assert in_force() == "3"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        set_audit_days(settings(home.dsn_for(runner), 1))


def test_a_run_role_does_not_upgrade_and_says_who_does(home: Database, runner: Role) -> None:
    with home.connect() as owner:
        owner.execute("DELETE FROM df._migrations WHERE version > 21")
    done = run_durproxy("serve", upstream=home.dsn_for(runner), listen="127.0.0.1:0", web="off")
    assert done.returncode == 2
    assert "durproxy init" in done.stderr


def test_a_role_without_the_right_cannot_serve(home: Database, user: Role) -> None:
    done = run_durproxy("serve", upstream=home.dsn_for(user), listen="127.0.0.1:0", web="off")
    assert done.returncode == 2
    assert "df.grant_engine" in done.stderr
