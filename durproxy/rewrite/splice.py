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
    """Return edits by position; an insertion stands before the token that begins there."""
    return tuple(sorted(edits, key=lambda edit: (edit.start, edit.end)))


def qualify(text: str, operator: Tree) -> Edit:
    """Name the schema of an operator; the precedence of every such operator is the same."""
    name = operator.name[0].sval
    start = operator.location
    if text[start : start + len(name)] != name:
        raise Unspliceable(name)
    return Edit(start, start + len(name), f" OPERATOR({SCHEMA}.{name}) ")


def refuse(text: str, call: Tree, argument: int, fault: Fault) -> list[Edit]:
    """Make the server raise our error where the call stands, when it plans the statement."""
    found = tokens_of_call(text, call.location)
    if argument >= len(found) or not found[argument]:
        raise Unspliceable("call")
    tokens = found[argument]
    if isinstance(call.args[argument], ast.NamedArgExpr):
        tokens = tokens[2:]
    error = {"sqlstate": fault.sqlstate, "message": fault.message}
    if fault.detail is not None:
        error["detail"] = fault.detail
    if fault.hint is not None:
        error["hint"] = fault.hint
    literal = quoted(json.dumps(error, ensure_ascii=False))
    start, end = tokens[0].start, tokens[-1].end
    return [
        Edit(start, start, f"{SCHEMA}._refuse({literal}) OPERATOR(pg_catalog.||) ("),
        Edit(end, end, ")"),
    ]
