"""Read an expression into the graph that the server's functions would build from it.

The server is the only builder; this reading serves to say what is wrong before anything runs.
Where a value is known only when the statement runs (a parameter, a column, another function),
the graph has an OPAQUE leaf.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pglast import ast
from pglast.enums import A_Expr_Kind

from durproxy.engine.core.validate import OPAQUE, Problem, name_problem
from durproxy.rewrite.constants import UNKNOWN, Constant, Unknown, constant
from durproxy.rewrite.dsl import SIGNATURES, arguments, function_name, operator_name
from durproxy.rewrite.parenthesised import IN_A_LINE, parenthesised
from durproxy.rewrite.parse import Tree, qualified_name

Node = dict[str, Any]


_NODE_TYPES: Final = {
    *("SQL", "THEN", "IF", "JOIN", "RACE", "LOOP", "BREAK", "SLEEP", "SIGNAL"),
    *("WAIT_SCHEDULE", "HTTP", "HTTP_MULTIPART"),
}
_FUNCTION_OF: Final = {"~>": "seq", "&": "join", "|": "race", "?>": "if_then_op"}


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
            return _opaque()
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
                return found if found["node_type"] in _NODE_TYPES else _opaque()
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
            return _opaque()
        if name_problem(node.get("result_name")) is None:  # else the server has raised by then
            node.pop("result_name", None)  # naming again replaces the name, as the last key
            node["result_name"] = name
        return node

    def _else(self, left: Node | None, right: Node | None, operator: Tree) -> Node | None:
        if left is None or right is None:
            return None
        if left["node_type"] == OPAQUE:
            return _opaque()
        if not left.get("_partial_if"):
            self._reading.problems.append((operator, _misplaced_else(operator)))
            return _opaque()
        name = {"result_name": left["result_name"]} if "result_name" in left else {}
        return _if(left["condition_node"], left["left_node"], right) | name

    def _unary_loop(self, body: Tree) -> Node | None:
        node = self.node(body)
        return None if node is None else {"node_type": "LOOP", "left_node": node}

    def _call(self, function: str, call: Tree) -> Node | None:
        given = dict(arguments(call, function))
        if function in _BUILDERS:
            parameters = SIGNATURES[function]
            if given.keys() != set(parameters):
                return _opaque()
            nodes = [self.node(given[parameter]) for parameter in parameters]
            return None if None in nodes else _BUILDERS[function](*nodes)
        reader = _SPECIAL.get(function)
        return _opaque() if reader is None else reader(self, given)

    def name_call(self, given: dict[str, Tree]) -> Node | None:
        if given.keys() != {"fut*", "name"}:
            return _opaque()
        return self._named(self.node(given["fut*"]), constant(given["name"]))

    def sql_call(self, given: dict[str, Tree]) -> Node | None:
        value = _argument(given, "query")
        if isinstance(value, Unknown) or value is None:
            return None if value is None else _opaque()
        node = _leaf("SQL", value)
        self._note(node, given["query"])
        return node

    def sleep_call(self, given: dict[str, Tree]) -> Node | None:
        value = _argument(given, "seconds")
        if isinstance(value, Unknown):
            return _opaque()
        if value is None:
            return None
        return _leaf("SLEEP", str(int(value))) if value.lstrip("-").isdigit() else _opaque()

    def break_call(self, given: dict[str, Tree]) -> Node | None:
        value = _argument(given, "value")
        if isinstance(value, Unknown):
            return {"node_type": "BREAK"}
        return _leaf("BREAK", _json({"break_value": value}))

    def signal_call(self, given: dict[str, Tree]) -> Node | None:
        name = _argument(given, "name")
        timeout = _argument(given, "timeout_seconds")
        if isinstance(name, Unknown) or isinstance(timeout, Unknown):
            return _opaque()
        if not name or not (timeout is None or timeout.isdigit()):
            return _opaque()  # the server raises at once
        seconds = None if timeout is None else int(timeout)
        return _leaf("SIGNAL", _json({"signal_name": name, "timeout_seconds": seconds}))

    def schedule_call(self, given: dict[str, Tree]) -> Node | None:
        value = _argument(given, "cron_expr")
        if isinstance(value, Unknown) or value is None:
            return None if value is None else _opaque()
        return _leaf("WAIT_SCHEDULE", _json({"cron_expr": value}))

    def http_call(self, given: dict[str, Tree]) -> Node | None:
        return _http("HTTP", given, "body", _argument(given, "body"))

    def multipart_call(self, given: dict[str, Tree]) -> Node | None:
        return _http("HTTP_MULTIPART", given, "parts", _json_argument(given, "parts"))

    def loop_call(self, given: dict[str, Tree]) -> Node | None:
        if "body*" not in given:
            return _opaque()
        condition = self.node(given["condition*"]) if "condition*" in given else None
        body = self.node(given["body*"])
        if body is None:
            return _opaque()  # the server raises at once
        head = {} if condition is None else {"condition_node": condition}
        return {"node_type": "LOOP", **head, "left_node": body}

    def if_rows_call(self, given: dict[str, Tree]) -> Node | None:
        if given.keys() != {"result_name", "then_branch*", "else_branch*"}:
            return _opaque()
        name = constant(given["result_name"])
        then, otherwise = (self.node(given[key]) for key in ("then_branch*", "else_branch*"))
        if isinstance(name, Unknown):
            return _opaque()
        if name is None or then is None or otherwise is None:
            return None
        query = _json({"condition_type": "result_has_rows", "result_name": name})
        return _leaf("IF", query) | {"left_node": then, "right_node": otherwise}

    def else_call(self, given: dict[str, Tree]) -> Node | None:
        if given.keys() != {"partial_if*", "else_branch*"}:
            return _opaque()
        left = self.node(given["partial_if*"])
        return self._else(left, self.node(given["else_branch*"]), given["partial_if*"])

    def loop_prefix_call(self, given: dict[str, Tree]) -> Node | None:
        return self._unary_loop(given["body*"]) if given.keys() == {"body*"} else _opaque()

    def _check_concatenation(self, expression: Tree) -> None:
        """``'a' ~> 'b' || x`` appends to the JSON of the whole left side: never meant."""
        if expression.kind != A_Expr_Kind.AEXPR_OP or qualified_name(expression.name) != ("||",):
            return
        left = expression.lexpr
        if isinstance(left, ast.A_Expr) and operator_name(left):
            self._reading.problems.append((expression, _misplaced_concatenation(expression)))


def _argument(given: dict[str, Tree], parameter: str) -> Constant | Unknown:
    return constant(given[parameter]) if parameter in given else None


def _json_argument(given: dict[str, Tree], parameter: str) -> Any:
    """The value of a jsonb argument; Unknown where it is no constant, or no JSON."""
    expression = given.get(parameter)
    while isinstance(expression, ast.TypeCast):
        expression = expression.arg
    value = None if expression is None else constant(expression)
    try:
        if value is None or isinstance(value, Unknown):
            return value
        return _in_order(json.loads(value))
    except (ValueError, RecursionError):
        return UNKNOWN


def _in_order(value: Any) -> Any:
    """JSON with the keys in jsonb's order."""
    if isinstance(value, list):
        return [_in_order(element) for element in value]
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: _in_order(value[key]) for key in keys}
    return value


