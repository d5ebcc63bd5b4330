"""What can be said of a graph before it runs: limits, names, and where nodes may stand.

A name that no way through the graph can have bound is refused; one that is bound on some ways
only is left to run time. How names travel:

- a step sees what earlier steps of its sequence bound, and what was bound before the sequence;
- branches begin with a copy, a sibling's names are invisible; afterwards all of them may be bound;
- a round of a loop sees what any step of the loop bound in the round before;
- the handler of a CATCH sees what its body may have bound, and `error`; the body of a MAP sees
  `item`, and keeps what it binds; so do the steps of a TRANSACTION, an undo and a cleanup;
- behind an OPAQUE subtree, which only the server can read, any name may be bound.

A chain of THENs is walked without recursion.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from durproxy.engine.core.http_config import find_http_references
from durproxy.engine.core.numbering import children, number_all, numbered
from durproxy.engine.core.placement import placement_problems
from durproxy.engine.core.problem import Problem
from durproxy.engine.core.references import (
    Reference,
    ReferenceKind,
    find_references,
    find_text_references,
)

OPAQUE: Final = "OPAQUE"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


#: Names that a construct gives to what is inside it.
_GIVEN: Final = {
    "error": "The handler of df.catch() has it.",
    "item": "The body of df.map() has it.",
}


def name_problem(name: object) -> tuple[str, str | None] | None:
    """Return message and hint when a result name is none; no name at all is right."""
    if name is None or (isinstance(name, str) and _NAME.fullmatch(name)):
        return None
    if name == "":
        return "result name cannot be empty", None
    return f'result name "{name}" is not a valid identifier', (
        "A name begins with a letter or an underscore and goes on with letters, digits and "
        "underscores."
    )


def validate(graph: dict[str, Any]) -> list[Problem]:
    """Return what is wrong with a graph, in the order of its nodes."""
    numbers: dict[int, int] = {}
    problem = number_all(graph, numbers)
    if problem is not None:
        return [problem]
    check = _Check(numbers, _bound_names(graph))
    check.visit(graph, _Names())
    problems = (*placement_problems(graph), *check.problems)
    return sorted(problems, key=lambda p: p.node)


def _bound_names(graph: dict[str, Any]) -> dict[str, int]:
    """Return every name of the graph with the first node that has it."""
    names: dict[str, int] = {}
    for number, node in numbered(graph):
        if isinstance(node.get("result_name"), str):
            names.setdefault(node["result_name"], number)
    return names


@dataclass(slots=True)
class _Names:
    """The names that some way may have bound; ``anything`` behind an OPAQUE subtree."""

    names: set[str] = field(default_factory=set)
    anything: bool = False

    def copy(self) -> _Names:
        return _Names(set(self.names), self.anything)

    def add(self, other: _Names) -> None:
        self.names |= other.names
        self.anything |= other.anything


class _Check:
    def __init__(self, numbers: dict[int, int], everywhere: dict[str, int]) -> None:
        self.problems: list[Problem] = []
        self._numbers = numbers
        self._everywhere = everywhere

    def visit(self, node: dict[str, Any], names: _Names) -> None:
        """Check a node; ``names`` is what may be bound before it, and becomes what is after it."""
        match node.get("node_type"):
            case "THEN":
                self._sequence(node, names)
                return
            case "IF":
                self._if(node, names)
            case "JOIN" | "RACE" | "ANY":
                self._branches(list(children(node)), names)
            case "LOOP":
                self._loop(node, names)
            case "CATCH":
                self._catch(node, names)
            case "MAP":
                self._map(node, names)
            case "COMPENSATE" | "FINALLY":
                self._ended(node, names)
            case "TRANSACTION":
                self._visit_all(children(node), names.copy())
            case "RETRY" | "TIMEOUT" | "SAGA":
                self._visit_all(children(node), names)
            case other if other == OPAQUE:
                names.anything = True
            case _:
                self._leaf(node, names)
        self._bind(node, names)

    def _visit_all(self, nodes: Iterable[dict[str, Any]], names: _Names) -> None:
        for node in nodes:
            self.visit(node, names)

    def _leaf(self, node: dict[str, Any], names: _Names) -> None:
        match node.get("node_type"):
            case "SQL":
                self._references(node, names, find_references(str(node.get("query", ""))))
            case "WAIT_CONDITION":
                # of a text inside the configuration, so positions in the node's text are unknown
                references = find_references(str(config_of(node).get("query", "")))
                self._references(node, names, references, positions=False)
            case "HTTP" | "HTTP_MULTIPART":
                references = find_http_references(config_of(node))
                self._references(node, names, references, positions=False, text=True)
            case "BREAK":
                value = config_of(node).get("break_value")
                references = find_text_references(value) if isinstance(value, str) else ()
                self._references(node, names, references, positions=False, text=True)

    def _sequence(self, node: dict[str, Any], names: _Names) -> None:
        """Walk a chain of THENs; a name that one carries is bound after its last element."""
        stack: list[tuple[dict[str, Any], bool]] = [(node, True)]
        while stack:
            element, opens = stack.pop()
            if not opens:
                self._bind(element, names)
            elif element.get("node_type") != "THEN":
                self.visit(element, names)
            else:
                stack.append((element, False))
                stack.extend((child, True) for child in reversed(list(children(element))))

    def _if(self, node: dict[str, Any], names: _Names) -> None:
        condition = node.get("condition_node")
        if isinstance(condition, dict):
            self.visit(condition, names)
        else:
            self._rows_condition(node, names)
        self._branches([child for child in children(node) if child is not condition], names)

    def _rows_condition(self, node: dict[str, Any], names: _Names) -> None:
        name = config_of(node).get("result_name")
        if isinstance(name, str) and not (names.anything or name in names.names):
            self._problem(node, *self._unbound(name, f'result name "{name}"'))

    def _branches(self, branches: list[dict[str, Any]], names: _Names) -> None:
        after = []
        for branch in branches:
            inside = names.copy()
            self.visit(branch, inside)
            after.append(inside)
        for inside in after:
            names.add(inside)

    def _loop(self, node: dict[str, Any], names: _Names) -> None:
        body, condition = node.get("left_node"), node.get("condition_node")
        for part in (body, condition):
            if isinstance(part, dict):
                names.names |= _bound_names(part).keys()
                names.anything |= any(n.get("node_type") == OPAQUE for _, n in numbered(part))
        for part in (body, condition):
            if isinstance(part, dict):
                self.visit(part, names)

    def _catch(self, node: dict[str, Any], names: _Names) -> None:
        body, *handlers = children(node)
        self.visit(body, names)
        for handler in handlers:
            inside = names.copy()
            inside.names.add("error")
            self.visit(handler, inside)
            names.anything |= inside.anything
            names.names |= inside.names & (names.names | _bound_names(handler).keys())

    def _map(self, node: dict[str, Any], names: _Names) -> None:
        for child in children(node):
            if child is node.get("condition_node"):
                self.visit(child, names)
            else:
                inside = names.copy()
                inside.names.add("item")
                self.visit(child, inside)

    def _ended(self, node: dict[str, Any], names: _Names) -> None:
        body, *endings = children(node)
        self.visit(body, names)
        inside = names.copy()
        if isinstance(name := node.get("result_name"), str):
            inside.names.add(name)
        self._visit_all(endings, inside)

    def _references(
        self,
        node: dict[str, Any],
        names: _Names,
        references: tuple[Reference, ...],
        *,
        positions: bool = True,
        text: bool = False,
    ) -> None:
        reported: set[str] = set()
        for reference in references:
            position = reference.start if positions else None
            if reference.name in reported:
                continue
            reported.add(reference.name)
            if reference.problem is not None:
                self._problem(node, reference.problem, reference.hint, position=position)
            elif not (names.anything or reference.name in names.names):
                message, hint, sqlstate = self._unbound(reference.name, f'"{reference}"')
                self._problem(node, message, hint, sqlstate, position)
            elif text and reference.kind is ReferenceKind.ROWS:
                self._problem(node, f'"{reference}" stands for rows and cannot be used in text')
            else:
                reported.discard(reference.name)

    def _unbound(self, name: str, shown: str) -> tuple[str, str, str]:
        number = self._everywhere.get(name)
        if number is not None:
            return (
                f"{shown} is used where nothing can have bound it",
                f"Node {number} has that name, but it runs later, or in a parallel branch.",
                "42P02",
            )
        if name in _GIVEN:
            return f"{shown} does not name an earlier result", _GIVEN[name], "42P02"
        close = difflib.get_close_matches(name, self._everywhere, 1)
        hint = f'Did you mean "{close[0]}"?' if close else f"Name an earlier step: |=> '{name}'."
        return f"{shown} does not name an earlier result", hint, "42P02"

    def _bind(self, node: dict[str, Any], names: _Names) -> None:
        name = node.get("result_name")
        problem = name_problem(name)
        if problem is not None:
            self._problem(node, *problem)
        elif name is not None:
            names.names.add(name)

    def _problem(
        self,
        node: dict[str, Any],
        message: str,
        hint: str | None = None,
        sqlstate: str = "22023",
        position: int | None = None,
    ) -> None:
        number = self._numbers[id(node)]
        self.problems.append(Problem(number, message, hint, sqlstate, position))


def config_of(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node's configuration; nothing where there is none."""
    try:
        config = json.loads(str(node.get("query") or "{}"))
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
