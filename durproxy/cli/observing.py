"""What is seen of an instance at one moment, and what has happened between two; pure.

Nothing is told twice: an attempt once when it is seen to run and once when it is seen to have
ended, a status when it is another one, what the instance waits for when that is another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

LIVE = ("pending", "running")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run of one node, as df.history tells it."""

    node_id: str
    node_type: str
    path: str
    attempt: int
    status: str
    error: str | None
    started_at: datetime
    finished_at: datetime | None
    what: str  # the node's query, name or duration

    @property
    def key(self) -> tuple[str, str, int, datetime]:
        return self.node_id, self.path, self.attempt, self.started_at


@dataclass(frozen=True, slots=True)
class Waiting:
    """What holds the whole instance up, as df.waiting tells it: its nodes' waits are attempts."""

    waits_for: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Sight:
    """An instance at one moment."""

    at: datetime
    status: str
    output: str | None
    tree: str
    attempts: tuple[Attempt, ...]  # oldest first
    waiting: tuple[Waiting, ...]

    @property
    def ended(self) -> bool:
        return self.status not in LIVE


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of what ``watch`` tells; the shape of its JSON, too."""

    at: datetime
    event: str  # status, attempt or waiting
    status: str
    node_id: str | None = None
    node_type: str | None = None
    path: str | None = None
    attempt: int | None = None
    detail: str | None = None

    def as_json(self, instance: str) -> dict[str, Any]:
        return {"at": self.at, "instance_id": instance, "event": self.event, "status": self.status,
                "node_id": self.node_id, "node_type": self.node_type, "path": self.path,
                "attempt": self.attempt, "detail": self.detail}  # fmt: skip


def what_of(query: str | None) -> str:
    """What a node is about, in a line: its SQL, its duration, or the name in its configuration."""
    try:
        settings = json.loads(query or "")
    except ValueError:
        return " ".join((query or "").split())
    if not isinstance(settings, dict):  # a duration
        return str(query)
    named = [settings.get(key) for key in ("signal_name", "method", "url")]
    return " ".join(str(name) for name in named if name)


def happenings(before: Sight | None, now: Sight) -> list[Happening]:
    """In the order in which they happened, as far as that is known; the end comes last."""
    told = []
    if not now.ended and (before is None or before.status != now.status):
        told.append(Happening(now.at, "status", now.status))
    told += sorted(_attempts(before, now), key=lambda happening: happening.at)
    if now.ended and (before is None or before.status != now.status):
        told.append(Happening(now.at, "status", now.status, detail=now.output))
    elif before is None or before.waiting != now.waiting:
        told += [Happening(now.at, "waiting", w.waits_for, detail=w.detail) for w in now.waiting]
    return told


def _attempts(before: Sight | None, now: Sight) -> list[Happening]:
    known = {} if before is None else {attempt.key: attempt.status for attempt in before.attempts}
    return [
        Happening(
            attempt.finished_at or attempt.started_at,
            "attempt",
            attempt.status,
            attempt.node_id,
            attempt.node_type,
            attempt.path,
            attempt.attempt,
            attempt.error or attempt.what,
        )
        for attempt in now.attempts
        if known.get(attempt.key) != attempt.status
    ]
