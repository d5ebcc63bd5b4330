"""advance(event) → actions: one instance's execution, from its graph and its checkpoints.

The shell loads an instance, calls `start()` for the first actions, performs them, and feeds what
happened to `advance()`. There is no replay of user code and no rule for users to break: the state
is the tree of activations, and it is rebuilt from the checkpoints by starting again.

The cost of an event does not depend on how long the workflow is: it walks from the activation
that was answered up to the first ancestor that is not finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from durproxy.engine.core.actions import (
    Abandon,
    Action,
    ClosesRace,
    EndsInstance,
    Event,
    FinishInstance,
    RunStep,
    Scopes,
    StepCompleted,
)
from durproxy.engine.core.activation import Activation, End, Outcome
from durproxy.engine.core.composites import Branch, Join, Sequence
from durproxy.engine.core.graph import Graph, Node, NodeType, Use
from durproxy.engine.core.leaves import Break, Signal, Sleep, Step, WaitSchedule
from durproxy.engine.core.scopes import Loop, Race
from durproxy.engine.core.states import (
    Checkpoint,
    InstanceStatus,
    Key,
    StepError,
    StepResult,
)

_CLASSES: dict[NodeType, type[Activation]] = {
    NodeType.SQL: Step,
    NodeType.HTTP: Step,
    NodeType.HTTP_MULTIPART: Step,
    NodeType.THEN: Sequence,
    NodeType.IF: Branch,
    NodeType.JOIN: Join,
    NodeType.RACE: Race,
    NodeType.LOOP: Loop,
    NodeType.BREAK: Break,
    NodeType.SLEEP: Sleep,
    NodeType.WAIT_SCHEDULE: WaitSchedule,
    NodeType.SIGNAL: Signal,
}


class Execution:
    """The state of one instance in a worker's memory."""

    def __init__(
        self,
        graph: Graph,
        checkpoints: Mapping[Key, Checkpoint],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.graph = graph
        self.variables = variables or {}
        self.checkpoints = checkpoints
        self.waits = (
            0  # timers and signals so far: tells a loop round that waited from one that spun
        )
        self.finished = False
        self._live: dict[Key, tuple[Activation, Action]] = {}
        self._out: list[Action] = []
        self._decided_races: set[Key] = set()

    # --- for the shell ---

    def start(self) -> list[Action]:
        """The first actions, given what is stored."""
        outcome = self.begin(self.graph.root, None, "", (), {})
        self.checkpoints = {}  # all of it has been taken over
        if outcome is not None:
            self._finish(outcome)
        return self._taken()

    def advance(self, event: Event) -> list[Action]:
        """The actions that follow from `event`; nothing for an activation that was abandoned."""
        entry = self._live.pop(event.key, None)
        if entry is None:
            return []
        activation, action = entry
        if isinstance(event, StepCompleted) and isinstance(action, RunStep):
            if isinstance(action.decides, EndsInstance):
                self.finished = True
                return []
            if isinstance(action.decides, ClosesRace):
                innermost = next(a for a in _ancestors(activation) if isinstance(a, Race))
                self._decided_races.add(innermost.key)
        self._propagate(activation, activation.told(event))
        return self._taken()

    def following(self, action: RunStep, most: int) -> list[RunStep]:
        """The steps that come next in the sequence of `action`, whatever its result will be.

        They may be sent together with it: nothing reads a result inside, but that of the last one.
        Each is asked for again, equal to what is told here, when the one before has succeeded.
        """
        activation, _ = self._live[action.key]
        sequence = activation.parent
        if not isinstance(sequence, Sequence) or action.node.use is not Use.NOBODY:
            return []
        return list(islice(sequence.ahead(), most))

    @property
    def pending(self) -> int:
        """How many activations wait for an answer."""
        return len(self._live)

    # --- for the activations ---

    def begin(
        self,
        node: Node,
        parent: Activation | None,
        path: str,
        scopes: Scopes,
        environment: dict[str, StepResult],
    ) -> Outcome | None:
        """Begin `node`; its outcome when that is known at once."""
        activation = _CLASSES[node.type](self, node, parent, path, scopes, environment)
        outcome = activation.begin()
        return None if outcome is None else self._named(activation, outcome)

    def ask(self, activation: Activation, action: Action) -> None:
        self._live[activation.key] = (activation, action)
        self._out.append(action)

    def was_decided(self, race: Key) -> bool:
        """Whether a step's commit has closed that race."""
        return race in self._decided_races

    def abandon_below(self, race: Activation) -> None:
        """Drop all that is still under way in the branches of a race."""
        dropped = tuple(
            key for key, (activation, _) in self._live.items() if race in _ancestors(activation)
        )
        for key in dropped:
            del self._live[key]
        self._out = [action for action in self._out if getattr(action, "key", None) not in dropped]
        if dropped:
            self._out.append(Abandon(dropped))

    # --- own ---

    def _propagate(self, activation: Activation, outcome: Outcome | None) -> None:
        while outcome is not None:
            outcome = self._named(activation, outcome)
            parent = activation.parent
            if parent is None:
                self._finish(outcome)
                return
            activation, outcome = parent, parent.resume(activation, outcome)

    def _named(self, activation: Activation, outcome: Outcome) -> Outcome:
        if outcome.end is End.DONE and activation.node.use is not Use.NOBODY:
            for name in activation.node.names:
                outcome.made = {**outcome.made, name: outcome.result}
        return outcome

    def _finish(self, outcome: Outcome) -> None:
        self.finished = True
        if outcome.end is End.DONE:
            stored_at = outcome.stored_at if outcome.result.text is None else None
            self._out.append(
                FinishInstance(InstanceStatus.COMPLETED, outcome.result.text, stored_at)
            )
            return
        error = outcome.error
        if outcome.end is End.BROKE:
            error = StepError("df.break() outside of a loop", "22023")
        self._out.append(FinishInstance(InstanceStatus.FAILED, error=error))

    def _taken(self) -> list[Action]:
        taken, self._out = self._out, []
        return taken


def _ancestors(activation: Activation) -> list[Activation]:
    found: list[Activation] = []
    parent = activation.parent
    while parent is not None:
        found.append(parent)
        parent = parent.parent
    return found
