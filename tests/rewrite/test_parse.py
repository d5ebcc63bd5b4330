"""Decoding, limits, and where the parser says an error is."""

from __future__ import annotations

import pytest

from durproxy.rewrite.parse import MAX_LENGTH, SyntaxFault, TooLong, decode, only_kind, parse


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("SELECT 1 FRM t x", 13),
        ("SELECT 'é' b c", 13),
        ("SELECT 'é😀字' b c, 'é'", 15),
        ("SELECT 'é' || ' b", 14),
        ("SELECT é b c", 11),
        ("SELECT é +", 10),
    ],
)
def test_errors_point_at_characters(text: str, position: int) -> None:
    with pytest.raises(SyntaxFault) as raised:
        parse(text)
    assert raised.value.position == position


def test_limits() -> None:
    parse("SELECT " + "1," * 2_000 + "1")
    with pytest.raises(TooLong):
        parse("SELECT " + "1+" * 30_000 + "1")
    with pytest.raises(TooLong):
        parse("SELECT '" + "a" * MAX_LENGTH + "'")
    with pytest.raises(TooLong):
        parse("SELECT 1 " + "+-" * 200 + "1")
    parse("SELECT 1 -- " + "-" * 200)
    parse("SELECT '" + "a b " * (MAX_LENGTH // 5) + "'")


def test_only_whole_encodings_are_decoded() -> None:
    assert decode("é".encode(), "UTF8") == ("é", "utf-8")
    assert decode(b"\xe9", "utf8") is None
    assert decode(b"\xe9", "LATIN1") == ("é", "iso8859-1")
    assert decode(b"\x81", "WIN1252") is None
    assert decode(b"a\0b", "UTF8") is None
    assert decode(b"a", "SJIS") is None
    assert decode("é".encode(), "SQL_ASCII") == ("é", "utf-8")
    assert decode(b"\xe9", "SQL_ASCII") == ("é", "latin-1")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        'INSERT INTO t VALUES (\'{"stmt":{"x"\'); ',
        "WITH a AS (DELETE FROM t RETURNING 1) SELECT * INTO n FROM a",
        "MERGE INTO t USING u ON a = b WHEN MATCHED THEN DELETE",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
        "EXPLAIN SELECT 1",
        "CALL p()",
        "COPY t TO STDOUT",
    ],
)
def test_the_kind_of_an_only_statement_is_that_of_its_tree(text: str) -> None:
    [raw] = parse(text)
    assert only_kind(text) == type(raw.stmt).__name__


@pytest.mark.parametrize("text", ["", "-- no", "SELECT 1; SELECT 2", "SELEC 1", "(" * 3_000])
def test_what_is_not_one_statement_has_no_kind(text: str) -> None:
    assert only_kind(text) is None
