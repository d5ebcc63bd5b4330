"""Programs of the language that nest every construct in every other, and what they must do.

A program is a tree of `Node`s. `sql_of` writes it as an expression of the language; `outcomes_of`
interprets it: every outcome that may come of it, more than one only where a race decides.

Steps write a row (program, tag, seen) into ``effects``: `seen` is the number that the name ``v``
has there, so that names are compared, too. It is 0 at first; NAMED names its first part, adds the
length of that result to ``v``, and goes on. A loop counts its rounds in a name of its own.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

ROUNDS = 2

Names = dict[str, Any]


@dataclass(frozen=True)
class Node:
    kind: str
    children: tuple[Node, ...] = ()
    tag: str = ""

    def __str__(self) -> str:
        inside = ", ".join(map(str, self.children))
        return f"{self.kind}({inside})" if inside else self.kind


@dataclass(frozen=True)
class Outcome:
    """One way in which a node may end.

    `effects` are there for sure, in this order where nothing ran in parallel; `stray` are those of
    branches that lost a race: each may be there or not. `names` is what it has bound.
    """

    end: str  # done, failed, broke
    result: Any = None
    effects: tuple[tuple[str, int | None], ...] = ()
    stray: tuple[tuple[str, int | None], ...] = ()
    names: Names = field(default_factory=dict)


# --- as an expression ---


def expression_of(node: Node, program: int) -> str:
    return f"('SELECT 0 AS v' |=> 'v') ~> {sql_of(node, program)}"


def sql_of(node: Node, program: int) -> str:
    parts = [sql_of(child, program) for child in node.children]
    return _WRITTEN[node.kind](node, program, *parts)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _step(node: Node, program: int) -> str:
    return _literal(
        f"INSERT INTO effects (program, tag, seen) VALUES ({program}, '{node.tag}', $v)"
        f" RETURNING tag"
    )


def _counting(node: Node) -> str:
    return f"({_literal(f'SELECT coalesce($n{node.tag}?, 0) + 1 AS n')} |=> 'n{node.tag}')"


def _again(node: Node) -> str:
    return f"$n{node.tag} % {ROUNDS} <> 0"


_WRITTEN: dict[str, Callable[..., str]] = {
    "STEP": _step,
    "FAIL": lambda node, program: "'SELECT 1/0 AS never'",
    "SLEEP": lambda node, program: "df.sleep(0)",
    "SIGNAL": lambda node, program: f"df.wait_for_signal('s{node.tag}')",
    "BREAK": lambda node, program: f'df.break(\'{{"broke":"{node.tag}"}}\')',
    "THEN": lambda node, program, a, b: f"({a} ~> {b})",
    "JOIN": lambda node, program, a, b: f"({a} & {b})",
    "JOIN3": lambda node, program, a, b, c: f"df.join3({a}, {b}, {c})",
    "RACE": lambda node, program, a, b: f"({a} | {b})",
    "IF": lambda node, program, c, a, b: f"({c} ?> {a} !> {b})",
    "UNLESS": lambda node, program, a, b: f"('SELECT false' ?> {a} !> {b})",
    "WHEN": lambda node, program, c, a: f"({c} ?> {a})",
    "NAMED": lambda node, program, a, b: f"(({a} |=> 'v{node.tag}') ~> {_value(node)} ~> {b})",
    "ROWS": lambda node, program, a, b: (
        f"(('SELECT 1 AS one' |=> 'r{node.tag}') ~> df.if_rows('r{node.tag}', {a}, {b}))"
    ),
    "NO_ROWS": lambda node, program, a, b: (
        f"(('SELECT 1 AS one WHERE false' |=> 'r{node.tag}')"
        f" ~> df.if_rows('r{node.tag}', {a}, {b}))"
    ),
    "WHILE": lambda node, program, a: (
        f"df.loop({_counting(node)} ~> {a}, {_literal(_again(node))})"
    ),
    "ASKED": lambda node, program, c: (
        f"df.loop({_counting(node)}, {c} ~> {_literal('SELECT ' + _again(node))})"
    ),
    "UNTIL": lambda node, program, a: (
        f"(@> ({_counting(node)} ~> {a}"
        f" ~> ({_literal(f'$n{node.tag} % {ROUNDS} = 0')} ?> df.break('{{\"out\":1}}'))))"
    ),
}


def _value(node: Node) -> str:
    """Reads the name and binds a number made of it to ``v``."""
    read = f"SELECT $v + coalesce(length($v{node.tag}?::text), -1) AS v"
    return f"({_literal(read)} |=> 'v')"


# --- what it must do ---


def expected_of(node: Node) -> list[Outcome]:
    return outcomes_of(node, {"v": _rows(v=0)})


def outcomes_of(node: Node, names: Names) -> list[Outcome]:
    return _MEANT[node.kind](node, names)


def _rows(**row: Any) -> Any:
    return {"rows": [row], "row_count": 1}


def _number(names: Names, name: str) -> int | None:
    return None if name not in names else next(iter(names[name]["rows"][0].values()))


def _then(first: Outcome, names: Names, rest: Callable[[Names], list[Outcome]]) -> list[Outcome]:
    """What follows `first`, seeing what it has bound; its effects come before."""
    if first.end != "done":
        return [first]
    return [
        replace(
            after,
            effects=first.effects + after.effects,
            stray=first.stray + after.stray,
            names={**first.names, **after.names},
        )
        for after in rest({**names, **first.names})
    ]


def _chain(names: Names, *parts: Callable[[Names], list[Outcome]]) -> list[Outcome]:
    head, *rest = parts
    found = head(names)
    if not rest:
        return found
    return [
        outcome
        for first in found
        for outcome in _then(first, names, lambda seen: _chain(seen, *rest))
    ]


def _of(node: Node) -> Callable[[Names], list[Outcome]]:
    return lambda names: outcomes_of(node, names)


def _bind(name: str, value: Callable[[Names], Any]) -> Callable[[Names], list[Outcome]]:
    def bound(names: Names) -> list[Outcome]:
        result = value(names)
        return [Outcome("done", result, names={name: result})]

    return bound


def _wrote(node: Node, names: Names) -> list[Outcome]:
    return [Outcome("done", _rows(tag=node.tag), ((node.tag, _number(names, "v")),))]


def _joined(node: Node, names: Names) -> list[Outcome]:
    made = []
    for branches in itertools.product(*(outcomes_of(child, names) for child in node.children)):
        together = Outcome(
            "done",
            [branch.result for branch in branches],
            tuple(effect for branch in branches for effect in branch.effects),
            tuple(effect for branch in branches for effect in branch.stray),
            {name: value for branch in branches for name, value in branch.names.items()},
        )
        stopped = next((branch for branch in branches if branch.end != "done"), None)
        if stopped is not None:
            together = replace(together, end=stopped.end, result=stopped.result)
        made.append(together)
    return made


def _raced(node: Node, names: Names) -> list[Outcome]:
    branches = [outcomes_of(child, names) for child in node.children]
    made = []
    for index, found in enumerate(branches):
        others = [o for k, other in enumerate(branches) if k != index for o in other]
        lost = tuple(_union(other.effects + other.stray for other in others))
        made += [replace(winner, stray=winner.stray + lost) for winner in found]
    return made


def _union(many: Iterator[tuple[tuple[str, int | None], ...]]) -> Iterator[tuple[str, int | None]]:
    largest: Counter[tuple[str, int | None]] = Counter()
    for effects in many:
        largest |= Counter(effects)
    return largest.elements()


def is_true(result: Any) -> bool:
    """Of the results that the programs make."""
    if isinstance(result, dict) and "rows" in result:
        if not result["rows"]:
            return False
        result = next(iter(result["rows"][0].values()))
    return bool(result)


def _decided(node: Node, names: Names) -> list[Outcome]:
    condition, *branches = node.children
    made = []
    for asked in outcomes_of(condition, names):
        taken = 0 if is_true(asked.result) else 1
        nothing = [Outcome("done", None)]
        made += _then(
            asked,
            names,
            lambda seen, taken=taken, nothing=nothing: (  # type: ignore[misc]
                outcomes_of(branches[taken], seen) if taken < len(branches) else nothing
            ),
        )
    return made


def _named(node: Node, names: Names) -> list[Outcome]:
    inner, after = node.children
    made = []
    for first in outcomes_of(inner, names):
        named = replace(first, names={**first.names, f"v{node.tag}": first.result})
        made += _then(
            named, names, lambda seen: _chain(seen, _bind("v", _measured(node)), _of(after))
        )
    return made


def _measured(node: Node) -> Callable[[Names], Any]:
    def measured(names: Names) -> Any:
        text = _as_text(names[f"v{node.tag}"])
        return _rows(v=(_number(names, "v") or 0) + (-1 if text is None else len(text)))

    return measured


def _as_text(result: Any) -> str | None:
    """The text of what a reference to the result gives."""
    if isinstance(result, dict) and "rows" in result:
        result = next(iter(result["rows"][0].values()), None) if result["rows"] else None
    if result is None or isinstance(result, str):
        return result
    return _jsonb_text(result) if isinstance(result, list | dict) else str(result)


def _jsonb_text(value: Any) -> str:
    """As the server writes jsonb: shorter keys first."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key), key))
        return "{" + ", ".join(f"{json.dumps(k)}: {_jsonb_text(value[k])}" for k in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_jsonb_text, value)) + "]"
    return json.dumps(value)


