"""One object per node that is being worked on; each construct's rules stand in its class.

States of an activation (by what it waits for):

    begin() ──► finished at once          its outcome is known from a checkpoint, or needs no work
            ──► pending                   an action is out, or a child is pending
    pending ──► resume(child, outcome)    a child finished: finished, or pending again
            ──► told(event)               its own action was answered: finished, or pending again
    finished    never told or resumed again
    abandoned   a scope around it was decided: dropped, whatever is still in flight cannot commit

Recovery is no special case: `begin` looks into the checkpoints first, so an instance that is
loaded again walks the same way and stops where the stored outcomes stop.

An activation is `ending` when a scope around it has been decided, or the instance cancelled: it is
walked once more by what is stored, asks for nothing new, and finishes with ENDED where the rows
stop. Only what it owes still runs: cleanups that were entered, here; undos, by whoever ended it.

Invariants:
- Nothing here changes what is stored; an activation becomes finished only after the event that
  says so, or by an outcome that was already stored.
- A sequence hands its one environment to its steps; what runs in parallel gets a copy.
- `begin` and `resume` of a sequence loop instead of recursing: the depth of calls is that of the
  nesting, not the length of a chain.
- What walks by stored rows alone finishes inside `begin`: the rest of a decided scope, and
  whatever is ending, but for the cleanups in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from durproxy.engine.core.actions import (
    Action,
    Decision,
    EndsInstance,
    Event,
    Scopes,
    StepCompleted,
    StepFailed,
)
from durproxy.engine.core.graph import Node
from durproxy.engine.core.owed import Owed, merged
from durproxy.engine.core.states import (
    Checkpoint,
    CheckpointStatus,
    Key,
    Scope,
    StepError,
    StepResult,
)

if TYPE_CHECKING:
    from durproxy.engine.core.advance import Execution

NULL = StepResult("null")


class End(Enum):
    """How an activation finished."""

    DONE = "done"
    FAILED = "failed"
    BROKE = "broke"  # a BREAK on its way up to its LOOP
    ENDED = "ended"  # from outside; `error` is that of a cleanup that failed


@dataclass(slots=True)
class Outcome:
    """How an activation finished, with what, and the names that it bound inside.

    `stored_at` is the checkpoint that holds the result when `result.text` was not sent back.
    `owed`: the undos that it leaves to whatever unwinds around it, however it finished.
    """

    end: End
    result: StepResult = NULL
    error: StepError | None = None
    stored_at: Key | None = None
    made: dict[str, StepResult] = field(default_factory=dict)
    owed: tuple[Owed, ...] = ()


class Activation:
    """A node at a path, in its scopes, with the names it can see."""

    __slots__ = ("ending", "environment", "execution", "key", "node", "parent", "scopes")

    binds_names: ClassVar[bool] = True  # its result is that of its node

    def __init__(
        self,
        execution: Execution,
        node: Node,
        parent: Activation | None,
        path: str,
        scopes: Scopes,
        environment: dict[str, StepResult],
        *,
        ending: bool = False,
    ) -> None:
        self.execution = execution
        self.node = node
        self.parent = parent
        self.key = Key(node.number, path)
        self.scopes = scopes
        self.environment = environment
        self.ending = ending

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

    def ask(self, action: Action) -> Outcome | None:
        """Pending until the action is answered; what is ending asks for nothing, and is over."""
        if self.ending:
            return Outcome(End.ENDED)
        self.execution.ask(self, action)
        return None

    def inner_scopes(self, round_: int = 0) -> Scopes:
        """What writes inside this node's open frame hold; nothing can end what is ending."""
        if self.ending:
            return self.scopes
        return (*self.scopes, Scope(self.key.node, self.key.path, round_))

    def checkpoint(self) -> Checkpoint | None:
        return self.execution.checkpoints.get(self.key)

    def stored_outcome(self) -> Outcome | None:
        """The outcome, when this node's row already has one."""
        stored = self.checkpoint()
        if stored is None or stored.status is CheckpointStatus.OPEN:
            return None
        self.execution.seen_at = stored.at
        if stored.status is CheckpointStatus.FAILED:
            return Outcome(End.FAILED, error=stored.error)
        return Outcome(End.DONE, stored.result, stored_at=self.key, made=dict(stored.names or {}))

    def outcome_of(self, event: Event) -> Outcome:
        """The outcome that a completed or failed leaf was told."""
        if isinstance(event, StepCompleted):
            return Outcome(End.DONE, event.result, stored_at=self.key)
        assert isinstance(event, StepFailed)
        return Outcome(End.FAILED, error=event.error)


def ended_together(branches: Iterable[Outcome]) -> Outcome:
    """What parallel branches that were ended from outside come to."""
    branches = list(branches)
    errors = [branch.error for branch in branches if branch.end is End.ENDED and branch.error]
    return Outcome(
        End.ENDED,
        error=one_error(errors) if errors else None,
        owed=merged(branch.owed for branch in branches),
    )


def one_error(errors: list[StepError]) -> StepError:
    """The first, with the others in its detail."""
    first, *rest = errors
    for error in rest:
        first = first.also(error.told(f"Node {error.node} failed, too"))
    return first
