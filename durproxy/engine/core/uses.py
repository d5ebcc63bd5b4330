"""What each node's result is needed for, so that a worker keeps and sends back only that."""

from __future__ import annotations

from durproxy.engine.core.http_config import find_http_references
from durproxy.engine.core.nodes import Graph, Node, NodeType, Use
from durproxy.engine.core.references import (
    Reference,
    ReferenceKind,
    find_references,
    find_text_references,
)


def node_references(node: Node) -> tuple[Reference, ...]:
    """The references that a node's own text holds."""
    match node.type:
        case NodeType.SQL:
            return find_references(node.query)
        case NodeType.HTTP | NodeType.HTTP_MULTIPART:
            return find_http_references(node.config)
        case NodeType.WAIT_CONDITION:
            return find_references(node.config["query"])
    value = node.config.get("break_value")
    return find_text_references(value) if isinstance(value, str) else ()


def collect_references(graph: Graph) -> None:
    """Say for each name what of it is read anywhere."""
    for node in graph.nodes():
        for reference in node_references(node):
            use = Use.ALL_ROWS if reference.kind is ReferenceKind.ROWS else Use.FIRST_ROW
            _add_use(graph, reference.name, use)
        if node.type is NodeType.IF and "result_name" in node.config:
            _add_use(graph, str(node.config["result_name"]), Use.VALUE)


def _add_use(graph: Graph, name: str, use: Use) -> None:
    graph.referenced[name] = graph.referenced.get(name, Use.NOBODY) | use


def mark_uses(graph: Graph) -> None:
    """Pass down who reads each result: names, conditions, and constructs that compose results."""
    stack = [(graph.root, Use.NOBODY, False)]
    while stack:
        node, use, counts_429 = stack.pop()
        use |= _of_names(graph, node.names)
        node.use, node.counts_429 = use, counts_429
        if node.type is NodeType.RETRY and "http_429" in (node.config["retry_on"] or ()):
            counts_429 = True
        if node.condition is not None:
            of_rows = Use.ALL_ROWS if node.type is NodeType.MAP else Use.NOBODY
            stack.append((node.condition, Use.VALUE | of_rows, counts_429))
        for index, branch in enumerate(node.branches):
            stack.append((branch, _of_branch(graph, node, use, index), counts_429))


def _of_names(graph: Graph, names: list[str]) -> Use:
    use = Use.NOBODY
    for name in names:
        use |= graph.referenced.get(name, Use.NOBODY)
    return use


def _of_branch(graph: Graph, node: Node, use: Use, index: int) -> Use:
    """Who reads a branch's result, given who reads the node's."""
    match node.type:
        case NodeType.THEN | NodeType.TRANSACTION:
            inner = use if index == len(node.branches) - 1 else Use.NOBODY
            return inner | _of_names(graph, node.binds_after.get(index, []))
        case NodeType.JOIN | NodeType.LOOP | NodeType.MAP:
            # composed into an array, or kept by value in the frame when the loop ends
            return use | Use.VALUE
        case NodeType.FINALLY | NodeType.COMPENSATE if index == 1:
            return Use.NOBODY
    return use
