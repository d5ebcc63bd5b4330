"""Read an expression into the graph that the server's functions would build from it.

The server is the only builder; this reading serves to say what is wrong before anything runs.
Where a value is known only when the statement runs (a parameter, a column, another function),
the graph has an OPAQUE leaf.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pglast import ast
from pglast.enums import A_Expr_Kind

from durproxy.engine.core.placement import (
    SQL_ONLY,
    SQL_ONLY_HINT,
    SQL_SOURCE,
    SQL_SOURCE_HINT,
)
from durproxy.engine.core.problem import Problem
from durproxy.engine.core.validate import OPAQUE, name_problem
from durproxy.rewrite.configured import (
    LEAVES,
    Node,
    argument,
    as_json,
    leaf,
    map_config,
    opaque,
    retry_config,
    timeout_config,
)
from durproxy.rewrite.constants import Constant, Unknown, constant
from durproxy.rewrite.dsl import SIGNATURES, arguments, function_name, operator_name
from durproxy.rewrite.parenthesised import IN_A_LINE, parenthesised
from durproxy.rewrite.parse import Tree, qualified_name

_NODE_TYPES: Final = {
    *("SQL", "THEN", "IF", "JOIN", "RACE", "LOOP", "BREAK", "SLEEP", "SIGNAL"),
    *("WAIT_SCHEDULE", "HTTP", "HTTP_MULTIPART", "RETRY", "TIMEOUT", "CATCH", "FINALLY"),
    *("COMPENSATE", "SAGA", "ANY", "MAP", "TRANSACTION", "SLEEP_UNTIL", "WAIT_CONDITION"),
}
_FUNCTION_OF: Final = {
    "~>": "seq",
    "&": "join",
    "|": "race",
    "?>": "if_then_op",
    "<->": "compensate",
}
_BRANCHING: Final = {"parallel": "JOIN", "any": "ANY", "transaction": "TRANSACTION"}


@dataclass(frozen=True, slots=True)
class FirstLiteral:
    """The literal that a step's text begins with, and whether it is the whole text."""

    first: str
    whole: bool


@dataclass(slots=True)
class Reading:
    """A graph, the literals that its steps came from, and what reading it found wrong."""

    graph: Node | None
    #: id() of each SQL step read from a constant, in the order of reading
    constants: list[tuple[int, FirstLiteral]] = field(default_factory=list)
    #: id() of each node that a call or an operator makes, and where that stands
    locations: dict[int, int] = field(default_factory=dict)
    problems: list[tuple[Tree, Problem]] = field(default_factory=list)


def read(expression: Tree) -> Reading:
    """Read the expression of a node; ``graph`` is None when the result is NULL."""
    reading = Reading(None)
    reading.graph = _Reader(reading).node(expression)
    return reading


