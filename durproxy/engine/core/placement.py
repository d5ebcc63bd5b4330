"""Where a node may stand: what a break can leave, what must not be undone again and again.

The same rules as df._check_place has them. A break leaves the innermost loop around it; it cannot
leave what runs several bodies of which others go on (MAP, ANY), nor an undo or a cleanup, which
must run to their ends. A COMPENSATE inside what repeats its body, an undo among them, would
register undos without bound, unless a SAGA in between drops them each time. A TRANSACTION is one
session's, so all in it is SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from durproxy.engine.core.problem import Problem

Node = dict[str, Any]

_CHILDREN: Final = ("condition_node", "left_node", "right_node")
_LOOP: Final = "loop"
_WALLS: Final = {"MAP": "df.map()", "ANY": "df.any()"}
_ENDINGS: Final = {
    "FINALLY": "the cleanup of df.finally()",
    "COMPENSATE": "the undo of df.compensate()",
}
_REPEATS: Final = {"LOOP": "a loop", "RETRY": "df.retry()", "MAP": "df.map()"}
_WITH_ANYTHING: Final = frozenset({"SQL", "OPAQUE"})

SQL_ONLY: Final = "only SQL steps can be in df.transaction()"
SQL_ONLY_HINT: Final = (
    "Everything in it is one transaction of one session. Put waits, calls and choices around it."
)
SQL_SOURCE: Final = "the source of df.map() must be a SQL query"
SQL_SOURCE_HINT: Final = "Its rows are the items: the body runs once for each."


@dataclass(frozen=True, slots=True)
class _Around:
    """What of the nodes around a node matters to it."""

    leaves: str | None = None  # what a break leaves: a loop, or what it cannot leave
    repeats: str | None = None  # what repeats a COMPENSATE, with no SAGA between
    in_transaction: bool = False
    is_source: bool = False


def placement_problems(graph: Node) -> Iterator[Problem]:
    """Yield what stands in the wrong place, in the order of the numbering."""
    stack = [(graph, _Around())]
    number = 0
    while stack:
        node, around = stack.pop()
        number += 1
        found = _misplaced(str(node.get("node_type")), around)
        if found is not None:
            message, hint, sqlstate = found
            yield Problem(number, message, hint, sqlstate)
        stack.extend(reversed([*_children(node, around)]))


def _misplaced(kind: str, around: _Around) -> tuple[str, str, str] | None:
    if kind == "BREAK" and around.leaves is None:
        hint = "Put it inside the body of df.loop() or @>."
        return "df.break() cannot be used outside of a loop", hint, "22023"
    if kind == "BREAK" and around.leaves != _LOOP:
        return f"df.break() cannot leave {around.leaves}", "Its loop must be inside, too.", "0A000"
    if kind == "COMPENSATE" and around.repeats is not None:
        message = (
            f"df.compensate() cannot be in {around.repeats}, where it would run again and again"
        )
        return message, "Put df.saga() around it, inside what is repeated.", "0A000"
    if around.in_transaction and kind not in _WITH_ANYTHING:
        return f"{SQL_ONLY}, not {kind}", SQL_ONLY_HINT, "0A000"
    if around.is_source and kind not in _WITH_ANYTHING:
        return f"{SQL_SOURCE}, not {kind}", SQL_SOURCE_HINT, "0A000"
    return None


def _children(node: Node, around: _Around) -> Iterator[tuple[Node, _Around]]:
    kind = str(node.get("node_type"))
    inside = replace(around, in_transaction=kind == "TRANSACTION", is_source=False)
    if kind == "LOOP":
        inside = replace(inside, leaves=_LOOP)
    elif around.leaves is not None and kind in _WALLS:
        inside = replace(inside, leaves=_WALLS[kind])
    if kind == "SAGA":
        inside = replace(inside, repeats=None)
    elif kind in _REPEATS:
        inside = replace(inside, repeats=_REPEATS[kind])
    for key in _CHILDREN:
        if isinstance(child := node.get(key), dict):
            yield child, _in_slot(kind, key, inside)
    extra = node.get("extra_nodes")
    if isinstance(extra, list):
        yield from ((child, inside) for child in extra if isinstance(child, dict))


def _in_slot(kind: str, key: str, inside: _Around) -> _Around:
    if kind == "MAP" and key == "condition_node":
        return replace(inside, is_source=True)
    if key == "right_node" and kind in _ENDINGS:
        leaves = inside.leaves and _ENDINGS[kind]
        repeats = "an undo" if kind == "COMPENSATE" else inside.repeats
        return replace(inside, leaves=leaves, repeats=repeats)
    return inside
