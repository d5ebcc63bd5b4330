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

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from durproxy.engine.core.actions import (
    Decision,
    EndsInstance,
    Event,
    Scopes,
    StepCompleted,
    StepFailed,
)
from durproxy.engine.core.graph import Node
from durproxy.engine.core.states import Checkpoint, CheckpointStatus, Key, StepError, StepResult

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
