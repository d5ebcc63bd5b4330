"""The audit: every order and start has its row, nobody changes one, and old ones go."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.asking import refusal, rows, value
from tests.store.conftest import Connect
from tests.waiting import wait_until

ORDERS = (
    "SELECT action, role, owner, detail FROM df.audit WHERE instance_id = %s ORDER BY at, action"
)


def test_who_did_what_from_where(
    connect: Connect, store: Database, owner: psycopg.Connection, user: Role
) -> None:
    operator = store.add_role()
    owner.execute("SELECT df.grant_operator(%s)", [operator.name])
    session, operating = connect(user), connect(operator)
    session.execute("SET application_name = 'shop'")
    instance = value(session, "SELECT df.start('SELECT 1', 'order 7')")
    session.execute("SELECT df.signal(%s, 'go', '{\"card\": 4711}')", [instance])
    for order in ("pause(%s, 'why')", "resume(%s)", "cancel(%s, 'enough')", "rerun(%s)"):
        operating.execute(f"SELECT df.{order}".encode(), [instance])
    again = value(session, "SELECT id FROM df.instances WHERE id <> %s", [instance])
    me, they = user.name, operator.name
    assert rows(session, ORDERS, [instance]) == [
        ("start", me, me, "order 7"),
        ("signal", me, me, "go"),
        ("pause", they, me, "why"),
        ("resume", they, me, None),
        ("cancel", they, me, "enough"),
        ("rerun", they, me, f"as {again}"),
    ]
    assert rows(operating, ORDERS, [instance]) == rows(session, ORDERS, [instance])
    where = "SELECT DISTINCT login, address::text, pid, application FROM df.audit WHERE role = %s"
    assert rows(session, where, [me]) == [(me, "127.0.0.1/32", session.info.backend_pid, "shop")]


def test_an_order_that_is_refused_or_rolled_back_leaves_nothing(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    instance = value(session, "SELECT df.start('SELECT 1')")
    refusal(session, "SELECT df.cancel('00000000')")
    session.execute("BEGIN")
    session.execute("SELECT df.cancel(%s)", [instance])
    session.execute("ROLLBACK")
    asked = "SELECT count(*) FROM df._audit WHERE instance IN ('00000000', %s)"
    assert value(owner, asked, [instance]) == 0


def test_the_login_is_told_where_the_role_is_another(
    connect: Connect, store: Database, user: Role
) -> None:
    gate = store.add_role()
    connect("postgres").execute(f"GRANT {user.name} TO {gate.name}".encode())
    session = connect(gate)
    session.execute(f"SET ROLE {user.name}".encode())
    instance = value(session, "SELECT df.start('SELECT 1')")
    session.execute("SELECT df.cancel(%s)", [instance])
    asked = "SELECT action, role, login FROM df.audit WHERE instance_id = %s ORDER BY at"
    assert rows(session, asked, [instance]) == [
        ("start", user.name, gate.name),
        ("cancel", user.name, gate.name),
    ]


def test_the_audit_of_others_is_not_shown(
    session: psycopg.Connection, connect: Connect, add_user: Callable[[], Role]
) -> None:
    instance = value(session, "SELECT df.start('SELECT 1')")
    session.execute("SELECT df.cancel(%s)", [instance])
    stranger = add_user()
    told = rows(connect(stranger), "SELECT action, owner FROM df.audit")
    assert told == [("grant_usage", stranger.name)]


def test_the_name_of_a_role_that_was_dropped_shows_nothing_of_it(
    connect: Connect, store: Database, owner: psycopg.Connection, user: Role
) -> None:
    with connect(user) as session:
        instance = value(session, "SELECT df.start('SELECT 1', 'treasure')")
        session.execute("SELECT df.cancel(%s, 'treasure')", [instance])
    owner.execute("DELETE FROM df._instances WHERE id = %s", [instance])
    superuser = connect("postgres")
    superuser.execute("SELECT df.revoke_usage(%s)", [user.name])
    superuser.execute(f"DROP ROLE {user.name}".encode())
    superuser.execute(f"CREATE ROLE {user.name} LOGIN PASSWORD '{user.password}'".encode())
    owner.execute("SELECT df.grant_usage(%s)", [user.name])
    owner.execute(  # as after a restore where the number is another's
        "INSERT INTO df._audit (action, owner_id, owner, role_id, role)"
        " SELECT 'signal', role, 'x', role, 'x' FROM (SELECT %s::regrole) r (role)",
        [user.name],
    )
    assert rows(connect(user), "SELECT action FROM df.audit") == [("grant_usage",)]
    kept = "SELECT action, owner FROM df._audit WHERE instance = %s ORDER BY at"
    assert rows(owner, kept, [instance]) == [("start", user.name), ("cancel", user.name)]


def test_a_look_reads_ones_own_rows_only(
    connect: Connect, store: Database, owner: psycopg.Connection, add_user: Callable[[], Role]
) -> None:
    """All that is a role's own or was done by it, once each; and the rest for who looks at all."""
    me, other, operator = add_user(), add_user(), store.add_role()
    owner.execute("SELECT df.grant_operator(%s)", [operator.name])
    owner.execute(
        "INSERT INTO df._audit (action, owner_id, owner, role_id, role, detail)"
        " SELECT 'told', o::regrole, o, r::regrole, r, o || ' ' || r || n"
        " FROM unnest(%s::text[]) o, unnest(%s::text[]) r, generate_series(1, 300) n"
        " WHERE n <= 3 OR o = %s AND r = %s",
        [names := [me.name, other.name, operator.name], names, other.name, other.name],
    )
    session = connect(other)
    session.execute("SELECT df.start('SELECT 1') FROM generate_series(1, 600)")
    owner.execute("ANALYZE df._audit, df._instances")
    everything = value(owner, "SELECT count(*) FROM df._audit") + value(
        owner, "SELECT count(*) FROM df._instances WHERE rerun_of IS NULL"
    )
    count = "SELECT count(*), count(DISTINCT detail) FILTER (WHERE action = 'told') FROM df.audit"
    grant, start = 1, 600
    assert rows(connect(me), count) == [(5 * 3 + grant, 5 * 3)]
    assert rows(session, count) == [(300 + 4 * 3 + grant + start, 300 + 4 * 3)]
    assert rows(connect(operator), count) == [(everything, 300 + 8 * 3)]
    assert _rows_read(connect(me), "SELECT * FROM df.audit") == 5 * 3 + grant


