"""What becomes of a statement: untouched, spliced, refused; and the positions afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.rewrite.plan import FORWARD, Edit, Plan, Session, plan_statement, plan_text

UTF8 = Session("UTF8", standard_conforming_strings=True)
CORPUS = Path(__file__).parent / "corpus"


def lines(name: str) -> list[str]:
    text = (CORPUS / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("-- ")]


def pairs(name: str) -> list[tuple[str, str]]:
    found = lines(name)
    return [
        (before, after.removeprefix("--> "))
        for before, after in zip(found[::2], found[1::2], strict=True)
    ]


@pytest.mark.parametrize("statement", lines("untouched.sql"))
def test_statement_stays_untouched(statement: str) -> None:
    assert plan_text(statement, "utf-8").text is None
    assert plan_statement(statement.encode(), UTF8).text is None


@pytest.mark.parametrize(("statement", "expected"), pairs("become.sql"))
def test_statement_becomes(statement: str, expected: str) -> None:
    text = plan_text(statement, "utf-8").text
    assert text is not None
    assert text.decode() == expected
    assert plan_statement(statement.encode(), UTF8).text == text


@pytest.mark.parametrize(("statement", "expected"), pairs("become.sql"))
def test_positions_map_back(statement: str, expected: str) -> None:
    plan = plan_text(statement, "utf-8")
    for position, character in enumerate(expected, 1):
        original = plan.original_position(position)
        assert 1 <= original <= len(statement)
        inside = any(original == edit.start + 1 for edit in plan.edits)
        assert inside or statement[original - 1] == character


@pytest.mark.parametrize("expected", [expected for _, expected in pairs("become.sql")])
def test_what_a_statement_becomes_stays(expected: str) -> None:
    assert plan_text(expected, "utf-8").text is None


def test_position_inside_an_edit_is_the_position_of_what_it_replaced() -> None:
    plan = Plan(b"." * 20, (Edit(2, 4, "abcdef"), Edit(6, 6, "xyz")))
    found = [plan.original_position(position) for position in range(1, 16)]
    assert found == [1, 2, 3, 3, 3, 3, 3, 3, 5, 6, 7, 7, 7, 7, 8]


def test_a_position_behind_the_text_is_of_another_one() -> None:
    plan = plan_statement(b"SELECT df.explain('a' ~> 'b')", UTF8)
    assert plan.text is not None
    assert plan.original_position(len(plan.text) + 1) < len(plan.text)
    assert plan.original_position(len(plan.text) + 2) == len(plan.text) + 2


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("UTF8", "utf-8"), ("LATIN1", "latin-1"), ("WIN1252", "cp1252"), ("EUC_JP", "euc_jp")],
)
def test_text_is_spliced_in_the_encoding_of_the_session(encoding: str, codec: str) -> None:
    letter = "字" if encoding == "EUC_JP" else "é"
    statement = f"SELECT df.start('SELECT ''{letter}''' ~> 'SELECT 2')"
    text = plan_statement(statement.encode(codec), Session(encoding, True)).text
    assert text == statement.replace("~>", " OPERATOR(df.~>) ").encode(codec)


@pytest.mark.parametrize("encoding", ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "NONE", ""])
def test_other_encodings_are_left_alone(encoding: str) -> None:
    statement = b"SELECT df.start('SELECT 1' ~> 'SELECT 2')"
    assert plan_statement(statement, Session(encoding, True)) == Plan(wakes_engine=True)


def test_bytes_that_are_not_of_the_encoding_are_left_alone() -> None:
    statement = b"SELECT df.start('SELECT ''\xff''' ~> 'SELECT 2')"
    assert plan_statement(statement, UTF8).text is None
    assert plan_statement(statement, Session("SQL_ASCII", True)).text is not None


def test_a_backslash_in_a_plain_literal_needs_standard_conforming_strings() -> None:
    off = Session("UTF8", standard_conforming_strings=False)
    for literal in (r"'\'", r"'a\b'"):
        statement = f"SELECT {literal} ~> '--', df.version()".encode()
        assert plan_statement(statement, off).text is None
        assert plan_statement(statement, UTF8).text is not None
    for literal in (r"E'\\'", r"$$\$$", "'a'"):
        statement = f"SELECT {literal} ~> '--', df.version()".encode()
        assert plan_statement(statement, off).text is not None


@pytest.mark.parametrize(
    ("statement", "wakes"),
    [
        ("SELECT df.start('SELECT 1')", True),
        ("SELECT \"df\" . \"SIGNAL\"('a', 'b')", True),
        ("SELECT df.cancel($1)", True),
        ("DO $$ BEGIN PERFORM df.start('SELECT 1'); END $$", True),
        ("SELECT df.starting, df.status('a')", False),
        ("SELECT pdf.start('a')", False),
    ],
)
def test_statements_that_give_an_engine_work_are_known(statement: str, wakes: bool) -> None:
    assert plan_statement(statement.encode(), UTF8).wakes_engine is wakes


def test_a_plan_is_cached_by_text_and_session() -> None:
    statement = b"SELECT df.start('SELECT 1' ~> 'SELECT 2')"
    assert plan_statement(statement, UTF8) is plan_statement(bytes(bytearray(statement)), UTF8)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(text: bytes) -> None:
    plan_statement(text, UTF8)
    plan_statement(b"SELECT df.start('" + text + b"' ~> 'b')", Session("SQL_ASCII", False))


def test_what_needs_nothing_is_forward() -> None:
    assert plan_statement(b"SELECT df.version()", UTF8) == FORWARD
