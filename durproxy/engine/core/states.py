"""The stored states of instances and checkpoints, and the identities of both.

Every value here is what a row of the home schema holds; a test compares the enums with the CHECK
constraints.

    instance    pending -> running -> completed | failed | cancelled   (pending -> cancelled too)
    checkpoint  (none) -> done | failed            a step, written once
                (none) -> open -> done | failed    a scope or a wait
                (none) -> open                     RETRY, FINALLY: their end follows from others
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """One activation of a node; `paths` says what its path means."""

    node: int
    path: str


class Scope(NamedTuple):
    """An open frame that a write holds: valid only while the frame is in this round."""

    node: int
    path: str
    round: int


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a node failed; stored as the checkpoint's error.

    `attempt` counts from 1, where a RETRY gave up; `retry_after` is what a server has asked for.
    """

    message: str
    sqlstate: str
    detail: str | None = None
    hint: str | None = None
    context: str | None = None
    node: int | None = None
    attempt: int | None = None
    retry_after: float | None = None

    def also(self, sentence: str) -> StepError:
        """The same error; its detail tells more."""
        return replace(self, detail=f"{self.detail}\n{sentence}" if self.detail else sentence)

    def with_attempt(self, number: int) -> StepError:
        return replace(self, attempt=number)

    def in_ascii(self) -> StepError:
        """The same where the database's encoding lacks some character."""

        def escaped(text: str) -> str:
            return text.encode("ascii", "backslashreplace").decode("ascii")

        detail = None if self.detail is None else escaped(self.detail)
        return replace(self, message=escaped(self.message), detail=detail)

    def told(self, what: str) -> str:
        """A sentence about it, for another error's detail."""
        return f"{what}: {self.message} (SQLSTATE {self.sqlstate})."


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
    """One row of df._checkpoints as a worker loads it; `at` is for comparing only."""

    status: CheckpointStatus
    result: StepResult = StepResult()
    error: StepError | None = None
    round: int = 0
    due: datetime | None = None
    names: dict[str, StepResult] | None = None
    at: str = ""
