"""Unwinding: FINALLY, COMPENSATE, SAGA, and doing what is owed when something ends or fails.

What is owed, and by what rows:
    a cleanup   of a FINALLY whose frame is there and whose cleanup has no outcome
    an undo     of a COMPENSATE whose body is done, unless a SAGA around it has completed
Both lie at the node's path + `!`, whoever runs them; so what was begun in one place (a saga that
fails) goes on in another (the race around it is lost, the instance cancelled), and nothing of it
is done twice.

Who unwinds, and when it is over before it finishes:
    FINALLY         its own cleanup, however its body finished
    SAGA            its body has failed or was ended: the undos registered in it
    RACE, ANY       what their losers owe; TIMEOUT when it fires and MAP when it fails: all inside
    the instance    it fails or is cancelled: all that is left

    Unwinding:  LOADING      what has ended is walked by its rows as they are now …
                CLEANING     … which lets its cleanups run, and hands up its undos
                UNDOING(i)   one after the other, the last completed first, each in attempts
                over         with the errors of those that failed for good

Invariants:
- It runs under the scopes outside of what has ended, so whatever ended cannot stop it, and what
  stands around it can: that then takes it over.
- An undo that fails for good does not stop the others.
- Undos inside an undo are refused when an instance starts; those of a cleanup count as the body's.
"""

from __future__ import annotations

from collections.abc import Mapping

from durproxy.engine.core.actions import (
    Decision,
    EndsInstance,
    Event,
    LoadRows,
    OpenFrame,
    RowsLoaded,
)
from durproxy.engine.core.activation import Activation, End, Outcome, ended_together, one_error
from durproxy.engine.core.attempts import UNDO, Attempts
from durproxy.engine.core.graph import Node
from durproxy.engine.core.owed import Owed
from durproxy.engine.core.paths import unwinding_path
from durproxy.engine.core.states import Checkpoint, Key, StepError, StepResult

Ended = tuple[Node, str, dict[str, StepResult]]  # a subtree, its path, the names at its beginning


class Finally(Activation):
    """FINALLY: body, then cleanup; its frame says that the cleanup is owed from now on."""

    __slots__ = ("body",)

    def begin(self) -> Outcome | None:
        self.body: Outcome | None = None
        if self.checkpoint() is None:
            return self.ask(OpenFrame(self.key, self.scopes, self.node))
        return self._begin_body()

    def told(self, event: Event) -> Outcome | None:
        return self._begin_body()

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._cleaned(outcome) if self.body else self._after_body(outcome)

    def _begin_body(self) -> Outcome | None:
        outcome = self.execution.begin(
            self.node.branches[0], self, self.key.path, self.scopes, self.environment
        )
        return None if outcome is None else self._after_body(outcome)

    def _after_body(self, outcome: Outcome) -> Outcome | None:
        self.body = outcome
        cleaned = self.execution.begin(
            self.node.branches[1],
            self,
            unwinding_path(self.key.path),
            self.scopes,
            {**self.environment, **outcome.made},
            ending=False,
        )
        return None if cleaned is None else self._cleaned(cleaned)

    def _cleaned(self, cleaned: Outcome) -> Outcome:
        body = self.body
        assert body is not None
        body.owed += cleaned.owed
        if cleaned.end is not End.FAILED:
            return body
        assert cleaned.error is not None
        if body.end is End.ENDED:
            return Outcome(End.ENDED, error=cleaned.error, made=body.made, owed=body.owed)
        error = cleaned.error
        if body.error is not None:
            error = body.error.also(cleaned.error.told("The cleanup failed, too"))
        return Outcome(End.FAILED, error=error, made=body.made, owed=body.owed)


