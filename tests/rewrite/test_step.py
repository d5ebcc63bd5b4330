"""What kind of step a text is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.rewrite.step import StepKind, classify, neutral


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", StepKind.QUERY),
        ("(SELECT 1) UNION ALL SELECT 2 ORDER BY 1 LIMIT 1", StepKind.QUERY),
        ("VALUES (1), (2)", StepKind.QUERY),
        ("TABLE t", StepKind.QUERY),
        ("WITH q AS (SELECT 1) SELECT * FROM q FOR UPDATE", StepKind.QUERY),
        ("SELECT (($1)[1]::pg_catalog.int4)", StepKind.QUERY),
        ("SELECT", StepKind.QUERY),
        ("SELECT 1 INTO t", StepKind.COMMAND),
        ("SELECT 1 INTO t UNION SELECT 2", StepKind.COMMAND),
        ("WITH d AS (DELETE FROM t RETURNING *) SELECT count(*) FROM d", StepKind.ROWS),
        ("INSERT INTO t VALUES (1) RETURNING id", StepKind.ROWS),
        ("UPDATE t SET a = 1 RETURNING *", StepKind.ROWS),
        ("DELETE FROM t RETURNING *", StepKind.ROWS),
        ("SHOW work_mem", StepKind.ROWS),
        ("EXPLAIN SELECT 1", StepKind.ROWS),
        ("CALL p(1)", StepKind.ROWS),
        ("INSERT INTO t VALUES (1)", StepKind.COMMAND),
        ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", StepKind.COMMAND),
        ("CREATE TABLE t AS SELECT 1", StepKind.COMMAND),
        ("DO $$ BEGIN END $$", StepKind.COMMAND),
        ("VACUUM t", StepKind.COMMAND),
        ("COPY t TO '/tmp/x'", StepKind.COMMAND),
        ("SET work_mem = '1MB'", StepKind.COMMAND),
        ("NOTIFY a", StepKind.COMMAND),
        ("SELECT 1; SELECT 2", StepKind.MULTI),
        ("SELEC 1", StepKind.UNKNOWN),
        ("VALUES ('", StepKind.UNKNOWN),
        ("COMMIT", StepKind.REFUSED),
        ("ROLLBACK", StepKind.REFUSED),
        ("SAVEPOINT a", StepKind.REFUSED),
        ("PREPARE TRANSACTION 'a'", StepKind.REFUSED),
        ("COPY t FROM STDIN", StepKind.REFUSED),
        ("COPY (SELECT 1) TO STDOUT", StepKind.REFUSED),
        ("DISCARD ALL", StepKind.REFUSED),
        ("DECLARE c CURSOR FOR SELECT 1", StepKind.REFUSED),
        ("FETCH c", StepKind.REFUSED),
        ("DEALLOCATE ALL", StepKind.REFUSED),
        ("SELECT 1; COMMIT", StepKind.REFUSED),
        ("", StepKind.REFUSED),
        ("-- nothing", StepKind.REFUSED),
    ],
)
def test_kind(sql: str, kind: StepKind) -> None:
    shape = classify(sql)
    assert shape.kind is kind
    assert (shape.reason is not None) is (kind is StepKind.REFUSED)


@pytest.mark.parametrize(
    ("sql", "body"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("SELECT 1 ; ; -- done", "SELECT 1"),
        ("SELECT ';' -- ';'", "SELECT ';'"),
        ("/* a */ SELECT 1 /* ; */", "/* a */ SELECT 1"),
        ("SELECT $$;$$;", "SELECT $$;$$"),
        ("SELECT 1; SELECT 2;", "SELECT 1; SELECT 2"),
        (";;", ""),
        ("SELECT 'unterminated;", "SELECT 'unterminated;"),
    ],
)
def test_body_has_no_semicolon_or_comment_behind_it(sql: str, body: str) -> None:
    assert classify(sql).body == body


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT $x, $x.long_name?", "SELECT $1, $1" + " " * 11),
        ("SELECT * FROM $rows.* r", "SELECT * FROM t       r"),
        ("SELECT '$x', $$ $x $$, $1 -- $x", "SELECT '$x', $$ $x $$, $1 -- $x"),
    ],
)
def test_placeholders_keep_positions(sql: str, expected: str) -> None:
    assert neutral(sql) == expected
    assert classify(neutral(sql)).kind is StepKind.QUERY


@given(st.text(max_size=100))
def test_any_text_is_classified(sql: str) -> None:
    classify(neutral(sql.replace("\0", "")))


@pytest.mark.parametrize(
    ("sql", "body"),
    [
        ("SELECT 1 AS a INTO t", "CREATE TABLE t AS SELECT 1 AS a "),
        (
            'WITH q AS (SELECT 1) SELECT * INTO TEMP TABLE s."my t" FROM q;',
            'CREATE TEMPORARY TABLE s."my t" AS WITH q AS (SELECT 1) SELECT *  FROM q',
        ),
        (
            "SELECT 'INTO x' INTO UNLOGGED t UNION SELECT 'b'",
            "CREATE UNLOGGED TABLE t AS SELECT 'INTO x'  UNION SELECT 'b'",
        ),
    ],
)
def test_select_into_is_written_as_create_table(sql: str, body: str) -> None:
    shape = classify(sql)
    assert shape.kind is StepKind.COMMAND
    assert shape.body == body
    assert classify(body).kind is StepKind.COMMAND


def test_long_text_is_not_parsed() -> None:
    assert classify("SELECT " + "1+" * 6_000 + "1;").kind is StepKind.UNKNOWN
    assert classify("SELECT '" + "x" * 70_000 + "';").body.endswith("x'")


@pytest.mark.parametrize(
    ("sql", "before", "last", "kind"),
    [
        ("SELECT 'é;'; SELECT 2 -- x", "SELECT 'é;'", "SELECT 2", StepKind.QUERY),
        ("a(); SELECT 1", "", "", None),
        ("CREATE TABLE t (); ; INSERT INTO t DEFAULT VALUES RETURNING 1;", "CREATE TABLE t ()",
         "INSERT INTO t DEFAULT VALUES RETURNING 1", StepKind.ROWS),
        ("SELECT 1; /* two */ SHOW x", "SELECT 1", "SHOW x", StepKind.ROWS),
        ("SELECT 1 INTO é; TABLE é", "CREATE TABLE é AS SELECT 1", "TABLE é", StepKind.QUERY),
        ("SELECT 1; DELETE FROM t", "", "", None),
        ("SELECT 1; SELECT 2 INTO t", "", "", None),
    ],
)  # fmt: skip
def test_the_last_of_several_stands_alone_when_it_gives_rows(
    sql: str, before: str, last: str, kind: StepKind | None
) -> None:
    shape = classify(sql)
    assert shape.before.strip() == before
    if kind is None:
        assert shape.last is None
    else:
        assert shape.kind is StepKind.MULTI
        assert shape.last is not None
        assert (shape.last.body.strip(), shape.last.kind) == (last, kind)


@pytest.mark.parametrize(
    ("inside", "query"),
    [
        ("WITH q AS (INSERT INTO t VALUES (1) RETURNING *) ", "SELECT * FROM q"),
        ('WITH "select" AS (DELETE FROM t RETURNING 1), /* select */ r AS MATERIALIZED (SELECT 1) ',
         "TABLE r UNION SELECT 2"),
        (("WITH RECURSIVE q(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM q WHERE a < 3)"
          " SEARCH DEPTH FIRST BY a SET b, d AS (UPDATE t SET a = 1 RETURNING 1) "), "VALUES (1)"),
    ],
)  # fmt: skip
def test_a_select_with_changes_in_its_with_is_found_behind_it(inside: str, query: str) -> None:
    shape = classify(inside + query)
    assert shape.kind is StepKind.ROWS
    assert shape.main == len(inside)


def test_other_statements_have_no_such_place() -> None:
    assert classify("WITH q AS (SELECT 1) SELECT * FROM q").main is None
    assert classify("WITH q AS (SELECT 1) DELETE FROM t USING q RETURNING 1").main is None
