"""What df.lint cannot know by itself: how its expression was written, where the nodes stand, and
what is wrong with the SQL of its steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from pglast import ast

from durproxy.rewrite import dsl
from durproxy.rewrite.check import Fault, Place, check, line_and_column
from durproxy.rewrite.constants import constant
from durproxy.rewrite.literals import quoted, tokens_of_call
from durproxy.rewrite.parse import SyntaxFault, TooLong, Tree, parse
from durproxy.rewrite.places import positions
from durproxy.rewrite.reading import read
from durproxy.rewrite.splice import Edit

_PLACE: Final = re.compile(
    r"At (?:node (?P<node>\d+))?(?:, )?(?:line (?P<line>\d+), column (?P<col>\d+))?"
)
_SELECT: Final = "SELECT "  # makes an expression a statement
_AROUND: Final = " \t\r\n;"  # what the server takes away around a text, too
_ID_OR_GRAPH: Final = re.compile(r"[0-9a-f]{8}$|\{")
# as df._is_expression: what the server evaluates, and says itself what is wrong with it
_EVALUATED: Final = re.compile(r"~>|\|=>|\?>|!>|^@>|\bdf\s*\.|^[(\s]*[Ee]?'")
_STATEMENT: Final = re.compile(
    r"(?:select|insert|update|delete|merge|with|values|table|create|alter|drop|call|do|truncate"
    r"|grant|revoke|explain)\b",
    re.IGNORECASE,
)


def lint_edits(text: str, found: dsl.Findings) -> Iterator[Edit]:
    """Yield for each call of df.lint the argument that it was not given."""
    for function, call in found.calls:
        given: tuple[Tree, ...] = call.args or ()
        if function != "lint" or len(given) != 1:
            continue
        argument = given[0]
        tokens = tokens_of_call(text, call.location)[0]
        if isinstance(argument, ast.NamedArgExpr):
            tokens, argument = tokens[2:], argument.arg
        reading = _reading(text, tokens[0].start, tokens[-1].end, argument)
        if reading is not None:
            literal = quoted(json.dumps(reading, ensure_ascii=False))
            yield Edit(tokens[-1].end, tokens[-1].end, f", reading => {literal}")


def _reading(text: str, start: int, end: int, expression: Tree) -> dict[str, object] | None:
    place = partial(line_and_column, text)
    inside = constant(expression)
    if isinstance(inside, str):
        if _is_step(inside):
            return _fault_in(text, start, expression, place)
        return _reading_of_text(inside)
    found = _found(text, start, expression, place)
    return {"written": text[start:end], "origin": place(start), **found}


def _is_step(inside: str) -> bool:
    """Tell whether a text is neither an expression nor an id nor a graph: then it is a step."""
    inside = inside.strip(_AROUND)
    if _ID_OR_GRAPH.match(inside) is not None:
        return False
    return _STATEMENT.match(inside) is not None or _EVALUATED.search(inside) is None


def _reading_of_text(inside: str) -> dict[str, object] | None:
    """Read an expression that was given as text; the server has its text, but not the places."""
    try:
        statements = parse(_SELECT + inside)
    except (SyntaxFault, TooLong):
        return None
    targets: tuple[Tree, ...] = getattr(statements[0].stmt, "targetList", None) or ()
    if len(statements) != 1 or len(targets) != 1 or not _is_expression(targets[0].val):
        return None

    def place(position: int) -> tuple[int, int]:
        return line_and_column(inside, position - len(_SELECT))

    return _found(_SELECT + inside, len(_SELECT), targets[0].val, place)


def _is_expression(node: Tree) -> bool:
    """Tell whether a text is an expression of ours; others are ids, graphs and SQL."""
    if isinstance(node, ast.FuncCall):
        return dsl.function_name(node) is not None
    if isinstance(node, ast.A_Expr):
        return dsl.operator_name(node) is not None
    return isinstance(node, ast.A_Const) and isinstance(node.val, ast.String)


def _found(text: str, start: int, expression: Tree, place: Place) -> dict[str, object]:
    places = positions(text, start, read(expression))
    found = {"places": {number: place(at) for number, at in places.items()}}
    return found | (_fault_in(text, start, expression, place) or {})


def _fault_in(text: str, start: int, expression: Tree, place: Place) -> dict[str, object] | None:
    fault = check(text, start, expression, place)
    if fault is None:
        return None
    return {"fault": {"message": fault.message, "hint": fault.hint, **_place_of(fault)}}


def _place_of(fault: Fault) -> dict[str, int]:
    told = _PLACE.match(fault.detail or "")
    return {} if told is None else {key: int(n) for key, n in told.groupdict().items() if n}