class _Reader:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def node(self, expression: Tree) -> Node | None:
        """Read an operand; a chain of operators is walked, not recursed into."""
        spine: list[tuple[str, Tree]] = []
        while isinstance(expression, ast.A_Expr) and expression.kind == A_Expr_Kind.AEXPR_OP:
            name = operator_name(expression)
            if name is None or name == "@>":
                break
            spine.append((name, expression))
            expression = expression.lexpr
        node = self._operand(expression)
        for name, operator in reversed(spine):
            node = self._located(self._binary(name, node, operator), operator.location)
        return node

    def _located(self, node: Node | None, location: int | None) -> Node | None:
        if node is not None and location is not None:
            self._reading.locations.setdefault(id(node), location)
        return node

    def _operand(self, expression: Tree) -> Node | None:
        if isinstance(expression, ast.A_Expr):
            if expression.kind == A_Expr_Kind.AEXPR_OP and operator_name(expression) == "@>":
                return self._located(self._unary_loop(expression.rexpr), expression.location)
            self._check_concatenation(expression)
        if isinstance(expression, ast.FuncCall):
            function = function_name(expression)
            if function is not None:
                return self._located(self._call(function, expression), expression.location)
        value = constant(expression)
        if isinstance(value, Unknown):
            return opaque()
        return None if value is None else self._wrapped(value, expression)

    def _wrapped(self, text: str, source: Tree) -> Node:
        """A text that is a node stays, all other text is a SQL step."""
        if text.lstrip(" \t\r\n").startswith("{"):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                # the server takes text for a node by its beginning
                found = {"node_type": ""} if text.startswith('{"node_type":"') else None
            if isinstance(found, dict) and found.get("node_type") is not None:
                return found if found["node_type"] in _NODE_TYPES else opaque()
        node = {"node_type": "SQL", "query": text}
        self._note(node, source)
        return node

    def _note(self, node: Node, source: Tree) -> None:
        while isinstance(source, ast.TypeCast):
            source = source.arg
        whole = isinstance(source, ast.A_Const)
        while isinstance(source, ast.A_Expr):
            source = source.lexpr
        first = constant(source)
        if isinstance(first, str):
            self._reading.constants.append((id(node), FirstLiteral(first, whole)))

    def _binary(self, name: str, left: Node | None, operator: Tree) -> Node | None:
        if name == "|=>":
            return self._named(left, constant(operator.rexpr))
        right = self.node(operator.rexpr)
        if name == "!>":
            return self._else(left, right, operator)
        return None if left is None or right is None else _BUILDERS[_FUNCTION_OF[name]](left, right)

    def _named(self, node: Node | None, name: Constant | Unknown) -> Node | None:
        if node is None or name is None:
            return None
        if isinstance(name, Unknown):
            return opaque()
        if name_problem(node.get("result_name")) is None:  # else the server has raised by then
            node.pop("result_name", None)  # naming again replaces the name, as the last key
            node["result_name"] = name
        return node

    def _else(self, left: Node | None, right: Node | None, operator: Tree) -> Node | None:
        if left is None or right is None:
            return None
        if left["node_type"] == OPAQUE:
            return opaque()
        if not left.get("_partial_if"):
            self._reading.problems.append((operator, _misplaced_else(operator)))
            return opaque()
        name = {"result_name": left["result_name"]} if "result_name" in left else {}
        return _if(left["condition_node"], left["left_node"], right) | name

    def _unary_loop(self, body: Tree) -> Node | None:
        node = self.node(body)
        return None if node is None else {"node_type": "LOOP", "left_node": node}

    def _call(self, function: str, call: Tree) -> Node | None:
        if function in _BRANCHING:
            return self._branching(_BRANCHING[function], call)
        given = dict(arguments(call, function))
        if function in _BUILDERS:
            parameters = SIGNATURES[function]
            if given.keys() != set(parameters):
                return opaque()
            nodes = [self.node(given[parameter]) for parameter in parameters]
            return None if None in nodes else _BUILDERS[function](*nodes)
        if function in LEAVES:
            return LEAVES[function](given)
        reader = _SPECIAL.get(function)
        return opaque() if reader is None else reader(self, given)

    def name_call(self, given: dict[str, Tree]) -> Node | None:
        if given.keys() != {"fut*", "name"}:
            return opaque()
        return self._named(self.node(given["fut*"]), constant(given["name"]))

    def sql_call(self, given: dict[str, Tree]) -> Node | None:
        value = argument(given, "query")
        if isinstance(value, Unknown) or value is None:
            return None if value is None else opaque()
        node = leaf("SQL", value)
        self._note(node, given["query"])
        return node

    def retry_call(self, given: dict[str, Tree]) -> Node | None:
        return self._around("RETRY", given, retry_config(given))

    def timeout_call(self, given: dict[str, Tree]) -> Node | None:
        return self._around("TIMEOUT", given, timeout_config(given))

    def saga_call(self, given: dict[str, Tree]) -> Node | None:
        node = self.node(given["node*"]) if given.keys() == {"node*"} else opaque()
        return None if node is None else {"node_type": "SAGA", "left_node": node}

    def _around(self, node_type: str, given: dict[str, Tree], config: str | None) -> Node:
        """A node with a configuration; the query is missing where only the server knows it."""
        node = self.node(given["node*"]) if "node*" in given else None
        if node is None:
            return opaque()  # the server raises at once
        head = {} if config is None else {"query": config}
        return {"node_type": node_type, **head, "left_node": node}

    def map_call(self, given: dict[str, Tree]) -> Node | None:
        source = self.node(given["source_query*"]) if "source_query*" in given else None
        body = self.node(given["body*"]) if "body*" in given else None
        if source is None or body is None:
            return opaque()  # the server raises at once
        self._only_sql(source, given["source_query*"], SQL_SOURCE, SQL_SOURCE_HINT)
        config = map_config(given)
        head = {} if config is None else {"query": config}
        return {"node_type": "MAP", **head, "condition_node": source, "left_node": body}

    def _branching(self, node_type: str, call: Tree) -> Node | None:
        """A node with any number of children, each an argument or an element of one array."""
        given: tuple[Tree, ...] = call.args or ()
        if call.func_variadic:
            given = (given[0].elements or ()) if isinstance(given[0], ast.A_ArrayExpr) else ()
        nodes = [self.node(argument) for argument in given]
        if not nodes or None in nodes:
            return opaque()  # the server raises at once, or knows
        if node_type == "TRANSACTION":
            for node, argument in zip(nodes, given, strict=True):
                self._only_sql(node, argument, SQL_ONLY, SQL_ONLY_HINT)
        left, *others = nodes
        made: Node = {"node_type": node_type, "left_node": left}
        if others:
            made["right_node"] = others[0]
        if others[1:]:
            made["extra_nodes"] = others[1:]
        return made

    def _only_sql(self, node: Node | None, source: Tree, message: str, hint: str) -> None:
        kind = None if node is None else node["node_type"]
        if kind not in (None, "SQL", OPAQUE):
            problem = Problem(0, f"{message}, not {kind}", hint, "0A000")
            self._reading.problems.append((source, problem))

    def loop_call(self, given: dict[str, Tree]) -> Node | None:
        if "body*" not in given:
            return opaque()
        condition = self.node(given["condition*"]) if "condition*" in given else None
        body = self.node(given["body*"])
        if body is None:
            return opaque()  # the server raises at once
        head = {} if condition is None else {"condition_node": condition}
        return {"node_type": "LOOP", **head, "left_node": body}

    def if_rows_call(self, given: dict[str, Tree]) -> Node | None:
        if given.keys() != {"result_name", "then_branch*", "else_branch*"}:
            return opaque()
        name = constant(given["result_name"])
        then, otherwise = (self.node(given[key]) for key in ("then_branch*", "else_branch*"))
        if isinstance(name, Unknown):
            return opaque()
        if name is None or then is None or otherwise is None:
            return None
        query = as_json({"condition_type": "result_has_rows", "result_name": name})
        return leaf("IF", query) | {"left_node": then, "right_node": otherwise}

    def else_call(self, given: dict[str, Tree]) -> Node | None:
        if given.keys() != {"partial_if*", "else_branch*"}:
            return opaque()
        left = self.node(given["partial_if*"])
        return self._else(left, self.node(given["else_branch*"]), given["partial_if*"])

    def loop_prefix_call(self, given: dict[str, Tree]) -> Node | None:
        return self._unary_loop(given["body*"]) if given.keys() == {"body*"} else opaque()

    def _check_concatenation(self, expression: Tree) -> None:
        """``'a' ~> 'b' || x`` appends to the JSON of the whole left side: never meant."""
        if expression.kind != A_Expr_Kind.AEXPR_OP or qualified_name(expression.name) != ("||",):
            return
        left = expression.lexpr
        if isinstance(left, ast.A_Expr) and operator_name(left):
            self._reading.problems.append((expression, _misplaced_concatenation(expression)))


