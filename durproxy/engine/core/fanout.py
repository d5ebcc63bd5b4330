"""JOIN and MAP: branches side by side that all have their say.

JOIN stores nothing. It waits for all branches; then the lowest that did not succeed decides.

    MAP's frame:  (none) -open-> OPEN -close-> DONE [results] | FAILED

MAP's source is its condition: its rows, exact, are the items, and stand in its checkpoint. Item k
runs the body at path :k, so many at a time, the lowest first. A failed item is a result while no
more than the tolerated number fail; one more closes the frame, and the rest is ended.
"""

from __future__ import annotations

import json

from durproxy.engine.core.actions import CloseFrame, Event, FrameOpened, OpenFrame
from durproxy.engine.core.activation import Activation, End, Outcome, ended_together
from durproxy.engine.core.handling import error_result
from durproxy.engine.core.owed import merged
from durproxy.engine.core.paths import item_number, item_path
from durproxy.engine.core.states import CheckpointStatus, StepError, StepResult
from durproxy.engine.core.unwinding import Unwinding, after_unwinding

ITEM = "item"  # the name that a map's body sees
MAX_ITEMS = 10_000


class Join(Activation):
    """JOIN: all branches at once."""

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
        if any(outcome.end is End.ENDED for outcome in finished):
            return ended_together(finished)
        made: dict[str, StepResult] = {}
        for outcome in finished:
            made.update(outcome.made)
        owed = merged(outcome.owed for outcome in finished)
        stopped = [outcome for outcome in finished if outcome.end is not End.DONE]
        if stopped:
            first = stopped[0]
            error = _with_others(first.error, stopped[1:])
            return Outcome(first.end, first.result, error, first.stored_at, made, owed)
        texts = (outcome.result.text or "null" for outcome in finished)
        return Outcome(End.DONE, StepResult(f"[{','.join(texts)}]"), made=made, owed=owed)


def _with_others(error: StepError | None, others: list[Outcome]) -> StepError | None:
    """The error of the branch that decides, and in its detail what else failed."""
    for other in others:
        if error is not None and other.error is not None:
            error = error.also(other.error.told(f"Node {other.error.node} failed, too"))
    return error


class Map(Activation):
    """MAP: the body once for each row of the source."""

    __slots__ = ("failed", "finished", "items", "outcomes", "reached", "source", "under_way")

    def begin(self) -> Outcome | None:
        self.source: Outcome | None = None
        self.finished: Outcome | None = None
        self.items: list[StepResult] = []
        self.outcomes: dict[int, Outcome] = {}
        self.reached = self.under_way = self.failed = 0
        stored = self.checkpoint()
        if stored is None:
            return self.ask(OpenFrame(self.key, self.scopes, self.node))
        if stored.status is CheckpointStatus.DONE:
            return self.stored_outcome()
        if stored.status is CheckpointStatus.FAILED:
            self.finished = Outcome(End.FAILED, error=stored.error)
        return self._begin_source()

    def told(self, event: Event) -> Outcome | None:
        return self._begin_source() if isinstance(event, FrameOpened) else self._closed()

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        if isinstance(child, Unwinding):
            assert self.finished is not None
            return after_unwinding(self.finished, outcome)
        if self.source is None:
            return self._after_source(outcome)
        self.under_way -= 1
        self._took(item_number(self.key.path, child.key.path), outcome)
        return self._go_on()

    def _begin_source(self) -> Outcome | None:
        assert self.node.condition is not None
        outcome = self.execution.begin(
            self.node.condition, self, self.key.path, self.inner_scopes(), self.environment
        )
        return None if outcome is None else self._after_source(outcome)

    def _after_source(self, outcome: Outcome) -> Outcome | None:
        if outcome.end is not End.DONE:
            return outcome
        self.source = outcome
        rows, types = outcome.result.exact or (), outcome.result.types
        self.items = [StepResult(None, types, (row,)) for row in rows]
        if self.finished is not None:
            return self._closed()
        if len(rows) > MAX_ITEMS:
            message = f"df.map() has {len(rows)} items, more than the {MAX_ITEMS} that it can take"
            return self._fail(StepError(message, "54000", node=self.key.node))
        return self._go_on()

    def _seen_by(self, number: int) -> dict[str, StepResult]:
        assert self.source is not None
        return {**self.environment, **self.source.made, ITEM: self.items[number]}

    def _go_on(self) -> Outcome | None:
        most = len(self.items) if self.ending else int(self.node.config["max_concurrency"])
        while self.under_way < most and self.reached < len(self.items) and not self._is_over():
            number = self.reached
            self.reached += 1
            outcome = self.execution.begin(
                self.node.branches[0],
                self,
                item_path(self.key.path, number),
                self.inner_scopes(),
                self._seen_by(number),
            )
            if outcome is None:
                self.under_way += 1
            else:
                self._took(number, outcome)
        if self._is_over():
            return self._fail(self._too_many())
        if len(self.outcomes) < len(self.items):
            return None
        return ended_together(self.outcomes.values()) if self.ending else self._done()

    def _took(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome
        self.failed += outcome.end is End.FAILED

    def _is_over(self) -> bool:
        return not self.ending and self.failed > int(self.node.config["tolerate"])

    def _too_many(self) -> StepError:
        number, error = next(
            (number, outcome.error)
            for number, outcome in reversed(self.outcomes.items())
            if outcome.end is End.FAILED
        )
        assert error is not None
        return error.also(f"Item {number + 1} of {len(self.items)}, {self.failed} have failed.")

    def _fail(self, error: StepError) -> Outcome | None:
        self.execution.abandon_below(self)
        self.finished = Outcome(End.FAILED, error=error)
        return self.ask(CloseFrame(self.key, self.inner_scopes(), error=error))

    def _done(self) -> Outcome | None:
        texts = (_item_text(self.outcomes[number]) for number in range(len(self.items)))
        result = StepResult(f"[{','.join(texts)}]")
        made = {} if self.source is None else self.source.made
        self.finished = Outcome(End.DONE, result, stored_at=self.key, made=made)
        return self.ask(CloseFrame(self.key, self.inner_scopes(), result, names=made))

    def _closed(self) -> Outcome | None:
        """The frame is closed; what the items owe that were ended comes first."""
        assert self.finished is not None
        body = self.node.branches[0]
        if self.finished.end is End.DONE or not body.owes:
            return self.finished
        ended = [
            (body, item_path(self.key.path, number), self._seen_by(number))
            for number in range(len(self.items))
        ]
        unwound = self.execution.enter(Unwinding(self, ended))
        return None if unwound is None else after_unwinding(self.finished, unwound)


def _item_text(outcome: Outcome) -> str:
    if outcome.error is None:
        return outcome.result.text or "null"
    return json.dumps({"error": json.loads(error_result(outcome.error).text or "null")})
