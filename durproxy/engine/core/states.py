"""The stored states of instances and checkpoints, and the identities of both.

Every value here is what a row of the home schema holds; a test compares the enums with the CHECK
constraints.

    instance    pending -> running -> completed | failed | cancelled   (pending -> cancelled too)
    checkpoint  (none) -> done | failed            a step, written once
                (none) -> open -> done | failed    a frame: RACE, LOOP, SLEEP, WAIT_SCHEDULE, SIGNAL
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple


class InstanceStatus(Enum):
    """What df.status shows."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CheckpointStatus(Enum):
    """Status of one node's row."""

    OPEN = "o"
    DONE = "d"
    FAILED = "f"


class Key(NamedTuple):
    """One activation of a node: `path` has `.k` for the round k of each enclosing LOOP."""

    node: int
    path: str


class Scope(NamedTuple):
    """An open frame that a write holds: valid only while the frame is in this round."""

    node: int
    path: str
    round: int


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a node failed; stored as the checkpoint's error."""

    message: str
    sqlstate: str
    detail: str | None = None
    hint: str | None = None
    context: str | None = None
    node: int | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """A node's result.

    `text` is the JSON that users see, None when nobody here needs it; `types` and `exact` give
    back every value exactly: (column, SQL type) pairs and rows as Postgres's record text.
    """

    text: str | None = None
    types: tuple[tuple[str, str], ...] | None = None
    exact: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One row of df._checkpoints as a worker loads it."""

    status: CheckpointStatus
    result: StepResult = StepResult()
    error: StepError | None = None
    round: int = 0
    due: datetime | None = None
    names: dict[str, StepResult] | None = None
