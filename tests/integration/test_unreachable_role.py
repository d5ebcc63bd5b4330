"""A role that the engine cannot log in as: its workflows wait, say why, and go on."""

from __future__ import annotations

from functools import partial

import psycopg
import pytest

from tests.fix_serve import Serve
from tests.waiting import wait_until


def explained(client: psycopg.Connection, instance: str) -> str:
    row = client.execute("SELECT df.explain(%s)", [instance]).fetchone()
    assert row is not None
    return str(row[0])


def says(client: psycopg.Connection, instance: str, why: str) -> bool:
    return why in explained(client, instance)


def timed_out(client: psycopg.Connection, instance: str) -> str:
    """The detail of an await that ends with nothing."""
    with pytest.raises(psycopg.Error) as caught:
        client.execute("SELECT df.await_instance(%s, 1)", [instance])
    return str(caught.value.diag.message_detail)


def test_workflows_say_that_nobody_can_log_in_as_their_role(serve: Serve) -> None:
    role = serve.home.postgres.create_role()  # not in the passfile
    serve.home.psql(f"SELECT df.grant_usage('{role.name}')")
    why = f'Held up:  cannot log in as role "{role.name}": '
    with serve.connect(role) as client:
        started = client.execute("SELECT df.start('SELECT 1') FROM generate_series(1, 3)")
        instances = [instance for (instance,) in started.fetchall()]
        for instance in instances:
            wait_until(partial(says, client, instance, why), "it says why")
        assert f":{serve.home.postgres.port} in its passfile" in explained(client, instances[0])
        held_up = "It is held up: cannot log in as role"  # between two tries, most of the time
        wait_until(lambda: held_up in timed_out(client, instances[0]), "an await says why")
        waiting = "SELECT FROM df.waiting WHERE waits_for = 'another try' AND detail LIKE %s"
        wait_until(
            lambda: client.execute(waiting, ["cannot log in as role %"]).fetchone() is not None,
            "df.waiting says it, too",
        )
        # it is tried again and again, and told once
        tries = "SELECT delays > 2 FROM df._instances WHERE id = %s"
        with serve.connect() as owner:
            wait_until(
                lambda: owner.execute(tries, [instances[0]]).fetchone() == (True,), "more tries"
            )
        assert len(serve.events("role.unreachable", role=role.name)) == 1
        serve.home.add_known_role(role)
        for instance in instances:
            ended = client.execute("SELECT df.await_instance(%s, 60)", [instance]).fetchone()
            assert ended == ("completed",)
        assert "Held up" not in explained(client, instances[0])
