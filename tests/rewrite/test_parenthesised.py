"""An expression with all its parentheses says what the expression says."""

from __future__ import annotations

import pytest
from hypothesis import given

from durproxy.rewrite.parenthesised import IN_A_LINE, parenthesised, relies_on_precedence
from durproxy.rewrite.parse import Tree, parse
from durproxy.rewrite.reading import read
from tests.rewrite.test_reading import expressions


def tree(expression: str) -> Tree:
    return parse(f"SELECT {expression}")[0].stmt.targetList[0].val


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'a' ~> 'b' & 'c'", "('a' ~> 'b') & 'c'"),
        ("'a' ~> ('b' & 'c')", "'a' ~> ('b' & 'c')"),
        ("'a' |=> 'x' & b.c |=> 'y'", "(('a' |=> 'x') & b.c) |=> 'y'"),
        ("@> $1 ~> 'it''s' || 'b'", "..."),
        ("@> $1 ~> ('it''s' || 'b')", "(@> $1) ~> 'it''sb'"),
        ("@> ('a' | df.sleep(30))", "@> ('a' | df.sleep(30))"),
        ("'c' ?> 't' !> 'e' ~> NULL", "(('c' ?> 't') !> 'e') ~> NULL"),
        ("df.race(b => 'a' & 'b' ~> 'c', a => f(x))", "df.race(b => ('a' & 'b') ~> 'c', a => ...)"),
    ],
)  # fmt: skip
def test_reads_as_postgres_reads(expression: str, expected: str) -> None:
    assert parenthesised(tree(expression)) == expected


def test_a_line_has_what_fits() -> None:
    assert parenthesised(tree(f"'{'a' * 30}' ~> 'b'"), IN_A_LINE) == f"'{'a' * 21}...' ~> 'b'"
    chain = parenthesised(tree("'a'" + " ~> 'b'" * 20), IN_A_LINE)
    assert chain == "(" * 7 + "... ~> 'b'" + ") ~> 'b'" * 7
    deep = "@> (" * 500 + "'a'" + ")" * 500
    assert len(parenthesised(tree(deep), IN_A_LINE)) < 50
    assert len(parenthesised(tree(deep))) < 1_100


@given(expressions())
def test_parentheses_change_nothing(expression: str) -> None:
    original = tree(expression)
    again = parenthesised(original)
    if "..." not in again:
        assert read(tree(again)).graph == read(original).graph
        assert parenthesised(tree(again)) == again


@pytest.mark.parametrize(
    ("expression", "relies"),
    [
        ("'a' ~> 'b' & 'c'", True),
        ("'c' ?> 't' | 'u'", True),
        ("'a', (('x') ~> 'b' |=> 'x' | 'c')", True),
        ("df.seq('a' ~> 'b', 'c' & 'd')", False),
        ("'a' & 'b' ~> 'c'", False),
        ("('a' ~> 'b') & 'c'", False),
        ("'a' ~> ('b' & 'c')", False),
        ("CASE WHEN 'a' ~> 'b' = x THEN 'c' & 'd' ELSE 'e' ~> 'f' END", False),
        ("'a ~> b' & 'c'), ('a' ~> 'b' & 'c'", False),
    ],
)
def test_where_precedence_decides_is_known(expression: str, relies: bool) -> None:
    assert relies_on_precedence(f"SELECT df.start({expression})", 7) is relies
