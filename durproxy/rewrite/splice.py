"""Edits of the user's text: qualified operators, refusals, and the released form of a wait.

Edits replace single tokens or insert text between tokens, so that everything else of the
statement, parameters, result columns and types included, stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pglast import ast

from durproxy.rewrite.check import Fault
from durproxy.rewrite.dsl import SCHEMA
from durproxy.rewrite.literals import quoted, tokens_of_call
from durproxy.rewrite.parse import Tree


class Unspliceable(Exception):
    """The text is not what the parse tree says: leave it alone."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters [start, end) of the user's text became ``text``."""

    start: int
    end: int
    text: str


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with the edits, which are in order and do not overlap."""
    out: list[str] = []
    done = 0
    for edit in edits:
        out += text[done : edit.start], edit.text
        done = edit.end
    return "".join(out) + text[done:]


def in_order(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return edits by position, each once; an insertion stands before the token there."""
    return tuple(sorted(dict.fromkeys(edits), key=lambda edit: (edit.start, edit.end)))


def qualified(operator: str) -> str:
    """Return an operator with its schema; the precedence of every such operator is the same."""
    return f" OPERATOR({SCHEMA}.{operator}) "


def qualify(text: str, operator: Tree) -> Edit:
    """Name the schema of an operator where it stands."""
    name = operator.name[0].sval
    start = operator.location
    if text[start : start + len(name)] != name:
        raise Unspliceable(name)
    return Edit(start, start + len(name), qualified(name))


def refuse(text: str, call: Tree, argument: int, fault: Fault) -> list[Edit]:
    """Make the server raise our error where the call stands, when it plans the statement."""
    found = tokens_of_call(text, call.location)
    if argument >= len(found) or not found[argument]:
        raise Unspliceable("call")
    tokens = found[argument]
    if isinstance(call.args[argument], ast.NamedArgExpr):
        tokens = tokens[2:]
    fields = {
        "sqlstate": fault.sqlstate,
        "message": fault.message,
        "detail": fault.detail,
        "hint": fault.hint,
    }
    error = {name: field for name, field in fields.items() if field is not None}
    literal = quoted(json.dumps(error, ensure_ascii=False))
    start, end = tokens[0].start, tokens[-1].end
    return [
        Edit(start, start, f"{SCHEMA}._refuse({literal}) OPERATOR(pg_catalog.||) ("),
        Edit(end, end, ")"),
    ]


def refuse_block(start: int, end: int, fault: Fault) -> Edit:
    """Replace a whole DO statement by one that raises our error."""
    fields = {
        "ERRCODE": fault.sqlstate,
        "MESSAGE": fault.message,
        "DETAIL": fault.detail,
        "HINT": fault.hint,
    }
    given = ", ".join(f"{name} = {quoted(text)}" for name, text in fields.items() if text)
    inside = f"BEGIN RAISE EXCEPTION USING {given}; END".replace("$", r"\044")
    return Edit(start, end, f"DO LANGUAGE plpgsql $refusal${inside}$refusal$")
