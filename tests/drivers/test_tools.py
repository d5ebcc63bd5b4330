"""Postgres's own programs through the proxy: dump and restore, pgbench, an interactive psql."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import monotonic

import psycopg
import pytest
from psycopg import sql

from tests.fix_postgres import Database
from tests.fix_serve import ServeWith, Visitor
from tests.waiting import wait_until

CONTENTS = """
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE TABLE things (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text, b bytea, m mood[], j jsonb);
INSERT INTO things (t, b, m, j)
    SELECT CASE WHEN n % 7 > 0 THEN repeat(E'é\\t\\\\.\\n', n % 50) END, sha256(n::text::bytea),
           ARRAY['sad', NULL, 'it''s ok']::mood[], jsonb_build_object('n', n)
    FROM generate_series(1, 3000) AS n;
CREATE TABLE parts (n int, CHECK (n > 0)) PARTITION BY RANGE (n);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (1) TO (100);
INSERT INTO parts VALUES (1), (99);
CREATE VIEW named AS SELECT id, t FROM things WHERE t IS NOT NULL;
SELECT lo_from_bytea(0, repeat('large', 10000)::bytea);
CREATE FUNCTION order_flow(first text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN df.start(first ~> 'SELECT 2' ~> df.sleep(1) |=> 'x'); END $$;
CREATE FUNCTION order_flow_sql() RETURNS text LANGUAGE sql AS
    'SELECT df.start(''SELECT 1'' ~> ''SELECT 2'' & ''SELECT 3'')';
"""


@pytest.fixture
def twins(home: Database) -> Iterator[list[Database]]:
    """Two empty databases of the same owner."""
    names = [f"{home.name}_{which}" for which in ("through", "direct")]
    with psycopg.connect(home.postgres.superuser_dsn, autocommit=True) as admin:
        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0")
        for name in names:
            admin.execute(create.format(sql.Identifier(name), sql.Identifier(home.role)))
        yield [Database(home.postgres, name, home.owner, home.passfile) for name in names]
        for name in names:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            admin.execute(drop.format(sql.Identifier(name)))


def run(database: Database, program: str, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(
        [str(database.postgres.bindir / program), *arguments],
        input=given, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def dumped(database: Database, dsn: str) -> list[bytes]:
    lines = run(database, "pg_dump", "-d", dsn).splitlines()
    return [line for line in lines if b"restrict" not in line]  # which has a random word


@pytest.mark.parametrize("form", ["custom", pytest.param("plain", marks=pytest.mark.soak)])
def test_a_dump_and_a_restore_are_the_same_as_directly(
    home: Database, serve_with: ServeWith, twins: list[Database], form: str
) -> None:
    """The home schema goes along, and bodies of functions that use its operators."""
    serve = serve_with(engines=0)  # which would note there that they are alive
    serve.psql(CONTENTS)
    assert dumped(home, serve.dsn) == dumped(home, home.dsn)
    dump = run(home, "pg_dump", "-d", serve.dsn, f"--format={form}")
    for twin, port in zip(twins, (serve.port, home.postgres.port), strict=True):
        dsn = twin.dsn.replace(f"port={home.postgres.port}", f"port={port}")
        if form == "custom":
            run(home, "pg_restore", "-d", dsn, "--exit-on-error", given=dump)
        else:
            run(home, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, given=dump)
    through, direct = (dumped(twin, twin.dsn) for twin in twins)
    assert through == direct


def test_a_connection_for_each_transaction(visitor: Visitor) -> None:
    pgbench = str(visitor.database.postgres.bindir / "pgbench")
    place = ["-h", "127.0.0.1", "-p", str(visitor.serve.port), "-U", visitor.role.name]
    for options in (["-i", "-I", "dtGp"], ["-C", "-c", "4", "-t", "5", "-n"]):
        done = subprocess.run(
            [pgbench, *place, *options, visitor.database.name],
            env=os.environ | {"PGPASSWORD": visitor.role.password},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "processed: 20/20" in done.stdout
    with visitor.connect() as session:
        assert session.execute("SELECT count(*) FROM pgbench_history").fetchone() == (20,)


class Terminal:
    """An interactive psql, as a person has it."""

    def __init__(self, visitor: Visitor) -> None:
        self._ours, theirs = pty.openpty()
        psql = str(visitor.database.postgres.bindir / "psql")
        self.process = subprocess.Popen(
            [psql, "-X", "-n", "-P", "pager=off", visitor.dsn],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode() + b"\n")

    def wait_for(self, text: str) -> None:
        """Until the text is shown; what was before it is forgotten."""
        deadline = monotonic() + 20
        while text not in self._shown:
            readable, _, _ = select.select([self._ours], [], [], deadline - monotonic())
            assert readable, f"it shows only: {self._shown}"
            self._shown += os.read(self._ours, 65536).decode()
        self._shown = self._shown.partition(text)[2]

    def press_control_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@contextmanager
def started(visitor: Visitor) -> Iterator[Terminal]:
    with closing(Terminal(visitor)) as terminal:
        terminal.wait_for("=>")
        yield terminal


def test_control_c_and_watch(visitor: Visitor) -> None:
    asleep = (
        "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)%'"
        f" AND usename = '{visitor.role.name}'"
    )
    with started(visitor) as psql:
        psql.type("SELECT 'beg' || 'un'; SELECT pg_sleep(60);")
        psql.wait_for("begun")
        wait_until(lambda: visitor.database.psql(asleep, "postgres"), "it sleeps")
        psql.press_control_c()
        psql.wait_for("canceling statement due to user request")
        psql.type("SELECT 'times ' || nextval('times') \\watch 0.05")
        psql.wait_for('relation "times" does not exist')
        psql.type("CREATE SEQUENCE times; SELECT 'times ' || nextval('times') \\watch 0.05")
        for n in (1, 2, 3):
            psql.wait_for(f"times {n}")
        psql.press_control_c()
        psql.type("SELECT 6 * 7 AS answer;")
        psql.wait_for("42")
        psql.type("\\q")
        assert psql.process.wait(20) == 0
