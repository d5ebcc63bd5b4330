"""Data never becomes SQL, and names of another's making are never called by ours."""

from __future__ import annotations

import json

import psycopg
import pytest
from psycopg import sql

from tests.fix_serve import Visitor

HOSTILE = [
    "'; DROP TABLE precious; --",
    "$$; DROP TABLE precious; $$",
    "\\'; DROP TABLE precious; --",
    "x' || (SELECT 1/0) || '",
    "$order.x {sys_label} $other? \\u0000 %s %% {secret:key}",
    '"}, {"node_type": "SQL", "query": "DROP TABLE precious"}',
    "), ('a', 'b'); DROP TABLE precious --",
]
# What our own statements call; each tells who has called it.
CAPTURED = [
    ("now()", "timestamptz", "pg_catalog.now()"),
    ("count(anyelement)", "bigint", "1::bigint"),
    ("concat(text, text)", "text", "'captured'"),
    ("concat(text, text, text, bigint, text)", "text", "'captured'"),
    ("current_setting(text)", "text", "'captured'"),
    ("current_setting(text, boolean)", "text", "''"),
    ("set_config(text, text, boolean)", "text", "'captured'"),
    ("quote_ident(text)", "text", "'captured'"),
    ("to_json(anyelement)", "json", "'1'::json"),
    ("row_to_json(record)", "json", "'1'::json"),
    ("json_build_array(text, text[])", "json", "'1'::json"),
    ("clock_timestamp()", "timestamptz", "pg_catalog.now()"),
    ("format(text, text)", "text", "'captured'"),
    ("coalesce_text(text)", "text", "'captured'"),
]


def result(client: psycopg.Connection, start: str, *values: object) -> str:
    row = client.execute(start.encode(), values or None).fetchone()
    assert row is not None
    assert client.execute("SELECT df.await_instance(%s)", row).fetchone() == ("completed",)
    told = client.execute("SELECT df.result(%s)", row).fetchone()
    assert told is not None
    return str(told[0])


@pytest.mark.one_postgres
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_data_stays_data(visitor: Visitor, text: str) -> None:
    with visitor.connect() as client:
        client.execute("CREATE TABLE precious (said text)")
        client.execute("INSERT INTO precious VALUES (%s)", [text])
        workflow = (
            "SELECT df.start(df.seq(df.as('SELECT said FROM precious', 'order'), df.seq("
            "df.as(df.wait_for_signal('go'), 'sig'),"
            " 'SELECT $order.said AS bound, ''say: $order.said'' AS inside, $sig.data AS sent,"
            " (SELECT string_agg(o.said, '''') FROM $order.* AS o) AS rows,"
            " count(*) AS n FROM precious')), %s)"
        )
        row = client.execute(workflow.encode(), [text]).fetchone()
        assert row is not None
        client.execute("SELECT df.signal(%s, 'go', to_json(%s::text)::text)", [row[0], text])
        assert client.execute("SELECT df.await_instance(%s)", row).fetchone() == ("completed",)
        told = client.execute("SELECT df.result(%s)", row).fetchone()
        assert told is not None
        assert json.loads(told[0])["rows"] == [
            {"bound": text, "inside": f"say: {text}", "sent": text, "rows": text, "n": 1}
        ]
        label = client.execute("SELECT label FROM df.instances WHERE id = %s", row).fetchone()
        assert label == (text,)


def test_names_that_somebody_put_before_the_servers_own_are_not_called(visitor: Visitor) -> None:
    """Another role owns the first schema of the path: what is called there runs in our rights."""
    home = visitor.database
    attacker = home.add_role()
    home.psql(f"CREATE SCHEMA AUTHORIZATION {attacker.name}", "postgres")
    with home.connect(attacker) as session:
        schema = sql.Identifier(attacker.name)
        session.execute(sql.SQL("SET search_path = {}").format(schema))
        session.execute("CREATE TABLE caught (who text)")
        session.execute("GRANT INSERT ON caught TO PUBLIC")
        session.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(schema))
        for signature, returned, value in CAPTURED:
            session.execute(
                f"CREATE FUNCTION {signature} RETURNS {returned} LANGUAGE plpgsql AS"
                f" $f$ BEGIN INSERT INTO {attacker.name}.caught VALUES (current_user);"
                f" RETURN {value}; END $f$".encode()
            )
        for operator, kind in (("=", "text"), ("<>", "text"), ("||", "text")):
            session.execute(
                f"CREATE FUNCTION op_{ord(operator[0])}({kind}, {kind}) RETURNS boolean LANGUAGE"
                f" plpgsql AS $f$ BEGIN INSERT INTO {attacker.name}.caught VALUES (current_user);"
                f" RETURN true; END $f$; CREATE OPERATOR {operator} (FUNCTION ="
                f" op_{ord(operator[0])}, LEFTARG = {kind}, RIGHTARG = {kind})".encode()
            )
    path = f"{attacker.name}, {visitor.role.name}, pg_catalog"
    home.psql(f"ALTER ROLE {visitor.role.name} SET search_path = {path}", "postgres")
    with visitor.connect() as client:
        result(
            client,
            "SELECT df.start(df.seq(df.as('SELECT 1.50 AS n, ''a'' AS t', 'r'), df.seq("
            "df.if('$r.n', 'SELECT $r.t', 'SELECT 2'), df.join("
            "'CREATE TEMP TABLE made AS SELECT 1', 'VALUES ($r.n)'))), 'captured', key => 'k')",
        )
        row = client.execute("SELECT df.start(df.wait_for_signal('go'), 'waits')").fetchone()
        assert row is not None
        for call in (
            "df.status(%s)", "df.explain(%s)", "df.pause(%s)", "df.resume(%s)",
            "df.signal(%s, 'go')", "df.await_instance(%s)", "df.result(%s)", "df.rerun(%s)",
        ):  # fmt: skip
            client.execute(f"SELECT {call}".encode(), row)
        client.execute("SELECT * FROM df.list_instances(NULL, 10, NULL)")
        client.execute("SELECT count(*) FROM df.waiting, df.audit, df.nodes, df.schedules")
    with home.connect(attacker) as session:
        caught = sql.SQL("SELECT count(*), min(who) FROM {}.caught").format(schema)
        assert session.execute(caught).fetchone() == (0, None)
        with visitor.connect() as client:
            client.execute("SELECT now()")  # a statement of the user's own is caught
        assert session.execute(caught).fetchone() == (1, visitor.role.name)
