"""Where the code of a body speaks our language.

PL/pgSQL has no parser that keeps positions, so its code is read as tokens, and only the text of
each df call as an expression. Operands are mostly variables there, which tell nothing about their
types. So ``~> |=> ?> !>`` between two operands are taken for ours wherever a body names something
in schema df, and ``& | @>`` only in DSL position inside a call of ours. Code in SQL is parsed as a
whole and read like any other statement besides.

Comments and literals are never looked into: a statement in a string is the user's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import Token, TokenKind
from durproxy.rewrite import dsl
from durproxy.rewrite.bodies import Body
from durproxy.rewrite.parse import MAX_TOKENS, SyntaxFault, TooLong, Tree, parse
from durproxy.rewrite.splice import Edit, qualified, qualify

_SELECT: Final = "SELECT "  # makes an expression a statement
_STRINGS: Final = frozenset(
    {
        *(TokenKind.PLAIN_STRING, TokenKind.ESCAPE_STRING),
        *(TokenKind.DOLLAR_STRING, TokenKind.CODED_STRING),
    }
)
_NAMES: Final = frozenset({TokenKind.NAME, TokenKind.QUOTED_NAME, TokenKind.PARAMETER})
# What the mere name of an operator stands behind: DROP OPERATOR, ORDER BY a USING, EXCLUDE (a WITH.
_BEFORE_A_NAME: Final = frozenset({"operator", "using", "with"})


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed part of the code; ``shift`` turns its positions into positions in the code."""

    text: str
    shift: int
    findings: dsl.Findings


class BodyReading:
    """What is ours in the code of one body."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._code = body.code
        self._tokens = _limited(lexer.significant_tokens(body.code))
        self._words = [self._word(token) for token in self._tokens]
        self._ours = {i for i in range(len(self._tokens)) if self._is_schema(i)}
        self.expressions = list(self._expressions()) if self._ours else []

    def edits(self) -> Iterator[Edit]:
        """Yield the edits that qualify operators; one operator may come twice."""
        if not self._ours:
            return
        for index, token in enumerate(self._tokens):
            if self._words[index] in dsl.OURS_ALONE and self._joins_operands(index):
                yield self._body.edit(token.start, token.end, qualified(self._words[index]))
        for expression in self.expressions:
            for operator in expression.findings.operators:
                edit = qualify(expression.text, operator)
                start, end = edit.start + expression.shift, edit.end + expression.shift
                yield self._body.edit(start, end, edit.text)

    def catches_errors(self) -> bool:
        """Tell whether the code has an exception handler."""
        return ("exception", "when") in zip(self._words, self._words[1:], strict=False)

    def _expressions(self) -> Iterator[Expression]:
        if self._body.language == "sql":
            parsed = list(self._parsed(self._code, 0))
            if parsed:
                yield from parsed
                return
        for start, end in self._calls():
            yield from self._parsed(_SELECT + self._code[start:end], start - len(_SELECT))

    def _parsed(self, text: str, shift: int) -> Iterator[Expression]:
        try:
            statements: tuple[Tree, ...] = parse(text)
        except (SyntaxFault, TooLong):
            return
        for raw in statements:
            yield Expression(text, shift, dsl.find(raw.stmt))

    def _calls(self) -> Iterator[tuple[int, int]]:
        """Yield where each call of ours begins and ends that is not inside another one."""
        done = 0
        for index in sorted(self._ours):
            if index >= done and self._mark(index + 3) == "(":
                done = self._closing(index + 3) + 1
                if done <= len(self._tokens):
                    yield self._tokens[index].start, self._tokens[done - 1].end

    def _closing(self, index: int) -> int:
        """Return the index of the parenthesis that closes the one at ``index``, or the end."""
        depth = 0
        for at in range(index, len(self._tokens)):
            mark = self._mark(at)
            depth += (mark == "(") - (mark == ")")
            if depth == 0:
                return at
        return len(self._tokens)

    def _is_schema(self, index: int) -> bool:
        named = self._words[index] in (dsl.SCHEMA, f'"{dsl.SCHEMA}"')
        return named and self._mark(index + 1) == "." and self._mark(index - 1) != "."

    def _joins_operands(self, index: int) -> bool:
        """Tell whether an operator stands between what can be two texts.

        Not so its mere name, in ``OPERATOR(df.~>)`` for one, and cube's ``c ~> 1``.
        """
        if not 0 < index < len(self._tokens) - 1:
            return False
        left, right = self._tokens[index - 1], self._tokens[index + 1]
        is_operand = left.kind in _STRINGS or self._mark(index - 1) in (")", "]")
        if left.kind in _NAMES:
            is_operand = self._words[index - 1] not in _BEFORE_A_NAME
        return is_operand and (
            right.kind in _STRINGS or right.kind in _NAMES or self._mark(index + 1) in ("(", "@>")
        )

    def _mark(self, index: int) -> str:
        """Return a token that is neither a name nor a literal, or nothing."""
        if not 0 <= index < len(self._tokens):
            return ""
        kind = self._tokens[index].kind
        is_mark = kind in (TokenKind.PUNCTUATION, TokenKind.OPERATOR)
        return self._words[index] if is_mark else ""

    def _word(self, token: Token) -> str:
        """Return a token's text, names in lower case; nothing for a literal."""
        if token.kind in _STRINGS or token.kind is TokenKind.BROKEN:
            return ""
        text = self._code[token.start : token.end]
        return text.lower() if token.kind is TokenKind.NAME else text


def _limited(tokens: list[Token]) -> list[Token]:
    if len(tokens) > MAX_TOKENS:
        raise TooLong
    return tokens
