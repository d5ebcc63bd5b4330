"""String literals in the user's text: where a character of their value stands, and writing ours."""

from __future__ import annotations

import re
from collections.abc import Iterator

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import Token, TokenKind

_LAST_CHARACTER = 0x10FFFF  # of Unicode
_PLAIN_UNIT = re.compile(r"''|.", re.DOTALL)
_ESCAPE_UNIT = re.compile(
    r"''|\\x[0-9a-fA-F]{1,2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\[0-7]{1,3}|\\?.", re.DOTALL
)


_SIMPLE_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def string_tokens(text: str, start: int) -> Iterator[Token]:
    """Yield the string literals of a text from the token that begins at ``start``."""
    return (token for token in lexer.tokens_from(text, start) if token.segments)


def value(text: str, token: Token) -> str:
    """Return what a string literal stands for."""
    inside = "".join(text[start:end] for start, end in token.segments)
    if token.kind is TokenKind.DOLLAR_STRING:
        return inside
    if token.kind is TokenKind.ESCAPE_STRING:
        return _ESCAPE_UNIT.sub(_decoded, inside)
    return inside.replace("''", "'")


def _decoded(match: re.Match[str]) -> str:
    unit = match.group()
    if unit[0] != "\\":
        return unit[0]
    if unit[1] in "xuU" and len(unit) > 2:
        code = int(unit[2:], 16)  # noqa: FURB166  the prefix is any of x, u, U
        return chr(code) if code <= _LAST_CHARACTER else unit
    if unit[1] in "01234567":
        return chr(int(unit[1:], 8) & 0xFF)
    return _SIMPLE_ESCAPES.get(unit[1], unit[1])


def position_in_literal(text: str, token: Token, offset: int) -> int:
    """Return where character ``offset`` of a literal's value stands."""
    if token.kind is TokenKind.DOLLAR_STRING:
        return token.segments[0][0] + offset
    unit = _ESCAPE_UNIT if token.kind is TokenKind.ESCAPE_STRING else _PLAIN_UNIT
    for begin, end in token.segments:
        for match in unit.finditer(text, begin, end):
            if offset == 0:
                return match.start()
            offset -= 1
    return token.segments[-1][1]


def character_positions(text: str, token: Token) -> list[int]:
    """Return where each character of a literal's value stands, and the end of the last one."""
    begin, end = token.segments[0]
    if token.kind is TokenKind.DOLLAR_STRING:
        return list(range(begin, end + 1))
    unit = _ESCAPE_UNIT if token.kind is TokenKind.ESCAPE_STRING else _PLAIN_UNIT
    return [match.start() for match in unit.finditer(text, begin, end)] + [end]


def has_plain_backslash(text: str) -> bool:
    """Tell whether a plain literal holds a backslash, which a setting can turn into an escape."""
    return "\\" in text and any(
        token.kind in (TokenKind.PLAIN_STRING, TokenKind.BROKEN)
        and "\\" in text[token.start : token.end]
        for token in lexer.tokens(text)
    )


def quoted(value: str) -> str:
    """Return a literal that reads the same whatever standard_conforming_strings is."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def tokens_of_call(text: str, start: int) -> list[list[Token]]:
    """Return the tokens of each argument of the call whose name begins at ``start``."""
    arguments: list[list[Token]] = [[]]
    depth = 0
    for token in lexer.tokens_from(text, start):
        if token.kind in (TokenKind.SPACE, TokenKind.COMMENT):
            continue
        mark = text[token.start] if token.kind is TokenKind.PUNCTUATION else ""
        depth += (mark in ("(", "[")) - (mark in (")", "]"))
        if depth == 0 and mark == ")":
            return arguments
        if depth == 1 and mark == ",":
            arguments.append([])
        elif depth > 1 or (depth == 1 and mark != "("):
            arguments[-1].append(token)
    return arguments
