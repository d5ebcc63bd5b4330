"""What this engine process has done so far; its main thread counts, the web port shows it."""

from __future__ import annotations

from durproxy.engine.core.graph import NodeType
from durproxy.measures import Count, Family, Histogram, gauge

_KINDS = {
    NodeType.HTTP: "http",
    NodeType.HTTP_MULTIPART: "http",
    NodeType.TRANSACTION: "transaction",
}
_EACH_KIND = ("sql", "transaction", "http")
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500)

ENDED = Count(
    "durproxy_engine_instances_ended", "instances that came to their end in this engine",
    ("status",), [("completed",), ("failed",), ("cancelled",)],
)  # fmt: skip
INTERRUPTED = Count(
    "durproxy_engine_interruptions", "instances that this engine had to give up, for now or at all",
    ("reason",), [("lost",), ("unknown",), ("role",), ("session",), ("error",), ("crash",)],
)  # fmt: skip
RETRIES = Count("durproxy_engine_retries", "attempts of df.retry after the first one")
TAKEN_OVER = Count(
    "durproxy_engine_instances_taken_over", "instances that were freed from engines found dead"
)
CLAIMED = Histogram(
    "durproxy_engine_claimed_instances", "instances that a claim took, of claims that took any",
    _BATCH,
)  # fmt: skip
HTTP_CALLS = Count(
    "durproxy_engine_http_calls", "HTTP calls by how they ended", ("outcome",),
    [("2xx",), ("3xx",), ("4xx",), ("5xx",), ("timeout",), ("network",), ("refused",), ("other",)],
)  # fmt: skip
_STEPS = Count(
    "durproxy_engine_steps", "steps that are over, each attempt", ("kind", "outcome"),
    [(kind, outcome) for kind in _EACH_KIND for outcome in ("completed", "failed")],
)  # fmt: skip
_STEP_SECONDS = Histogram(
    "durproxy_engine_step_seconds",
    "from a step's beginning until its outcome is committed; steps that go together count once",
    label="kind", known=_EACH_KIND,
)  # fmt: skip
_ALL = (
    ENDED, INTERRUPTED, RETRIES, TAKEN_OVER, CLAIMED, HTTP_CALLS, _STEPS, _STEP_SECONDS,
)  # fmt: skip

_HTTP_FAILURES = {"WF021": "timeout", "WF022": "network", "WF023": "refused"}


def step_over(node: NodeType, outcome: str, seconds: float | None) -> None:
    """A step has come to its outcome; `seconds` is None if another step's call took it along."""
    kind = _KINDS.get(node, "sql")
    _STEPS.add(kind, outcome)
    if seconds is not None:
        _STEP_SECONDS.observe(seconds, kind)


def http_answered(status: int) -> None:
    HTTP_CALLS.add(f"{status // 100}xx")


def http_failed(sqlstate: str) -> None:
    HTTP_CALLS.add(_HTTP_FAILURES.get(sqlstate, "other"))


def report(held: int) -> list[Family]:
    """All of it; `held`: instances in memory now."""
    now = gauge("durproxy_engine_instances_held", "instances in this engine's memory", held)
    return [now, *(measure.report() for measure in _ALL)]
