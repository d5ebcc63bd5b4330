"""Random workflows, each with what it must have done when it has ended.

An effect is a row (workflow, label). Texts are made together with what they come to, so that there
is nothing to interpret afterwards: `effects` happen whatever the faults are; `undos` are owed by
what has completed, until a saga takes them over; a workflow that `fails` does its undos at the end.
Where the outcome of a race cannot be known its branches have one label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

_DEPTH = 3


@dataclass
class Node:
    """A part of a workflow, and what it does."""

    text: str
    effects: Counter[int] = field(default_factory=Counter)
    fails: bool = False
    undos: list[int] = field(default_factory=list)


@dataclass
class Workflow:
    """A whole one; `number` is its own in the table of effects."""

    number: int
    text: str
    effects: Counter[int]
    fails: bool
    signals: list[str]
    calls: set[int]
    cleanups: set[int]
    compensated: dict[int, int]  # the label that is done -> the label that undoes it
    outside_sagas: set[int]  # of those, the labels that only the end of the whole drops

    def after_cancel(self, found: Counter[int]) -> str | None:
        """What is wrong with what a cancelled one has left; None when nothing is."""
        undone = set(self.compensated.values())
        for label, times in found.items():
            if label not in undone and times > max(self.effects[label], label in self.cleanups):
                return f"label {label} is there {times} times"
        for done, undo in self.compensated.items():
            if found[undo] > found[done]:
                return f"label {done} was undone, but never done"
            if done in self.outside_sagas and found[undo] != found[done]:
                return f"label {done} was not undone"
        return None


class Maker:
    """Makes the parts of one workflow."""

    def __init__(self, random: Random, number: int, url: str) -> None:
        self._random = random
        self._number = number
        self._url = url
        self._labels = 0
        self._sagas = 0
        self.signals: list[str] = []
        self.calls: set[int] = set()
        self.cleanups: set[int] = set()
        self.compensated: dict[int, int] = {}
        self.outside_sagas: set[int] = set()

    def workflow(self) -> Workflow:
        root = self._sequence(_DEPTH, self._random.randint(2, 5))
        effects = root.effects + Counter(root.undos if root.fails else [])
        return Workflow(
            self._number, root.text, effects, root.fails, self.signals, self.calls, self.cleanups,
            self.compensated, self.outside_sagas,
        )  # fmt: skip

    # --- leaves ---

    def _label(self) -> int:
        self._labels += 1
        return self._labels

    def _insert(self, label: int, value: str | None = None) -> str:
        return f"'INSERT INTO effects VALUES ({self._number}, {value or label})'"

    def _step(self) -> Node:
        label = self._label()
        return Node(self._insert(label), Counter([label]))

    def _several(self) -> Node:
        one, two = self._label(), self._label()
        inserts = (f"INSERT INTO effects VALUES ({self._number}, {label})" for label in (one, two))
        return Node(f"'{'; '.join(inserts)}'", Counter([one, two]))

    def _transaction(self) -> Node:
        one, two = self._label(), self._label()
        text = f"df.transaction({self._insert(one)}, {self._insert(two)})"
        return Node(text, Counter([one, two]))

    def _named(self) -> Node:
        label = self._label()
        reads = self._insert(label, f"$n{label}.v")
        return Node(f"df.seq(df.as('SELECT {label} AS v', 'n{label}'), {reads})", Counter([label]))

    def _flaky(self) -> Node:
        """Fails every third time that anybody tries."""
        label = self._label()
        step = (
            f"'INSERT INTO effects SELECT {self._number}, {label}"
            " FROM (SELECT 1 / mod(nextval(''flaky''), 3) AS v) AS q WHERE q.v IS NOT NULL'"
        )
        how = "50, '1 ms', 1.5, '20 ms', true, ARRAY['22012']"
        return Node(f"df.retry({step}, {how})", Counter([label]))

    def _sleep(self) -> Node:
        return Node(self._random.choice(["df.sleep(0)", "df.sleep(1)", "df.sleep('PT0.05S')"]))

    def _signal(self) -> Node:
        name = f"go{len(self.signals)}"
        self.signals.append(name)
        return Node(f"df.wait_for_signal('{name}')")

    def _condition(self) -> Node:
        return Node("df.wait_for_condition('SELECT true')")

    def _call(self) -> Node:
        label = self._label()
        self.calls.add(label)
        return Node(f"df.http('{self._url}/echo/{self._number}/{label}')")

    def _alone(self) -> Node:
        return Node("'VACUUM small'")

    def _late(self) -> Node:
        return Node("df.timeout('SELECT pg_sleep(60)', '30 ms')", fails=True)

    def _in_time(self) -> Node:
        label = self._label()
        return Node(f"df.timeout({self._insert(label)}, '1 hour')", Counter([label]))

    def _failure(self) -> Node:
        return Node("'SELECT 1/0'", fails=True)

    # --- what has parts ---

    def _any_node(self, depth: int) -> Node:
        leaves: list[Callable[[], Node]] = [
            self._step, self._step, self._step, self._several, self._transaction, self._named,
            self._flaky, self._sleep, self._signal, self._condition, self._call, self._in_time,
        ]  # fmt: skip
        if depth == 0:
            return self._random.choice(leaves)()
        if self._random.random() < 0.02:
            return self._random.choice([self._late, self._failure, self._alone])()
        composites: list[Callable[[int], Node]] = [
            lambda d: self._sequence(d, self._random.randint(2, 4)),
            self._join, self._if, self._race, self._loop, self._map, self._any,
            self._catch, self._finally, self._saga, self._compensate,
        ]  # fmt: skip
        if self._random.random() < 0.45:
            return self._random.choice(leaves)()
        return self._random.choice(composites)(depth - 1)

    def _sequence(self, depth: int, length: int) -> Node:
        whole = self._any_node(depth)
        for _ in range(length - 1):
            then = self._any_node(depth)
            whole.text = f"df.seq({whole.text}, {then.text})"
            if not whole.fails:
                whole.effects += then.effects
                whole.undos += then.undos
                whole.fails = then.fails
        return whole

    def _join(self, depth: int) -> Node:
        branches = [self._any_node(depth) for _ in range(self._random.randint(2, 4))]
        whole = Node(f"df.parallel({', '.join(b.text for b in branches)})")
        for branch in branches:
            whole.effects += branch.effects
            whole.undos += branch.undos
            whole.fails = whole.fails or branch.fails
        return whole

    def _if(self, depth: int) -> Node:
        yes, no = self._any_node(depth), self._any_node(depth)
        truth = self._random.choice([True, False])
        taken = yes if truth else no
        text = f"df.if('SELECT {truth}', {yes.text}, {no.text})"
        return Node(text, taken.effects, taken.fails, taken.undos)

    def _race(self, depth: int) -> Node:
        label = self._label()
        insert = self._insert(label)
        other = self._random.choice([insert, "df.sleep(3600)", "df.wait_for_signal('never')"])
        return Node(f"df.race({insert}, {other})", Counter([label]))

    def _any(self, depth: int) -> Node:
        label = self._label()
        insert = self._insert(label)
        other = self._random.choice([insert, "'SELECT 1/0'", "df.sleep(3600)"])
        return Node(f"df.any({other}, {insert})", Counter([label]))

    def _loop(self, depth: int) -> Node:
        label, rounds = self._label(), self._random.randint(1, 3)
        condition = (
            f"'SELECT count(*) < {rounds} FROM effects"
            f" WHERE workflow = {self._number} AND label = {label}'"
        )
        return Node(f"df.loop({self._insert(label)}, {condition})", Counter({label: rounds}))

    def _map(self, depth: int) -> Node:
        labels = [self._label() for _ in range(self._random.randint(0, 5))]
        source = f"'SELECT k FROM unnest(''{{{','.join(map(str, labels))}}}''::int[]) AS k'"
        return Node(f"df.map({source}, {self._insert(0, '$item.k')}, 3)", Counter(labels))

    def _catch(self, depth: int) -> Node:
        body, handler = self._any_node(depth), self._step()
        if self._random.random() < 0.5:
            failing = self._random.choice([self._late, self._failure])()
            body.text, body.fails = f"df.seq({body.text}, {failing.text})", True
        text = f"df.catch({body.text}, {handler.text})"
        handled = handler.effects if body.fails else Counter[int]()
        return Node(text, body.effects + handled, False, body.undos)

    def _finally(self, depth: int) -> Node:
        body, label = self._any_node(depth), self._label()
        self.cleanups.add(label)
        text = f"df.finally({body.text}, {self._insert(label)})"
        return Node(text, body.effects + Counter([label]), body.fails, body.undos)

    def _compensate(self, depth: int) -> Node:
        done, undo = self._label(), self._label()
        self.compensated[done] = undo
        if not self._sagas:
            self.outside_sagas.add(done)
        text = f"df.compensate({self._insert(done)}, {self._insert(undo)})"
        return Node(text, Counter([done]), False, [undo])

    def _saga(self, depth: int) -> Node:
        self._sagas += 1
        body = self._sequence(depth, 2)
        self._sagas -= 1
        if not body.fails and self._random.random() < 0.3:
            body.text, body.fails = f"df.seq({body.text}, 'SELECT 1/0')", True
        undone = Counter(body.undos if body.fails else [])
        return Node(f"df.saga({body.text})", body.effects + undone, body.fails)


def random_workflow(random: Random, number: int, url: str) -> Workflow:
    return Maker(random, number, url).workflow()
