"""Where references stand in a step: which tokens hold them, and whether a value can be there.

A place is the stretch of text that gives way to values: the reference itself, or the whole
literal that holds some, with the type's name in front of a typed constant (``date '$day'``).
What no value can replace (other kinds of literal, bodies of functions, rows outside FROM) is
found all the same, with its problem.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import Token, TokenKind


class ReferenceKind(enum.Enum):
    """What stands for the reference: one value, or rows."""

    VALUE = enum.auto()
    ROWS = enum.auto()


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference: characters [start, end) of the step.

    ``column`` is None for the first column, else as written (unquoted names are not folded).
    """

    kind: ReferenceKind
    name: str
    column: str | None
    optional: bool
    start: int
    end: int
    in_literal: bool = False
    problem: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        column = "*" if self.kind is ReferenceKind.ROWS else self.column
        suffix = "" if column is None else f".{column}"
        return f"${self.name}{suffix}{'?' if self.optional else ''}"


_RESULT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What may stand before a string literal as an operand. After any other word a literal is a typed
# constant (date '…'), or the grammar wants a constant there.
_BEFORE_OPERAND = _words(
    "ALL AND ANY ASYMMETRIC BETWEEN BOTH BY CASE DEFAULT DISTINCT ELSE ESCAPE EXCEPT FOR FROM "
    "HAVING ILIKE IN LEADING LIKE LIMIT NOT OFFSET ON OR PASSING PLACING RETURN RETURNING "
    "SELECT SET SYMMETRIC THEN TO TRAILING USING VALUE VARIADIC WHEN WHERE ZONE"
)
_CONSTANT_ONLY = frozenset({"AS", "DO", "IS", "LANGUAGE", "COMMENT", "PASSWORD"})
_INTERVAL_FIELDS = frozenset({"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"})
# The clause around a comma tells whether rows may stand after it.
_CLAUSES = _words(
    "SELECT FROM WHERE GROUP HAVING ORDER LIMIT OFFSET WINDOW VALUES SET RETURNING INTO USING"
)
_BEFORE_ROWS = frozenset({"FROM", "JOIN", "USING", "LATERAL", ",", "("})
# What may follow a relation without being its alias.
_AFTER_ROWS = _words(
    "WHERE GROUP HAVING ORDER LIMIT OFFSET FETCH FOR UNION INTERSECT EXCEPT ON USING JOIN "
    "LEFT RIGHT FULL INNER CROSS NATURAL WINDOW RETURNING TABLESAMPLE WHEN SET"
)


@dataclass(frozen=True, slots=True)
class Place:
    """The text that gives way to values: a reference, or a literal that holds some.

    ``cast_to`` is the type of a typed constant, whose name stands in front of its literal.
    """

    start: int
    end: int
    literal: Token | None = None
    cast_to: str | None = None
    needs_alias: bool = False


