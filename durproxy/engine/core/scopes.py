"""The nodes that open a scope, a frame whose end decides about all that is inside: RACE, LOOP."""

from __future__ import annotations

import json

from durproxy.engine.core.actions import (
    CloseFrame,
    ClosesRace,
    Decision,
    Event,
    FrameOpened,
    NextRound,
    OpenFrame,
    RoundAdvanced,
    Scopes,
)
from durproxy.engine.core.activation import Activation, End, Outcome
from durproxy.engine.core.graph import Node
from durproxy.engine.core.states import CheckpointStatus, Scope, StepResult
from durproxy.engine.core.truth import is_true


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
        if outcome.end is End.FAILED:
            return outcome
        if outcome.end is End.BROKE:
            self.body = outcome
            self._close()
        elif is_true(outcome.result):
            self._next(paced=False)
        else:
            self._close()
        return None

    def _next(self, *, paced: bool) -> None:
        result = self.body.result.text if self.parent is None else None
        self.execution.ask(self, NextRound(self.key, self._inner(), self.made, paced, result))

    def _close(self) -> None:
        self.execution.ask(
            self, CloseFrame(self.key, self._inner(), self.body.result, names=self.made)
        )
