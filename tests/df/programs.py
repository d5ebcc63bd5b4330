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
import random
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
    branches that lost a race, and of what undid or cleaned up after them: each may be there or not,
    and may have seen any value. `names` is what it has bound. `owed`: the undos that it leaves to
    what fails around it, with the names that they see.
    """

    end: str  # done, failed, broke
    result: Any = None
    effects: tuple[tuple[str, int | None], ...] = ()
    stray: tuple[tuple[str, int | None], ...] = ()
    names: Names = field(default_factory=dict)
    owed: tuple[tuple[Node, Names], ...] = ()


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


def _whole(node: Node, program: int, last: str) -> str:
    return f"df.transaction({_step(node, program)}, {_literal(last)})"


_NEVER = "SELECT 1/0 AS never"
_ITEMS = 2

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
    "LATE": lambda node, program: "df.timeout(df.sleep(60), '20 ms')",
    "PAUSE": lambda node, program: "df.sleep('0 s'::interval)",
    "MET": lambda node, program: "df.wait_for_condition('SELECT true', '1 s')",
    "WHOLE": lambda node, program: _whole(node, program, f"SELECT '{node.tag}' AS tag"),
    "ROLLED": lambda node, program: _whole(node, program, _NEVER),
    "RETRY": lambda node, program, a: (
        f"df.retry({a}, 2, '1 ms', jitter => false, retry_on => '{{22,57014}}')"
    ),
    "IN_TIME": lambda node, program, a: f"df.timeout({a}, '1 h')",
    "CATCH": lambda node, program, a, b: f"df.catch({a}, {b})",
    "FINALLY": lambda node, program, a, b: f"df.finally({a}, {b})",
    "COMPENSATE": lambda node, program, a, b: f"({a} <-> {b})",
    "SAGA": lambda node, program, a, b: f"df.saga({a} <-> {b})",
    "UNDONE": lambda node, program, a, b: f"df.saga(({a} <-> {b}) ~> '{_NEVER}')",
    "ANY": lambda node, program, a, b: f"df.any({a}, {b})",
    "ALONE": lambda node, program, a: f"df.parallel({a})",
    "MAP": lambda node, program, a: _map(a, 0),
    "TOLERANT": lambda node, program, a: _map(a, _ITEMS),
    "UNTIL": lambda node, program, a: (
        f"(@> ({_counting(node)} ~> {a}"
        f" ~> ({_literal(f'$n{node.tag} % {ROUNDS} = 0')} ?> df.break('{{\"out\":1}}'))))"
    ),
}


def _map(body: str, tolerate: int) -> str:
    """One item after the other; each adds nothing to ``v`` by a name that it leaves behind."""
    item = "('SELECT $v + 0 * $item.i AS v' |=> 'v')"
    source = f"'SELECT i FROM generate_series(1, {_ITEMS}) AS i'"
    return f"df.map({source}, {item} ~> {body}, 1, {tolerate})"


def _value(node: Node) -> str:
    """Reads the name and binds a number made of it to ``v``."""
    read = f"SELECT $v + coalesce(length($v{node.tag}?::text), -1) AS v"
    return f"({_literal(read)} |=> 'v')"


# --- what it must do ---


def expected_of(node: Node) -> list[Outcome]:
    found = outcomes_of(node, {"v": _rows(v=0)})
    return [undone for outcome in found for undone in _undone(outcome)]


def _undone(outcome: Outcome) -> list[Outcome]:
    """A failure with what it owes done, the last first; a success owes nothing any more."""
    if outcome.end == "done" or not outcome.owed:
        return [replace(outcome, owed=())]
    (undo, names), rest = outcome.owed[-1], outcome.owed[:-1]
    return [
        done
        for after in outcomes_of(undo, names)
        for done in _undone(
            replace(
                outcome,
                effects=outcome.effects + after.effects,
                stray=outcome.stray + after.stray,
                owed=rest,
            )
        )
    ]


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
            owed=first.owed + after.owed,
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
    branches = (outcomes_of(child, names) for child in node.children)
    return [_together(ended) for ended in itertools.product(*branches)]


def _together(branches: tuple[Outcome, ...]) -> Outcome:
    """All have their say; the lowest that is not done decides."""
    together = Outcome(
        "done",
        [branch.result for branch in branches],
        tuple(effect for branch in branches for effect in branch.effects),
        tuple(effect for branch in branches for effect in branch.stray),
        {name: value for branch in branches for name, value in branch.names.items()},
        tuple(owed for branch in branches for owed in branch.owed),
    )
    stopped = next((branch for branch in branches if branch.end != "done"), None)
    if stopped is None:
        return together
    return replace(together, end=stopped.end, result=stopped.result)


def _raced(node: Node, names: Names) -> list[Outcome]:
    return _decided_by(node, names, lambda outcome: True)


def _decided_by(node: Node, names: Names, wins: Callable[[Outcome], bool]) -> list[Outcome]:
    """A branch that ends so that it wins; the others are ended, which fails it if that fails."""
    branches = [outcomes_of(child, names) for child in node.children]
    made = []
    for index, found in enumerate(branches):
        others = [outcome for k in _others(node, index) for outcome in branches[k]]
        lost = tuple(_union(_all_that_may_be(other) for other in others))
        won = [replace(winner, stray=winner.stray + lost) for winner in found if wins(winner)]
        made += won
        if any(_may_fail_to_clean_up(node.children[k], names) for k in _others(node, index)):
            made += [replace(winner, end="failed") for winner in won]
    return made


def _others(node: Node, index: int) -> Iterator[int]:
    return (k for k in range(len(node.children)) if k != index)


def _may_fail_to_clean_up(node: Node, names: Names) -> bool:
    """Whether a cleanup inside may fail, which fails what has ended it."""
    if node.kind == "FINALLY" and any(
        outcome.end == "failed" for outcome in outcomes_of(node.children[1], names)
    ):
        return True
    return any(_may_fail_to_clean_up(child, names) for child in node.children)


def _all_that_may_be(loser: Outcome) -> tuple[tuple[str, int | None], ...]:
    """Whatever a branch may leave behind that was ended somewhere on its way."""
    ways = _undone(replace(loser, end="failed"))
    return tuple(_union(way.effects + way.stray for way in ways))


def _first_success(node: Node, names: Names) -> list[Outcome]:
    branches = [outcomes_of(child, names) for child in node.children]
    all_failed = itertools.product(*([o for o in found if o.end == "failed"] for found in branches))
    won = _decided_by(node, names, lambda outcome: outcome.end == "done")
    return won + [replace(_together(failed), names={}) for failed in all_failed]


def _retried(node: Node, names: Names) -> list[Outcome]:
    child = node.children[0]
    made = []
    for first in outcomes_of(child, names):
        if first.end != "failed":
            made.append(first)
            continue
        made += [
            replace(
                again,
                effects=first.effects + again.effects,
                stray=first.stray + again.stray,
            )
            for again in outcomes_of(child, names)
        ]
    return made


def _caught(node: Node, names: Names) -> list[Outcome]:
    body, handler = node.children
    made = []
    for tried in outcomes_of(body, names):
        if tried.end != "failed":
            made.append(tried)
        else:
            made += _then(replace(tried, end="done"), names, _of(handler))
    return made


def _cleaned_up(node: Node, names: Names) -> list[Outcome]:
    """The cleanup comes in any case; the body's end counts, unless the cleanup fails."""
    body, cleanup = node.children
    made = []
    for ended in outcomes_of(body, names):
        for after in _then(replace(ended, end="done"), names, _of(cleanup)):
            end = "failed" if after.end == "failed" else ended.end
            made.append(replace(after, end=end, result=ended.result, names=ended.names))
    return made


