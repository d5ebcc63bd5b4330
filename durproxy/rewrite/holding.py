"""Recognise the one statement that the proxy may answer late: a plain wait for an instance.

A statement that is exactly one SELECT of one df.await_instance call, whose arguments are literals
or parameters. Everything else goes to the server, whose function waits by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pglast import ast
from pglast.enums import SetOperation

from durproxy.engine.core import lexer
from durproxy.rewrite.dsl import function_name
from durproxy.rewrite.parse import Tree, children, qualified_name
from durproxy.rewrite.splice import Edit, apply

RELEASED_SCHEMA: Final = "df_held"
_FUNCTIONS: Final = frozenset({"await_instance", "wait_for_completion"})
_DEFAULT_TIMEOUT: Final = 30
_PARAMETERS: Final = ("instance_id", "timeout_seconds")
_TEXT: Final = frozenset({"text", "varchar"})
_INTEGER: Final = frozenset({"int4"})


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that Bind brings; ``index`` counts from 0."""

    index: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the client's message until the instance has ended, then forward ``released``."""

    instance_id: str | Parameter
    timeout: int | Parameter
    released: bytes


def find_hold(text: str, codec: str, statements: tuple[Tree, ...]) -> Hold | None:
    """Return the hold if the whole text is one plain wait."""
    call = _only_call(statements[0].stmt) if len(statements) == 1 else None
    name = function_name(call) if call is not None else None
    if call is None or name not in _FUNCTIONS:
        return None
    given = _given(call)
    if given is None or not {"instance_id"} <= given.keys() <= set(_PARAMETERS):
        return None
    instance_id = _text(given["instance_id"])
    timeout: int | Parameter | None = _DEFAULT_TIMEOUT
    if "timeout_seconds" in given:
        timeout = _integer(given["timeout_seconds"])
    if instance_id is None or timeout is None:
        return None
    return Hold(instance_id, timeout, _released(text, call).encode(codec))


def _only_call(statement: Tree) -> Tree | None:
    """Return the call if the statement is ``SELECT call``, with or without an alias."""
    if not isinstance(statement, ast.SelectStmt) or statement.op != SetOperation.SETOP_NONE:
        return None
    targets = statement.targetList or ()
    if len(list(children(statement))) != 1 or len(targets) != 1 or statement.distinctClause:
        return None
    if not isinstance(call := targets[0].val, ast.FuncCall):
        return None
    decorated = call.agg_order or call.agg_filter or call.over or call.agg_distinct
    return None if decorated or call.agg_star or call.func_variadic else call


def _given(call: Tree) -> dict[str, Tree] | None:
    given: dict[str, Tree] = {}
    arguments: tuple[Tree, ...] = call.args or ()
    for index, argument in enumerate(arguments):
        if isinstance(argument, ast.NamedArgExpr):
            given[str(argument.name)] = argument.arg
        elif index < len(_PARAMETERS):
            given[_PARAMETERS[index]] = argument
        else:
            return None
    return given


def _text(node: Tree) -> str | Parameter | None:
    node = _without_cast(node, _TEXT)
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.String):
        return str(node.val.sval)
    return _parameter(node)


def _integer(node: Tree) -> int | Parameter | None:
    node = _without_cast(node, _INTEGER)
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.Integer):
        return node.val.ival
    return _parameter(node)


def _parameter(node: Tree) -> Parameter | None:
    if isinstance(node, ast.ParamRef) and node.number:
        return Parameter(node.number - 1)
    return None


def _without_cast(node: Tree, types: frozenset[str]) -> Tree:
    if not isinstance(node, ast.TypeCast):
        return node
    kind: Tree = node.typeName
    plain = not kind.typmods and not kind.arrayBounds
    return node.arg if plain and qualified_name(kind.names)[-1] in types else node


def _released(text: str, call: Tree) -> str:
    """Return the text with the function of the same name that does not wait again."""
    schema = next(lexer.tokens_from(text, call.location))
    return apply(text, [Edit(schema.start, schema.end, RELEASED_SCHEMA)])
