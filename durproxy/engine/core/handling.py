"""CATCH and TIMEOUT: a failure that is handled, and a time after which a node has failed.

CATCH stores nothing: that the body has failed, and how the handler goes on, follows from rows.

    TIMEOUT's frame:  (none) -open-> OPEN(due) -close-> DONE      by the body's last step, with it
                                               -expire-> FAILED   its time is over: 57014

An open frame whose body has finished otherwise says nothing: the body's outcome stands. Once the
frame has failed nothing inside can commit, and what is owed inside is done, in its own time,
before the node fails.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from durproxy.engine.core.actions import (
    ClosesRace,
    DeadlinePassed,
    Decision,
    Event,
    FrameOpened,
    OpenFrame,
    StepFailed,
    WaitDeadline,
)
from durproxy.engine.core.activation import Activation, End, Outcome
from durproxy.engine.core.graph import Node
from durproxy.engine.core.states import CheckpointStatus, StepError, StepResult
from durproxy.engine.core.unwinding import Unwinding, after_unwinding

ERROR = "error"  # the name that a handler sees
EXPIRED = "57014"


class Catch(Activation):
    """CATCH: a body; when it fails a handler, which sees why and what the body had bound."""

    __slots__ = ("body",)

    def begin(self) -> Outcome | None:
        self.body: Outcome | None = None
        outcome = self._begin(self.node.branches[0], self.environment)
        return None if outcome is None else self._after_body(outcome)

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._after_body(outcome) if self.body is None else self._handled(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return True

    def _begin(self, node: Node, environment: dict[str, StepResult]) -> Outcome | None:
        return self.execution.begin(node, self, self.key.path, self.scopes, environment)

    def _after_body(self, outcome: Outcome) -> Outcome | None:
        if outcome.end is not End.FAILED:
            return outcome
        assert outcome.error is not None
        self.body = outcome
        seen = {**self.environment, **outcome.made, ERROR: error_result(outcome.error)}
        handled = self._begin(self.node.branches[1], seen)
        return None if handled is None else self._handled(handled)

    def _handled(self, outcome: Outcome) -> Outcome:
        assert self.body is not None
        assert self.body.error is not None
        outcome.made = {**self.body.made, **outcome.made}
        outcome.owed = self.body.owed + outcome.owed
        if outcome.end is End.FAILED and outcome.error is not None:
            outcome.error = outcome.error.also(self.body.error.told("While handling"))
        return outcome


def error_result(error: StepError) -> StepResult:
    """What `$error` stands for."""
    return StepResult(
        json.dumps(
            {
                "message": error.message,
                "sqlstate": error.sqlstate,
                "node_id": None if error.node is None else f"{error.node:08x}",
                "attempt": error.attempt or 1,
            },
            ensure_ascii=False,
        )
    )


class Timeout(Activation):
    """TIMEOUT: a body that must finish in time."""

    __slots__ = ("expired",)

    def begin(self) -> Outcome | None:
        self.expired: Outcome | None = None
        stored = self.checkpoint()
        if stored is None:
            delay = timedelta(seconds=self.node.config["seconds"])
            return self.ask(OpenFrame(self.key, self.scopes, self.node, delay))
        if stored.status is CheckpointStatus.FAILED:
            return self._expired(stored.error or self._error())
        return self._run(stored.due)

    def told(self, event: Event) -> Outcome | None:
        if isinstance(event, FrameOpened):
            return self._run(event.due)
        if isinstance(event, StepFailed):  # there is no such time
            return self._expired(event.error)
        assert isinstance(event, DeadlinePassed)
        self.execution.abandon_below(self)
        return self._expired(self._error())

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        if isinstance(child, Unwinding):
            assert self.expired is not None
            return after_unwinding(self.expired, outcome)
        self.execution.retract(self)
        return outcome

    def passes_up(self, child: Activation) -> Decision | bool:
        return ClosesRace(0)

    def _run(self, due: datetime | None) -> Outcome | None:
        outcome = self.execution.begin(
            self.node.branches[0], self, self.key.path, self.inner_scopes(), self.environment
        )
        if outcome is None and not self.ending:
            assert due is not None
            self.ask(WaitDeadline(self.key, self.inner_scopes(), due, self._error()))
        return outcome

    def _error(self) -> StepError:
        message = f"timeout of {self.node.config['seconds']:g} s expired"
        return StepError(message, EXPIRED, node=self.key.node)

    def _expired(self, error: StepError) -> Outcome | None:
        self.expired = Outcome(End.FAILED, error=error)
        body = self.node.branches[0]
        if not body.owes:
            return self.expired
        ended = [(body, self.key.path, dict(self.environment))]
        unwound = self.execution.enter(Unwinding(self, ended))
        return None if unwound is None else after_unwinding(self.expired, unwound)
