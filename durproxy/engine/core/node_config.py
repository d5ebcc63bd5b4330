"""What a single node says for itself: its text or configuration, and how many children it has.

The server has checked all of it when the instance was started; a graph that got past that check is
refused here, before any of it runs.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from durproxy.engine.core.nodes import Node, NodeType
from durproxy.errors import LanguageError

_REQUIRED = {
    NodeType.WAIT_SCHEDULE: ("cron_expr",),
    NodeType.SIGNAL: ("signal_name",),
    NodeType.HTTP: ("url",),
    NodeType.HTTP_MULTIPART: ("url",),
    NodeType.RETRY: ("max_attempts", "backoff", "factor", "max_backoff", "jitter", "retry_on"),
    NodeType.TIMEOUT: ("seconds",),
    NodeType.MAP: ("max_concurrency", "tolerate"),
    NodeType.WAIT_CONDITION: ("query", "check_every"),
}
_MANY = 10_000
_BRANCHES = {
    NodeType.IF: (1, 2),
    NodeType.JOIN: (1, _MANY),
    NodeType.RACE: (2, _MANY),
    NodeType.LOOP: (1, 1),
    NodeType.RETRY: (1, 1),
    NodeType.TIMEOUT: (1, 1),
    NodeType.CATCH: (2, 2),
    NodeType.FINALLY: (2, 2),
    NodeType.COMPENSATE: (2, 2),
    NodeType.SAGA: (1, 1),
    NodeType.ANY: (1, _MANY),
    NodeType.MAP: (1, 1),
    NodeType.TRANSACTION: (1, _MANY),
}
# as the server writes ISO 8601 durations; a month counts 30 days, a year 365.25, as it does there
_DURATION = re.compile(
    r"P(?=.)(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)W)?(?:(-?\d+)D)?"
    r"(?:T(?=.)(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?)?"
)
_SECONDS = (31_557_600, 2_592_000, 604_800, 86_400, 3600, 60, 1)


def read_query(query: Any, node: Node) -> None:
    """Take over what the node's `query` says. Raises LanguageError."""
    match node.type:
        case NodeType.SQL:
            node.query = text_of(query, node)
        case NodeType.SLEEP:
            node.config = _sleep(text_of(query, node), node)
        case NodeType.SLEEP_UNTIL:
            node.config = {"until": text_of(query, node)}
        case _ if query is not None or node.type in _REQUIRED:
            node.config = _config(query, node)


def check_shape(node: Node) -> None:
    """Raises LanguageError when the node's children are not those of its type."""
    fewest, most = _BRANCHES.get(node.type, (0, 0))
    if not fewest <= len(node.branches) <= most:
        _refuse(f"{node.type.value} with {len(node.branches)} branches", node)
    if node.type is NodeType.IF and node.condition is None and "result_name" not in node.config:
        _refuse("IF has no condition_node", node)
    if node.type is NodeType.MAP:
        if node.condition is None or node.condition.type is not NodeType.SQL:
            _refuse("the source of MAP is not an SQL node", node)
    elif node.condition is not None and node.condition.type is NodeType.SQL:
        node.condition.query = as_statement(node.condition.query)
    if node.type is NodeType.TRANSACTION and any(
        branch.type is not NodeType.SQL for branch in node.branches
    ):
        _refuse("TRANSACTION holds other nodes than SQL", node)


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


def text_of(value: Any, node: Node) -> str:
    if not isinstance(value, str):
        _refuse(f"{node.type.value} has no query", node)
    return value


def _sleep(query: str, node: Node) -> dict[str, Any]:
    duration = _DURATION.fullmatch(query)
    try:
        if duration is None:
            return {"seconds": int(query)}
        parts = zip(duration.groups(), _SECONDS, strict=True)
        seconds = math.fsum(float(part) * length for part, length in parts if part is not None)
    except ValueError:
        raise LanguageError(f'invalid sleep duration "{query}"', node=node.number) from None
    return {"seconds": int(seconds) if seconds.is_integer() else seconds, "duration": query}


def _config(value: Any, node: Node) -> dict[str, Any]:
    try:
        config = json.loads(text_of(value, node))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise LanguageError(
            f"query of {node.type.value} must be valid JSON config", node=node.number
        )
    for key in _REQUIRED.get(node.type, ()):
        if key not in config:
            _refuse(f'{node.type.value} has no "{key}"', node)
    return config


def _refuse(what: str, node: Node) -> NoReturn:
    raise LanguageError(f"invalid durable function graph: {what}", node=node.number)
