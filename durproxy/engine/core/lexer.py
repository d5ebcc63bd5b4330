"""Split SQL text into tokens the way Postgres's scanner does, without judging the grammar.

Linear, never raises, never recurses: whatever the text is, every character belongs to exactly
one token. An unterminated literal or comment is one ``BROKEN`` token to the end of the text;
the server says what is wrong with it better than we could.

Plain literals are read with standard_conforming_strings on. Positions are characters.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass


class TokenKind(enum.Enum):
    """What a token is; a string literal's kind says how its inside is read."""

    SPACE = enum.auto()
    COMMENT = enum.auto()
    PLAIN_STRING = enum.auto()  # '…'
    ESCAPE_STRING = enum.auto()  # E'…'
    CODED_STRING = enum.auto()  # U&'…', B'…', X'…', N'…': their inside is not simply text
    DOLLAR_STRING = enum.auto()  # $$…$$, $tag$…$tag$
    NAME = enum.auto()  # identifiers and keywords
    QUOTED_NAME = enum.auto()  # "…", U&"…"
    PARAMETER = enum.auto()  # $1
    REFERENCE = enum.auto()  # $name, $name.column, $name.*, each with ? where it may be
    NUMBER = enum.auto()
    OPERATOR = enum.auto()
    PUNCTUATION = enum.auto()
    BROKEN = enum.auto()


@dataclass(frozen=True, slots=True)
class Token:
    """One token: characters [start, end) of the text.

    ``segments`` are the insides of a string literal; more than one when it goes on after a line
    break, as in ``'one ' ⏎ 'two'``.
    """

    kind: TokenKind
    start: int
    end: int
    segments: tuple[tuple[int, int], ...] = ()


# A letter, _ or whatever is not ASCII. By what they are not: a range to the end of Unicode takes
# milliseconds to compile, each time that it stands in an expression.
_LETTER = r"[^\x00-@\[-^`{-\x7f]"
_IN_NAME = r"[^\x00-/:-@\[-^`{-\x7f]"
_IN_SQL_NAME = r"[^\x00-\#%-/:-@\[-^`{-\x7f]"  # the same, and $
_NAME = rf"{_LETTER}{_IN_NAME}*"

_QUOTED = r'"(?>[^"]+|"")++"'
# After a name: .* or .column (a dot that nothing follows ends a sentence), then ? unless it begins
# one of the jsonb operators ?| and ?&.
_OPTIONAL = r"(?P<optional>(?<!\*)\?(?!\|(?!\|)|&))?"

#: A reference inside text, where a double quote is just a character, and nothing an operator.
REFERENCE_IN_TEXT = re.compile(
    rf"\$(?P<name>{_NAME})(?:\.(?P<column>\*|{_NAME}))?(?P<optional>(?<!\*)\?)?"
)
#: A reference as SQL, where the column may be a quoted identifier.
REFERENCE_IN_SQL = re.compile(
    rf"\$(?P<name>{_NAME})(?:\.(?P<column>\*|{_NAME}|{_QUOTED}))?{_OPTIONAL}"
)

_SCANNER = re.compile(
    rf"""
      (?P<SPACE>[ \t\n\r\f\v]+)
    | (?P<LINE>--[^\n\r]*)
    | (?P<BLOCK>/\*)
    | (?P<ESCAPE>[eE]')
    | (?P<CODED>(?:[bBxXnN]|[uU]&)')
    | (?P<PLAIN>')
    | (?P<QUOTED_NAME>(?:[uU]&)?"(?>[^"]+|"")*+")
    | (?P<DOLLAR>\$(?:{_NAME})?\$)
    | (?P<PARAMETER>\$[0-9]+)
    | (?P<REFERENCE>{re.sub(r"[?]P<[a-z]+>", "?:", REFERENCE_IN_SQL.pattern)})
    | (?P<NAME>{_LETTER}{_IN_SQL_NAME}*)
    | (?P<NUMBER>0[xXoObB][0-9a-fA-F_]+
               |(?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)
    | (?P<OPERATOR>(?:(?!--|/\*)[~!@\#^&|`?+\-*/%<>=])+)
    | (?P<BROKEN>")
    | (?P<PUNCTUATION>::|:=|\.\.|.)
    """,
    re.VERBOSE | re.DOTALL,
)

