"""How the engine comes to be a role: by a command that prints its password, or by SET ROLE."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.fix_serve import Serve, ServeWith
from tests.waiting import wait_until

NOWHERE = {"PGPASSFILE": "/nowhere"}


@pytest.fixture
def users(home: Database) -> list[Role]:
    found = [home.add_role(), home.add_role()]
    with home.connect() as owner:
        for role in found:
            owner.execute("SELECT df.grant_usage(%s)", [role.name])
    return found


def ended(client: psycopg.Connection, step: str) -> tuple[str, str]:
    """How a workflow of one step ends, and what df.instance_info says."""
    row = client.execute("SELECT df.start(%s)", [step]).fetchone()
    assert row is not None
    client.execute("SELECT df.await_instance(%s)", [row[0]])
    told = client.execute("SELECT status, output FROM df.instance_info(%s)", [row[0]]).fetchone()
    assert told is not None
    return told[0], told[1]


@pytest.mark.one_postgres
def test_every_login_of_the_server_can_be_by_a_command(
    serve_with: ServeWith, home: Database, users: list[Role]
) -> None:
    passwords = str(home.passfile)
    server = serve_with(
        NOWHERE,
        upstream=home.dsn.rpartition(" password=")[0],
        password_command=json.dumps(["sed", "-n", "s/^[*:]*:{role}://p", passwords]),
        password_command_ttl=0,
    )
    user = users[0]
    with server.connect(user) as client:
        assert ended(client, "SELECT current_user AS me")[0] == "completed"
        renewed = Role(user.name, "a-new-token")
        text = home.passfile.read_text().replace(user.password, renewed.password)
        home.passfile.write_text(text)
        home.psql(f"ALTER ROLE {user.name} PASSWORD '{renewed.password}'", "postgres")
        home.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'durproxy step'",
            "postgres",
        )
        assert ended(client, "SELECT current_user AS me")[0] == "completed"
        home.passfile.write_text(text.replace(renewed.password, ""))
        home.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'durproxy step'",
            "postgres",
        )
        client.execute("SELECT df.start('SELECT 1')")
        why = (
            f'cannot log in as role "{user.name}": password_command for role "{user.name}" printed'
        )
        held_up = "SELECT FROM df.waiting WHERE starts_with(detail, %s)"
        wait_until(lambda: client.execute(held_up, [why]).fetchone() is not None, "it says why")
    log = server.transcript()
    assert not any(role.password in log for role in (*home.roles.values(), renewed))


@pytest.fixture
def shared(serve_with: ServeWith, home: Database, users: list[Role]) -> Serve:
    """A server whose steps share a login that may become any user."""
    login = home.add_role()
    for user in users:
        home.psql(f"GRANT {user.name} TO {login.name}", "postgres")
    text = home.passfile.read_text()  # nobody else's password is known
    home.passfile.write_text("".join(
        line for line in text.splitlines(keepends=True) if f":{login.name}:" in line
    ))  # fmt: skip
    return serve_with(
        step_identity="set_role", step_options=f"user={login.name}", max_user_connections=1
    )


def test_with_set_role_steps_share_a_login_and_nothing_else(
    shared: Serve, users: list[Role]
) -> None:
    me = "SELECT concat(current_user, ' ', session_user = current_user) AS me"
    for user in users:
        with shared.connect(user) as client:
            assert f'"{user.name} f"' in ended(client, me)[1]
            assert ended(client, "SELECT 1 / 0")[0] == "failed"
            assert f'"{user.name} f"' in ended(client, me)[1]
            # a session is begun anew for each workflow
            left = "CREATE TEMP TABLE left_behind (); SELECT set_config('my.secret', 'x', false)"
            assert ended(client, left)[0] == "completed"
            status, output = ended(
                client,
                "SELECT to_regclass('left_behind') AS t, current_setting('my.secret', true) AS s",
            )
            assert (status, json.loads(output)["rows"]) == ("completed", [{"t": None, "s": ""}])


@pytest.mark.one_postgres
def test_with_set_role_a_step_that_would_leave_its_role_is_refused(
    shared: Serve, users: list[Role]
) -> None:
    with shared.connect(users[0]) as client:
        client.execute("SELECT df.setvar('who', 'ROLE')")
        other = users[1].name
        runs = f"SELECT * FROM ts_stat('SELECT set_config(''role'', ''{other}'', false)::tsvector')"
        for step in ("RESET ROLE", f"SET ROLE {other}", "RESET {who}", "DISCARD ALL", runs):
            status, output = ended(client, step)
            assert status == "failed"
            assert "may not change its role" in output
        assert "needs a login of its role" in ended(client, "VACUUM pg_class")[1]
        row = client.execute("SELECT df.start('SELECT 1', database => 'postgres')").fetchone()
        assert row is not None
        client.execute("SELECT df.await_instance(%s)", [row[0]])
        told = client.execute("SELECT output FROM df.instance_info(%s)", [row[0]]).fetchone()
        assert told is not None
        assert "login of their role" in told[0]
    stranger = shared.home.add_role()  # whom the login may not become
    shared.home.psql(f"SELECT df.grant_usage('{stranger.name}')")
    with shared.connect(stranger) as client:
        client.execute("SELECT df.start('SELECT 1')")
        why = f'cannot become role "{stranger.name}": permission denied'
        held_up = "SELECT FROM df.waiting WHERE starts_with(detail, %s)"
        wait_until(lambda: client.execute(held_up, [why]).fetchone() is not None, "it says why")
