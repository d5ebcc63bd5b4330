"""A workflow's graph: from the JSON that the server built to numbered nodes.

Numbering is part of the stored format (`fmt` 1): preorder, root 1, children in the order
condition, left, right, extra. `last` is the last number of the subtree, so a subtree is the range
`number..last`.

A chain of THENs becomes one `Sequence`-shaped node (type THEN with all its elements in `steps`),
however it was nested: a chain of thousands needs no recursion anywhere. The inner THENs keep
their numbers; a name that one of them carries is bound after the element that ends it
(`Node.binds_after`).

What a node's result is needed for is worked out here once (`Use`), so that a worker keeps and
sends back only what something reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import Any

from durproxy.engine.core.http_config import find_http_references
from durproxy.engine.core.references import (
    Reference,
    ReferenceKind,
    find_references,
    find_text_references,
)
from durproxy.errors import LanguageError

FORMAT = 1


class NodeType(Enum):
    """The node types of graph format 1; the value is the JSON's `node_type`."""

    SQL = "SQL"
    THEN = "THEN"
    IF = "IF"
    JOIN = "JOIN"
    RACE = "RACE"
    LOOP = "LOOP"
    BREAK = "BREAK"
    SLEEP = "SLEEP"
    WAIT_SCHEDULE = "WAIT_SCHEDULE"
    SIGNAL = "SIGNAL"
    HTTP = "HTTP"
    HTTP_MULTIPART = "HTTP_MULTIPART"


class Use(Flag):
    """Who reads a node's result while the instance runs."""

    NOBODY = 0
    VALUE = auto()  # an enclosing construct composes or tests it
    FIRST_ROW = auto()  # a `$name` or `$name.col` somewhere
    ALL_ROWS = auto()  # a `$name.*` somewhere


@dataclass(slots=True, eq=False)
class Node:
    """One element of the graph.

    `query` is the SQL text of an SQL node, else the node's parsed configuration in `config`.
    """

    type: NodeType
    number: int
    last: int = 0
    query: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    use: Use = Use.NOBODY
    condition: Node | None = None
    branches: list[Node] = field(
        default_factory=list
    )  # IF then/else, JOIN, RACE, LOOP body, THEN steps
    binds_after: dict[int, list[str]] = field(
        default_factory=dict
    )  # THEN: element -> names of inner THENs

    def children(self) -> Iterator[Node]:
        if self.condition is not None:
            yield self.condition
        yield from self.branches


@dataclass(frozen=True, slots=True)
class Graph:
    """A parsed graph; `referenced` says for each name what of it is read anywhere."""

    root: Node
    referenced: dict[str, Use]

    def nodes(self) -> Iterator[Node]:
        stack = [self.root]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children())


