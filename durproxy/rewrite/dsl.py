"""Where a statement speaks our language: df calls, and operators in DSL position.

An operand is in DSL position when it is an operand of an operator of ours, or stands for a node
in a df call, reached through such operators, parentheses, arrays, CASE and COALESCE results. Never
through ``||``, a cast or another function: there ``&``, ``|``, ``@>`` and ``<->`` keep their usual
meaning. ``<->`` is also the distance of two texts (pg_trgm), of points and more: it is ours in DSL
position only, and only between what can be texts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pglast import ast
from pglast.enums import A_Expr_Kind

from durproxy.rewrite.parse import Tree, children, qualified_name

SCHEMA: Final = "df"

#: Parameters of each function in order; a star marks those that take a node, dots any number.
SIGNATURES: Final = {
    name: tuple(parameters.split())
    for name, parameters in {
        "sql": "query",
        "seq": "a* b*",
        "as": "fut* name",
        "sleep": "seconds",
        "wait_for_schedule": "cron_expr",
        "loop": "body* condition*",
        "break": "value",
        "if": "condition* then_branch* else_branch*",
        "if_rows": "result_name then_branch* else_branch*",
        "join": "a* b*",
        "join3": "a* b* c*",
        "race": "a* b*",
        "wait_for_signal": "name timeout_seconds",
        "http": "url method body headers timeout_seconds",
        "http_multipart": "url method parts headers timeout_seconds",
        "as_op": "fut* name",
        "if_then_op": "condition* then_branch*",
        "if_else_op": "partial_if* else_branch*",
        "loop_prefix_op": "body*",
        "retry": "node* max_attempts backoff factor max_backoff jitter retry_on",
        "timeout": "node* after",
        "catch": "node* handler*",
        "finally": "node* cleanup*",
        "compensate": "node* undo*",
        "saga": "node*",
        "parallel": "nodes...*",
        "any": "nodes...*",
        "transaction": "nodes...*",
        "map": "source_query* body* max_concurrency tolerate",
        "sleep_until": "at",
        "wait_for_condition": "query check_every",
        "start": "fut* label database transaction_mode key start_at",
        "schedule": "name cron node* tz overlap",
        "explain": "input*",
        "lint": "expression* reading",
    }.items()
}
_NOT_NODES: Final = frozenset({"start", "explain", "lint", "schedule"})
_REPEATED: Final = "...*"

BINARY: Final = frozenset({"~>", "|=>", "?>", "!>", "&", "|", "<->"})
#: Nothing else that is common has these; & | @> <-> mean other things elsewhere.
OURS_ALONE: Final = frozenset({"~>", "|=>", "?>", "!>"})
PREFIX: Final = "@>"


class _Position(enum.Enum):
    OTHER = enum.auto()
    NODE = enum.auto()
    FOREIGN_CHAIN = enum.auto()  # left operand of an & or | that is known not to be ours


@dataclass(slots=True)
class Findings:
    """What of a statement is ours, as nodes of its tree."""

    calls: list[tuple[str, Tree]] = field(default_factory=list)
    operators: list[Tree] = field(default_factory=list)  # those to qualify


def find(root: Tree) -> Findings:
    """Find df calls and the operators in DSL position anywhere below a statement."""
    findings = Findings()
    stack: list[tuple[Tree, _Position]] = [(root, _Position.OTHER)]
    while stack:
        node, position = stack.pop()
        if isinstance(node, ast.FuncCall):
            stack.extend(_in_call(node, findings))
        elif isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP:
            stack.extend(_in_operator(node, position, findings))
        elif position is _Position.NODE and isinstance(node, ast.CaseExpr):
            stack.extend(_in_case(node))
        elif position is _Position.NODE and isinstance(node, ast.CoalesceExpr):
            stack.extend((argument, _Position.NODE) for argument in node.args or ())
        elif position is _Position.NODE and isinstance(node, ast.A_ArrayExpr):
            stack.extend((element, _Position.NODE) for element in node.elements or ())
        else:
            stack.extend((child, _Position.OTHER) for child in children(node))
    findings.calls.reverse()
    return findings


def function_name(call: Tree) -> str | None:
    """Return the name of a function of schema df, or None for another one."""
    name = qualified_name(call.funcname)
    return name[1] if len(name) == 2 and name[0] == SCHEMA else None


def arguments(call: Tree, function: str) -> Iterator[tuple[str, Tree]]:
    """Yield (parameter, argument) of a call of ours; the star of a node parameter included."""
    parameters = SIGNATURES.get(function, ())
    by_name = {parameter.rstrip(_REPEATED): parameter for parameter in parameters}
    last = parameters[-1] if parameters and parameters[-1].endswith(_REPEATED) else ""
    given: Iterable[Tree] = call.args or ()
    for index, argument in enumerate(given):
        if isinstance(argument, ast.NamedArgExpr):
            name = str(argument.name)
            yield by_name.get(name, name), argument.arg
        else:
            yield parameters[index] if index < len(parameters) else last, argument


def starts(findings: Findings) -> Iterator[tuple[Tree, int, Tree]]:
    """Yield each call of df.start, and which of its arguments is the durable function."""
    for function, call in findings.calls:
        if function == "start":
            for index, (parameter, expression) in enumerate(arguments(call, function)):
                if parameter == "fut*":
                    yield call, index, expression


def operator_name(node: Tree) -> str | None:
    """Return the operator if it is spelled as one of ours, qualified with df or not at all."""
    name = qualified_name(node.name)
    if len(name) == 2 and name[0] != SCHEMA:
        return None
    known = PREFIX if node.lexpr is None else None
    return name[-1] if name[-1] == known or (node.lexpr and name[-1] in BINARY) else None


def is_qualified(node: Tree) -> bool:
    return len(node.name) > 1


def _in_call(node: Tree, findings: Findings) -> Iterable[tuple[Tree, _Position]]:
    function = function_name(node)
    if function is None:
        return [(child, _Position.OTHER) for child in children(node)]
    findings.calls.append((function, node))
    inside = [
        (argument, _Position.NODE if parameter.endswith("*") else _Position.OTHER)
        for parameter, argument in arguments(node, function)
    ]
    others = (node.agg_filter, node.over, *(node.agg_order or ()))
    return inside + [(child, _Position.OTHER) for child in others if child is not None]


def _in_operator(
    node: Tree, position: _Position, findings: Findings
) -> list[tuple[Tree, _Position]]:
    name = operator_name(node)
    is_ours = name is not None and (
        _is_ours(node, name, position) or (position is _Position.NODE and _may_be_ours(node, name))
    )
    if not is_ours:
        chain = _Position.FOREIGN_CHAIN if name in ("&", "|") else _Position.OTHER
        operands = [(node.lexpr, chain), (node.rexpr, _Position.OTHER)]
    else:
        if not is_qualified(node):
            findings.operators.append(node)
        right = _Position.OTHER if name == "|=>" else _Position.NODE
        operands = [(node.lexpr, _Position.NODE), (node.rexpr, right)]
    return [pair for pair in operands if pair[0] is not None]


def _in_case(node: Tree) -> Iterator[tuple[Tree, _Position]]:
    if node.arg is not None:
        yield node.arg, _Position.OTHER
    for when in node.args:
        yield when.expr, _Position.OTHER
        yield when.result, _Position.NODE
    if node.defresult is not None:
        yield node.defresult, _Position.NODE


def _may_be_ours(node: Tree, name: str) -> bool:
    """Tell whether an operator in DSL position is ours: distances have operands of other types."""
    return name != "<->" or not any(map(_is_no_text, (node.lexpr, node.rexpr)))


def _is_no_text(node: Tree) -> bool:
    """Tell whether an operand can neither be a text nor a node."""
    if isinstance(node, ast.A_Const):
        return not (node.isnull or isinstance(node.val, ast.String))
    if isinstance(node, ast.TypeCast):
        kind: Tree = node.typeName
        return qualified_name(kind.names)[-1] not in ("text", "varchar")
    return isinstance(node, ast.A_ArrayExpr | ast.RowExpr)


def _is_ours(node: Tree, name: str, position: _Position) -> bool:
    """Tell whether an operator outside a df call can only be ours."""
    if is_qualified(node):
        return True
    if name in ("&", "|"):
        return position is not _Position.FOREIGN_CHAIN and _chain_has_node(node)
    if name == "~>":  # cube has one too, with a number on its right
        return any(map(_is_text_or_node, (node.lexpr, node.rexpr)))
    if name == "<->":
        return any(map(_is_node, (node.lexpr, node.rexpr)))
    return name in OURS_ALONE or _is_text_or_node(node.rexpr)


def _chain_has_node(node: Tree) -> bool:
    """Look along ``a & b | c …`` for an operand that only can be a node."""
    while isinstance(node, ast.A_Expr) and operator_name(node) in ("&", "|"):
        if _is_node(node.rexpr):
            return True
        node = node.lexpr
    return _is_node(node)


def _is_text_or_node(node: Tree) -> bool:
    is_text = isinstance(node, ast.A_Const) and isinstance(node.val, ast.String)
    return is_text or _is_node(node)


def _is_node(node: Tree) -> bool:
    if isinstance(node, ast.FuncCall):
        function = function_name(node)
        return function in SIGNATURES and function not in _NOT_NODES
    if not isinstance(node, ast.A_Expr) or node.kind != A_Expr_Kind.AEXPR_OP:
        return False
    name = operator_name(node)
    return name in OURS_ALONE or (name is not None and is_qualified(node))