def _rounds(
    names: Names, round_: Callable[[Names], list[Outcome]], again: Callable[[Outcome, Names], bool]
) -> list[Outcome]:
    """Rounds until one does not go on; names go from round to round and out of the loop."""
    made = []
    for first in round_(names):
        seen = {**names, **first.names}
        if first.end == "broke":
            made.append(replace(first, end="done"))
        elif first.end == "done" and again(first, seen):
            made += _then(first, names, lambda now: _rounds(now, round_, again))
        else:
            made.append(first)
    return made


def _count(node: Node) -> Callable[[Names], list[Outcome]]:
    name = f"n{node.tag}"
    return _bind(name, lambda names: _rows(n=(_number(names, name) or 0) + 1))


def _goes_on(node: Node) -> Callable[[Outcome, Names], bool]:
    return lambda _, names: (_number(names, f"n{node.tag}") or 0) % ROUNDS != 0


def _while(node: Node, names: Names) -> list[Outcome]:
    return _rounds(
        names, lambda seen: _chain(seen, _count(node), _of(node.children[0])), _goes_on(node)
    )


def _asked(node: Node, names: Names) -> list[Outcome]:
    """The child stands in the condition: its effects belong to the round, its result does not."""

    def round_(seen: Names) -> list[Outcome]:
        made = []
        for body in _count(node)(seen):
            for outcome in _then(body, seen, _of(node.children[0])):
                kept = replace(outcome, result=body.result) if outcome.end == "done" else outcome
                made.append(kept)
        return made

    return _rounds(names, round_, _goes_on(node))


