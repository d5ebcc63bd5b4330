"""What is deleted of instances that have ended, and that nothing else ever is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.store.asking import rows, value

_SWEEP = "SELECT df._sweep_1(%s, %s, %s)"


@pytest.fixture
def owner(home: Database) -> Iterator[psycopg.Connection]:
    """Of a database of the test's own: retention is about all instances."""
    with closing(home.connect()) as owner:
        yield owner


def start(owner: psycopg.Connection, label: str) -> str:
    return str(value(owner, "SELECT df.start('SELECT 1', %s)", [label]))


def end(owner: psycopg.Connection, instance: str, status: str, days_ago: float) -> None:
    owner.execute(
        "UPDATE df._instances SET status = %s, ready_at = NULL,"
        " completed_at = clock_timestamp() - %s * interval '1 day' WHERE id = %s",
        [status, days_ago, instance],
    )


def labels(owner: psycopg.Connection) -> list[str]:
    return [label for (label,) in rows(owner, "SELECT label FROM df._instances ORDER BY label")]


def fill(owner: psycopg.Connection, instance: str) -> set[str]:
    """A row of the instance's in every table that holds such rows; the tables."""
    owner.execute(
        "INSERT INTO df._checkpoints (instance_id, node, path, status) VALUES (%s, 1, '', 'o')",
        [instance],
    )
    owner.execute("INSERT INTO df._signals (instance_id, name) VALUES (%s, 'x')", [instance])
    owner.execute(
        "INSERT INTO df._rounds (instance_id, n, started_at, ended_at, events)"
        " VALUES (%s, 1, now(), now(), 0)",
        [instance],
    )
    tables = {table for (table,) in rows(owner, "SELECT df._tables_of_instances()::text")}
    for table in tables - {"df._checkpoints", "df._signals", "df._rounds"}:
        needed = rows(
            owner,
            "SELECT attname, CASE WHEN attname = 'overlap' THEN 'skip'"
            " WHEN atttypid = 'text'::regtype THEN %s WHEN atttypid = 'json'::regtype THEN '{}'"
            " WHEN atttypid = 'uuid'::regtype THEN gen_random_uuid()::text"
            " WHEN atttypid = 'timestamptz'::regtype THEN 'now' ELSE '1' END"
            " FROM pg_attribute WHERE attrelid = %s::regclass"
            " AND attnum > 0 AND attnotnull AND NOT atthasdef AND attidentity = ''"
            " AND attname <> 'instance_id'",
            [instance, table],
        )
        names = ", ".join(["instance_id", *(name for name, _ in needed)])
        owner.execute(
            f"INSERT INTO {table} ({names}) VALUES (%s{', %s' * len(needed)})".encode(),
            [instance, *(text for _, text in needed)],
        )
    return tables


def left(owner: psycopg.Connection, tables: set[str], instance: str) -> set[str]:
    query = "SELECT EXISTS (SELECT FROM {} t WHERE t.instance_id = %s)"
    return {table for table in tables if value(owner, query.format(table), [instance])}


def test_what_ended_too_long_ago_goes_with_all_that_belongs_to_it(
    owner: psycopg.Connection,
) -> None:
    old, young, running = (start(owner, label) for label in ("old", "young", "running"))
    tables = fill(owner, old)
    assert {"df._checkpoints", "df._signals", "df._rounds"} <= tables
    for instance in (young, running):
        fill(owner, instance)
    assert left(owner, tables, old) == tables
    end(owner, old, "failed", 31)
    end(owner, young, "cancelled", 29)
    assert value(owner, _SWEEP, [30, None, 200]) == 1
    assert labels(owner) == ["running", "young"]
    assert left(owner, tables, old) == set()
    assert left(owner, tables, young) == left(owner, tables, running) == tables


def test_the_newest_of_those_that_ended_stay(owner: psycopg.Connection) -> None:
    for k in range(6):
        end(owner, start(owner, f"ended {k}"), "completed", k)
    for k in range(4):
        start(owner, f"running {k}")  # these do not count
    assert value(owner, _SWEEP, [None, 4, 200]) == 2
    assert labels(owner) == [*(f"ended {k}" for k in range(4)), *(f"running {k}" for k in range(4))]
    assert value(owner, _SWEEP, [None, 4, 200]) == 0


