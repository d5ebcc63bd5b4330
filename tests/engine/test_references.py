"""References in a step: what counts as one, where it may stand, and that a value stays a value."""

from __future__ import annotations

import string
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durproxy.engine.core.record import parse_record
from durproxy.engine.core.references import (
    Reference,
    ReferenceKind,
    Rows,
    Value,
    find_references,
    find_text_references,
    render,
    substitute_variables,
)
from durproxy.errors import LanguageError
from tests.fix_postgres import Database

TEXT = "pg_catalog.text"
ON_A_SERVER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
#: What breaks naive quoting, often; any other character too.
HOSTILE = st.text(
    st.one_of(
        st.sampled_from("'\"\\$;-/*(){}|?.x1 \n\t"),
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    ),
    max_size=40,
)


def found(sql: str) -> list[str]:
    return [str(reference) for reference in find_references(sql)]


def problems(sql: str) -> list[str]:
    return [r.problem for r in find_references(sql) if r.problem is not None]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT $x", ["$x"]),
        ("SELECT $x.col + $y", ["$x.col", "$y"]),
        ("SELECT $x?, $x.col?", ["$x?", "$x.col?"]),
        ("SELECT * FROM $x.*", ["$x.*"]),
        ("SELECT '$x' || E'$y'", ["$x", "$y"]),
        ("SELECT $ab, $a", ["$ab", "$a"]),
        ('SELECT $x."Total Sum"', ["$x.Total Sum"]),
        ("SELECT '{\"id\": $x.}'", ["$x"]),
        ("SELECT 'Is it $x?'", ["$x?"]),
        ("SELECT $n?+1, $n?||'a'", ["$n?", "$n?"]),
        ("SELECT $doc?|array['a'], $doc?&array['a']", ["$doc", "$doc"]),
        ("SELECT 'a $x'\n  'b $y'", ["$x", "$y"]),
        ("SELECT 'a' -- $no\n 'b $y'", ["$y"]),
        ("SELECT E'\\$no \\\\$yes \\'$also'", ["$yes", "$also"]),
    ],
)
def test_references_are_found(sql: str, expected: list[str]) -> None:
    assert found(sql) == expected
    assert not problems(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT $1, $23",
        "SELECT $$ $x $$, $tag$ $x $tag$",
        "SELECT $x$ $y $x$",
        'SELECT "$x", U&"$x"',
        "SELECT a$x FROM t",
        "SELECT 1 -- $x",
        "SELECT 1 /* $x /* $y */ $z */",
        "SELECT '^a$', '$', '$5.00', '$.items[*]'",
        "SELECT 'unterminated $x",
        "DO $$ BEGIN RAISE NOTICE '%', $x; END $$",
        "SELECT E'\\$x'",
    ],
)
def test_what_only_looks_like_a_reference_is_left_alone(sql: str) -> None:
    assert found(sql) == []
    assert render(sql, _never) == (sql, [])


@pytest.mark.parametrize(
    ("sql", "fragment"),
    [
        ("SELECT U&'$x'", "this kind of string literal"),
        ("SELECT B'$x'", "this kind of string literal"),
        ("SELECT X'$x'", "this kind of string literal"),
        ("SELECT N'$x'", "this kind of string literal"),
        ("SELECT interval '$x' day", "interval with fields"),
        ("SELECT numeric(10,2) '$x'", "cannot be used after )"),
        ("SELECT $x.*", "stands for rows"),
        ("SELECT '$x.*'", "stands for rows"),
        ("SELECT a FROM t WHERE id IN ($x.*)", "stands for rows"),
        ("SELECT a FROM (SELECT $x.*) q", "stands for rows"),
        ("SELECT $x, $1", "beside a parameter"),
        ("DO 'BEGIN RAISE NOTICE ''$x''; END'", "DO or CREATE FUNCTION"),
        ("DO LANGUAGE plpgsql 'BEGIN $x END'", "DO or CREATE FUNCTION"),
        ("CREATE FUNCTION f() RETURNS int AS 'SELECT $x' LANGUAGE sql", "DO or CREATE FUNCTION"),
        ("create or replace procedure f() AS 'SELECT $x' LANGUAGE sql", "DO or CREATE FUNCTION"),
        ("COMMENT ON TABLE t IS '$x'", "cannot be used after IS"),
        ("SELECT $größe", "not a valid identifier"),
    ],
)
def test_a_reference_that_no_value_can_replace_is_a_problem(sql: str, fragment: str) -> None:
    assert fragment in problems(sql)[0]
    with pytest.raises(LanguageError) as raised:
        render(sql, _never)
    assert fragment in raised.value.message


