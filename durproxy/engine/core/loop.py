"""LOOP: the body again and again, while the condition is true after a round, or until BREAK.

    frame:  (none) -open-> OPEN(round 0) -next-> OPEN(round 1) … -close-> DONE

Names bound in a round live in the frame, since the round's rows go. A round that fails leaves the
frame open: the failure follows from its rows.
"""

from __future__ import annotations

from durproxy.engine.core.actions import (
    CloseFrame,
    Event,
    FrameOpened,
    NextRound,
    OpenFrame,
    RoundAdvanced,
)
from durproxy.engine.core.activation import Activation, End, Outcome
from durproxy.engine.core.graph import Node
from durproxy.engine.core.paths import round_path
from durproxy.engine.core.states import CheckpointStatus, Key, StepResult
from durproxy.engine.core.truth import is_true

_WHOLE_GRAPH = Key(1, "")


class Loop(Activation):
    """Its rounds, one after the other."""

    __slots__ = ("body", "checking", "made", "round", "waits_before")

    def begin(self) -> Outcome | None:
        self.made: dict[str, StepResult] = {}
        self.round = 0
        self.checking = False
        stored = self.checkpoint()
        if stored is None:
            return self.ask(OpenFrame(self.key, self.scopes, self.node))
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

    def _begin_inside(self, node: Node) -> Outcome | None:
        path = round_path(self.key.path, self.round)
        environment = {**self.environment, **self.made}
        return self.execution.begin(node, self, path, self.inner_scopes(self.round), environment)

    def _start_round(self) -> Outcome | None:
        self.checking = False
        self.waits_before = self.execution.waits
        outcome = self._begin_inside(self.node.branches[0])
        return None if outcome is None else self._after_body(outcome)

    def _after_body(self, outcome: Outcome) -> Outcome | None:
        self.made.update(outcome.made)
        if outcome.end in (End.FAILED, End.ENDED):
            return outcome
        self.body = outcome
        if outcome.end is End.BROKE:
            return self._close()
        if self.node.condition is None:
            return self._next(paced=self.execution.waits == self.waits_before)
        self.checking = True
        condition = self._begin_inside(self.node.condition)
        return None if condition is None else self._after_condition(condition)

    def _after_condition(self, outcome: Outcome) -> Outcome | None:
        self.made.update(outcome.made)
        if outcome.end in (End.FAILED, End.ENDED):
            return outcome
        if outcome.end is End.BROKE:
            self.body = outcome
            return self._close()
        return self._next(paced=False) if is_true(outcome.result) else self._close()

    def _next(self, *, paced: bool) -> Outcome | None:
        result = self.body.result.text if self.key == _WHOLE_GRAPH else None
        scopes = self.inner_scopes(self.round)
        return self.ask(NextRound(self.key, scopes, self.made, paced, result))

    def _close(self) -> Outcome | None:
        scopes = self.inner_scopes(self.round)
        return self.ask(CloseFrame(self.key, scopes, self.body.result, names=self.made))
