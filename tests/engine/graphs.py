"""Graphs as JSON, as the server's constructors write them, and random ones for property tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Graph = dict[str, Any]

TRUE, FALSE, ITEMS = "SELECT true", "SELECT false", "SELECT items"


def sql(query: str, name: str | None = None) -> Graph:
    node: Graph = {"node_type": "SQL", "query": query}
    return node if name is None else {**node, "result_name": name}


def then(*nodes: Graph) -> Graph:
    graph, *rest = nodes
    for node in rest:
        graph = {"node_type": "THEN", "left_node": graph, "right_node": node}
    return graph


def branches(kind: str, *nodes: Graph) -> Graph:
    node = {"node_type": kind, "left_node": nodes[0]}
    if len(nodes) > 1:
        node["right_node"] = nodes[1]
    return {**node, "extra_nodes": list(nodes[2:])} if len(nodes) > 2 else node


def configured(kind: str, config: dict[str, Any], *nodes: Graph) -> Graph:
    children = branches(kind, *nodes) if nodes else {}
    return {"node_type": kind, "query": json.dumps(config), **children}


def when(condition: Graph, yes: Graph, no: Graph | None = None) -> Graph:
    node = {"node_type": "IF", "condition_node": condition, "left_node": yes}
    return node if no is None else {**node, "right_node": no}


def loop(body: Graph, condition: Graph | None = None) -> Graph:
    head = {} if condition is None else {"condition_node": condition}
    return {"node_type": "LOOP", **head, "left_node": body}


def leave(value: str | None = None) -> Graph:
    return configured("BREAK", {"break_value": value})


def sleep(seconds: int) -> Graph:
    return {"node_type": "SLEEP", "query": str(seconds)}


def retry(body: Graph, max_attempts: int = 3, retry_on: list[str] | None = None) -> Graph:
    config = {
        "max_attempts": max_attempts, "backoff": 1.0, "factor": 2.0, "max_backoff": 300.0,
        "jitter": True, "retry_on": retry_on,
    }  # fmt: skip
    return configured("RETRY", config, body)


def timeout(body: Graph, seconds: float = 5.0) -> Graph:
    return configured("TIMEOUT", {"seconds": seconds}, body)


def catch(body: Graph, handler: Graph) -> Graph:
    return branches("CATCH", body, handler)


def cleaned(body: Graph, cleanup: Graph) -> Graph:
    return branches("FINALLY", body, cleanup)


def compensated(body: Graph, undo: Graph) -> Graph:
    return branches("COMPENSATE", body, undo)


def saga(body: Graph) -> Graph:
    return branches("SAGA", body)


def mapped(body: Graph, max_concurrency: int = 10, tolerate: int = 0) -> Graph:
    config = {"max_concurrency": max_concurrency, "tolerate": tolerate}
    return {**configured("MAP", config, body), "condition_node": sql(ITEMS)}


def rows(*values: object) -> str:
    return json.dumps({"rows": [{"v": value} for value in values], "row_count": len(values)})


ANSWERS = {TRUE: [rows(True)], FALSE: [rows(False)], ITEMS: [rows(1, 2, 3)]}


# --- random ones ---


@dataclass
class Drawn:
    """A random graph; every step has a text of its own.

    Of a compensated body `done:n` is the last step, of a cleaned-up one `in:n` the first;
    `undo:n` and `out:n` are what they owe. `loose` are the compensated ones outside of any saga,
    `kept` those of them that no other branch or deadline can end.
    """

    graph: Graph
    kinds: set[str] = field(default_factory=set)
    loose: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    steps: int = 0


@dataclass(frozen=True)
class _Place:
    """What may stand here: a compensation, one that is loose, one that is kept."""

    compensates: bool = True
    loose: bool = True
    kept: bool = True


_UNFORESEEN = ("RACE", "ANY", "TIMEOUT", "MAP")  # who wins, or is ended, depends on the order
_ALL = (
    "SQL", "SQL", "SQL", "SLEEP", "TRANSACTION", "THEN", "THEN", "JOIN", "RACE", "ANY", "IF",
    "LOOP", "RETRY", "TIMEOUT", "CATCH", "FINALLY", "COMPENSATE", "COMPENSATE", "SAGA", "MAP",
    "SERIES",
)  # fmt: skip
_LEAVES = ("SQL", "SLEEP", "TRANSACTION")


@st.composite
def drawn_graphs(draw: st.DrawFn, kinds: tuple[str, ...] = _ALL) -> Drawn:
    made = Drawn({})
    made.graph = _Drawing(draw, made, kinds).node(3, _Place())
    return made


class _Drawing:
    def __init__(self, draw: st.DrawFn, made: Drawn, kinds: tuple[str, ...]) -> None:
        self._draw = draw
        self._made = made
        self._kinds = kinds
        self._leaves = tuple(kind for kind in kinds if kind in _LEAVES)

    def node(self, depth: int, place: _Place) -> Graph:
        kind = self._draw(st.sampled_from(self._kinds if depth else self._leaves))
        if kind == "COMPENSATE" and not place.compensates:
            kind = "SAGA"
        self._made.kinds.add(kind)
        return _DRAWN[kind](self, depth - 1, place)

    def nodes(self, count: int, depth: int, place: _Place) -> list[Graph]:
        return [self.node(depth, place) for _ in range(count)]

    def step(self, text: str = "step") -> Graph:
        self._made.steps += 1
        return sql(f"{text}:{self._made.steps}")

    def count(self, fewest: int, most: int) -> int:
        return self._draw(st.integers(fewest, most))

    def compensated(self, depth: int, place: _Place) -> Graph:
        body = then(self.node(depth, place), self.step("done"))
        number = self._made.steps
        if place.loose:
            self._made.loose.add(number)
            if place.kept:
                self._made.kept.add(number)
        return compensated(body, sql(f"undo:{number}"))

    def cleaned(self, depth: int, place: _Place) -> Graph:
        first = self.step("in")
        number = self._made.steps
        return cleaned(then(first, self.node(depth, place)), sql(f"out:{number}"))


def _decided(place: _Place) -> _Place:
    return _Place(place.compensates, place.loose, kept=False)


_REPEATED = _Place(compensates=False, loose=False, kept=False)
_IN_SAGA = _Place(compensates=True, loose=False, kept=False)

_DRAWN: dict[str, Callable[[_Drawing, int, _Place], Graph]] = {
    "SQL": lambda d, n, p: d.step(),
    "SLEEP": lambda d, n, p: sleep(1),
    "TRANSACTION": lambda d, n, p: branches("TRANSACTION", *(d.step() for _ in range(2))),
    "THEN": lambda d, n, p: then(*d.nodes(d.count(2, 3), n, p)),
    "JOIN": lambda d, n, p: branches("JOIN", *d.nodes(d.count(1, 3), n, p)),
    "RACE": lambda d, n, p: branches("RACE", *d.nodes(2, n, _decided(p))),
    "ANY": lambda d, n, p: branches("ANY", *d.nodes(d.count(1, 3), n, _decided(p))),
    "IF": lambda d, n, p: when(sql(TRUE if d.count(0, 1) else FALSE), *d.nodes(2, n, p)),
    "LOOP": lambda d, n, p: (
        loop(then(d.node(n, _REPEATED), leave("1")))
        if d.count(0, 1)
        else loop(d.node(n, _REPEATED), sql(FALSE))
    ),
    "RETRY": lambda d, n, p: retry(d.node(n, _REPEATED), d.count(1, 3)),
    "TIMEOUT": lambda d, n, p: timeout(d.node(n, _decided(p))),
    "CATCH": lambda d, n, p: catch(*d.nodes(2, n, p)),
    "FINALLY": lambda d, n, p: d.cleaned(n, p),
    "COMPENSATE": lambda d, n, p: d.compensated(n, p),
    "SAGA": lambda d, n, p: saga(d.node(n, _IN_SAGA)),
    "MAP": lambda d, n, p: mapped(d.node(n, _REPEATED), d.count(2, 3), d.count(0, 3)),
    "SERIES": lambda d, n, p: mapped(d.node(n, _REPEATED), 1, d.count(0, 3)),
}

DETERMINED = tuple(kind for kind in _ALL if kind not in _UNFORESEEN)