def _rows_read(session: psycopg.Connection, query: str) -> int:
    """Of what is written down: rows that the server looked at."""
    plan = value(session, f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")[0]["Plan"]
    read = 0
    left = [plan]
    while left:
        node = left.pop()
        left += node.get("Plans", [])
        if node.get("Relation Name") in ("_audit", "_instances"):
            seen = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            read += round(seen * node["Actual Loops"])
    return read


CHANGES = [
    "UPDATE df._audit SET role = 'nobody'",
    "DELETE FROM df._audit",
    "TRUNCATE df._audit",
    "INSERT INTO df._audit (action, owner, role) VALUES ('start', 'x', 'y')",
    "DELETE FROM df.audit",
    "UPDATE df.audit SET role = 'nobody'",
    "INSERT INTO df._own (graph, address) VALUES ('{}', '10.0.0.1')",
]


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_writes_history(session: psycopg.Connection, change: str) -> None:
    # no right, or a view or column that is not there to be written
    assert refusal(session, change).sqlstate in ("42501", "55000", "42703")


def test_not_even_the_owner_changes_what_is_young(
    store: Database, owner: psycopg.Connection, session: psycopg.Connection
) -> None:
    session.execute("SELECT df.cancel(df.start('SELECT 1'))")
    for change in CHANGES[:3]:
        assert refusal(owner, change).message_primary == "the audit is append-only"
    owner.execute(
        "INSERT INTO df._audit (keep_until, action, owner, role_id, role)"
        " SELECT now() - interval '1 s', 'old', 'x', current_user::regrole, 'y'"
        " FROM generate_series(1, 3)"
    )
    young = value(owner, "SELECT count(*) FROM df._audit WHERE action <> 'old'")
    assert [value(owner, "SELECT df._sweep_audit_1(2)") for _ in range(3)] == [2, 1, 0]
    assert value(owner, "SELECT count(*) FROM df._audit") == young > 0


@pytest.mark.one_postgres
def test_a_start_is_told_for_as_long_as_orders_are(home: Database) -> None:
    """Also when its workflow is deleted long before, by whomever."""
    with home.connect() as owner:
        owner.execute("SET application_name = 'shop'")
        labels = "unnest('{old,a,b,c,d}'::text[]) label"
        owner.execute(f"SELECT df.start('SELECT 1', label) FROM {labels}".encode())
        owner.execute(
            "UPDATE df._instances SET status = 'failed', ready_at = NULL,"
            " created_at = now() - ascii(label) % 97 * interval '7 days',"  # "old" is 98 days old
            " completed_at = now() - ascii(label) * interval '1 s'"
        )
        asked = "SELECT * FROM df.audit WHERE action = 'start' AND detail <> 'old' ORDER BY at"
        before = rows(owner, asked)
        assert len(before) == 4
        mine = "ARRAY[current_user::regrole]::oid[]"
        for deletion in (
            "SELECT df._sweep_1(NULL, 4, 200)",  # the oldest
            f"SELECT df._sweep_2({mine}, 0, NULL, 1)",
            "DELETE FROM df._instances WHERE label = 'a'",
            "TRUNCATE df._instances",
        ):
            left = value(owner, "SELECT count(*) FROM df._instances")
            owner.execute(deletion.encode())
            assert value(owner, "SELECT count(*) FROM df._instances") < left
            assert rows(owner, asked) == before
        assert left == 2
        assert value(owner, "SELECT count(*) FROM df._audit WHERE detail = 'old'") == 0
        kept = "SELECT every(keep_until = at + interval '90 days') FROM df._audit"
        assert value(owner, f"{kept} WHERE action = 'start'")


@pytest.mark.one_postgres
def test_who_runs_the_engine_does_not_shorten_the_audit(home: Database) -> None:
    runner = home.add_role()
    home.psql(f"GRANT {runner.name} TO {home.role}", "postgres")
    with home.connect() as owner, home.connect(runner) as running:
        owner.execute("SELECT df.grant_engine(%s)", [runner.name])
        young = value(owner, "SELECT count(*) FROM df._audit")
        assert young > 0
        for attempt in (
            "UPDATE df._settings SET value = '0.001' WHERE name = 'audit_days'",
            "DELETE FROM df._settings",
            "DELETE FROM df._audit",
            "ALTER TABLE df._audit DISABLE TRIGGER ALL",
        ):
            assert refusal(running, attempt).sqlstate == "42501"
        record = "SELECT df._record_settings_1(%s, false, 5, 5)"
        for days in ("-1", "36501", "NaN", "Infinity"):
            assert refusal(running, record, [days]).sqlstate == "22023"
        told = [value(running, record, [days]) for days in ("1", "0.001", None, "100", "0", "1")]
        assert told == [90, 90, 90, 100, 0, 0]  # 0: no limit
        # only the owner lowers it, and for what is written from then on
        owner.execute("UPDATE df._settings SET value = '0.000001' WHERE name = 'audit_days'")
        owner.execute("SELECT df.revoke_usage(%s)", [runner.name])
        clock = "SELECT count(*) FROM df._audit WHERE keep_until > now() + '80 days'"
        assert value(owner, clock) == young
        wait_until(lambda: value(owner, "SELECT df._sweep_audit_1(200)") == 1, "the new one goes")
        assert value(owner, "SELECT count(*) FROM df._audit") == young
