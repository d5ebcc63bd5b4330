"""The home schema's rules in memory, for tests of the core: what a commit may do to the rows."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from durproxy.engine.core.actions import (
    Abandon,
    Action,
    AttemptOpened,
    CloseFrame,
    ClosesRace,
    DeadlinePassed,
    DueReached,
    EndsInstance,
    Environment,
    Event,
    FinishInstance,
    FrameClosed,
    FrameOpened,
    LoadRows,
    NextRound,
    OpenAttempt,
    OpenFrame,
    RecordFailure,
    RoundAdvanced,
    RowsLoaded,
    RunStep,
    Scopes,
    StepCompleted,
    StepFailed,
    WaitCondition,
    WaitDeadline,
    WaitDue,
    WaitSignal,
    WaitTimer,
)
from durproxy.engine.core.advance import Execution
from durproxy.engine.core.graph import Node, NodeType, parse_graph
from durproxy.engine.core.paths import attempt_path, round_path
from durproxy.engine.core.race import race_result
from durproxy.engine.core.states import (
    Checkpoint,
    CheckpointStatus,
    InstanceStatus,
    Key,
    StepError,
    StepResult,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CANCELLED = StepError("cancelled by the test", "57014")
WAITS = frozenset((
    NodeType.SLEEP, NodeType.SLEEP_UNTIL, NodeType.WAIT_SCHEDULE, NodeType.SIGNAL,
    NodeType.WAIT_CONDITION,
))  # fmt: skip


def is_within(path: str, outer: str) -> bool:
    """Whether `path` is `outer` or lies inside it; attempt 10 does not lie inside attempt 1."""
    return path.startswith(outer) and path[len(outer) : len(outer) + 1] in ("", *".:~!")


class Refused(Exception):
    """A write whose scope is over, or whose key is taken."""


@dataclass
class Rows:
    """df._checkpoints of one instance, its status, and the effects that its steps committed."""

    checkpoints: dict[Key, Checkpoint] = field(default_factory=dict)
    frames: dict[Key, Node] = field(default_factory=dict)
    effects: list[Key] = field(default_factory=list)
    writes: int = 0
    ending: StepError | None = None
    status: InstanceStatus = InstanceStatus.RUNNING
    result: str | None = None
    error: StepError | None = None

    def hold(self, scopes: Scopes) -> None:
        if self.status is not InstanceStatus.RUNNING:
            raise Refused
        for scope in scopes:
            frame = self.checkpoints.get(Key(scope.node, scope.path))
            if (
                frame is None
                or frame.status is not CheckpointStatus.OPEN
                or frame.round != scope.round
            ):
                raise Refused

    def put(self, key: Key, checkpoint: Checkpoint) -> None:
        if key in self.checkpoints:
            raise Refused
        self._write(key, checkpoint)

    def close(self, scopes: Scopes, closed: Checkpoint) -> None:
        """The frame ends, and the waits inside; but for those of an unwinding, which goes on."""
        self.hold(scopes)
        key = Key(scopes[-1].node, scopes[-1].path)
        self._write(key, closed)
        for other, row in list(self.checkpoints.items()):
            if (
                row.status is CheckpointStatus.OPEN
                and self.frames[other].type in WAITS
                and self._is_below(other, key, key.path)
                and "!" not in other.path[len(key.path) :]
            ):
                del self.checkpoints[other]

    def change(self, key: Key, **fields: Any) -> None:
        self._write(key, replace(self.checkpoints[key], **fields))

    def drop(self, frame: Key, path: str) -> None:
        """A round or an attempt is over: all that is stored of it goes."""
        for other in [k for k in self.checkpoints if self._is_below(k, frame, path)]:
            del self.checkpoints[other]

    def _write(self, key: Key, checkpoint: Checkpoint) -> None:
        self.writes += 1
        self.checkpoints[key] = replace(checkpoint, at=f"{self.writes:09}")

    def _is_below(self, other: Key, frame: Key, path: str) -> bool:
        return frame.node < other.node <= self.frames[frame].last and is_within(other.path, path)


class Run:
    """One execution over `Rows`, its actions performed in an order that `rng` draws."""

    def __init__(self, graph: dict[str, Any], rng: random.Random, rows: Rows | None = None) -> None:
        self.graph = parse_graph(json.dumps(graph))
        self.rng = rng
        self.rows = rows or Rows()
        self.failing: set[str] = set()  # queries that fail
        self.failures: dict[str, int] = {}  # queries that fail so often, as if for a deadlock
        self.answers: dict[str, list[str]] = {}  # query -> successive results
        self.crash = 0.0  # probability of losing the memory before or after a commit
        self.crashes = 0
        self.cancel_after: int | None = None  # writes
        self.effects_at_cancel = 0
        self._watched: dict[str, list[Environment]] = {}
        self.performed: Counter[str] = Counter()

    def environments_of(self, query: str) -> list[Environment]:
        """A list that gets the names that the step sees each time it runs."""
        return self._watched.setdefault(query, [])

    def to_the_end(self, limit: int = 20_000) -> Rows:
        execution, todo = self._load()
        for _ in range(limit):
            if self.rows.status is not InstanceStatus.RUNNING or (execution.finished and not todo):
                return self.rows
            assert todo, "an instance that is not finished waits for something"
            if self.cancel_after is not None and self.rows.writes >= self.cancel_after:
                self.cancel_after, self.rows.ending = None, CANCELLED
                self.effects_at_cancel = len(self.rows.effects)
                execution, todo = self._load()
                continue
            if self.rng.random() < self.crash:
                self.crashes += 1
                execution, todo = self._load()
                continue
            action = todo.pop(self.rng.randrange(len(todo)))
            try:
                event = self._commit(action)
            except Refused:
                execution, todo = self._load()
                continue
            if self.rng.random() < self.crash:  # committed, and the reply was lost
                self.crashes += 1
                execution, todo = self._load()
                continue
            if event is not None:
                self._take(execution.advance(event), todo)
        raise AssertionError("it does not come to an end")

    def _load(self) -> tuple[Execution, list[Action]]:
        execution = Execution(self.graph, dict(self.rows.checkpoints), ending=self.rows.ending)
        todo: list[Action] = []
        if self.rows.status is InstanceStatus.RUNNING:
            self._take(execution.start(), todo)
        return execution, todo

    @staticmethod
    def _take(actions: list[Action], todo: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Abandon):
                todo[:] = [a for a in todo if getattr(a, "key", None) not in action.keys]
            else:
                todo.append(action)

    def _commit(self, action: Action) -> Event | None:
        rows = self.rows
        self.performed[type(action).__name__] += 1
        match action:
            case RunStep():
                return self._step(action)
            case RecordFailure(key, scopes, error):
                rows.hold(scopes)
                rows.put(key, Checkpoint(CheckpointStatus.FAILED, error=error))
                return StepFailed(key, error)
            case OpenFrame() | OpenAttempt() | CloseFrame() | NextRound():
                return self._frame(action)
            case LoadRows(key):
                return RowsLoaded(key, dict(rows.checkpoints))
            case FinishInstance(status, result, result_of, error):
                rows.hold(())
                at = rows.checkpoints[result_of].result.text if result_of else None
                rows.status, rows.result, rows.error = status, result or at, error
                return None
            case _:
                return self._wait(action)

    def _frame(self, action: OpenFrame | OpenAttempt | CloseFrame | NextRound) -> Event:
        rows = self.rows
        match action:
            case OpenFrame(key, scopes, node, delay):
                rows.hold(scopes)
                due = EPOCH + (delay or timedelta())
                rows.put(key, Checkpoint(CheckpointStatus.OPEN, due=due))
                rows.frames[key] = node
                return FrameOpened(key, due)
            case OpenAttempt(key, scopes, node, failed, delay):
                rows.hold(scopes)
                due = EPOCH + timedelta(seconds=delay)
                if failed == 0:
                    rows.put(key, Checkpoint(CheckpointStatus.OPEN, due=due, round=1))
                    rows.frames[key] = node
                elif rows.checkpoints[key].round != failed:
                    raise Refused
                else:
                    rows.change(key, round=failed + 1, due=due)
                rows.drop(key, attempt_path(key.path, failed))
                return AttemptOpened(key, due)
            case CloseFrame(key, scopes, result, error, names):
                status = CheckpointStatus.DONE if error is None else CheckpointStatus.FAILED
                kept = dict(names) if names else None
                rows.close(scopes, Checkpoint(status, result or StepResult(), error, names=kept))
                return FrameClosed(key)
            case NextRound(key, scopes, names):
                rows.hold(scopes)
                done = rows.checkpoints[key].round
                rows.change(key, round=done + 1, names=dict(names))
                rows.drop(key, round_path(key.path, done))
                return RoundAdvanced(key)

    def _wait(self, action: Action) -> Event:
        """Whatever is waited for comes, at some time."""
        rows = self.rows
        match action:
            case WaitDue(key):
                return DueReached(key)
            case WaitDeadline(key, scopes, _, error):
                rows.close(scopes, Checkpoint(CheckpointStatus.FAILED, error=error))
                return DeadlinePassed(key)
            case WaitTimer(key, scopes, _, result) | WaitCondition(key, scopes, result=result):
                rows.close(scopes, Checkpoint(CheckpointStatus.DONE, StepResult(result)))
                return StepCompleted(key, StepResult(result))
            case WaitSignal(key, scopes, signal):
                result = json.dumps({"signal_name": signal, "timed_out": False, "data": {}})
                rows.close(scopes, Checkpoint(CheckpointStatus.DONE, StepResult(result)))
                return StepCompleted(key, StepResult(result))
        raise AssertionError(action)

    def _step(self, action: RunStep) -> Event:
        rows, key = self.rows, action.key
        query = action.node.query or action.node.branches[-1].query  # of a transaction: its last
        self._watched.get(query, []).append(action.environment)
        decides = action.decides
        outer = action.scopes[:-1] if isinstance(decides, ClosesRace) else action.scopes
        rows.hold(action.scopes)
        if query in self.failing or self.failures.get(query, 0) > 0:
            lasting = query in self.failing
            if not lasting:
                self.failures[query] -= 1
            error = StepError(f"{query} failed", "P0001" if lasting else "40P01", node=key.node)
            rows.put(key, Checkpoint(CheckpointStatus.FAILED, error=error))
            return StepFailed(key, error)
        answer = self._answer(query)
        count = len(json.loads(answer).get("rows", ()))
        result = StepResult(answer, (("a", "pg_catalog.text"),), ("(x)",) * count)
        rows.put(key, Checkpoint(CheckpointStatus.DONE, result))
        rows.effects.append(key)
        if isinstance(decides, ClosesRace):
            won = Checkpoint(CheckpointStatus.DONE, StepResult(race_result(decides.winner)))
            rows.close(action.scopes, won)
            assert outer == action.scopes[:-1]
        if isinstance(decides, EndsInstance):
            rows.status, rows.result = InstanceStatus.COMPLETED, result.text
        return StepCompleted(key, result)

    def _answer(self, query: str) -> str:
        queue = self.answers.get(query)
        if queue:
            return queue.pop(0) if len(queue) > 1 else queue[0]
        return result_of(query)


def result_of(query: str) -> str:
    """What a step of the model returns: its own text, as one row."""
    return json.dumps({"rows": [{"a": query}], "row_count": 1})


def seconds(value: int) -> timedelta:
    return timedelta(seconds=value)
