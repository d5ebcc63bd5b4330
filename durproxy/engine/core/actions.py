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
from durproxy.engine.core.states import (
    Checkpoint,
    InstanceStatus,
    Key,
    Scope,
    StepError,
    StepResult,
)

Scopes = tuple[Scope, ...]
Environment = Mapping[str, StepResult]


@dataclass(frozen=True, slots=True)
class EndsInstance:
    """A step's success completes the instance, with the step's own result."""


@dataclass(frozen=True, slots=True)
class ClosesRace:
    """A step's success decides the innermost RACE, ANY or TIMEOUT around it."""

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

    One of these fixes its due time by the database's clock: `delay`, a `duration` (which may have
    months), the time `until`, or the next match of the cron expression `schedule` in the time
    zone `zone` (None: UTC).
    """

    key: Key
    scopes: Scopes
    node: Node
    delay: timedelta | None = None
    signal: str | None = None
    schedule: str | None = None
    zone: str | None = None
    duration: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """Attempt number `failed` is over: delete its rows, and fix when the next one begins.

    That is after `delay` seconds by the database's clock; with `jitter` a random part of it, at
    least half. The first time this inserts the frame, then it counts on.
    """

    key: Key
    scopes: Scopes
    node: Node
    failed: int
    delay: float
    jitter: bool
    error: StepError


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
class WaitDue:
    """Nothing is written when the time has come: an attempt begins."""

    key: Key
    due: datetime


@dataclass(frozen=True, slots=True)
class WaitDeadline:
    """Fail the open frame of a TIMEOUT once it is due; what runs inside stops."""

    key: Key
    scopes: Scopes
    due: datetime
    error: StepError


@dataclass(frozen=True, slots=True)
class WaitCondition:
    """Ask `query` every so many seconds, read only, until its result is true; then close."""

    key: Key
    scopes: Scopes
    query: str
    environment: Environment
    every: float
    result: str


@dataclass(frozen=True, slots=True)
class LoadRows:
    """Read all rows of the instance: what has ended is to be walked by what is stored."""

    key: Key


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
    | OpenAttempt
    | CloseFrame
    | NextRound
    | WaitTimer
    | WaitSignal
    | WaitDue
    | WaitDeadline
    | WaitCondition
    | LoadRows
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
    """The failure of a step, a wait or RecordFailure has been committed."""

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


@dataclass(frozen=True, slots=True)
class AttemptOpened:
    """OpenAttempt has committed."""

    key: Key
    due: datetime


@dataclass(frozen=True, slots=True)
class DueReached:
    """The time of WaitDue has come."""

    key: Key


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """WaitDeadline has failed its frame."""

    key: Key


@dataclass(frozen=True, slots=True)
class RowsLoaded:
    """The rows as they are now; nothing that has ended can change them any more."""

    key: Key
    rows: Mapping[Key, Checkpoint]


Event = (
    StepCompleted
    | StepFailed
    | FrameOpened
    | FrameClosed
    | RoundAdvanced
    | AttemptOpened
    | DueReached
    | DeadlinePassed
    | RowsLoaded
)
