"""Spans leave by the standard SDK, configured by the standard variables, if it is installed.

The extra `otel` brings it. OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_TRACES_EXPORTER=otlp, turns it on.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durproxy import __version__
from durproxy.engine.trace import Trace
from durproxy.log import get_logger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanContext

_log = get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Span:
    """Something that is over. Times are the database's, in seconds."""

    trace: Trace
    id: int
    parent: int | None
    name: str
    began: float
    ended: float
    calls_out: bool = False
    error: str | None = None
    attributes: dict[str, str | int | bool] = field(default_factory=dict)


class Exporter:
    """Hands spans to the SDK, which sends them in batches from a thread of its own."""

    def __init__(self, provider: TracerProvider, processor: BatchSpanProcessor) -> None:
        self._provider = provider
        self._processor = processor

    def is_sampled(self, trace: Trace) -> bool:
        """The sampler's decision; the same for all spans of a trace."""
        from opentelemetry.sdk.trace.sampling import Decision
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        context = None
        if trace.parent is not None:
            parent = _context(trace.id, trace.parent, sampled=trace.sampled, remote=True)
            context = set_span_in_context(NonRecordingSpan(parent))
        decided = self._provider.sampler.should_sample(context, trace.id, "durproxy.instance")
        return decided.decision is Decision.RECORD_AND_SAMPLE

    def export(self, span: Span) -> None:
        """One whose trace is sampled."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanKind, Status, StatusCode

        failed = Status(StatusCode.ERROR, span.error)
        trace, parent = span.trace, None
        if span.parent is not None:
            parent = _context(trace.id, span.parent, remote=span.parent == trace.parent)
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=_context(trace.id, span.id),
                parent=parent,
                resource=self._provider.resource,
                attributes=span.attributes,
                kind=SpanKind.CLIENT if span.calls_out else SpanKind.INTERNAL,
                status=Status(StatusCode.OK) if span.error is None else failed,
                start_time=round(span.began * 1e9),
                end_time=round(span.ended * 1e9),
                instrumentation_scope=InstrumentationScope("durproxy", __version__),
            )
        )

    def flush(self, seconds: float) -> None:
        """Send what waits; blocks."""
        self._processor.force_flush(round(seconds * 1000))


def _context(trace: int, span: int, *, sampled: bool = True, remote: bool = False) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(trace, span, is_remote=remote, trace_flags=TraceFlags(int(sampled)))


def maybe_exporter() -> Exporter | None:
    """One that sends, if the environment says where to."""
    if not _is_wanted():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("tracing.not_installed", hint="pip install 'durproxy[otel]'")
        return None
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(_ToOurLog())
    logger.propagate = False
    ours = {"service.version": __version__}
    if not _is_named():
        ours["service.name"] = "durproxy"
    resource = Resource.create(ours)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    return Exporter(provider, BatchSpanProcessor(OTLPSpanExporter()))


def _is_wanted() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    chosen = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if chosen not in ("", "otlp", "none"):
        _log.warning("tracing.unknown_exporter", exporter=chosen, hint="It is otlp or none.")
    return chosen == "otlp" or (not chosen and any(map(os.environ.get, _ENDPOINTS)))


def _is_named() -> bool:
    resource = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return bool(os.environ.get("OTEL_SERVICE_NAME")) or "service.name=" in resource


class _ToOurLog(logging.Handler):
    """What the SDK complains about, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        _log.warning("tracing.sdk", reason=record.getMessage())
