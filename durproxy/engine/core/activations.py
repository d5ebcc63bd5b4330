"""One object per node that is being worked on; each construct's rules stand in its class.

States of an activation (by what it waits for):

    begin() ──► finished at once          its outcome is known from a checkpoint, or needs no work
            ──► pending                   an action is out, or a child is pending
    pending ──► resume(child, outcome)    a child finished: finished, or pending again
            ──► told(event)               its own action was answered: finished, or pending again
    finished    never told or resumed again
    abandoned   its race was decided: dropped, whatever is still in flight cannot commit

Recovery is no special case: `begin` looks into the checkpoints first, so an instance that is
loaded again walks the same way and stops where the stored outcomes stop.

Invariants:
- Nothing here changes what is stored; an activation becomes finished only after the event that
  says so, or by an outcome that was already stored.
- A sequence hands its one environment to its steps; what runs in parallel gets a copy.
- `begin` and `resume` of a sequence loop instead of recursing: the depth of calls is that of the
  nesting, not the length of a chain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from durproxy.engine.core.actions import (
    CloseFrame,
    ClosesRace,
    Decision,
    EndsInstance,
    Event,
    FrameOpened,
    NextRound,
    OpenFrame,
    RecordFailure,
    RoundAdvanced,
    RunStep,
    Scopes,
    StepCompleted,
    StepFailed,
    WaitSignal,
    WaitTimer,
)
from durproxy.engine.core.bindings import ReferenceFailure, substitute_text
from durproxy.engine.core.graph import Node, NodeType, Use
from durproxy.engine.core.states import (
    Checkpoint,
    CheckpointStatus,
    Key,
    Scope,
    StepError,
    StepResult,
)
from durproxy.engine.core.truth import has_rows, is_true

if TYPE_CHECKING:
    from durproxy.engine.core.advance import Execution

NULL = StepResult("null")


class End(Enum):
    """How an activation finished."""

    DONE = "done"
    FAILED = "failed"
    BROKE = "broke"  # a BREAK on its way up to its LOOP


@dataclass(slots=True)
class Outcome:
    """How an activation finished, with what, and the names that it bound inside.

    `stored_at` is the checkpoint that holds the result when `result.text` was not sent back.
    """

    end: End
    result: StepResult = NULL
    error: StepError | None = None
    stored_at: Key | None = None
    made: dict[str, StepResult] = field(default_factory=dict)


class Activation:
    """A node at a path, in its scopes, with the names it can see."""

    __slots__ = ("environment", "execution", "key", "node", "parent", "scopes")

    def __init__(
        self,
        execution: Execution,
        node: Node,
        parent: Activation | None,
        path: str,
        scopes: Scopes,
        environment: dict[str, StepResult],
    ) -> None:
        self.execution = execution
        self.node = node
        self.parent = parent
        self.key = Key(node.number, path)
        self.scopes = scopes
        self.environment = environment

    def begin(self) -> Outcome | None:
        """Start, or take over what is stored; None while pending."""
        raise NotImplementedError

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        """A child finished."""
        raise NotImplementedError

    def told(self, event: Event) -> Outcome | None:
        """The action of this activation was answered."""
        raise NotImplementedError

    def passes_up(self, child: Activation) -> Decision | bool:
        """What a success of `child` decides; True asks the parent in turn, False: nothing."""
        return False

    def decision(self) -> Decision:
        """What this activation's success would decide, so that it can go into the same commit."""
        child: Activation = self
        parent = self.parent
        while parent is not None:
            answer = parent.passes_up(child)
            if answer is not True:
                return answer or None
            child, parent = parent, parent.parent
        return EndsInstance()

    def checkpoint(self) -> Checkpoint | None:
        return self.execution.checkpoints.get(self.key)

    def stored_outcome(self) -> Outcome | None:
        """The outcome, when this node's row already has one."""
        stored = self.checkpoint()
        if stored is None or stored.status is CheckpointStatus.OPEN:
            return None
        if stored.status is CheckpointStatus.FAILED:
            return Outcome(End.FAILED, error=stored.error)
        return Outcome(End.DONE, stored.result, stored_at=self.key, made=dict(stored.names or {}))

    def outcome_of(self, event: Event) -> Outcome:
        """The outcome that a completed or failed leaf was told."""
        if isinstance(event, StepCompleted):
            return Outcome(End.DONE, event.result, stored_at=self.key)
        assert isinstance(event, StepFailed)
        return Outcome(End.FAILED, error=event.error)


