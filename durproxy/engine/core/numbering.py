"""The numbers of a graph's nodes, preorder from 1, and the limits of its size.

Children come in the order condition, left, right, extra. A chain of THENs counts as one level,
however it is nested, and is walked without recursion.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from durproxy.engine.core.problem import Problem

MAX_LEVELS: Final = 256
MAX_NODES: Final = 10_000

_CHILDREN: Final = ("condition_node", "left_node", "right_node")


def numbered(graph: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the nodes in preorder with their numbers."""
    stack = [graph]
    number = 0
    while stack:
        node = stack.pop()
        number += 1
        yield number, node
        stack.extend(reversed(list(children(node))))


def children(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node's children in the order of the numbering."""
    for key in _CHILDREN:
        if isinstance(node.get(key), dict):
            yield node[key]
    extra = node.get("extra_nodes")
    if isinstance(extra, list):
        yield from (child for child in extra if isinstance(child, dict))


def number_all(graph: dict[str, Any], numbers: dict[int, int]) -> Problem | None:
    """Give each node its number and check the limits."""
    stack = [(graph, 1)]
    while stack:
        node, level = stack.pop()
        numbers[id(node)] = number = len(numbers) + 1
        if number > MAX_NODES:
            return Problem(
                number,
                f"durable function exceeds the maximum node count of {MAX_NODES}",
                "Split it, or repeat with df.loop.",
                "54000",
            )
        if level > MAX_LEVELS:
            return Problem(
                number,
                f"durable function exceeds the maximum nesting depth of {MAX_LEVELS}",
                "A chain of ~> counts as one level.",
                "54000",
            )
        is_chain = node.get("node_type") == "THEN"
        stack.extend(
            (child, level if is_chain and child.get("node_type") == "THEN" else level + 1)
            for child in reversed(list(children(node)))
        )
    return None
