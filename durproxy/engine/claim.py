"""What claiming and looking around tell a worker: instances that it holds, and its fellows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from durproxy.engine.core.states import StepError


@dataclass(frozen=True, slots=True)
class Claim:
    """An instance that this worker holds."""

    id: str
    token: str
    graph: str
    variables: Mapping[str, str]
    label: str | None
    role: str | None
    fresh: bool
    role_id: int
    database: str | None = None  # where its steps run; None: in the home database
    ending: StepError | None = None  # it is cancelled, once what it owes is done

    @property
    def substitutions(self) -> dict[str, str]:
        """What ``{name}`` stands for in the texts of this instance."""
        return {**self.variables, "sys_instance_id": self.id, "sys_label": self.label or ""}


@dataclass(frozen=True, slots=True)
class Origin:
    """What an instance's trace has to know of it; `trace`: the traceparent that it was given."""

    instance: str
    trace: str | None
    label: str | None
    status: str
    created_at: datetime
    completed_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a claim's walk over roles and lanes has ended, and what it saw on its way."""

    role_id: int = 0
    lane: int = -1
    next_ready: datetime | None = None
    was_role_full: bool = False  # some role had no room left in this worker


@dataclass(frozen=True, slots=True)
class OtherEngine:
    """Another worker, as this one sees it."""

    id: str
    beat: int
    gone: bool
    owns: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What one tick saw."""

    next_ready: datetime | None
    others: tuple[OtherEngine, ...]
    signalled: tuple[str, ...]
    orphans: tuple[str, ...]
    paused: tuple[str, ...]  # held by this worker, which may not know
    suspects: bool = False  # some wait for a worker that takes suspects