class SqlStep(Activation):
    """SQL: the effect, its checkpoint and what it decides commit together."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        stored = self.stored_outcome()
        if stored is None:
            self.execution.ask(
                self, RunStep(self.key, self.scopes, self.node, self.environment, self.decision())
            )
        return stored

    def told(self, event: Event) -> Outcome | None:
        return self.outcome_of(event)


class Sequence(Activation):
    """THEN: one after the other; the first failure ends it; the result is the last one's."""

    __slots__ = ("index", "made")

    def begin(self) -> Outcome | None:
        self.environment = dict(self.environment)
        self.made: dict[str, StepResult] = {}
        self.index = 0
        return self._run(None)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._run(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return self.index == len(self.node.branches) - 1

    def _run(self, outcome: Outcome | None) -> Outcome | None:
        steps = self.node.branches
        while True:
            if outcome is not None:
                self._bind(outcome)
                self.index += 1
                if outcome.end is not End.DONE or self.index == len(steps):
                    outcome.made = self.made
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


class Branch(Activation):
    """IF: a condition, then one of two branches; if_rows looks at a name instead of running SQL."""

    __slots__ = ("deciding", "made")

    def begin(self) -> Outcome | None:
        self.made: dict[str, StepResult] = {}
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
            self.execution.ask(self, RecordFailure(self.key, self.scopes, error))
        return stored

    def _decided(self, outcome: Outcome) -> Outcome | None:
        if outcome.end is not End.DONE:
            return outcome
        self.deciding = False
        self.made = outcome.made
        return self._take(is_true(outcome.result))

    def _take(self, truth: bool) -> Outcome | None:
        branches = self.node.branches
        if not truth and len(branches) < 2:
            return Outcome(End.DONE, NULL, made=self.made)
        environment = {**self.environment, **self.made}
        outcome = self.execution.begin(
            branches[0 if truth else 1], self, self.key.path, self.scopes, environment
        )
        return None if outcome is None else self._finished(outcome)

    def _finished(self, outcome: Outcome) -> Outcome:
        outcome.made = {**self.made, **outcome.made}
        return outcome


class Join(Activation):
    """JOIN: all branches at once; waits for all, then the lowest that did not succeed decides."""

    __slots__ = ("outcomes",)

    def begin(self) -> Outcome | None:
        self.outcomes: list[Outcome | None] = [None] * len(self.node.branches)
        for index, branch in enumerate(self.node.branches):
            self.outcomes[index] = self.execution.begin(
                branch, self, self.key.path, self.scopes, dict(self.environment)
            )
        return self._all()

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        self.outcomes[self.node.branches.index(child.node)] = outcome
        return self._all()

    def _all(self) -> Outcome | None:
        finished = [outcome for outcome in self.outcomes if outcome is not None]
        if len(finished) < len(self.outcomes):
            return None
        made: dict[str, StepResult] = {}
        for outcome in finished:
            made.update(outcome.made)
        for outcome in finished:
            if outcome.end is not End.DONE:
                return Outcome(outcome.end, outcome.result, outcome.error, outcome.stored_at, made)
        texts = (outcome.result.text or "null" for outcome in finished)
        return Outcome(End.DONE, StepResult(f"[{','.join(texts)}]"), made=made)


class Race(Activation):
    """RACE: the first branch to finish decides; its frame closes with that, once.

    frame:  (none) -open-> OPEN -close-> DONE {"winner": i} | FAILED
    """

    __slots__ = ("decided",)

    def begin(self) -> Outcome | None:
        self.decided: Outcome | None = None
        stored = self.checkpoint()
        if stored is None:
            self.execution.ask(self, OpenFrame(self.key, self.scopes, self.node))
            return None
        if stored.status is CheckpointStatus.OPEN:
            return self._start()
        if stored.status is CheckpointStatus.FAILED:
            return Outcome(End.FAILED, error=stored.error)
        winner = json.loads(stored.result.text or "{}")["winner"]
        # everything in the winning branch is stored, so this never asks for anything
        return self.execution.begin(
            self.node.branches[winner], self, self.key.path, self._inner(), dict(self.environment)
        )

    def told(self, event: Event) -> Outcome | None:
        if isinstance(event, FrameOpened):
            return self._start()
        return self.decided

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        if self.execution.was_decided(self.key):
            self.execution.abandon_below(self)
            return outcome
        self._close(self.node.branches.index(child.node), outcome)
        return None

    def passes_up(self, child: Activation) -> Decision | bool:
        return ClosesRace(self.node.branches.index(child.node))

    def _inner(self) -> Scopes:
        return (*self.scopes, Scope(self.key.node, self.key.path, 0))

    def _start(self) -> Outcome | None:
        for index, branch in enumerate(self.node.branches):
            outcome = self.execution.begin(
                branch, self, self.key.path, self._inner(), dict(self.environment)
            )
            if outcome is not None:  # stored already, only the decision is missing
                self._close(index, outcome)
                break
        return None

    def _close(self, winner: int, outcome: Outcome) -> None:
        self.execution.abandon_below(self)
        self.decided = outcome
        failed = outcome.end is End.FAILED
        self.execution.ask(
            self,
            CloseFrame(
                self.key,
                self._inner(),
                None if failed else StepResult(race_result(winner)),
                outcome.error if failed else None,
            ),
        )


def race_result(winner: int) -> str:
    """What a decided race's frame holds."""
    return json.dumps({"winner": winner}, separators=(",", ":"))


class Loop(Activation):
    """LOOP: the body again and again, while the condition is true after a round, or until BREAK.

    frame:  (none) -open-> OPEN(round 0) -next-> OPEN(round 1) … -close-> DONE
    Names bound in a round live in the frame, since the round's rows go.
    """

    __slots__ = ("body", "checking", "made", "round", "waits_before")

    def begin(self) -> Outcome | None:
        self.made: dict[str, StepResult] = {}
        self.round = 0
        self.checking = False
        stored = self.checkpoint()
        if stored is None:
            self.execution.ask(self, OpenFrame(self.key, self.scopes, self.node))
            return None
        if stored.status is not CheckpointStatus.OPEN:
            return self.stored_outcome()
        self.round = stored.round
        self.made = dict(stored.names or {})
        return self._start_round()

    def told(self, event: Event) -> Outcome | None:
        if isinstance(event, RoundAdvanced):
            self.round += 1
        if isinstance(event, RoundAdvanced | FrameOpened):
            return self._start_round()
        return Outcome(End.DONE, self.body.result, stored_at=self.key, made=self.made)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._after_condition(outcome) if self.checking else self._after_body(outcome)

    def _inner(self) -> Scopes:
        return (*self.scopes, Scope(self.key.node, self.key.path, self.round))

    def _begin_inside(self, node: Node) -> Outcome | None:
        path = f"{self.key.path}.{self.round}"
        environment = {**self.environment, **self.made}
        return self.execution.begin(node, self, path, self._inner(), environment)

    def _start_round(self) -> Outcome | None:
        self.checking = False
        self.waits_before = self.execution.waits
        outcome = self._begin_inside(self.node.branches[0])
        return None if outcome is None else self._after_body(outcome)

    def _after_body(self, outcome: Outcome) -> Outcome | None:
        self.made.update(outcome.made)
        if outcome.end is End.FAILED:
            return outcome
        self.body = outcome
        if outcome.end is End.BROKE:
            self._close()
            return None
        if self.node.condition is None:
            self._next(paced=self.execution.waits == self.waits_before)
            return None
        self.checking = True
        condition = self._begin_inside(self.node.condition)
        return None if condition is None else self._after_condition(condition)

    def _after_condition(self, outcome: Outcome) -> Outcome | None:
        self.made.update(outcome.made)
        if outcome.end is not End.DONE:
            return outcome
        if is_true(outcome.result):
            self._next(paced=False)
        else:
            self._close()
        return None

    def _next(self, *, paced: bool) -> None:
        self.execution.ask(self, NextRound(self.key, self._inner(), self.made, paced))

    def _close(self) -> None:
        self.execution.ask(
            self, CloseFrame(self.key, self._inner(), self.body.result, names=self.made)
        )


class Break(Activation):
    """BREAK: leaves the innermost LOOP with a value; nothing of its own is stored."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        stored = self.stored_outcome()
        if stored is not None:
            return stored
        value = self.node.config.get("break_value")
        if value is None:
            return Outcome(End.BROKE, NULL)
        try:
            text = substitute_text(str(value), self.environment)
        except ReferenceFailure as failure:
            error = failure.as_step_error(self.key.node)
            self.execution.ask(self, RecordFailure(self.key, self.scopes, error))
            return None
        return Outcome(End.BROKE, StepResult(json_or_string(text)))

    def told(self, event: Event) -> Outcome | None:
        return self.outcome_of(event)


def json_or_string(text: str) -> str:
    """The text itself where it is JSON, else as a JSON string."""
    try:
        json.loads(text)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    return text


class Sleep(Activation):
    """SLEEP: a timer; its due time is fixed once, when its frame opens."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        stored = self.checkpoint()
        if stored is None:
            delay = timedelta(seconds=self.node.config["seconds"])
            self.execution.ask(self, OpenFrame(self.key, self.scopes, self.node, delay))
        elif stored.status is CheckpointStatus.OPEN:
            self._wait(FrameOpened(self.key, stored.due))
        else:
            self.execution.waits += 1
            return self.stored_outcome()
        return None

    def told(self, event: Event) -> Outcome | None:
        if isinstance(event, FrameOpened):
            self._wait(event)
            return None
        self.execution.waits += 1
        return self.outcome_of(event)

    def _wait(self, opened: FrameOpened) -> None:
        assert opened.due is not None
        result = f'{{"slept":true,"seconds":{self.node.config["seconds"]}}}'
        inner = (*self.scopes, Scope(self.key.node, self.key.path, 0))
        self.execution.ask(self, WaitTimer(self.key, inner, opened.due, result))


class Signal(Activation):
    """SIGNAL: the oldest message of that name, whether it came before or comes later."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        stored = self.checkpoint()
        if stored is None:
            seconds = self.node.config.get("timeout_seconds")
            delay = None if seconds is None else timedelta(seconds=int(seconds))
            name = self.node.config["signal_name"]
            self.execution.ask(self, OpenFrame(self.key, self.scopes, self.node, delay, name))
        elif stored.status is CheckpointStatus.OPEN:
            self._wait(FrameOpened(self.key, stored.due))
        else:
            self.execution.waits += 1
            return self.stored_outcome()
        return None

    def told(self, event: Event) -> Outcome | None:
        if isinstance(event, FrameOpened):
            self._wait(event)
            return None
        self.execution.waits += 1
        return self.outcome_of(event)

    def _wait(self, opened: FrameOpened) -> None:
        inner = (*self.scopes, Scope(self.key.node, self.key.path, 0))
        name = self.node.config["signal_name"]
        self.execution.ask(self, WaitSignal(self.key, inner, name, opened.due))


CLASSES: dict[NodeType, type[Activation]] = {
    NodeType.SQL: SqlStep,
    NodeType.THEN: Sequence,
    NodeType.IF: Branch,
    NodeType.JOIN: Join,
    NodeType.RACE: Race,
    NodeType.LOOP: Loop,
    NodeType.BREAK: Break,
    NodeType.SLEEP: Sleep,
    NodeType.SIGNAL: Signal,
}


def bound_names(node: Node) -> list[str]:
    """The names that a finished node binds, when anything reads them."""
    return node.names if node.use is not Use.NOBODY else []
