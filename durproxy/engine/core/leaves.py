"""The nodes without children: a step, a break, and the waits for something outside."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from durproxy.engine.core.actions import (
    Event,
    FrameOpened,
    OpenFrame,
    RecordFailure,
    RunStep,
    Scopes,
    WaitCondition,
    WaitSignal,
    WaitTimer,
)
from durproxy.engine.core.activation import NULL, Activation, End, Outcome
from durproxy.engine.core.bindings import ReferenceFailure, substitute_text
from durproxy.engine.core.references import substitute_variables
from durproxy.engine.core.states import CheckpointStatus, StepResult


class Step(Activation):
    """SQL, TRANSACTION or HTTP: the checkpoint commits with what it decides, as SQL effects do."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        stored = self.stored_outcome()
        if stored is None:
            return self.ask(
                RunStep(self.key, self.scopes, self.node, self.environment, self.decision())
            )
        return stored

    def told(self, event: Event) -> Outcome | None:
        return self.outcome_of(event)


class Break(Activation):
    """BREAK: leaves the innermost LOOP with a value; nothing of its own is stored."""

    __slots__ = ()

    def begin(self) -> Outcome | None:
        stored = self.stored_outcome()
        if stored is not None:
            return stored
        value = self.node.config.get("break_value")
        if value is None:
            return Outcome(End.BROKE, NULL)
        try:
            given = value if isinstance(value, str) else json.dumps(value)
            given = substitute_variables(given, self.execution.variables)
            text = substitute_text(given, self.environment)
        except ReferenceFailure as failure:
            error = failure.as_step_error(self.key.node)
            return self.ask(RecordFailure(self.key, self.scopes, error))
        return Outcome(End.BROKE, StepResult(json_or_string(text)))

    def told(self, event: Event) -> Outcome | None:
        return self.outcome_of(event)


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def json_or_string(text: str) -> str:
    """The text itself where it is JSON, else as a JSON string."""
    try:
        json.loads(text, parse_int=str, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text


class _Wait(Activation):
    """A wait for something outside: its frame is opened once, and closed by what was awaited."""

    __slots__ = ()

    def opening(self) -> OpenFrame:
        raise NotImplementedError

    def waiting(
        self, inner: Scopes, due: datetime | None
    ) -> WaitTimer | WaitSignal | WaitCondition:
        """The action while the frame is open; `inner` ends with the frame itself."""
        raise NotImplementedError

    def begin(self) -> Outcome | None:
        stored = self.checkpoint()
        if stored is None:
            return self.ask(self.opening())
        if stored.status is CheckpointStatus.OPEN:
            return self._wait(stored.due)
        self.execution.waits += 1
        return self.stored_outcome()

    def told(self, event: Event) -> Outcome | None:
        if isinstance(event, FrameOpened):
            return self._wait(event.due)
        self.execution.waits += 1
        return self.outcome_of(event)

    def _wait(self, due: datetime | None) -> Outcome | None:
        return self.ask(self.waiting(self.inner_scopes(), due))


class _Timer(_Wait):
    """A wait for a time that is fixed once, when its frame opens."""

    __slots__ = ()

    def result(self) -> str:
        raise NotImplementedError

    def waiting(self, inner: Scopes, due: datetime | None) -> WaitTimer:
        assert due is not None
        return WaitTimer(self.key, inner, due, self.result())


class Sleep(_Timer):
    """SLEEP: for so many seconds, or for a duration that only the calendar turns into seconds."""

    __slots__ = ()

    def opening(self) -> OpenFrame:
        duration = self.node.config.get("duration")
        if duration is not None:
            return OpenFrame(self.key, self.scopes, self.node, duration=duration)
        delay = timedelta(seconds=self.node.config["seconds"])
        return OpenFrame(self.key, self.scopes, self.node, delay)

    def result(self) -> str:
        return f'{{"slept":true,"seconds":{self.node.config["seconds"]}}}'


class SleepUntil(_Timer):
    """SLEEP_UNTIL: until a time."""

    __slots__ = ()

    def opening(self) -> OpenFrame:
        return OpenFrame(self.key, self.scopes, self.node, until=self.node.config["until"])

    def result(self) -> str:
        return json.dumps(
            {"slept": True, "until": self.node.config["until"]}, separators=(",", ":")
        )


class WaitSchedule(_Timer):
    """WAIT_SCHEDULE: until the next match of a cron expression after the node was reached."""

    __slots__ = ()

    def opening(self) -> OpenFrame:
        cron, zone = self.node.config["cron_expr"], self.node.config.get("tz")
        return OpenFrame(self.key, self.scopes, self.node, schedule=cron, zone=zone)

    def result(self) -> str:
        return '{"scheduled":true}'


class Signal(_Wait):
    """SIGNAL: the oldest message of that name, whether it came before or comes later."""

    __slots__ = ()

    def opening(self) -> OpenFrame:
        seconds = self.node.config.get("timeout_seconds")
        delay = None if seconds is None else timedelta(seconds=int(seconds))
        name = self.node.config["signal_name"]
        return OpenFrame(self.key, self.scopes, self.node, delay, name)

    def waiting(self, inner: Scopes, due: datetime | None) -> WaitSignal:
        return WaitSignal(self.key, inner, self.node.config["signal_name"], due)


class Condition(_Wait):
    """WAIT_CONDITION: until a query's result is true, asked again and again."""

    __slots__ = ()

    def opening(self) -> OpenFrame:
        return OpenFrame(self.key, self.scopes, self.node)

    def waiting(self, inner: Scopes, due: datetime | None) -> WaitCondition:
        every = float(self.node.config["check_every"])
        query = self.node.config["query"]
        return WaitCondition(self.key, inner, query, self.environment, every, '{"met":true}')
