"""How an expression of ours reads: with all its parentheses.

Every operator of ours has the one precedence that Postgres gives to such operators, from the left;
elsewhere ``&`` and ``|`` are described as binding tighter than the others, and ``<->`` looks as if
it did. The tree has lost the writer's own parentheses, so what was left to precedence is told from
the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pglast import ast
from pglast.enums import A_Expr_Kind

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import TokenKind
from durproxy.rewrite.constants import constant
from durproxy.rewrite.dsl import PREFIX, SCHEMA, function_name, operator_name
from durproxy.rewrite.parse import Tree, qualified_name

_LEFT_OUT: Final = "..."
_DEEPEST: Final = 200  # levels; a reader is lost long before
_TIGHTER_ELSEWHERE: Final = frozenset({"&", "|", "<->"})
_LOOSER_ELSEWHERE: Final = frozenset({"~>", "?>", "!>"})
_SEPARATORS: Final = frozenset({"when", "then", "else"})  # of the expressions in a CASE


@dataclass(frozen=True, slots=True)
class Brevity:
    """How much of an expression is shown; the rest is dots."""

    literal: int  # characters
    chain: int  # operators of one chain, the last ones
    depth: int


IN_FULL: Final = Brevity(1 << 30, 1 << 30, _DEEPEST)
IN_A_LINE: Final = Brevity(24, 8, 8)


def parenthesised(expression: Tree, brevity: Brevity = IN_FULL) -> str:
    """Return an expression with all its parentheses."""
    if brevity.depth == 0:
        return _LEFT_OUT
    inside = Brevity(brevity.literal, brevity.chain, brevity.depth - 1)
    if _operator(expression) == PREFIX:
        return f"{PREFIX} {_operand(expression.rexpr, inside)}"
    spine: list[Tree] = []
    while (name := _operator(expression)) is not None and name != PREFIX:
        spine.append(expression)
        expression = expression.lexpr
    shown = spine[: brevity.chain]
    parts = ["(" * (len(shown) - 1)]
    parts.append(_operand(expression, inside) if len(shown) == len(spine) else _LEFT_OUT)
    for index, node in enumerate(reversed(shown)):
        closing = ")" if index < len(shown) - 1 else ""
        parts.append(f" {_operator(node)} {_operand(node.rexpr, inside)}{closing}")
    return "".join(parts)


def relies_on_precedence(text: str, start: int) -> bool:
    """Tell whether &, | or <-> stands bare behind a looser operator, in the call at ``start``."""
    looser = [False]  # for each open parenthesis
    for token in lexer.tokens_from(text, start):
        mark = text[token.start : token.end]
        if token.kind is TokenKind.OPERATOR:
            if mark in _TIGHTER_ELSEWHERE and looser[-1]:
                return True
            looser[-1] = looser[-1] or mark in _LOOSER_ELSEWHERE
        elif mark in ("(", "["):
            looser.append(False)
        elif mark in (")", "]"):
            looser.pop()
            if len(looser) < 2:
                return False
        elif mark == "," or mark.lower() in _SEPARATORS:
            looser[-1] = False
    return False


def _operator(node: Tree) -> str | None:
    is_operator = isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP
    return operator_name(node) if is_operator else None


def _operand(node: Tree, brevity: Brevity) -> str:
    name = _operator(node)
    if name is not None:
        return f"({parenthesised(node, brevity)})"
    value = constant(node)
    if isinstance(value, str):
        if isinstance(node, ast.A_Const) and isinstance(node.val, ast.Integer):
            return value
        shown = value if len(value) <= brevity.literal else value[: brevity.literal - 3] + _LEFT_OUT
        return "'" + shown.replace("'", "''") + "'"
    return _plain(node, brevity)


def _plain(node: Tree, brevity: Brevity) -> str:
    if isinstance(node, ast.FuncCall) and (function := function_name(node)) is not None:
        given = ", ".join(_argument(argument, brevity) for argument in node.args or ())
        return f"{SCHEMA}.{function}({given})"
    if isinstance(node, ast.ParamRef):
        return f"${node.number}"
    if isinstance(node, ast.ColumnRef):
        fields: tuple[Tree, ...] = node.fields or ()
        if all(isinstance(field, ast.String) for field in fields):
            return ".".join(qualified_name(fields))
    return "NULL" if constant(node) is None else _LEFT_OUT


def _argument(node: Tree, brevity: Brevity) -> str:
    if isinstance(node, ast.NamedArgExpr):
        return f"{node.name} => {parenthesised(node.arg, brevity)}"
    return parenthesised(node, brevity)