def _compensated(node: Node, names: Names) -> list[Outcome]:
    body, undo = node.children
    made = []
    for done in outcomes_of(body, names):
        owed = ((undo, {**names, **done.names}),) if done.end == "done" else ()
        made.append(replace(done, owed=done.owed + owed))
    return made


def _saga(
    node: Node, names: Names, rest: Callable[[Names], list[Outcome]] | None = None
) -> list[Outcome]:
    made = []
    for first in _compensated(node, names):
        made += [first] if rest is None else _then(first, names, rest)
    return [
        undone
        for ended in made
        for undone in _undone(replace(ended, owed=()) if ended.end == "broke" else ended)
    ]


def _mapped(node: Node, names: Names, tolerated: int) -> list[Outcome]:
    """The items in order; a failure is a result, or the end."""
    made = [Outcome("done", [])]
    for _ in range(_ITEMS):
        made = [
            longer
            for before in made
            for longer in _one_more(before, outcomes_of(node.children[0], names), tolerated)
        ]
    return made


def _one_more(before: Outcome, items: list[Outcome], tolerated: int) -> list[Outcome]:
    if before.end != "done":
        return [before]
    return [
        replace(
            before,
            end="done" if item.end == "done" or tolerated else "failed",
            result=[*before.result, item.result if item.end == "done" else FAILED],
            effects=before.effects + item.effects,
            stray=before.stray + item.stray,
        )
        for item in items
    ]


FAILED = {"error": "of an item"}


