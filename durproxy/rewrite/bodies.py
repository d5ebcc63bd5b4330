"""The code inside a statement: the body of a DO block, a function or a procedure.

A body is a string literal in the statement's text, or stands in it plainly (BEGIN ATOMIC, RETURN).
Each of its characters is mapped to where it stands in that text, so that a body's edits are edits
of the statement. A literal whose value is not exactly what the parser read is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pglast import ast

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import TokenKind
from durproxy.rewrite.literals import character_positions, string_tokens, value
from durproxy.rewrite.parse import Tree
from durproxy.rewrite.splice import Edit

_LANGUAGES: Final = frozenset({"sql", "plpgsql"})
_LITERALS: Final = frozenset(
    {TokenKind.DOLLAR_STRING, TokenKind.PLAIN_STRING, TokenKind.ESCAPE_STRING}
)


@dataclass(frozen=True, slots=True)
class Body:
    """Code and, for each of its characters and its end, the position in the statement's text."""

    language: str
    code: str
    positions: Sequence[int]

    def edit(self, start: int, end: int, text: str) -> Edit:
        """Return the edit of the statement that replaces characters [start, end) of the code."""
        return Edit(self.positions[start], self.positions[end], text)


def statement_span(text: str, raw: Tree) -> tuple[int, int]:
    """Return where a statement begins and ends, without the space and comments around it."""
    end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(text)
    first, last = None, raw.stmt_location
    for token in lexer.tokens_from(text, raw.stmt_location):
        if token.start >= end:
            break
        if token.kind not in (TokenKind.SPACE, TokenKind.COMMENT):
            first = token.start if first is None else first
            last = token.end
    return (last if first is None else first), last


def body_of(text: str, raw: Tree) -> Body | None:
    """Return the body of a statement if it has one in a language that can hold df calls."""
    statement = raw.stmt
    if isinstance(statement, ast.DoStmt):
        return _literal_body(text, statement.args or (), default="plpgsql")
    if not isinstance(statement, ast.CreateFunctionStmt):
        return None
    if statement.sql_body is not None:
        start, end = statement_span(text, raw)
        return Body("sql", text[start:end], range(start, end + 1))
    return _literal_body(text, statement.options or (), default="")


def _literal_body(text: str, options: Sequence[Tree], default: str) -> Body | None:
    given = {option.defname: option for option in options}
    code = given.get("as")
    language = given["language"].arg.sval.lower() if "language" in given else default
    if code is None or language not in _LANGUAGES:
        return None
    parts = code.arg if isinstance(code.arg, tuple) else (code.arg,)
    token = next(string_tokens(text, code.location), None)
    if token is None or len(parts) != 1 or token.kind not in _LITERALS or len(token.segments) != 1:
        return None
    body = Body(language, parts[0].sval, character_positions(text, token))
    is_read_right = value(text, token) == body.code and len(body.positions) == len(body.code) + 1
    return body if is_read_right else None
