"""References to earlier results inside a step: find them, and carry their values as bound values.

A step may say ``$name``, ``$name.column``, either with ``?``, and ``$name.*``. A value never
becomes SQL text: ``render`` leaves a typed element of one text[] parameter in its place, and
cuts a string literal that holds a reference into a concatenation. So nothing that a value
holds can end a literal or begin a statement.

Left alone: ``$1``, dollar-quoted text, comments and quoted identifiers; in an E'' literal also
``\\$``. Where a value could stand only as text (other kinds of literal, bodies of functions) the
reference carries a problem, and rendering it raises LanguageError.

An optional reference without a value is NULL; inside a literal it is the empty text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import TokenKind
from durproxy.engine.core.places import Place, Reference, ReferenceKind, StepText, from_match
from durproxy.engine.core.record import parse_record
from durproxy.errors import LanguageError

__all__ = [
    "Reference",
    "ReferenceKind",
    "Resolve",
    "Rows",
    "Value",
    "find_references",
    "find_text_references",
    "parse_record",
    "render",
    "substitute_variables",
]


@dataclass(frozen=True, slots=True)
class Value:
    """A value as text, and the type that reads it: ``schema.type``, each part quoted as needed.

    ``Value(None, "")`` is the NULL of an optional reference that has no value.
    """

    text: str | None
    type: str


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of a result: (name, type) of each column, and each row's values as text."""

    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[str | None]]


Resolve = Callable[[Reference], Value | Rows]

_CACHED_TEXTS = 1024
_LONGEST_CACHED = 8 * 1024
_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CONCATENATE = " OPERATOR(pg_catalog.||) "


def find_references(sql: str) -> tuple[Reference, ...]:
    """Return the references of a step, in order, each with its problem if it cannot stand there."""
    if "$" not in sql:
        return ()
    return tuple(reference for _, references in _groups(sql) for reference in references)


def _groups(sql: str) -> tuple[tuple[Place, list[Reference]], ...]:
    """Return the places of a step with their references."""
    return (_cached if len(sql) <= _LONGEST_CACHED else _read)(sql)


def _read(sql: str) -> tuple[tuple[Place, list[Reference]], ...]:
    return tuple(StepText(sql).groups())


# workflows of one kind run the same texts again and again
_cached = functools.lru_cache(_CACHED_TEXTS)(_read)


def find_text_references(text: str) -> tuple[Reference, ...]:
    """Return the references of plain text (a break value, a URL), where nothing is quoted."""
    return tuple(from_match(m, in_literal=True) for m in lexer.REFERENCE_IN_TEXT.finditer(text))


def substitute_variables(sql: str, variables: Mapping[str, str]) -> str:
    """Replace each ``{name}`` by the variable's raw text; unknown names stay as they are."""
    if "{" not in sql:
        return sql
    return _VARIABLE.sub(lambda m: variables.get(m.group(1), m.group()), sql)


def render(sql: str, resolve: Resolve) -> tuple[str, list[str | None]]:
    """Return the step's text with ``$1`` as a text[] parameter in it, and that parameter's value.

    Raises LanguageError for a reference that cannot stand where it is.
    """
    if "$" not in sql:
        return sql, []
    values: list[str | None] = []
    writer = _Writer(resolve, values)
    out: list[str] = []
    done = 0
    for place, references in _groups(sql):
        for reference in references:
            if reference.problem is not None:
                raise LanguageError(reference.problem, hint=reference.hint)
        out += sql[done : place.start], writer.place(sql, place, references)
        done = place.end
    out.append(sql[done:])
    return "".join(out), values


class _Writer:
    """Write values as elements of the one parameter; equal references share an element."""

    def __init__(self, resolve: Resolve, values: list[str | None]) -> None:
        self._resolve = resolve
        self._values = values
        self._written: dict[tuple[str, str | None, bool, bool], str] = {}

    def place(self, sql: str, place: Place, references: Sequence[Reference]) -> str:
        """Return what stands in the place of a reference, or of a literal that holds some."""
        if place.literal is not None:
            text = self._literal(sql, place, references)
            return f"CAST({text} AS {place.cast_to})" if place.cast_to else text
        if references[0].kind is ReferenceKind.ROWS:
            return self._relation(references[0], place.needs_alias)
        return self._operand(references[0])

    def _operand(self, reference: Reference) -> str:
        key = (reference.name, reference.column, reference.optional, False)
        if key not in self._written:
            value = self._value(reference)
            if value.text is None and not value.type:
                self._written[key] = "(NULL)"
            elif value.type == "pg_catalog.text":  # already is: and the column keeps no type's name
                self._written[key] = f"({self._element(value.text)})"
            else:
                self._written[key] = f"({self._element(value.text)}::{value.type})"
        return self._written[key]

    def _literal(self, sql: str, place: Place, references: Sequence[Reference]) -> str:
        """Return the concatenation that a literal with references becomes."""
        token = place.literal
        assert token is not None, "only called for literals"
        prefix = "E'" if token.kind is TokenKind.ESCAPE_STRING else "'"
        parts: list[str] = []
        at = token.start + len(prefix)
        for reference in references:
            parts += _piece(prefix, sql[at : reference.start]), self._text(reference)
            at = reference.end
        parts.append(_piece(prefix, sql[at : token.end - 1]))
        return f"({_CONCATENATE.join(part for part in parts if part)})"

    def _text(self, reference: Reference) -> str:
        key = (reference.name, reference.column, reference.optional, True)
        if key not in self._written:
            self._written[key] = self._element(self._value(reference).text or "")
        return self._written[key]

    def _relation(self, reference: Reference, needs_alias: bool) -> str:
        rows = self._resolve(reference)
        assert isinstance(rows, Rows), f"{reference} resolves to rows"
        alias = f" AS {quote_name(reference.name.lower())}" if needs_alias else ""
        if not rows.columns:
            return f"(SELECT FROM pg_catalog.generate_series(1, {len(rows.rows)})){alias}"
        if not rows.rows:  # the step may have no values at all, and then it has no parameter
            nothing = ", ".join(
                f"NULL::{kind} AS {quote_name(name)}" for name, kind in rows.columns
            )
            return f"(SELECT {nothing} WHERE false){alias}"
        slices = []
        for k in range(len(rows.columns)):
            first = len(self._values) + 1
            self._values += [row[k] for row in rows.rows]
            slices.append(f"pg_catalog.unnest(($1)[{first}:{len(self._values)}])")
        names = [f"c{k}" for k in range(len(slices))]
        select = ", ".join(
            f"q.{name}::{kind} AS {quote_name(column)}"
            for name, (column, kind) in zip(names, rows.columns, strict=True)
        )
        source = f"ROWS FROM ({', '.join(slices)}) AS q({', '.join(names)})"
        return f"(SELECT {select} FROM {source}){alias}"

    def _value(self, reference: Reference) -> Value:
        value = self._resolve(reference)
        assert isinstance(value, Value), f"{reference} resolves to a value"
        return value

    def _element(self, text: str | None) -> str:
        self._values.append(text)
        return f"($1)[{len(self._values)}]"


def quote_name(name: str) -> str:
    """Return an identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def _piece(prefix: str, inside: str) -> str:
    """Return a part of a literal as a literal, or nothing if the part is empty."""
    return f"{prefix}{inside}'" if inside else ""