def comparable(result: Any) -> Any:
    """A result without what the programs do not foresee: the errors of items."""
    if isinstance(result, dict):
        if "error" in result:
            return FAILED
        return {key: comparable(value) for key, value in result.items()}
    return [comparable(value) for value in result] if isinstance(result, list) else result


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
    "LATE": lambda node, names: [Outcome("failed")],
    "PAUSE": lambda node, names: [Outcome("done", {"slept": True, "seconds": 0})],
    "MET": lambda node, names: [Outcome("done", {"met": True})],
    "WHOLE": _wrote,
    "ROLLED": lambda node, names: [Outcome("failed")],
    "RETRY": _retried,
    "IN_TIME": lambda node, names: outcomes_of(node.children[0], names),
    "CATCH": _caught,
    "FINALLY": _cleaned_up,
    "COMPENSATE": _compensated,
    "SAGA": _saga,
    "UNDONE": lambda node, names: _saga(node, names, lambda _: [Outcome("failed")]),
    "ANY": _first_success,
    "ALONE": _joined,
    "MAP": lambda node, names: _mapped(node, names, 0),
    "TOLERANT": lambda node, names: _mapped(node, names, _ITEMS),
}


# --- all of them ---

LEAVES = (
    "STEP", "SLEEP", "SIGNAL", "FAIL", "BREAK", "LATE", "PAUSE", "MET", "WHOLE", "ROLLED",
)  # fmt: skip
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
    "RETRY": 1,
    "IN_TIME": 1,
    "CATCH": 2,
    "FINALLY": 2,
    "COMPENSATE": 2,
    "SAGA": 2,
    "UNDONE": 2,
    "ANY": 2,
    "ALONE": 1,
    "MAP": 1,
    "TOLERANT": 1,
}
_PARALLEL = frozenset(("JOIN", "JOIN3", "RACE", "ANY"))
_LOOPS = frozenset(("WHILE", "ASKED", "UNTIL"))
_MAPS = frozenset(("MAP", "TOLERANT"))
_UNDOABLE = frozenset(("COMPENSATE", "SAGA", "UNDONE"))
# what fails in an undo is tried five times, with pauses that no matrix can wait for
_FAILING = frozenset(("FAIL", "LATE", "ROLLED"))

Place = tuple[str, int]


PLACES = [(kind, slot) for kind, slots in SLOTS.items() for slot in range(slots)]


def all_programs(depth: int = 3) -> Iterator[Node]:
    """Every construct in every place of every other, `depth` deep, around each kind of leaf."""
    for path in itertools.product(PLACES, repeat=depth):
        for leaf in LEAVES:
            if _is_allowed(path, leaf):
                yield _tagged(_built(path, leaf), itertools.count(1))


def some_programs(rng: random.Random, count: int, depth: int = 3) -> list[Node]:
    """As many of them, drawn one by one: to list them all takes a while."""
    found: list[Node] = []
    while len(found) < count:
        path, leaf = tuple(rng.choices(PLACES, k=depth)), rng.choice(LEAVES)
        if _is_allowed(path, leaf):
            found.append(_tagged(_built(path, leaf), itertools.count(1)))
    return found


def _is_allowed(path: tuple[Place, ...], leaf: str) -> bool:
    if leaf == "BREAK" and not _may_break(path):
        return False
    undos = [k for k, (kind, slot) in enumerate(path) if kind in _UNDOABLE and slot == 1]
    if undos and (leaf in _FAILING or any(kind == "UNDONE" for kind, _ in path[undos[0] + 1 :])):
        return False
    kinds = [kind for kind, _ in path]
    if leaf in _FAILING and "TOLERANT" in kinds and ("NAMED", 0) in path[: kinds.index("TOLERANT")]:
        return False  # the length of its errors is not foreseen
    return all(
        kind != "COMPENSATE" or _may_compensate(path[:k]) for k, (kind, _) in enumerate(path)
    )


def _may_break(path: tuple[Place, ...]) -> bool:
    for kind, slot in reversed(path):
        if kind in _LOOPS:
            return True
        aside = slot == 1 and (kind == "FINALLY" or kind in _UNDOABLE)
        if kind in _MAPS or kind == "ANY" or aside:
            return False
    return False


def _may_compensate(outer: tuple[Place, ...]) -> bool:
    for kind, slot in reversed(outer):
        if kind in ("SAGA", "UNDONE") and slot == 0:
            return True
        undo = slot == 1 and kind in _UNDOABLE
        if kind in _LOOPS or kind in _MAPS or kind == "RETRY" or undo:
            return False
    return True


def _built(path: tuple[Place, ...], leaf: str) -> Node:
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
