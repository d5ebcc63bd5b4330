"""From bytes to Postgres's own parse tree, within limits that no hostile text can get around.

The parser recurses in C and takes the process with it when its stack ends, so what is too long
or has too many tokens is never handed to it. Its scanner takes quadratic time over long runs of
operator characters (0.9 s for 16 kB of ``+-``), so these are not handed to it either. That holds
for a statement, and again for the text of every step inside it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, Final

import pglast
from pglast import ast

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import TokenKind

MAX_LENGTH: Final = 64 * 1024
MAX_TOKENS: Final = 5_000

# Longer than any operator can be, and than most lines of dashes in a comment.
_LONGEST_RUN: Final = 256
_LONG_RUN: Final = re.compile(rf"[~!@#^&|`?+\-*/%<>=]{{{_LONGEST_RUN + 1}}}")

_NEAR: Final = re.compile(r'at or near "(.*)"$', re.DOTALL)

_STATEMENT: Final = '{"stmt":{"'
_FIRST_KIND: Final = re.compile(rf'[^\[]*\[{re.escape(_STATEMENT)}(\w+)"')

#: What the parser gives; its nodes have no static types.
Tree = Any

# Encodings in which a byte of a character can look like a quote or a backslash, or that Python
# reads differently from Postgres, are missing: texts in them are not ours to touch.
_CODECS: Final = {
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    **{f"LATIN{n}": f"iso8859-{m}" for n, m in enumerate((1, 2, 3, 4, 9, 10, 13, 14, 15, 16), 1)},
    **{f"WIN{n}": f"cp{n}" for n in (866, 874, *range(1250, 1259))},
    **{f"ISO_8859_{n}": f"iso8859-{n}" for n in (5, 6, 7, 8)},
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
    "EUC_CN": "gb2312",
    "EUC_JIS_2004": "euc_jis_2004",
}  # fmt: skip


class SyntaxFault(Exception):
    """The parser refused the text; ``position`` is the 0-based character it points at."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class TooLong(Exception):
    """The text is beyond the limits and was not parsed."""


def decode(raw: bytes, client_encoding: str) -> tuple[str, str] | None:
    """Return the text and its codec, or None when the text must not be touched."""
    if b"\0" in raw:
        return None
    if client_encoding.upper() == "SQL_ASCII":  # any bytes at all, mostly UTF-8 in truth
        return _decoded(raw, "utf-8") or (raw.decode("latin-1"), "latin-1")
    codec = _CODECS.get(client_encoding.upper())
    return None if codec is None else _decoded(raw, codec)


def _decoded(raw: bytes, codec: str) -> tuple[str, str] | None:
    try:
        text = codecs.decode(raw, codec, "strict")
    except UnicodeError:
        return None
    # what does not come back as it was (shift states, duplicate codes) stays as it is
    return (text, codec) if codec == "utf-8" or text.encode(codec) == raw else None


def parse(text: str) -> tuple[Tree, ...]:
    """Return the raw statements of a text.

    Raises TooLong beyond the limits and SyntaxFault for what the grammar does not know.
    """
    if len(text) > _LONGEST_RUN and _is_too_long(text):
        raise TooLong
    try:
        statements: tuple[Tree, ...] = pglast.parse_sql(text)
    except pglast.parser.ParseError as error:
        message, *rest = error.args
        index = rest[0] if rest and isinstance(rest[0], int) else 0
        raise SyntaxFault(str(message), _true_position(text, str(message), index)) from None
    return statements


def only_kind(text: str) -> str | None:
    """Return the type of a text's only statement; None when there is not one, or it is long.

    Much cheaper than a tree, most of whose time goes into its nodes' being made in Python.
    """
    if len(text) > _LONGEST_RUN and _is_too_long(text):
        return None
    try:
        written = pglast.parser.parse_sql_json(text)
    except pglast.parser.ParseError:
        return None
    found = _FIRST_KIND.match(written)
    # in a string of the text the quotes are escaped
    return found[1] if found is not None and written.count(_STATEMENT) == 1 else None


def _true_position(text: str, message: str, index: int) -> int:
    """Return the parser's position, which pglast took for one in bytes, as the character it is."""
    first = len(text[:index].encode())
    last = len(text[: index + 1].encode())
    near = _NEAR.search(message)
    if near is not None:
        for position in range(first, last):
            if text.startswith(near[1], position):
                return position
    return first


def _is_too_long(text: str) -> bool:
    if len(text) > MAX_LENGTH or _LONG_RUN.search(text) is not None:
        return True
    return len(text) > MAX_TOKENS and not _few_tokens(text)


def _few_tokens(text: str) -> bool:
    significant = 0
    for token in lexer.tokens(text):
        significant += token.kind not in (TokenKind.SPACE, TokenKind.COMMENT)
        if significant > MAX_TOKENS:
            return False
    return True


def children(node: Tree) -> Iterator[Tree]:
    """Yield the nodes directly below a node."""
    for name in node.__slots__:
        value = getattr(node, name)
        if isinstance(value, ast.Node):
            yield value
        elif isinstance(value, tuple):
            yield from _flattened(value)


def _flattened(values: tuple[Tree, ...]) -> Iterator[Tree]:
    for value in values:
        if isinstance(value, ast.Node):
            yield value
        elif isinstance(value, tuple):
            yield from _flattened(value)


def qualified_name(names: Tree) -> tuple[str, ...]:
    """Return the parts of a function's or operator's name."""
    return tuple(part.sval for part in names)