def _until(node: Node, names: Names) -> list[Outcome]:
    def leave(seen: Names) -> list[Outcome]:
        on = (_number(seen, f"n{node.tag}") or 0) % ROUNDS != 0
        return [Outcome("done", None) if on else Outcome("broke", {"out": 1})]

    def round_(seen: Names) -> list[Outcome]:
        return _chain(seen, _count(node), _of(node.children[0]), leave)

    return _rounds(names, round_, lambda *_: True)


_MEANT: dict[str, Callable[[Node, Names], list[Outcome]]] = {
    "STEP": _wrote,
    "FAIL": lambda node, names: [Outcome("failed")],
    "SLEEP": lambda node, names: [Outcome("done", {"slept": True, "seconds": 0})],
    "SIGNAL": lambda node, names: [
        Outcome("done", {"signal_name": f"s{node.tag}", "timed_out": False, "data": node.tag})
    ],
    "BREAK": lambda node, names: [Outcome("broke", {"broke": node.tag})],
    "THEN": lambda node, names: _chain(names, *map(_of, node.children)),
    "JOIN": _joined,
    "JOIN3": _joined,
    "RACE": _raced,
    "IF": _decided,
    "UNLESS": lambda node, names: outcomes_of(node.children[1], names),
    "WHEN": _decided,
    "NAMED": _named,
    "ROWS": lambda node, names: _chain(
        names, _bind(f"r{node.tag}", lambda _: _rows(one=1)), _of(node.children[0])
    ),
    "NO_ROWS": lambda node, names: _chain(
        names,
        _bind(f"r{node.tag}", lambda _: {"rows": [], "row_count": 0}),
        _of(node.children[1]),
    ),
    "WHILE": _while,
    "ASKED": _asked,
    "UNTIL": _until,
}


# --- all of them ---

LEAVES = ("STEP", "SLEEP", "SIGNAL", "FAIL", "BREAK")
SLOTS = {
    "THEN": 2,
    "JOIN": 2,
    "JOIN3": 3,
    "RACE": 2,
    "IF": 3,
    "UNLESS": 2,
    "WHEN": 2,
    "NAMED": 2,
    "ROWS": 2,
    "NO_ROWS": 2,
    "WHILE": 1,
    "ASKED": 1,
    "UNTIL": 1,
}
_PARALLEL = frozenset(("JOIN", "JOIN3", "RACE"))
_LOOPS = frozenset(("WHILE", "ASKED", "UNTIL"))


def all_programs(depth: int = 3) -> Iterator[Node]:
    """Every construct in every place of every other, `depth` deep, around each kind of leaf."""
    places = [(kind, slot) for kind, slots in SLOTS.items() for slot in range(slots)]
    for path in itertools.product(places, repeat=depth):
        for leaf in LEAVES:
            if leaf != "BREAK" or any(kind in _LOOPS for kind, _ in path):
                yield _tagged(_built(path, leaf), itertools.count(1))


def _built(path: tuple[tuple[str, int], ...], leaf: str) -> Node:
    if not path:
        return Node(leaf)
    (kind, slot), *rest = path
    inner = _built(tuple(rest), leaf)
    children = [inner if k == slot else Node("STEP") for k in range(SLOTS[kind])]
    return Node(kind, tuple(children))


def _tagged(node: Node, numbers: Iterator[int]) -> Node:
    tag = str(next(numbers))
    return Node(node.kind, tuple(_tagged(child, numbers) for child in node.children), tag)


def signals_of(node: Node) -> Iterator[str]:
    if node.kind == "SIGNAL":
        yield node.tag
    for child in node.children:
        yield from signals_of(child)


def runs_in_order(node: Node) -> bool:
    return node.kind not in _PARALLEL and all(map(runs_in_order, node.children))
