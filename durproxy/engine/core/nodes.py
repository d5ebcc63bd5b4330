"""A graph's nodes, as everything else here reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import Any


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
    RETRY = "RETRY"
    TIMEOUT = "TIMEOUT"
    CATCH = "CATCH"
    FINALLY = "FINALLY"
    COMPENSATE = "COMPENSATE"
    SAGA = "SAGA"
    ANY = "ANY"
    MAP = "MAP"
    TRANSACTION = "TRANSACTION"
    SLEEP_UNTIL = "SLEEP_UNTIL"
    WAIT_CONDITION = "WAIT_CONDITION"


class Use(Flag):
    """Who reads a node's result while the instance runs."""

    NOBODY = 0
    VALUE = auto()  # an enclosing construct composes or tests it
    FIRST_ROW = auto()  # a `$name` or `$name.col` somewhere
    ALL_ROWS = auto()  # a `$name.*` somewhere, or a map


@dataclass(slots=True, eq=False)
class Node:
    """One element of the graph.

    `query` is the SQL text of an SQL node, else the node's parsed configuration in `config`.
    `owes`: there is something in it that must be cleaned up or undone when it is ended.
    `counts_429`: an HTTP call whose answer 429 is a failure, since a RETRY around it says so.
    """

    type: NodeType
    number: int
    last: int = 0
    query: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    use: Use = Use.NOBODY
    condition: Node | None = None  # of IF and LOOP; MAP's source
    branches: list[Node] = field(default_factory=list)  # in the order of the numbering
    binds_after: dict[int, list[str]] = field(
        default_factory=dict
    )  # THEN: element -> names of inner THENs
    owes: bool = False
    counts_429: bool = False

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
