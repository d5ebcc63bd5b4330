"""Bodies of DO blocks, functions and procedures: what the server makes of them, and what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pglast
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.rewrite.plan import Session, plan_statement, plan_text
from tests.fix_postgres import Database

CORPUS = Path(__file__).parent / "corpus" / "bodies.sql"
OPERATORS = ["~>", "|=>", "?>", "!>", "&", "|", "@>"]


@dataclass(frozen=True)
class Script:
    name: str
    text: str
    later: str


def scripts() -> Iterator[Script]:
    for part in CORPUS.read_text(encoding="utf-8").split("\n-- script: ")[1:]:
        name, _, text = part.partition("\n")
        now, _, later = text.partition("\n-- later\n")
        yield Script(name, now, later)


def rewritten(text: str) -> str:
    plan = plan_text(text, "utf-8")
    assert plan.text is not None
    return plan.text.decode()


@pytest.mark.parametrize("script", list(scripts()), ids=lambda script: script.name)
def test_bodies_do_without_search_path_what_they_do_with_it(home: Database, script: Script) -> None:
    plain = outcome(home, "plain", "plain, df", script.text, script.later)
    assert plain
    assert outcome(home, "proxied", "proxied", rewritten(script.text), script.later) == plain


def outcome(home: Database, schema: str, path: str, text: str, later: str) -> list[tuple[object]]:
    """Run a script in a schema of its own; return what it made and the graphs it started."""
    with home.connect() as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        connection.execute(f"SET search_path = {path}".encode())
        connection.execute("CREATE TABLE made (n int GENERATED ALWAYS AS IDENTITY, graph text)")
        connection.execute(text.encode())
    with home.connect() as connection:
        connection.execute(f"SET search_path = {path}".encode())
        connection.execute(later.encode())
        made = connection.execute("SELECT graph FROM made ORDER BY n").fetchall()
    with home.connect("postgres") as connection:
        started = connection.execute("SELECT graph::text || label FROM df._instances ORDER BY seq")
        found = made + started.fetchall()
        connection.execute("DELETE FROM df._instances")
    return found


def test_a_block_that_starts_what_cannot_run_is_refused(home: Database) -> None:
    text = (
        "CREATE TABLE before (a text); /* é */ "
        "DO $$ BEGIN\n  PERFORM df.start('SELECT 1' ~> 'SELECT \"a$b\" FRM t');\nEND $$"
    )
    with home.connect() as connection:
        with pytest.raises(psycopg.errors.SyntaxError) as raised:
            connection.execute(rewritten(text).encode())
        assert connection.execute("SELECT to_regclass('before')").fetchone() == (None,)
    found = raised.value.diag
    assert found.message_primary == 'syntax error at or near "t" in a step'
    assert found.message_detail == 'At node 3, line 2, column 52: SELECT "a$b" FRM t'
    assert found.message_hint == "A step is a SQL statement as you would run it by itself."


def test_errors_in_a_body_point_at_the_users_own_text(home: Database) -> None:
    text = (
        "CREATE FUNCTION é(a text) RETURNS text LANGUAGE plpgsql AS "
        "'BEGIN PERFORM df.start(a ~> ''é'' & a); RETURN a ~> a a FRM; END'"
    )
    plan = plan_text(text, "utf-8")
    assert plan.text is not None
    with home.connect() as connection, pytest.raises(psycopg.errors.SyntaxError) as raised:
        connection.execute(plan.text)
    position = int(raised.value.diag.statement_position or 0)
    assert plan.original_position(position) == text.index("FRM") + 1


def test_a_backslash_in_a_body_needs_standard_conforming_strings() -> None:
    text = rb"DO $$ BEGIN PERFORM df.start('SELECT ''\''' ~> x); END $$"
    assert plan_statement(text, Session("UTF8", standard_conforming_strings=True)).text is not None
    assert plan_statement(text, Session("UTF8", standard_conforming_strings=False)).text is None


def test_a_body_beyond_the_limit_stays() -> None:
    body = "BEGIN PERFORM df.start(a ~> b);{} END"
    short, long = (body.format(" x := 1;" * n) for n in (1_000, 2_000))
    assert plan_text(f"DO $${short}$$", "utf-8").text is not None
    assert plan_text(f"DO $${long}$$", "utf-8").text is None


PIECES = st.one_of(
    st.sampled_from(
        [*OPERATORS, "df.start(", "df.seq(", "df.sql(", "(", ")", ",", ";", "a", "b.c"]
    ),
    st.sampled_from(["df.start(a & b, 'l' || (5 & 4))", "df.seq(@> a | 'SELECT 1', (b & c))"]),
    st.sampled_from(["x := a ~> b ;", "; PERFORM df.start(a ?> b !> f(c & d))", "a |=> 'x' ~>"]),
    st.sampled_from(["'SELECT 1'", "'it''s ~>'", "E'\\' & '", "$q$ a ~> b $q$", '"~>"', "$1", "7"]),
    st.sampled_from(["-- a ~> b\n", "/* df.start(a ~> b) */", "\n", ":=", "OPERATOR(df.~>)", "||"]),
    st.sampled_from(
        ["PERFORM", "CASE WHEN", "THEN", "END", "SELECT", "é😀", ".", "<<l>>", "~>~", "="]
    ),
)
CODE = st.lists(PIECES, max_size=40).map(lambda pieces: f"BEGIN df.x(); {' '.join(pieces)}; END")
QUOTES: dict[str, Callable[[str], str]] = {
    "dollar": lambda code: f"$body${code}$body$",
    "plain": lambda code: "'" + code.replace("'", "''") + "'",
    "escape": lambda code: "E'" + code.replace("\\", "\\\\").replace("'", "\\'") + "'",
}
HEADS = ["DO ", "CREATE FUNCTION é() RETURNS text LANGUAGE plpgsql AS ", "SELECT 'é'; DO "]


@given(CODE, st.sampled_from(sorted(QUOTES)), st.sampled_from(HEADS))
def test_a_body_changes_only_at_operators(code: str, quoting: str, head: str) -> None:
    text = head + QUOTES[quoting](code)
    plan = plan_text(text, "utf-8")
    if plan.text is None or "$refusal$" in plan.text.decode():
        return
    names = [text[edit.start : edit.end] for edit in plan.edits]
    assert set(names) <= set(OPERATORS)
    assert [edit.text for edit in plan.edits] == [f" OPERATOR(df.{name}) " for name in names]
    marks = [name for name in operators_of(code) if name in OPERATORS]
    body = plan_body(plan.text.decode())
    qualified = [name for name in operators_of(body) if name in OPERATORS]
    assert qualified == marks
    assert unqualified(body) == unqualified(code)


def unqualified(code: str) -> str:
    for name in OPERATORS:
        code = code.replace(f" OPERATOR(df.{name}) ", name)
    return code


def operators_of(code: str) -> list[str]:
    """The operators of a code, as Postgres's own scanner splits it."""
    tokens: Iterable[Any] = pglast.parser.scan(code)
    return [code[token.start : token.end + 1] for token in tokens]


def plan_body(text: str) -> str:
    """The body as the parser reads it from the rewritten statement."""
    statement: Any = pglast.parse_sql(text)[-1].stmt
    options = getattr(statement, "args", None) or statement.options
    body = next(option.arg for option in options if option.defname == "as")
    return str((body[0] if isinstance(body, tuple) else body).sval)