def _http(node_type: str, given: dict[str, Tree], content_key: str, content: Any) -> Node:
    """An HTTP node; what is wrong with its arguments the server says at once."""
    config = {
        "url": _argument(given, "url"),
        "method": _argument(given, "method") if "method" in given else "POST",
        content_key: content,
        "headers": _json_argument(given, "headers"),
        "timeout_seconds": _argument(given, "timeout_seconds"),
    }
    timeout = config["timeout_seconds"] if "timeout_seconds" in given else "30"
    if any(isinstance(value, Unknown) for value in config.values()):
        return _opaque()
    if not (config["method"] and timeout and timeout.isdigit()):
        return _opaque()
    method = config["method"].upper()
    return _leaf(node_type, _json(config | {"method": method, "timeout_seconds": int(timeout)}))


def _opaque() -> Node:
    return {"node_type": OPAQUE}


def _leaf(node_type: str, query: str) -> Node:
    return {"node_type": node_type, "query": query}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
}
_SPECIAL: Final[dict[str, Callable[[_Reader, dict[str, Tree]], Node | None]]] = {
    "as": _Reader.name_call,
    "as_op": _Reader.name_call,
    "sql": _Reader.sql_call,
    "sleep": _Reader.sleep_call,
    "break": _Reader.break_call,
    "wait_for_schedule": _Reader.schedule_call,
    "wait_for_signal": _Reader.signal_call,
    "http": _Reader.http_call,
    "http_multipart": _Reader.multipart_call,
    "loop": _Reader.loop_call,
    "if_rows": _Reader.if_rows_call,
    "if_else_op": _Reader.else_call,
    "loop_prefix_op": _Reader.loop_prefix_call,
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
