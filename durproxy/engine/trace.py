"""Which trace a workflow belongs to, and the ids of its spans.

All ids follow from what the home schema keeps, so that any worker, also after a crash, finds the
same ones: a step that is repeated is the same span, and no span has two parents.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from durproxy.engine.core.states import Key

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_VERSION = "ff"


@dataclass(frozen=True, slots=True)
class Trace:
    """Of one workflow. `given`: the traceparent of the statement that started it."""

    instance: str
    id: int
    given: str | None = None
    parent: int | None = None  # the span of who started it
    sampled: bool = True

    @property
    def span(self) -> int:
        """The workflow as a whole."""
        return self._number(self.instance)

    def span_of(self, key: Key) -> int:
        """One attempt of a step: the path tells attempts, rounds and items apart."""
        return self._number(f"{self.instance} {key.node} {key.path}")

    def header(self, key: Key, *, sampled: bool) -> str:
        """What a server that the step calls is told."""
        return f"00-{self.id:032x}-{self.span_of(key):016x}-{int(sampled):02x}"

    def _number(self, what: str) -> int:
        return _hash(f"{self.id:032x} {what}", 8)


def trace_of(instance: str, created_at: datetime, given: str | None) -> Trace:
    """The trace that was given, or one of its own."""
    found = _FORM.fullmatch(given or "")
    if found is not None and found[1] != _NO_VERSION:
        trace, parent = int(found[2], 16), int(found[3], 16)
        if trace and parent:
            return Trace(instance, trace, given, parent, bool(int(found[4], 16) & 1))
    return Trace(instance, _hash(f"{instance} {created_at.timestamp():.6f}", 16))


def _hash(text: str, size: int) -> int:
    """Never 0, which is no id."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size]) or 1
