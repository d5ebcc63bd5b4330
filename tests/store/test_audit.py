"""The audit: every order and start has its row, nobody changes one, and old ones go."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.asking import refusal, rows, value
from tests.store.conftest import Connect

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
    where = "SELECT DISTINCT login, address::text, application FROM df.audit WHERE role = %s"
    assert rows(session, where, [me]) == [(me, "127.0.0.1/32", "shop")]


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
    assert rows(connect(add_user()), "TABLE df.audit") == []


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
        "INSERT INTO df._audit (at, action, owner, role)"
        " SELECT now() - interval '91 days', 'old', 'x', 'y' FROM generate_series(1, 3)"
    )
    young = value(owner, "SELECT count(*) FROM df._audit WHERE action <> 'old'")
    assert [value(owner, "SELECT df._sweep_audit_1(2)") for _ in range(3)] == [2, 1, 0]
    assert value(owner, "SELECT count(*) FROM df._audit") == young > 0