_PLAIN_INSIDE = re.compile(r"(?>[^']+|'')*+")
_ESCAPE_INSIDE = re.compile(r"(?>[^'\\]+|''|\\.)*+", re.DOTALL)
# Space with a line break in it, between two parts of one literal; -- comments count as space.
_CONTINUATION = re.compile(
    r"(?:[ \t\f\v]|--[^\n\r]*)*+[\n\r](?:[ \t\n\r\f\v]+|--[^\n\r]*[\n\r])*+'"
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")

_STRINGS = {
    "PLAIN": (TokenKind.PLAIN_STRING, _PLAIN_INSIDE),
    "ESCAPE": (TokenKind.ESCAPE_STRING, _ESCAPE_INSIDE),
    "CODED": (TokenKind.CODED_STRING, _PLAIN_INSIDE),
}
_SIMPLE = {
    name: TokenKind[name]
    for name in (
        "SPACE",
        "QUOTED_NAME",
        "PARAMETER",
        "REFERENCE",
        "NAME",
        "NUMBER",
        "OPERATOR",
        "PUNCTUATION",
    )
}


def tokens(sql: str) -> Iterator[Token]:
    """Yield every token of ``sql``, space and comments included."""
    return tokens_from(sql, 0)


def tokens_from(sql: str, at: int) -> Iterator[Token]:
    """Yield the tokens of ``sql`` from the one that begins at ``at``."""
    size = len(sql)
    while at < size:
        token = _token_at(sql, at)
        yield token
        at = token.end


def significant_tokens(sql: str) -> list[Token]:
    """Return the tokens of ``sql`` without space and comments."""
    return [t for t in tokens(sql) if t.kind not in (TokenKind.SPACE, TokenKind.COMMENT)]


def _token_at(sql: str, at: int) -> Token:
    match = _SCANNER.match(sql, at)
    assert match is not None, "the last alternative takes any character"
    what = match.lastgroup or ""
    if what in _SIMPLE:
        return Token(_SIMPLE[what], at, match.end())
    if what in _STRINGS:
        return _string(sql, at, match.end(), *_STRINGS[what])
    if what == "LINE":
        return Token(TokenKind.COMMENT, at, match.end())
    if what == "BLOCK":
        return _block_comment(sql, at)
    if what == "DOLLAR":
        return _dollar_string(sql, at, match.group())
    return Token(TokenKind.BROKEN, at, len(sql))


def _string(sql: str, start: int, at: int, kind: TokenKind, inside: re.Pattern[str]) -> Token:
    segments = []
    while True:
        match = inside.match(sql, at)
        assert match is not None, "the pattern matches the empty string"
        end = match.end()
        if sql[end : end + 1] != "'":
            return Token(TokenKind.BROKEN, start, len(sql))
        segments.append((at, end))
        more = _CONTINUATION.match(sql, end + 1)
        if more is None:
            return Token(kind, start, end + 1, tuple(segments))
        at = more.end()


def _block_comment(sql: str, start: int) -> Token:
    depth = 0
    for edge in _BLOCK_EDGE.finditer(sql, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return Token(TokenKind.COMMENT, start, edge.end())
    return Token(TokenKind.BROKEN, start, len(sql))


def _dollar_string(sql: str, start: int, delimiter: str) -> Token:
    inside = start + len(delimiter)
    end = sql.find(delimiter, inside)
    if end < 0:
        return Token(TokenKind.BROKEN, start, len(sql))
    return Token(TokenKind.DOLLAR_STRING, start, end + len(delimiter), ((inside, end),))