def test_text_that_is_not_sql_has_references_anywhere() -> None:
    references = find_text_references('it\'s $x.status, "$y"')
    assert [str(r) for r in references] == ["$x.status", "$y"]


def test_variables_are_spliced_raw_and_unknown_ones_stay() -> None:
    sql = "SELECT * FROM {tbl} WHERE a = '{tbl}' AND b = '{1,2}' AND c = '{other}'"
    assert substitute_variables(sql, {"tbl": "s.t", "x": "{tbl}"}) == (
        "SELECT * FROM s.t WHERE a = 's.t' AND b = '{1,2}' AND c = '{other}'"
    )
    assert substitute_variables("{x}", {"x": "{tbl}", "tbl": "t"}) == "{tbl}"


def test_equal_references_share_one_element() -> None:
    text, values = render("SELECT $x + $x, '$x', '$x'", lambda _: Value("1", "pg_catalog.int4"))
    assert values == ["1", "1"]
    assert text == (
        "SELECT (($1)[1]::pg_catalog.int4) + (($1)[1]::pg_catalog.int4), (($1)[2]), (($1)[2])"
    )


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('(1,"a ""b""",)', ["1", 'a "b"', None]),
        ("()", [None]),
        ('("")', [""]),
        ("(,)", [None, None]),
        (r'("a\\b","(x,y)")', ["a\\b", "(x,y)"]),
    ],
)
def test_record_text_is_read(text: str, fields: list[str | None]) -> None:
    assert parse_record(text) == fields


@pytest.mark.parametrize("text", ["", "(", ")", "(1", "1)", '("a)', "(1)2)", '(a"b)', "(1),"])
def test_malformed_record_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="record"):
        parse_record(text)


@given(st.text(alphabet=string.printable + "é$'\"\\", max_size=200))
def test_any_text_is_read_without_failing(sql: str) -> None:
    references = find_references(sql)
    assert all(sql[r.start] == "$" for r in references)
    if all(r.problem is None and r.kind is ReferenceKind.VALUE for r in references):
        render(sql, lambda _: Value("x", TEXT))


def test_long_hostile_text_takes_linear_time() -> None:
    for piece in ("'", "''", "'a' \n", "/*", "$a$", "$a", "E'\\", "$x.", '"', "(", "--\n", "U&'"):
        find_references("$x" + piece * 20_000)


# ---- on a real server: the value comes back exactly, and nothing else happens ----


