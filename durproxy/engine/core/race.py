"""RACE and ANY: branches side by side, and one end for all, which closes their frame once.

    frame:  (none) -open-> OPEN -close-> DONE {"winner": i}
                                         FAILED {"winner": i}      RACE: the first to finish failed
                                         FAILED {"winner": null}   ANY: all have failed

Only the winner's branch counts; it is walked again by its rows after a restart. What the losers
owe is done before the node finishes; when some of that fails for good, so does the node.
"""

from __future__ import annotations

import json

from durproxy.engine.core.actions import (
    CloseFrame,
    ClosesRace,
    Decision,
    Event,
    FrameOpened,
    OpenFrame,
)
from durproxy.engine.core.activation import Activation, End, Outcome, ended_together, one_error
from durproxy.engine.core.owed import merged
from durproxy.engine.core.states import Checkpoint, CheckpointStatus, StepResult
from durproxy.engine.core.unwinding import Unwinding, after_unwinding


class Race(Activation):
    """RACE: the first branch to finish decides, whether it succeeds, fails or breaks."""

    __slots__ = ("decided", "outcomes", "winner")

    def begin(self) -> Outcome | None:
        self.decided: Outcome | None = None
        self.winner: int | None = None
        self.outcomes: dict[int, Outcome] = {}  # of branches that finished without deciding
        stored = self.checkpoint()
        if stored is None:
            return self.ask(OpenFrame(self.key, self.scopes, self.node))
        if stored.status is CheckpointStatus.OPEN:
            return self._start()
        return self._decided_before(stored)

    def told(self, event: Event) -> Outcome | None:
        return self._start() if isinstance(event, FrameOpened) else self._closed()

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        if isinstance(child, Unwinding):
            return self._unwound(outcome)
        index = self.node.branches.index(child.node)
        if self.execution.was_decided(self.key):
            self.execution.abandon_below(self)
            self.winner, self.decided = index, outcome
            return self._closed()
        return self._finished(index, outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        return ClosesRace(self.node.branches.index(child.node))

    def decides(self, outcome: Outcome) -> bool:
        """Whether a branch that ends so ends the others."""
        return True

    def _start(self) -> Outcome | None:
        for index in range(len(self.node.branches)):
            begun = self._begin_branch(index)
            if begun is not None:  # stored already, only the decision is missing
                outcome = self._finished(index, begun)
                if outcome is not None or self.decided is not None:
                    return outcome
        return None

    def _begin_branch(self, index: int) -> Outcome | None:
        return self.execution.begin(
            self.node.branches[index],
            self,
            self.key.path,
            self.inner_scopes(),
            dict(self.environment),
        )

    def _finished(self, index: int, outcome: Outcome) -> Outcome | None:
        if not self.ending and self.decides(outcome):
            return self._close(index, outcome)
        self.outcomes[index] = outcome
        if len(self.outcomes) < len(self.node.branches):
            return None
        return ended_together(self.outcomes.values()) if self.ending else self._undecided()

    def _undecided(self) -> Outcome | None:
        raise AssertionError("the first branch to finish decides a race")

    def _close(self, winner: int | None, outcome: Outcome) -> Outcome | None:
        self.execution.abandon_below(self)
        self.winner, self.decided = winner, outcome
        error = outcome.error if outcome.end is End.FAILED else None
        result = StepResult(race_result(winner))
        return self.ask(CloseFrame(self.key, self.inner_scopes(), result, error))

    def _decided_before(self, stored: Checkpoint) -> Outcome | None:
        self.winner = json.loads(stored.result.text or "{}").get("winner")
        if self.winner is None:
            found = (self._begin_branch(index) for index in range(len(self.node.branches)))
            owed = merged(outcome.owed for outcome in found if outcome is not None)
            return Outcome(End.FAILED, error=stored.error, owed=owed)
        self.decided = self._begin_branch(self.winner)
        return self._closed()

    def _closed(self) -> Outcome | None:
        """The decision stands; what the losers owe comes first."""
        if self.winner is None:
            return self.decided
        losers = [
            (branch, self.key.path, dict(self.environment))
            for index, branch in enumerate(self.node.branches)
            if index != self.winner and branch.owes
        ]
        if not losers:
            return self.decided
        unwound = self.execution.enter(Unwinding(self, losers))
        return None if unwound is None else self._unwound(unwound)

    def _unwound(self, unwound: Outcome) -> Outcome:
        assert self.decided is not None
        return after_unwinding(self.decided, unwound)


class AnyOf(Race):
    """ANY: the first success decides; it fails when all branches have failed."""

    __slots__ = ()

    def decides(self, outcome: Outcome) -> bool:
        return outcome.end is End.DONE

    def _undecided(self) -> Outcome | None:
        failed = [self.outcomes[index] for index in sorted(self.outcomes)]
        error = one_error([outcome.error for outcome in reversed(failed) if outcome.error])
        owed = merged(outcome.owed for outcome in failed)
        return self._close(None, Outcome(End.FAILED, error=error, owed=owed))


def race_result(winner: int | None) -> str:
    """What a decided frame holds."""
    return json.dumps({"winner": winner}, separators=(",", ":"))