class Compensate(Activation):
    """COMPENSATE: a body that registers its undo when it is done."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        outcome = self.execution.begin(
            self.node.branches[0], self, self.key.path, self.scopes, self.environment
        )
        return None if outcome is None else self._registered(outcome)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._registered(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return True

    def _registered(self, outcome: Outcome) -> Outcome:
        if outcome.end is End.DONE:
            own = dict.fromkeys(self.node.names, outcome.result)
            names = {**self.environment, **outcome.made, **own}
            owed = Owed(self.node, self.key.path, names, self.execution.stamp())
            outcome.owed = (*outcome.owed, owed)
        return outcome


class Saga(Activation):
    """SAGA: done, its undos are dropped; failed or ended, they run before it finishes."""

    __slots__ = ("body",)

    def begin(self) -> Outcome | None:
        outcome = self.execution.begin(
            self.node.branches[0], self, self.key.path, self.scopes, self.environment
        )
        return None if outcome is None else self._after_body(outcome)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        if isinstance(child, Unwinding):
            return after_unwinding(self.body, outcome)
        return self._after_body(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return True

    def _after_body(self, outcome: Outcome) -> Outcome | None:
        owed, outcome.owed = outcome.owed, ()
        if not owed or outcome.end in (End.DONE, End.BROKE):
            return outcome
        self.body = outcome
        unwound = self.execution.enter(Unwinding(self, [], owed))
        return None if unwound is None else after_unwinding(outcome, unwound)


class Instance(Activation):
    """What stands around the graph's root: the instance's own end unwinds, too."""

    __slots__ = ("root",)

    binds_names = False

    def begin(self) -> Outcome | None:
        outcome = self.execution.begin(self.node, self, "", (), {})
        return None if outcome is None else self._after_root(outcome)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        if isinstance(child, Unwinding):
            return after_unwinding(self.root, outcome)
        return self._after_root(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return EndsInstance()

    def _after_root(self, outcome: Outcome) -> Outcome | None:
        if outcome.end is End.BROKE:
            error = StepError("df.break() outside of a loop", "22023")
            outcome = Outcome(End.FAILED, error=error, owed=outcome.owed)
        if self.ending:
            outcome = Outcome(End.ENDED, error=outcome.error, owed=outcome.owed)
        if outcome.end is End.DONE or not outcome.owed:
            return outcome
        self.root = outcome
        unwound = self.execution.enter(Unwinding(self, [], outcome.owed))
        return None if unwound is None else after_unwinding(outcome, unwound)


class Unwinding(Activation):
    """The cleanups of what has ended, then the undos; finished with the errors of what failed."""

    __slots__ = ("errors", "finished", "owed", "rows", "todo")

    binds_names = False

    def __init__(self, parent: Activation, ended: list[Ended], owed: tuple[Owed, ...] = ()) -> None:
        super().__init__(
            parent.execution,
            parent.node,
            parent,
            parent.key.path,
            parent.scopes,
            parent.environment,
        )
        self.errors: list[StepError] = []
        self.finished: dict[Key, Outcome | None] = {}
        self.owed = list(owed)
        self.todo = ended
        self.rows: Mapping[Key, Checkpoint] = {}

    def begin(self) -> Outcome | None:
        if not self.todo:
            self.rows = self.execution.checkpoints
            return self._undo_all()
        if self.execution.is_replaying:
            return self._walk()
        return self.ask(LoadRows(self.key))

    def told(self, event: Event) -> Outcome | None:
        assert isinstance(event, RowsLoaded)
        with self.execution.replaying(event.rows):
            return self._walk()

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        if isinstance(child, Undo):
            self._took(outcome)
            return self._undo_all()
        self.finished[child.key] = outcome
        return self._cleaned()

    def _walk(self) -> Outcome | None:
        self.rows = self.execution.checkpoints
        self.finished = {Key(node.number, path): None for node, path, _ in self.todo}
        for node, path, environment in self.todo:
            self.finished[Key(node.number, path)] = self.execution.begin(
                node, self, path, self.scopes, environment, ending=True
            )
        return self._cleaned()

    def _cleaned(self) -> Outcome | None:
        branches = [outcome for outcome in self.finished.values() if outcome is not None]
        if len(branches) < len(self.finished):
            return None
        together = ended_together(branches)
        if together.error is not None:
            self.errors.append(together.error)
        self.owed = list(together.owed)
        return self._undo_all()

    def _undo_all(self) -> Outcome | None:
        while self.owed:
            undo = Undo(self, self.owed.pop())
            with self.execution.replaying(self.rows):
                outcome = self.execution.enter(undo)
            if outcome is None:
                return None
            self._took(outcome)
        return Outcome(End.DONE, error=one_error(self.errors) if self.errors else None)

    def _took(self, outcome: Outcome) -> None:
        if outcome.end is End.FAILED and outcome.error is not None:
            self.errors.append(outcome.error)


class Undo(Attempts):
    """One undo, in attempts of its own; its frame is the COMPENSATE's, at the path of unwinding."""

    __slots__ = ()

    binds_names = False

    def __init__(self, parent: Unwinding, owed: Owed) -> None:
        path = unwinding_path(owed.path)
        super().__init__(
            parent.execution, owed.node, parent, path, parent.scopes, dict(owed.environment)
        )
        self.body = owed.node.branches[1]
        self.policy = UNDO

    def given_up(self, error: StepError) -> StepError:
        number = self.node.number
        return error.also(f"It is the undo of node {number}, tried {self.attempt + 1} times.")


def after_unwinding(outcome: Outcome, unwound: Outcome) -> Outcome:
    """How a node finishes once what was owed has been done: what failed of that fails the node."""
    error = unwound.error
    if error is None:
        return outcome
    if outcome.error is not None:
        error = outcome.error.also(error.told("Unwinding failed, too"))
    end = End.ENDED if outcome.end is End.ENDED else End.FAILED
    return Outcome(end, error=error, made=outcome.made, owed=outcome.owed)