def _pair(node_type: str) -> Callable[..., Node]:
    return lambda left, right: {"node_type": node_type, "left_node": left, "right_node": right}


def _if(condition: Node, then: Node, otherwise: Node) -> Node:
    return {
        "node_type": "IF",
        "condition_node": condition,
        "left_node": then,
        "right_node": otherwise,
    }


def _partial_if(condition: Node, then: Node) -> Node:
    return {
        "node_type": "IF",
        "_partial_if": True,
        "condition_node": condition,
        "left_node": then,
    }


def _join3(a: Node, b: Node, c: Node) -> Node:
    return {"node_type": "JOIN", "left_node": a, "right_node": b, "extra_nodes": [c]}


#: Functions whose arguments are all nodes, in the order of their parameters.
_BUILDERS: Final[dict[str, Callable[..., Node]]] = {
    "seq": _pair("THEN"),
    "join": _pair("JOIN"),
    "race": _pair("RACE"),
    "if": _if,
    "if_then_op": _partial_if,
    "join3": _join3,
    "catch": _pair("CATCH"),
    "finally": _pair("FINALLY"),
    "compensate": _pair("COMPENSATE"),
}
_SPECIAL: Final[dict[str, Callable[[_Reader, dict[str, Tree]], Node | None]]] = {
    "as": _Reader.name_call,
    "as_op": _Reader.name_call,
    "sql": _Reader.sql_call,
    "loop": _Reader.loop_call,
    "if_rows": _Reader.if_rows_call,
    "if_else_op": _Reader.else_call,
    "loop_prefix_op": _Reader.loop_prefix_call,
    "retry": _Reader.retry_call,
    "timeout": _Reader.timeout_call,
    "saga": _Reader.saga_call,
    "map": _Reader.map_call,
}


def _misplaced_else(operator: Tree) -> Problem:
    reads = parenthesised(operator, IN_A_LINE)
    return Problem(
        0,
        "the left side of !> must be a ?> expression",
        hint=f"It reads {reads}: put a branch of several steps in parentheses, "
        "as in c ?> (a ~> b) !> e.",
        sqlstate="22023",
    )


def _misplaced_concatenation(expression: Tree) -> Problem:
    reads = parenthesised(expression.lexpr, IN_A_LINE)
    return Problem(
        0,
        "|| would append text to a whole durable function",
        hint=f"It reads ({reads}) || ...: put the concatenation in parentheses.",
        sqlstate="22023",
    )
