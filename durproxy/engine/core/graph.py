"""A workflow's graph: from the JSON that the server built to numbered nodes.

Numbering is part of the stored format (`fmt` 1): preorder, root 1, children in the order
condition, left, right, extra. `last` is the last number of the subtree, so a subtree is the range
`number..last`.

A chain of THENs becomes one `Sequence`-shaped node (type THEN with all its elements in `branches`),
however it was nested: a chain of thousands needs no recursion anywhere. The inner THENs keep
their numbers; a name that one of them carries is bound after the element that ends it
(`Node.binds_after`).
"""

from __future__ import annotations

import json
from typing import Any

from durproxy.engine.core.node_config import as_statement, check_shape, read_query, text_of
from durproxy.engine.core.nodes import Graph, Node, NodeType, Use
from durproxy.engine.core.uses import collect_references, mark_uses
from durproxy.errors import LanguageError

__all__ = [
    "FORMAT",
    "Graph",
    "Node",
    "NodeType",
    "Use",
    "as_statement",
    "build_graph",
    "parse_graph",
    "read_graph",
]

FORMAT = 1
_UNWINDS = (NodeType.FINALLY, NodeType.COMPENSATE)


def parse_graph(text: str) -> Graph:
    """The graph in `text`, numbered.

    Raises LanguageError when it is not a graph of this format.
    """
    return build_graph(read_graph(text))


def read_graph(text: str) -> dict[str, Any]:
    """The JSON of a graph. Raises LanguageError when it is none."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LanguageError(f"invalid durable function graph: {error}") from None
    if not isinstance(raw, dict):
        raise LanguageError("invalid durable function graph: a node must be a JSON object")
    return raw


def build_graph(raw: dict[str, Any]) -> Graph:
    """The numbered nodes of a graph's JSON. Raises LanguageError."""
    graph = Graph(_Builder().build(raw), {})
    collect_references(graph)
    mark_uses(graph)
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
        node.owes = node.type in _UNWINDS or any(child.owes for child in node.children())
        check_shape(node)
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
        sequence.owes = any(step.owes for step in sequence.branches)
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
        read_query(raw.get("query"), node)
        if raw.get("result_name") is not None:
            node.names = [text_of(raw["result_name"], node)]
        node.last = self._count
        return node
