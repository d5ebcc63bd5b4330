"""RETRY, and attempts in general: once more after a failure, with durable pauses.

    frame:  (none)            the first attempt is under way, or it has succeeded
            -open-> OPEN(1)   attempt 1 (the second) begins at its due time, …
            -next-> OPEN(k)   … and attempt k

Attempt k lies at path ~k, under the frame as it counts k; the first one needs no frame, since
nothing can end it but what stands around it. Opening and advancing delete the failed attempt's
rows in the same commit, so its keys are free and a late write of it is refused. The frame stays
open: that an attempt has succeeded, or that it was the last, follows from its rows.

A pause is fixed in the frame, with its random part; after a restart it is what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from durproxy.engine.core.actions import AttemptOpened, Decision, Event, OpenAttempt, WaitDue
from durproxy.engine.core.activation import Activation, End, Outcome
from durproxy.engine.core.graph import Node
from durproxy.engine.core.paths import attempt_path
from durproxy.engine.core.states import StepError

# what is worth another attempt when the user does not say
TRANSIENT = ("08", "40", "53", "57P0x", "55P03", "http_5xx", "network", "timeout")

_CLASSES = {
    "WF020": "http_5xx",
    "WF021": "timeout",
    "WF022": "network",
    "WF024": "http_429",
    "57014": "timeout",
}
_LONGEST_PAUSE = 366 * 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class Policy:
    """How often, how long between, and after which failures; None: after any."""

    max_attempts: int
    backoff: float
    factor: float
    max_backoff: float
    jitter: bool
    retry_on: tuple[str, ...] | None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Policy:
        """What a RETRY node says."""
        retry_on = config["retry_on"]
        return cls(
            int(config["max_attempts"]),
            float(config["backoff"]),
            float(config["factor"]),
            float(config["max_backoff"]),
            bool(config["jitter"]),
            TRANSIENT if retry_on is None else tuple(map(str, retry_on)),
        )

    def allows(self, failed: int, error: StepError) -> bool:
        """Whether another attempt follows attempt number `failed`."""
        if failed + 1 >= self.max_attempts:
            return False
        return self.retry_on is None or any(is_of(error, entry) for entry in self.retry_on)

    def pause(self, failed: int, error: StepError) -> float:
        """Seconds until the next attempt, before jitter; a server may have asked for more."""
        try:
            pause = self.backoff * self.factor**failed
        except OverflowError:
            pause = self.max_backoff
        return min(max(min(pause, self.max_backoff), error.retry_after or 0.0), _LONGEST_PAUSE)


UNDO = Policy(5, 1.0, 2.0, 300.0, jitter=True, retry_on=None)


def is_of(error: StepError, entry: str) -> bool:
    """Whether an error is of a SQLSTATE, a class of them (x stands for any end), or a name."""
    if _CLASSES.get(error.sqlstate) == entry:
        return True
    return error.sqlstate.startswith(entry.rstrip("x"))


class Attempts(Activation):
    """Attempts of `body`, their frame at the activation's own key."""

    __slots__ = ("attempt", "body", "policy")

    body: Node
    policy: Policy

    def begin(self) -> Outcome | None:
        frame = self.checkpoint()
        self.attempt = frame.round if frame is not None else 0
        if frame is not None and not self.execution.has_rows(self.body, self._path()):
            assert frame.due is not None
            return self._pause(frame.due)
        return self._try()

    def told(self, event: Event) -> Outcome | None:
        if isinstance(event, AttemptOpened):
            self.attempt += 1
            return self._pause(event.due)
        return self._try()

    def resume(self, child: Activation, outcome: Outcome) -> Outcome | None:
        return self._after(outcome)

    def passes_up(self, child: Activation) -> Decision | bool:
        # a step can decide the end of its innermost frame, and later attempts have one of their own
        return self.attempt == 0

    def given_up(self, error: StepError) -> StepError:
        """What the last attempt's error says outside."""
        raise NotImplementedError

    def _path(self) -> str:
        return attempt_path(self.key.path, self.attempt)

    def _pause(self, due: datetime) -> Outcome | None:
        self.execution.waits += 1
        return self.ask(WaitDue(self.key, due))

    def _try(self) -> Outcome | None:
        scopes = self.inner_scopes(self.attempt) if self.attempt else self.scopes
        environment = dict(self.environment)
        outcome = self.execution.begin(self.body, self, self._path(), scopes, environment)
        return None if outcome is None else self._after(outcome)

    def _after(self, outcome: Outcome) -> Outcome | None:
        if outcome.end is not End.FAILED:
            return outcome
        assert outcome.error is not None
        if not self.policy.allows(self.attempt, outcome.error):
            outcome.error = self.given_up(outcome.error)
            return outcome
        pause = self.policy.pause(self.attempt, outcome.error)
        return self.ask(
            OpenAttempt(
                self.key,
                self.scopes,
                self.node,
                self.attempt,
                pause,
                self.policy.jitter,
                outcome.error,
            )
        )


class Retry(Attempts):
    """RETRY: the node again, after the failures that the policy names."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        self.body = self.node.branches[0]
        self.policy = Policy.of(self.node.config)
        return super().begin()

    def given_up(self, error: StepError) -> StepError:
        return error.with_attempt(self.attempt + 1)
