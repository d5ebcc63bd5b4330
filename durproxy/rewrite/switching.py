"""Whether a step's text would be another role than the one that it was given.

Asked where all roles' steps share one login, and SET ROLE is all that keeps them apart. It sees
what is written in the step: its statements, the texts that it hands to functions of the server that
run them, and the bodies of its DO blocks and functions (``switching_words``). What functions and
triggers do that are there already is not to be seen.

A text reads otherwise with ``standard_conforming_strings`` off, or in another client encoding, only
if it has a backslash: then it is judged by its words, too.
"""

from __future__ import annotations

from typing import Final

from pglast import ast
from pglast.enums import DiscardMode, VariableSetKind

from durproxy.engine.core.references import find_text_references
from durproxy.rewrite.parse import SyntaxFault, TooLong, Tree, children, parse, qualified_name
from durproxy.rewrite.step import neutral
from durproxy.rewrite.switching_words import SETTINGS, TEXT_RUNNERS, switch_in_words

_READABLE: Final = ("sql", "plpgsql")  # languages
_PIECES: Final = ("connectby", "xpath_table")  # make their query of several arguments
_PLAIN_TYPES: Final = ("text", "tsquery")


def switch_in(sql: str) -> str | None:
    """What in the text would change the role, or could; None: nothing that is written there."""
    return _switch_in(sql, nested=False)


def _switch_in(sql: str, *, nested: bool) -> str | None:
    try:
        statements = parse(neutral(sql))
    except (TooLong, SyntaxFault):
        return switch_in_words(sql)
    if "\\" in sql and (found := switch_in_words(sql)) is not None:
        return found
    stack: list[Tree] = list(statements)
    while stack:
        node = stack.pop()
        if (found := _switch(node, nested=nested)) is not None:
            return found
        stack.extend(children(node))
    return None


def _switch(node: Tree, *, nested: bool) -> str | None:
    match node:
        case ast.VariableSetStmt():
            return _set(node)
        case ast.DiscardStmt() if node.target == DiscardMode.DISCARD_ALL:
            return "DISCARD ALL"
        case ast.FuncCall():
            return _call(node, nested=nested)
        case ast.RangeVar() if node.relname == "pg_settings":
            return "pg_settings, which can be updated"
        case ast.DefElem():
            return _option(node)
        # in the definition of an aggregate, an operator, a cast: called under that one's name
        case ast.TypeName():
            return _alias(node.names)
        case ast.ObjectWithArgs():
            return _alias(node.objname)
        case _:
            return None


def _set(node: Tree) -> str | None:
    if node.kind == VariableSetKind.VAR_RESET_ALL or node.name not in SETTINGS:
        return None
    is_reset = node.kind == VariableSetKind.VAR_RESET
    return f"{'RESET' if is_reset else 'SET'} {node.name.upper().replace('_', ' ')}"


def _call(node: Tree, *, nested: bool) -> str | None:
    name = qualified_name(node.funcname)[-1]
    if name == "set_config":
        return _set_config(node)
    if name not in TEXT_RUNNERS or (name == "ts_rewrite" and len(node.args or ()) == 3):
        return None
    texts = [_constant(argument) for argument in node.args or ()]
    if nested or name in _PIECES or None in texts:
        return f"{name}() of a text that is not written there"
    for text in texts:
        if text and (found := _switch_in(text, nested=True)) is not None:
            return f"{found}, in a text that {name}() runs"
    return None


def _constant(argument: Tree) -> str | None:
    """The text of a literal, empty for one of another kind; None if a value is part of it."""
    if isinstance(argument, ast.NamedArgExpr):
        return _constant(argument.arg)
    if isinstance(argument, ast.TypeCast):
        kind: Tree = argument.typeName
        plain = not kind.typmods and qualified_name(kind.names)[-1] in _PLAIN_TYPES
        return _constant(argument.arg) if plain else None
    if not isinstance(argument, ast.A_Const):
        return None
    text = str(argument.val.sval) if isinstance(argument.val, ast.String) else ""
    return None if find_text_references(text) else text


def _set_config(node: Tree) -> str | None:
    """Unless it is another setting, and written there."""
    name = _constant(node.args[0]) if node.args else None
    if not name:
        return "set_config() of a setting that is not written there"
    return f"set_config('{name.lower()}')" if name.lower() in SETTINGS else None


def _option(node: Tree) -> str | None:
    texts = _texts(node.arg)
    if node.defname == "as":  # the body of a DO block or a function
        return next(filter(None, map(switch_in_words, texts)), None)
    if node.defname == "language":
        unread = next((text for text in texts if text.lower() not in _READABLE), None)
        return None if unread is None else f"a body in language {unread}, which is not read"
    return _alias(node.arg) if isinstance(node.arg, ast.String) else None


def _alias(names: Tree) -> str | None:
    parts = _texts(names)
    name = parts[-1] if parts else ""
    return f"{name}() under another name" if name in {*TEXT_RUNNERS, "set_config"} else None


def _texts(argument: Tree) -> list[str]:
    parts = argument if isinstance(argument, tuple) else (argument,)
    return [str(part.sval) for part in parts if isinstance(part, ast.String)]
