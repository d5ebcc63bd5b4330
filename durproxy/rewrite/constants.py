"""Constants of an expression: what a text argument is before the statement runs, if it is known."""

from __future__ import annotations

from typing import Final

from pglast import ast
from pglast.enums import A_Expr_Kind

from durproxy.rewrite.parse import Tree, qualified_name


class Unknown:
    """A value that only the running statement has."""


UNKNOWN: Final = Unknown()
#: A constant's text, None for NULL.
Constant = str | None

_TEXT_TYPES: Final = frozenset({"text", "varchar"})


def constant(node: Tree) -> Constant | Unknown:
    """Return the text of a constant; concatenations and casts to text of constants count."""
    if isinstance(node, ast.A_Const):
        if node.isnull:
            return None
        if isinstance(node.val, ast.String):
            return str(node.val.sval)
        return str(node.val.ival) if isinstance(node.val, ast.Integer) else UNKNOWN
    if isinstance(node, ast.TypeCast):
        return constant(node.arg) if _is_text_type(node.typeName) else UNKNOWN
    if isinstance(node, ast.A_Expr):
        return _concatenated(node)
    return UNKNOWN


def _is_text_type(name: Tree) -> bool:
    plain = not name.arrayBounds and not name.typmods
    return plain and qualified_name(name.names)[-1] in _TEXT_TYPES


def _concatenated(node: Tree) -> Constant | Unknown:
    parts: list[str] = []
    while isinstance(node, ast.A_Expr):
        if node.kind != A_Expr_Kind.AEXPR_OP or qualified_name(node.name) != ("||",):
            return UNKNOWN
        right = constant(node.rexpr)
        if not isinstance(right, str):
            return UNKNOWN
        parts.append(right)
        node = node.lexpr
    first = constant(node)
    return first + "".join(reversed(parts)) if isinstance(first, str) else UNKNOWN