def test_what_one_role_starts_shortens_nothing_of_anothers(
    home: Database, owner: psycopg.Connection
) -> None:
    """Nor what was kept for a role that is gone, for as long as days allow."""
    flood, gone = home.add_role(), home.add_role()
    with home.connect("postgres") as superuser:
        for role in (flood, gone):
            superuser.execute("SELECT df.grant_usage(%s)", [role.name])
            superuser.execute(f"SET ROLE {role.name}".encode())
            superuser.execute(
                "SELECT df.start('SELECT 1', %s || n) FROM generate_series(1, 9) n",
                ["flood" if role is flood else "gone"],
            )
            superuser.execute("RESET ROLE")
        superuser.execute("SELECT df.revoke_usage(%s)", [gone.name])
        superuser.execute(f"DROP ROLE {gone.name}".encode())
    for k in range(3):
        end(owner, start(owner, f"mine {k}"), "completed", 20 + k)
    key = value(owner, "SELECT df.start('SELECT 1', 'mine 3', key => 'order 7')")
    end(owner, key, "completed", 25)
    owner.execute(
        "UPDATE df._instances SET status = 'completed', ready_at = NULL, completed_at ="
        " now() - right(label, 1)::integer * interval '1 s' WHERE label ~ 'flood|gone'"
    )
    assert value(owner, _SWEEP, [30, 4, 200]) == 10
    mine = [f"mine {k}" for k in range(4)]
    newest = [f"{whose}{k}" for whose in ("flood", "gone") for k in range(1, 5)]
    assert labels(owner) == [*newest, *mine]
    assert value(owner, "SELECT df.start('SELECT 1', key => 'order 7')") == key
    assert value(owner, _SWEEP, [21.5, 4, 200]) == 2  # days count for all
    one = "SELECT df._sweep_2(ARRAY[%s::regrole]::oid[], 0, NULL, 200)"
    assert value(owner, one, [flood.name]) == 4
    assert value(owner, "SELECT count(*) FROM df._ended_roles_1()") == 2


@pytest.mark.parametrize("room", [1, 3])
def test_a_sweep_takes_the_oldest_and_no_more_than_asked_for(
    owner: psycopg.Connection, room: int
) -> None:
    for k in range(5):
        end(owner, start(owner, f"{k}"), "completed", 40 + k)
    assert value(owner, _SWEEP, [30, None, room]) == room
    assert labels(owner) == [str(k) for k in range(5 - room)]


def test_without_limits_nothing_goes_and_what_has_not_ended_never_does(
    owner: psycopg.Connection,
) -> None:
    start(owner, "pending")
    end(owner, start(owner, "ended"), "completed", 10_000)
    assert value(owner, _SWEEP, [None, None, 200]) == 0
    # a time of its end alone does not make it ended
    odd = start(owner, "odd")
    owner.execute("UPDATE df._instances SET completed_at = 'epoch' WHERE id = %s", [odd])
    assert value(owner, _SWEEP, [1, 1, 200]) == 1
    assert labels(owner) == ["odd", "pending"]


def test_many_engines_sweep_side_by_side(home: Database, owner: psycopg.Connection) -> None:
    for k in range(6):
        end(owner, start(owner, f"{k}"), "completed", 40 + k)
    with closing(home.connect(autocommit=False)) as one, closing(home.connect()) as other:
        assert value(one, _SWEEP, [30, None, 4]) == 4
        other.execute("SET lock_timeout = '1s'")
        assert value(other, _SWEEP, [30, None, 4]) == 2  # does not wait for the first
        one.commit()
    assert labels(owner) == []


def test_messages_for_what_has_ended_go_at_once(owner: psycopg.Connection) -> None:
    ended, running = start(owner, "ended"), start(owner, "running")
    for instance in (ended, running):
        owner.execute("SELECT df.signal(%s, 'x')", [instance])
    end(owner, ended, "completed", 0)
    assert value(owner, "SELECT df._sweep_signals_1(200)") == 1
    assert rows(owner, "SELECT instance_id FROM df._signals") == [(running,)]
    assert value(owner, "SELECT df._sweep_signals_1(200)") == 0


def test_rows_without_an_instance_are_found_and_deleted(owner: psycopg.Connection) -> None:
    lost = [start(owner, f"lost {k}") for k in range(5)]
    kept = [start(owner, f"kept {k}") for k in range(5)]
    tables = {table for instance in lost + kept for table in fill(owner, instance)}
    owner.execute("DELETE FROM df._instances WHERE label LIKE 'lost%'")
    for table in tables:
        after: str | None = ""
        gone = 0
        while after is not None:
            [(after, more)] = rows(
                owner, "SELECT * FROM df._reconcile_1(%s::regclass, %s, 3)", [table, after]
            )
            gone += more
        assert gone == 5, table
    assert all(left(owner, tables, instance) == set() for instance in lost)
    assert all(left(owner, tables, instance) == tables for instance in kept)


def test_a_sweep_reads_what_it_needs_from_the_index(owner: psycopg.Connection) -> None:
    owner.execute("SELECT df.start('SELECT 1') FROM generate_series(1, 3000)")
    owner.execute(
        "UPDATE df._instances SET status = 'completed', ready_at = NULL, completed_at ="
        " clock_timestamp() - seq * interval '1 second'"
    )
    owner.execute("VACUUM ANALYZE df._instances")
    of_a_role = "FROM df._instances i WHERE i.submitted_by = current_user::regrole AND"
    old = (
        f"SELECT i.id {of_a_role} i.completed_at < now() - interval '1 hour'"
        " AND i.status IN ('completed', 'failed', 'cancelled')"
        " ORDER BY i.completed_at LIMIT 20 FOR UPDATE SKIP LOCKED"
    )
    newest = (
        f"SELECT i.completed_at {of_a_role} i.completed_at IS NOT NULL"
        " ORDER BY i.completed_at DESC OFFSET 100 LIMIT 1"
    )
    for asked in (old, newest):
        plan = rows(owner, f"EXPLAIN {asked}")
        assert "_instances_ended_of" in "\n".join(line for (line,) in plan)
