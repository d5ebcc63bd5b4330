"""One structured line on stderr per event that matters, the same way in every process."""

from __future__ import annotations

import sys
from typing import cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from durproxy.config import Settings


def configure(settings: Settings, process: str) -> None:
    """To be called once, at the start of a process; ``process`` stands in each of its lines."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    rendering: list[Processor]
    if settings.log_format == "json":
        rendering = [
            structlog.processors.format_exc_info,
            _what_happened_first,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        # not rich's tracebacks: they show the values of variables, of passwords too
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry the module's name without our package's."""
    bound = structlog.get_logger(source=name.removeprefix("durproxy."))
    return cast(FilteringBoundLogger, bound)


def _what_happened_first(logger: object, method: str, event: EventDict) -> EventDict:
    """The order in which a human reads the line; the other keys follow as they were given."""
    first = {key: event.pop(key) for key in ("at", "level", "process", "event") if key in event}
    return first | dict(event)