class Server:
    """Run rendered steps the way the engine does: EXECUTE … USING one text[]."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        connection.execute(
            "CREATE FUNCTION run(step text, v text[]) RETURNS SETOF text LANGUAGE plpgsql AS "
            "$f$ BEGIN RETURN QUERY EXECUTE step USING v; END $f$"
        )

    def rows(self, sql: str, **values: Value | Rows) -> list[str | None]:
        text, parameter = render(sql, lambda reference: values[reference.name])
        return [row[0] for row in self._connection.execute("SELECT run(%s, %s)", (text, parameter))]


@pytest.fixture
def server(database: Database) -> Iterator[Server]:
    with database.connect() as connection:
        yield Server(connection)


PLACES = [
    ("SELECT $x", "", ""),
    ("SELECT '$x'", "", ""),
    ("SELECT 'hello $x tail'", "hello ", " tail"),
    ("SELECT 'it''s $x '' tail'", "it's ", " ' tail"),
    ("SELECT E'a\\n\\'$x\\x41\\\\'", "a\n'", "A\\"),
    ("SELECT 'one '\n -- $x\n 'two $x'", "one two ", ""),
    ("SELECT text '<$x>'", "<", ">"),
    ("SELECT CASE WHEN '$x' IS NULL THEN '' ELSE '$x' END", "", ""),
    ("SELECT concat('a', $x, 'b')", "a", "b"),
    ("SELECT q.v || '.' FROM (VALUES ('$x')) q(v)", "", "."),
]


def test_a_value_comes_back_exactly(server: Server) -> None:
    @settings(ON_A_SERVER, max_examples=400)
    @given(st.sampled_from(PLACES), HOSTILE)
    def check(place: tuple[str, str, str], value: str) -> None:
        sql, before, after = place
        assert server.rows(sql, x=Value(value, TEXT)) == [before + value + after]

    check()


def test_rows_come_back_exactly(server: Server) -> None:
    @ON_A_SERVER
    @given(st.lists(st.tuples(st.none() | HOSTILE, st.none() | st.integers(-9, 9)), max_size=5))
    def check(rows: list[tuple[str | None, int | None]]) -> None:
        value = Rows(
            [('a "$x" text', TEXT), ("n", "pg_catalog.int4")],
            [[text, None if n is None else str(n)] for text, n in rows],
        )
        assert server.rows('SELECT "a ""$x"" text" FROM $x.*', x=value) == [t for t, _ in rows]
        assert server.rows("SELECT (r.b + 1)::text FROM $x.* r(a, b)", x=value) == [
            None if n is None else str(n + 1) for _, n in rows
        ]

    check()


def test_no_rows_need_no_value(server: Server) -> None:
    nothing = Rows([("a", "pg_catalog.int4"), ("b", TEXT)], [])
    assert render("SELECT FROM $x.*", lambda _: nothing)[1] == []
    assert server.rows("SELECT concat(count(*), max(r.b)) FROM $x.* AS r", x=nothing) == ["0"]


def test_record_text_of_the_server_is_read(server: Server) -> None:
    fields = st.lists(st.none() | HOSTILE, min_size=1, max_size=4)

    @ON_A_SERVER
    @given(fields)
    def check(row: list[str | None]) -> None:
        columns = ", ".join(f"$c{k}::text" for k in range(len(row)))
        values = {f"c{k}": Value(field, TEXT) for k, field in enumerate(row)}
        (text,) = server.rows(f"SELECT ROW({columns})::text", **values)
        assert text is not None
        assert parse_record(text) == row

    check()


MEANINGS = [
    ("SELECT ($d + 1)::text", "2024-02-04"),
    ("SELECT (date '$d' + 1)::text", "2024-02-04"),
    ("SELECT (pg_catalog.date '$d' + 1)::text", "2024-02-04"),
    ("SELECT (interval '$n days')::text", "42 days"),
    ("SELECT (timestamp without time zone '$d 10:00')::text", "2024-02-03 10:00:00"),
    ("SELECT (timestamp '2024-01-01' AT TIME ZONE 'UT$c' IS NULL)::text", "false"),
    ("SELECT (double precision '$n.5')::text", "42.5"),
    ("SELECT ($a[2] + $n)::text", "44"),
    ("SELECT coalesce($absent?, 'none')", "none"),
    ("SELECT '<$absent?>'", "<>"),
    ("SELECT count(*)::text FROM $empty.*", "0"),
    ("SELECT count(*)::text FROM generate_series(1, 2), $no_columns.*", "6"),
    (
        "SELECT r.a::text FROM ($rows.* JOIN generate_series(2, 2) g ON g = a), $rows.* r LIMIT 1",
        "1",
    ),
    ("SELECT rows.a::text FROM $rows.* WHERE a > 1", "2"),
]


def test_a_reference_means_its_value(server: Server) -> None:
    int4 = "pg_catalog.int4"
    for sql, expected in MEANINGS:
        rows = server.rows(
            sql,
            d=Value("2024-02-03", "pg_catalog.date"),
            n=Value("42", int4),
            c=Value("C", TEXT),
            a=Value("{1,2}", '"pg_catalog"."_int4"'),
            absent=Value(None, ""),
            empty=Rows([("a", int4)], []),
            no_columns=Rows([], [[], [], []]),
            rows=Rows([("a", int4)], [["1"], ["2"]]),
        )
        assert rows == [expected], sql


def _never(reference: Reference) -> Value:
    raise AssertionError(f"{reference} was resolved")