class StepText:
    """A step's tokens, and what may stand at each of them."""

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._tokens = lexer.significant_tokens(sql)
        self._words = [self._word(token) for token in self._tokens]
        self._no_values = self._statement_problem()

    def places(self) -> Iterator[tuple[Place, Reference]]:
        """Yield each reference with the place it belongs to."""
        clauses = [""]
        for index, token in enumerate(self._tokens):
            word = self._words[index]
            if token.kind is TokenKind.REFERENCE:
                yield self._operand(index, clauses[-1])
            elif token.segments and token.kind is not TokenKind.DOLLAR_STRING:
                yield from self._literal(index)
            elif word == "(":
                inside_from = clauses[-1] == "FROM" and self._before(index) in _BEFORE_ROWS
                clauses.append("FROM" if inside_from else "")
            elif word == ")" and len(clauses) > 1:
                clauses.pop()
            elif word in _CLAUSES:
                clauses[-1] = "FROM" if word == "USING" else word

    def groups(self) -> Iterator[tuple[Place, list[Reference]]]:
        """Yield each place with all its references."""
        current: tuple[Place, list[Reference]] | None = None
        for place, reference in self.places():
            if current is None or current[0] is not place:
                if current is not None:
                    yield current
                current = place, []
            current[1].append(reference)
        if current is not None:
            yield current

    def _operand(self, index: int, clause: str) -> tuple[Place, Reference]:
        token = self._tokens[index]
        match = lexer.REFERENCE_IN_SQL.match(self._sql, token.start)
        assert match is not None, "the scanner uses the same pattern"
        reference = from_match(match, in_literal=False)
        needs_alias = False
        if reference.kind is ReferenceKind.ROWS:
            needs_alias = not self._alias_follows(index)
            if not (clause == "FROM" and self._before(index) in _BEFORE_ROWS):
                reference = _with_problem(
                    reference,
                    f'"{reference}" stands for rows and cannot be used here',
                    f"Rows can stand in FROM: SELECT * FROM {reference}.",
                )
        return Place(token.start, token.end, needs_alias=needs_alias), self._checked(reference)

    def _literal(self, index: int) -> Iterator[tuple[Place, Reference]]:
        token = self._tokens[index]
        found = [
            from_match(match, in_literal=True)
            for start, end in token.segments
            for match in _matches_in(self._sql, start, end, token.kind)
        ]
        if not found:
            return
        place, problem, hint = self._literal_place(index)
        for reference in found:
            if reference.kind is ReferenceKind.ROWS:
                reference = _with_problem(
                    reference,
                    f'"{reference}" stands for rows and cannot be used inside a string literal',
                    None,
                )
            elif problem is not None:
                reference = _with_problem(reference, problem.format(reference), hint)
            yield place, self._checked(reference)

    def _literal_place(self, index: int) -> tuple[Place, str | None, str | None]:
        token = self._tokens[index]
        place = Place(token.start, token.end, token)
        hint = "Write the literal in plain quotes, or in dollar quotes if no reference is meant."
        if token.kind is TokenKind.CODED_STRING:
            return place, 'the reference "{}" cannot be used in this kind of string literal', hint
        before = self._before(index)
        previous = self._tokens[index - 1] if index else None
        if previous is None or (before in _BEFORE_OPERAND and not self._is_typed_time(index)):
            return place, None, None
        if before == ")" or before in _CONSTANT_ONLY:
            return place, f'the reference "{{}}" cannot be used after {before}', hint
        if previous.kind not in (TokenKind.NAME, TokenKind.QUOTED_NAME):
            return place, None, None
        if self._words[index + 1 : index + 2] and self._words[index + 1] in _INTERVAL_FIELDS:
            return place, 'the reference "{}" cannot be used in an interval with fields', hint
        start = self._type_start(index)
        return (
            Place(start, token.end, token, self._sql[start : previous.end]),
            None,
            None,
        )

    def _is_typed_time(self, index: int) -> bool:
        """Tell ``timestamp with time zone '…'`` from ``x AT TIME ZONE '…'``."""
        return self._words[max(index - 3, 0) : index] in (
            ["WITH", "TIME", "ZONE"],
            ["WITHOUT", "TIME", "ZONE"],
        )

    def _type_start(self, index: int) -> int:
        """Return where the type's name in front of a literal begins."""
        first = index - 1
        if self._is_typed_time(index):
            first = max(index - 4, 0)
        elif self._words[max(index - 2, 0) : index] in (
            ["DOUBLE", "PRECISION"],
            ["CHARACTER", "VARYING"],
        ):
            first = index - 2
        while first >= 2 and self._words[first - 1] == ".":
            first -= 2
        return self._tokens[first].start

    def _alias_follows(self, index: int) -> bool:
        if index + 1 == len(self._tokens):
            return False
        kind = self._tokens[index + 1].kind
        if kind is TokenKind.NAME:
            return self._words[index + 1] not in _AFTER_ROWS
        return kind is TokenKind.QUOTED_NAME

    def _before(self, index: int) -> str:
        return self._words[index - 1] if index else ""

    def _word(self, token: Token) -> str:
        """Return keywords and punctuation for comparing; nothing for what only holds data."""
        if token.kind in (TokenKind.NAME, TokenKind.PUNCTUATION):
            return self._sql[token.start : token.end].upper()
        return ""

    def _statement_problem(self) -> tuple[str, str] | None:
        """Return why no reference at all can stand in this statement."""
        words = self._words[:5]
        if words[:1] == ["DO"] or (
            words[:1] == ["CREATE"] and not {"FUNCTION", "PROCEDURE"}.isdisjoint(words)
        ):
            return (
                'the reference "{}" cannot be used in DO or CREATE FUNCTION',
                "Pass the value as an argument, or use dollar quotes if no reference is meant.",
            )
        if any(token.kind is TokenKind.PARAMETER for token in self._tokens):
            return (
                'the reference "{}" cannot be used beside a parameter such as $1',
                "A step has no parameters of its own: give the value a name with |=>.",
            )
        return None

    def _checked(self, reference: Reference) -> Reference:
        if self._no_values is not None:
            message, hint = self._no_values
            return _with_problem(reference, message.format(reference), hint)
        if reference.problem is None and not _RESULT_NAME.fullmatch(reference.name):
            return _with_problem(
                reference,
                f'result name "{reference.name}" is not a valid identifier',
                "Result names consist of ASCII letters, digits and underscores.",
            )
        return reference


def _matches_in(sql: str, start: int, end: int, kind: TokenKind) -> Iterator[re.Match[str]]:
    """Yield the references in a literal's inside; an escaped dollar sign begins none."""
    at = start
    while (at := sql.find("$", at, end)) >= 0:
        match = lexer.REFERENCE_IN_TEXT.match(sql, at, end)
        escaped = kind is TokenKind.ESCAPE_STRING and _is_escaped(sql, start, at)
        if match is None or escaped:
            at += 1
        else:
            yield match
            at = match.end()


def _is_escaped(sql: str, start: int, at: int) -> bool:
    backslashes = 0
    while at - backslashes > start and sql[at - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def from_match(match: re.Match[str], *, in_literal: bool) -> Reference:
    column = match["column"]
    if column is not None and column.startswith('"'):
        column = column[1:-1].replace('""', '"')
    rows = column == "*" and match["column"] == "*"
    return Reference(
        kind=ReferenceKind.ROWS if rows else ReferenceKind.VALUE,
        name=match["name"],
        column=None if rows else column,
        optional=match["optional"] is not None,
        start=match.start(),
        end=match.end(),
        in_literal=in_literal,
    )


def _with_problem(reference: Reference, problem: str, hint: str | None) -> Reference:
    return replace(reference, problem=problem, hint=hint)
