"""What the core asks for (imperative) and what it is told (past tense).

Every action is for one activation, its `key`; `scopes` are the open frames around it, outermost
first, that the write must hold. The shell answers each action with exactly one event, unless the
activation was abandoned or the instance is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from durproxy.engine.core.graph import Node
from durproxy.engine.core.states import InstanceStatus, Key, Scope, StepError, StepResult

Scopes = tuple[Scope, ...]
Environment = Mapping[str, StepResult]


@dataclass(frozen=True, slots=True)
class EndsInstance:
    """A step's success completes the instance, with the step's own result."""


@dataclass(frozen=True, slots=True)
class ClosesRace:
    """A step's success wins the innermost race around it."""

    winner: int


Decision = EndsInstance | ClosesRace | None


# --- actions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunStep:
    """Run the SQL of `node`, or make its HTTP call; what its success decides commits with it."""

    key: Key
    scopes: Scopes
    node: Node
    environment: Environment
    decides: Decision


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """Write a failure that needed no step (a value missing in a BREAK, an impossible branch)."""

    key: Key
    scopes: Scopes
    error: StepError


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """Insert the frame of a scope or wait.

    `delay`, or the next match of the cron expression `schedule`, fixes its due time by the
    database's clock.
    """

    key: Key
    scopes: Scopes
    node: Node
    delay: timedelta | None = None
    signal: str | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """End a scope with its outcome; `scopes` ends with the frame itself."""

    key: Key
    scopes: Scopes
    result: StepResult | None = None
    error: StepError | None = None
    names: Mapping[str, StepResult] | None = None


@dataclass(frozen=True, slots=True)
class NextRound:
    """Raise a loop's round, delete the finished round's rows, keep the names still read.

    `paced`: the loop is endless and the round waited for nothing, so it must not spin.
    `result`: of the finished round, when the loop is the whole graph and its rounds are kept.
    """

    key: Key
    scopes: Scopes
    names: Mapping[str, StepResult]
    paced: bool
    result: str | None = None


@dataclass(frozen=True, slots=True)
class WaitTimer:
    """Close the frame of a sleep or schedule once it is due."""

    key: Key
    scopes: Scopes
    due: datetime
    result: str


@dataclass(frozen=True, slots=True)
class WaitSignal:
    """Take the oldest message of that name; at `due` give up, which is a result too."""

    key: Key
    scopes: Scopes
    signal: str
    due: datetime | None


@dataclass(frozen=True, slots=True)
class FinishInstance:
    """Write the final status. The result is `result`, or that of the checkpoint `result_of`."""

    status: InstanceStatus
    result: str | None = None
    result_of: Key | None = None
    error: StepError | None = None


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop working on these activations: their scope has been decided."""

    keys: tuple[Key, ...]


Action = (
    RunStep
    | RecordFailure
    | OpenFrame
    | CloseFrame
    | NextRound
    | WaitTimer
    | WaitSignal
    | FinishInstance
    | Abandon
)


# --- events ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepCompleted:
    """RunStep or a wait has committed its outcome, and what it decided with it."""

    key: Key
    result: StepResult


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The failure of RunStep, RecordFailure or OpenFrame has been committed."""

    key: Key
    error: StepError


@dataclass(frozen=True, slots=True)
class FrameOpened:
    """The frame is there, with the due time that counts."""

    key: Key
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class FrameClosed:
    """CloseFrame has committed."""

    key: Key


@dataclass(frozen=True, slots=True)
class RoundAdvanced:
    """NextRound has committed."""

    key: Key


Event = StepCompleted | StepFailed | FrameOpened | FrameClosed | RoundAdvanced
