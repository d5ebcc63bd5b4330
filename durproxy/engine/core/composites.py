"""The nodes that only put others in order and store nothing: THEN, IF."""

from __future__ import annotations

from collections.abc import Iterator

from durproxy.engine.core.actions import Decision, Event, RecordFailure, RunStep
from durproxy.engine.core.activation import NULL, Activation, End, Outcome
from durproxy.engine.core.graph import NodeType, Use
from durproxy.engine.core.owed import Owed
from durproxy.engine.core.states import Key, StepError, StepResult
from durproxy.engine.core.truth import has_rows, is_true


class Sequence(Activation):
    """THEN: one after the other; the first failure ends it; the result is the last one's."""

    __slots__ = ("index", "made", "owed")

    def begin(self) -> Outcome | None:
        self.environment = dict(self.environment)
        self.made: dict[str, StepResult] = {}
        self.owed: tuple[Owed, ...] = ()
        self.index = 0
        return self._run(None)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._run(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return self.index == len(self.node.branches) - 1

    def ahead(self) -> Iterator[RunStep]:
        """The steps after the one under way, up to the first whose result something reads."""
        steps = self.node.branches
        for index in range(self.index + 1, len(steps)):
            step = steps[index]
            if step.type is not NodeType.SQL:
                return
            decides = self.decision() if index == len(steps) - 1 else None
            key = Key(step.number, self.key.path)
            yield RunStep(key, self.scopes, step, self.environment, decides)
            if step.use is not Use.NOBODY:
                return

    def _run(self, outcome: Outcome | None) -> Outcome | None:
        steps = self.node.branches
        while True:
            if outcome is not None:
                self._bind(outcome)
                self.index += 1
                if outcome.end is not End.DONE or self.index == len(steps):
                    outcome.made, outcome.owed = self.made, self.owed
                    return outcome
            outcome = self.execution.begin(
                steps[self.index], self, self.key.path, self.scopes, self.environment
            )
            if outcome is None:
                return None

    def _bind(self, outcome: Outcome) -> None:
        made = outcome.made
        if outcome.end is End.DONE:
            for name in self.node.binds_after.get(self.index, ()):
                made = {**made, name: outcome.result}
        self.environment.update(made)
        self.made.update(made)
        if outcome.owed:
            self.owed += outcome.owed


class Branch(Activation):
    """IF: a condition, then one of two branches; if_rows looks at a name instead of running SQL."""

    __slots__ = ("deciding", "made", "owed")

    def begin(self) -> Outcome | None:
        self.made: dict[str, StepResult] = {}
        self.owed: tuple[Owed, ...] = ()
        self.deciding = self.node.condition is not None
        if self.node.condition is None:
            return self._by_name(str(self.node.config["result_name"]))
        outcome = self.execution.begin(
            self.node.condition, self, self.key.path, self.scopes, self.environment
        )
        return None if outcome is None else self._decided(outcome)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._decided(outcome) if self.deciding else self._finished(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return not self.deciding

    def told(self, event: Event) -> Outcome | None:
        return self.outcome_of(event)

    def _by_name(self, name: str) -> Outcome | None:
        bound = self.environment.get(name)
        if bound is not None:
            return self._take(has_rows(bound))
        stored = self.stored_outcome()
        if stored is None:
            error = StepError(f'result name "{name}" is not bound', "42704", node=self.key.node)
            return self.ask(RecordFailure(self.key, self.scopes, error))
        return stored

    def _decided(self, outcome: Outcome) -> Outcome | None:
        if outcome.end is not End.DONE:
            return outcome
        self.deciding = False
        self.made, self.owed = outcome.made, outcome.owed
        return self._take(is_true(outcome.result))

    def _take(self, truth: bool) -> Outcome | None:
        branches = self.node.branches
        if not truth and len(branches) < 2:
            return Outcome(End.DONE, NULL, made=self.made, owed=self.owed)
        environment = {**self.environment, **self.made}
        outcome = self.execution.begin(
            branches[0 if truth else 1], self, self.key.path, self.scopes, environment
        )
        return None if outcome is None else self._finished(outcome)

    def _finished(self, outcome: Outcome) -> Outcome:
        outcome.made = {**self.made, **outcome.made}
        outcome.owed = self.owed + outcome.owed
        return outcome
