"""The traces of the workflows in this worker: who they call is told, and spans are exported.

Nothing waits for it. A step only leaves a note that it is over; a task of its own asks the home
schema, for many workflows at once, what their spans need to know, and passes them on. What cannot
be told is dropped: a trace may have gaps, a workflow never waits for one.

A span is exported when its outcome is committed, and has the same id whoever exports it. The one of
a workflow is exported by the worker from whose memory it leaves at its end.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from durproxy.engine.claim import Claim
from durproxy.engine.core.actions import RunStep
from durproxy.engine.core.graph import NodeType
from durproxy.engine.core.states import Key, StepError
from durproxy.engine.exporting import Exporter, Span
from durproxy.engine.store import Store
from durproxy.engine.trace import Trace, trace_of
from durproxy.errors import DurproxyError
from durproxy.log import get_logger

_log = get_logger(__name__)

TRACEPARENT: Final = "traceparent"

_GATHERING = 0.2  # seconds, for many workflows to be asked about at once
_AT_ONCE = 500
_MOST_NOTES = 20_000  # of steps that are over; the oldest are dropped
_MOST_KNOWN = 5_000  # traces in memory
_LAST_WORDS = 2.0  # seconds
_HTTP = (NodeType.HTTP, NodeType.HTTP_MULTIPART)
_FINAL = frozenset(("completed", "failed", "cancelled"))


@dataclass(frozen=True, slots=True)
class _Over:
    """A step, from when to when by this machine's clock."""

    instance: str
    key: Key
    type: NodeType
    began: float
    ended: float
    error: StepError | None


@dataclass(frozen=True, slots=True)
class _Left:
    """A workflow has left memory, perhaps at its end."""

    instance: str


class Traces:
    """Of one worker. Without an exporter a given traceparent goes on as it is, and that is all."""

    def __init__(self, store: Store, exporter: Exporter | None) -> None:
        self._store = store
        self._exporter = exporter
        self._notes: deque[_Over | _Left] = deque(maxlen=_MOST_NOTES)
        self._noted = trio.Event()
        self._known: OrderedDict[str, Trace] = OrderedDict()

    async def tell(self, claim: Claim, key: Key, headers: MutableMapping[str, str]) -> None:
        """Add the header that a step's HTTP call has, unless it has one of its own."""
        if TRACEPARENT in map(str.lower, headers):
            return
        try:
            trace = await self._trace(claim.id)
        except DurproxyError as error:  # the call matters more
            _log.warning("tracing.not_told", instance=claim.id, error=error.message)
            return
        if trace is None:
            return
        if self._exporter is not None:
            headers[TRACEPARENT] = trace.header(key, sampled=self._exporter.is_sampled(trace))
        elif trace.given is not None:
            headers[TRACEPARENT] = trace.given

    def step_over(
        self, claim: Claim, action: RunStep, began: float, ended: float, error: StepError | None
    ) -> None:
        """The outcome of a step is committed."""
        if self._exporter is not None:
            self._note(_Over(claim.id, action.key, action.node.type, began, ended, error))

    def left(self, instance: str) -> None:
        if self._exporter is not None:
            self._note(_Left(instance))

    async def run(self) -> None:
        """Export what is noted, for ever."""
        while self._exporter is not None:
            await self._noted.wait()
            await trio.sleep(_GATHERING)
            while self._notes:
                await self._export_some()

    async def finish(self) -> None:
        """Export what is left, within a moment."""
        if self._exporter is None:
            return
        with trio.move_on_after(_LAST_WORDS):
            while self._notes:
                await self._export_some()
            flush = partial(self._exporter.flush, _LAST_WORDS)
            await trio.to_thread.run_sync(flush, abandon_on_cancel=True)

    # --- own ---

    def _note(self, note: _Over | _Left) -> None:
        self._notes.append(note)
        self._noted.set()

    async def _export_some(self) -> None:
        notes = [self._notes.popleft() for _ in range(min(_AT_ONCE, len(self._notes)))]
        if not self._notes:
            self._noted = trio.Event()
        try:
            left = [note.instance for note in notes if isinstance(note, _Left)]
            ends = await self._look_at(left)
            unknown = {note.instance for note in notes} - self._known.keys()
            await self._look_at([*unknown])
        except DurproxyError as error:
            _log.warning("tracing.dropped", spans=len(notes), error=error.message)
            return
        for note in notes:
            if isinstance(note, _Over):
                self._export_step(note)
        for span in ends:
            self._export(span)
        for instance in left:
            self._known.pop(instance, None)

    def _export_step(self, note: _Over) -> None:
        trace = self._known.get(note.instance)
        if trace is None:  # it was deleted meanwhile
            return
        kind = "http" if note.type in _HTTP else note.type.value.lower()
        attributes: dict[str, str | int | bool] = {
            "durproxy.instance": note.instance,
            "durproxy.node": note.key.node,
            "durproxy.path": note.key.path,
        }
        if note.error is not None:
            attributes["durproxy.sqlstate"] = note.error.sqlstate
        clock = self._store.clock
        self._export(
            Span(
                trace, trace.span_of(note.key), trace.span, f"durproxy.step {kind}",
                clock.at(note.began), clock.at(note.ended), calls_out=note.type in _HTTP,
                error=note.error.message if note.error else None, attributes=attributes,
            )
        )  # fmt: skip

    def _export(self, span: Span) -> None:
        assert self._exporter is not None
        if self._exporter.is_sampled(span.trace):
            self._exporter.export(span)

    async def _trace(self, instance: str) -> Trace | None:
        if instance not in self._known:
            await self._look_at([instance])
        return self._known.get(instance)

    async def _look_at(self, instances: Sequence[str]) -> list[Span]:
        """Remember their traces; the spans of those that have come to their end."""
        ends: list[Span] = []
        for origin in await self._store.origins(instances) if instances else ():
            trace = trace_of(origin.instance, origin.created_at, origin.trace)
            self._known[trace.instance] = trace
            self._known.move_to_end(trace.instance)
            if origin.status in _FINAL and origin.completed_at is not None:
                attributes: dict[str, str | int | bool] = {
                    "durproxy.instance": trace.instance,
                    "durproxy.status": origin.status,
                }
                if origin.label is not None:
                    attributes["durproxy.label"] = origin.label
                ends.append(
                    Span(
                        trace, trace.span, trace.parent, "durproxy.instance",
                        origin.created_at.timestamp(), origin.completed_at.timestamp(),
                        error=None if origin.status == "completed" else origin.error or "",
                        attributes=attributes,
                    )
                )  # fmt: skip
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return ends
