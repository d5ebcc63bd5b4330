"""Decoding, limits, and where the parser says an error is."""

from __future__ import annotations

import pytest

from durproxy.rewrite.parse import MAX_LENGTH, SyntaxFault, TooLong, decode, parse


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
