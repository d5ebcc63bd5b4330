"""Whether a step's text would be another role than the one that it was given.

Asked where all roles' steps share one login, and SET ROLE is all that keeps them apart. It sees
what is written in the step, the bodies of its DO blocks and functions included; in those it rather
refuses too much. What functions and triggers do that are there already is not to be seen.
"""

from __future__ import annotations

import re
from typing import Final

from pglast import ast
from pglast.enums import DiscardMode, VariableSetKind

from durproxy.rewrite.parse import SyntaxFault, TooLong, Tree, children, parse, qualified_name
from durproxy.rewrite.step import neutral

_SETTINGS: Final = ("role", "session_authorization")
# in what is not parsed: bodies, and texts of another grammar
_WORDS: Final = re.compile(
    r"\b(?:(?:set|reset)\s+(?:local\s+|session\s+)?(?:role|session\s+authorization"
    r"|session_authorization)|set_config|pg_settings|discard\s+all|execute)\b",
    re.IGNORECASE,
)
_COMMENT: Final = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)


def switch_in(sql: str) -> str | None:
    """What in the text would change the role, or could; None: nothing that is written there."""
    try:
        statements = parse(neutral(sql))
    except (TooLong, SyntaxFault):
        return _in_words(sql)
    stack: list[Tree] = list(statements)
    while stack:
        node = stack.pop()
        if (found := _switch(node)) is not None:
            return found
        stack.extend(children(node))
    return None


def _switch(node: Tree) -> str | None:
    match node:
        case ast.VariableSetStmt():
            return _set(node)
        case ast.DiscardStmt() if node.target == DiscardMode.DISCARD_ALL:
            return "DISCARD ALL"
        case ast.FuncCall() if qualified_name(node.funcname)[-1] == "set_config":
            return _set_config(node)
        case ast.RangeVar() if node.relname == "pg_settings":
            return "pg_settings, which can be updated"
        case ast.DefElem() if node.defname == "as":  # the body of a DO block or a function
            return next(filter(None, map(_in_words, _texts(node.arg))), None)
        case _:
            return None


def _set(node: Tree) -> str | None:
    if node.kind == VariableSetKind.VAR_RESET_ALL or node.name not in _SETTINGS:
        return None
    is_reset = node.kind == VariableSetKind.VAR_RESET
    return f"{'RESET' if is_reset else 'SET'} {node.name.upper().replace('_', ' ')}"


def _set_config(node: Tree) -> str | None:
    """Unless it is another setting, and written there."""
    first = node.args[0] if node.args else None
    if isinstance(first, ast.A_Const) and isinstance(first.val, ast.String):
        name = str(first.val.sval).lower()
        return f"set_config('{name}')" if name in _SETTINGS else None
    return "set_config() of a setting that is not written there"


def _texts(argument: Tree) -> list[str]:
    parts = argument if isinstance(argument, tuple) else (argument,)
    return [str(part.sval) for part in parts if isinstance(part, ast.String)]


def _in_words(text: str) -> str | None:
    found = _WORDS.search(_COMMENT.sub(" ", text))
    return " ".join(found[0].upper().split()) if found else None
