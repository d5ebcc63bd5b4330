"""advance(event) → actions: one instance's execution, from its graph and its checkpoints.

The shell loads an instance, calls `start()` for the first actions, performs them, and feeds what
happened to `advance()`. There is no replay of user code and no rule for users to break: the state
is the tree of activations, and it is rebuilt from the checkpoints by starting again.

The cost of an event does not depend on how long the workflow is: it walks from the activation
that was answered up to the first ancestor that is not finished.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
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
from durproxy.engine.core.attempts import Retry
from durproxy.engine.core.composites import Branch, Sequence
from durproxy.engine.core.fanout import Join, Map
from durproxy.engine.core.graph import Graph, Node, NodeType, Use
from durproxy.engine.core.handling import Catch, Timeout
from durproxy.engine.core.leaves import (
    Break,
    Condition,
    Signal,
    Sleep,
    SleepUntil,
    Step,
    WaitSchedule,
)
from durproxy.engine.core.loop import Loop
from durproxy.engine.core.paths import attempts_in
from durproxy.engine.core.race import AnyOf, Race
from durproxy.engine.core.states import (
    Checkpoint,
    InstanceStatus,
    Key,
    StepError,
    StepResult,
)
from durproxy.engine.core.unwinding import Compensate, Finally, Instance, Saga

_CLASSES: dict[NodeType, type[Activation]] = {
    NodeType.SQL: Step,
    NodeType.HTTP: Step,
    NodeType.HTTP_MULTIPART: Step,
    NodeType.THEN: Sequence,
    NodeType.IF: Branch,
    NodeType.JOIN: Join,
    NodeType.RACE: Race,
    NodeType.ANY: AnyOf,
    NodeType.LOOP: Loop,
    NodeType.MAP: Map,
    NodeType.BREAK: Break,
    NodeType.RETRY: Retry,
    NodeType.TIMEOUT: Timeout,
    NodeType.CATCH: Catch,
    NodeType.FINALLY: Finally,
    NodeType.COMPENSATE: Compensate,
    NodeType.SAGA: Saga,
    NodeType.TRANSACTION: Step,
    NodeType.SLEEP: Sleep,
    NodeType.SLEEP_UNTIL: SleepUntil,
    NodeType.WAIT_CONDITION: Condition,
    NodeType.WAIT_SCHEDULE: WaitSchedule,
    NodeType.SIGNAL: Signal,
}

_FOR_THE_WHOLE = (Abandon, FinishInstance)


class Execution:
    """The state of one instance in a worker's memory.

    `ending`: it was cancelled, for that reason, and only what it owes still runs.
    """

    def __init__(
        self,
        graph: Graph,
        checkpoints: Mapping[Key, Checkpoint],
        variables: Mapping[str, str] | None = None,
        ending: StepError | None = None,
    ) -> None:
        self.graph = graph
        self.variables = variables or {}
        self.checkpoints = checkpoints
        self.is_replaying = False  # `checkpoints` are all rows, as they are now
        self.seen_at = ""  # of the row that was taken over last
        self._ending = ending
        self._stamps = 0
        self._attempts: dict[str, list[int]] | None = None  # which nodes have rows in which
        self.waits = (
            0  # timers and signals so far: tells a loop round that waited from one that spun
        )
        self.finished = False
        self._live: dict[Key, tuple[Activation, Action]] = {}
        self._out: list[Action] = []
        self._decided: set[Key] = set()

    # --- for the shell ---

    def start(self) -> list[Action]:
        """The first actions, given what is stored."""
        rows, self.checkpoints = self.checkpoints, {}  # all of it is taken over here
        ending = self._ending is not None
        with self.replaying(rows):
            outcome = Instance(self, self.graph.root, None, "", (), {}, ending=ending).begin()
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
                self._decided.add(
                    next(a.key for a in _ancestors(activation) if isinstance(a, Race | Timeout))
                )
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
        parent: Activation,
        path: str,
        scopes: Scopes,
        environment: dict[str, StepResult],
        *,
        ending: bool | None = None,
    ) -> Outcome | None:
        """Begin `node`; its outcome when that is known at once. It is ending as its parent is."""
        if ending is None:
            ending = parent.ending
        return self.enter(
            _CLASSES[node.type](self, node, parent, path, scopes, environment, ending=ending)
        )

    def enter(self, activation: Activation) -> Outcome | None:
        """The same for an activation that is made already."""
        outcome = activation.begin()
        return None if outcome is None else self._named(activation, outcome)

    @contextmanager
    def replaying(self, rows: Mapping[Key, Checkpoint]) -> Iterator[None]:
        """What begins inside takes over these rows."""
        before = self.checkpoints, self.is_replaying
        self.checkpoints, self.is_replaying, self._attempts = rows, True, None
        try:
            yield
        finally:
            self.checkpoints, self.is_replaying = before
            self._attempts = None

    def has_rows(self, node: Node, path: str) -> bool:
        """Whether anything is stored of a subtree in the attempt that `path` ends with."""
        if self._attempts is None:
            self._attempts = attempts_in(self.checkpoints)
        nodes = self._attempts.get(path, ())
        first = bisect_left(nodes, node.number)
        return first < len(nodes) and nodes[first] <= node.last

    def stamp(self) -> str:
        """When something completed: as stored, or now, which is after all that is stored."""
        if self.is_replaying:
            return self.seen_at
        self._stamps += 1
        return f"~{self._stamps:012}"

    def ask(self, activation: Activation, action: Action) -> None:
        self._live[activation.key] = (activation, action)
        self._out.append(action)

    def was_decided(self, scope: Key) -> bool:
        """Whether a step's commit has closed that race."""
        return scope in self._decided

    def abandon_below(self, scope: Activation) -> None:
        """Drop all that is still under way inside a scope that has been decided."""
        self._drop(
            [key for key, (activation, _) in self._live.items() if scope in _ancestors(activation)]
        )

    def retract(self, activation: Activation) -> None:
        """Drop what the activation itself has asked for."""
        if activation.key in self._live:
            self._drop([activation.key])

    def _drop(self, keys: Collection[Key]) -> None:
        for key in keys:
            del self._live[key]
        asked = {action.key for action in self._out if not isinstance(action, _FOR_THE_WHOLE)}
        self._out = [a for a in self._out if isinstance(a, _FOR_THE_WHOLE) or a.key not in keys]
        known = tuple(key for key in keys if key not in asked)
        if known:
            self._out.append(Abandon(known))

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
        node = activation.node
        if outcome.end is End.DONE and node.use is not Use.NOBODY and activation.binds_names:
            for name in node.names:
                outcome.made = {**outcome.made, name: outcome.result}
        return outcome

    def _finish(self, outcome: Outcome) -> None:
        self.finished = True
        if outcome.end is End.DONE and self._ending is None:
            stored_at = outcome.stored_at if outcome.result.text is None else None
            self._out.append(
                FinishInstance(InstanceStatus.COMPLETED, outcome.result.text, stored_at)
            )
            return
        if self._ending is None:
            self._out.append(FinishInstance(InstanceStatus.FAILED, error=outcome.error))
            return
        error = self._ending
        if outcome.error is not None:
            error = error.also(outcome.error.told("Unwinding failed"))
        self._out.append(FinishInstance(InstanceStatus.CANCELLED, error=error))

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