def parse_graph(text: str) -> Graph:
    """The graph in `text`, numbered.

    Raises LanguageError when it is not a graph of this format.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LanguageError(f"invalid durable function graph: {error}") from None
    root = _Builder().build(raw)
    graph = Graph(root, {})
    _collect_references(graph)
    _mark_uses(graph)
    return graph


class _Builder:
    def __init__(self) -> None:
        self._count = 0

    def build(self, raw: Any) -> Node:
        if not isinstance(raw, dict):
            raise LanguageError("invalid durable function graph: a node must be a JSON object")
        if raw.get("node_type") == NodeType.THEN.value:
            return self._build_sequence(raw)
        node = self._node(raw)
        for key in ("condition_node", "left_node", "right_node"):
            child = raw.get(key)
            if child is None:
                continue
            built = self.build(child)
            if key == "condition_node":
                node.condition = built
            else:
                node.branches.append(built)
        node.branches.extend(self.build(child) for child in raw.get("extra_nodes") or ())
        node.last = self._count
        _check_shape(node)
        return node

    def _build_sequence(self, raw: dict[str, Any]) -> Node:
        """All elements of a chain of THENs, walked without recursion along the chain."""
        sequence: Node | None = None
        # entries: a raw node still to number, or the names to bind once all before it is done
        stack: list[dict[str, Any] | list[str]] = [raw]
        while stack:
            entry = stack.pop()
            if isinstance(entry, list):
                assert sequence is not None
                sequence.binds_after.setdefault(len(sequence.branches) - 1, []).extend(entry)
            elif isinstance(entry, dict) and entry.get("node_type") == NodeType.THEN.value:
                node = self._node(entry)
                if sequence is None:
                    sequence = node
                elif node.names:
                    stack.append(node.names)
                for key in ("right_node", "left_node"):
                    if entry.get(key) is None:
                        raise LanguageError(
                            f"invalid durable function graph: THEN has no {key}", node=node.number
                        )
                    stack.append(entry[key])
            else:
                assert sequence is not None
                sequence.branches.append(self.build(entry))
        assert sequence is not None
        sequence.last = self._count
        return sequence

    def _node(self, raw: dict[str, Any]) -> Node:
        self._count += 1
        try:
            node_type = NodeType(raw.get("node_type"))
        except ValueError:
            raise LanguageError(
                f"Unknown node_type '{raw.get('node_type')}'",
                node=self._count,
                sqlstate="0A000",
                hint="A newer durproxy may have written this graph.",
            ) from None
        node = Node(node_type, self._count)
        query = raw.get("query")
        if node_type is NodeType.SQL:
            node.query = _text(query, node)
        elif node_type is NodeType.SLEEP:
            node.config = {"seconds": _seconds(query, node)}
        elif query is not None or node_type in _CONFIGURED:
            node.config = _config(query, node)
        if raw.get("result_name") is not None:
            node.names = [_text(raw["result_name"], node)]
        node.last = self._count
        return node


_CONFIGURED = frozenset(
    (NodeType.WAIT_SCHEDULE, NodeType.SIGNAL, NodeType.HTTP, NodeType.HTTP_MULTIPART)
)
_BRANCHES = {
    NodeType.IF: (1, 2),
    NodeType.JOIN: (2, 10_000),
    NodeType.RACE: (2, 10_000),
    NodeType.LOOP: (1, 1),
}


def _check_shape(node: Node) -> None:
    fewest, most = _BRANCHES.get(node.type, (0, 0))
    if not fewest <= len(node.branches) <= most:
        raise LanguageError(
            f"invalid durable function graph: {node.type.value} with {len(node.branches)} branches",
            node=node.number,
        )
    if node.type is NodeType.IF and node.condition is None and "result_name" not in node.config:
        raise LanguageError(
            "invalid durable function graph: IF has no condition_node", node=node.number
        )
    if node.condition is not None and node.condition.type is NodeType.SQL:
        node.condition.query = as_statement(node.condition.query)


# fmt: off
_STATEMENT_WORDS = frozenset((
    "select", "with", "values", "table", "insert", "update", "delete", "merge", "show", "explain",
    "call", "execute", "fetch",
))
# fmt: on


def as_statement(condition: str) -> str:
    """A condition's SQL: a bare expression such as `$n > 3` means SELECT of it."""
    word = condition.lstrip().split(None, 1)
    first = word[0].lower() if word else ""
    return condition if first.rstrip("(") in _STATEMENT_WORDS else f"SELECT {condition}"


def _text(value: Any, node: Node) -> str:
    if not isinstance(value, str):
        raise LanguageError(
            f"invalid durable function graph: {node.type.value} has no query", node=node.number
        )
    return value


def _seconds(value: Any, node: Node) -> int:
    try:
        return int(_text(value, node))
    except ValueError:
        raise LanguageError(f'invalid sleep duration "{value}"', node=node.number) from None


def _config(value: Any, node: Node) -> dict[str, Any]:
    try:
        config = json.loads(_text(value, node))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise LanguageError(
            f"query of {node.type.value} must be valid JSON config", node=node.number
        )
    return config


def node_references(node: Node) -> tuple[Reference, ...]:
    """The references that a node's own text holds."""
    if node.type is NodeType.SQL:
        return find_references(node.query)
    if node.type in (NodeType.HTTP, NodeType.HTTP_MULTIPART):
        return find_http_references(node.config)
    value = node.config.get("break_value")
    return find_text_references(value) if isinstance(value, str) else ()


def _collect_references(graph: Graph) -> None:
    for node in graph.nodes():
        for reference in node_references(node):
            use = Use.ALL_ROWS if reference.kind is ReferenceKind.ROWS else Use.FIRST_ROW
            _add_use(graph, reference.name, use)
        if node.type is NodeType.IF and "result_name" in node.config:
            _add_use(graph, str(node.config["result_name"]), Use.VALUE)


def _add_use(graph: Graph, name: str, use: Use) -> None:
    graph.referenced[name] = graph.referenced.get(name, Use.NOBODY) | use


def _mark_uses(graph: Graph) -> None:
    """Pass down who reads each result: names, conditions, and constructs that compose results."""
    stack = [(graph.root, Use.NOBODY)]
    while stack:
        node, use = stack.pop()
        for name in node.names:
            use |= graph.referenced.get(name, Use.NOBODY)
        node.use = use
        if node.condition is not None:
            stack.append((node.condition, Use.VALUE))
        if node.type is NodeType.THEN:
            last = len(node.branches) - 1
            for index, step in enumerate(node.branches):
                inner = use if index == last else Use.NOBODY
                for name in node.binds_after.get(index, ()):
                    inner |= graph.referenced.get(name, Use.NOBODY)
                stack.append((step, inner))
        elif node.type in (NodeType.JOIN, NodeType.LOOP):
            # composed into an array, or kept by value in the frame when the loop ends
            stack.extend((branch, use | Use.VALUE) for branch in node.branches)
        else:
            stack.extend((branch, use) for branch in node.branches)
