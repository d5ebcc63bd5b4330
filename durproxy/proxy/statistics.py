"""What one proxy process has done so far, in numbers.

Each number says what it is; the web port shows them all under their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from durproxy.measures import Count, Family, gauge


def _count(what: str) -> int:
    """Grows, from the start of the process."""
    number: int = field(default=0, metadata={"help": what, "grows": True})
    return number


def _now(what: str) -> int:
    number: int = field(default=0, metadata={"help": what, "grows": False})
    return number


@dataclass(slots=True)
class Counters:
    """The running numbers; only the process's main thread writes them."""

    connections: int = _count("sessions that were relayed")
    connections_now: int = _now("sessions that are relayed")
    logins_now: int = _now("connections that are not relayed yet")
    refusals: int = _count("connections that were refused, by us or while the login passed")
    cancels: int = _count("cancel requests that clients have sent")
    bytes_from_clients: int = _count("bytes that clients have sent")
    bytes_from_upstream: int = _count("bytes that the upstream has sent")
    statements_scanned: int = _count("statements that were searched for a df call")
    statements_planned: int = _count("statements with a df call, given to the rewriter")
    statements_rewritten: int = _count("statements that went on with another text")
    statements_unread: int = _count("statements that went through because too many waited")
    statements_read_now: int = _now("long statements that wait for a reader, or are read")
    rewriter_failures: int = _count("statements at which the rewriter failed; they went through")
    violations: int = _count("streams that broke the protocol and are relayed unread")
    holds: int = _count("statements that waited here for an instance")
    holds_now: int = _now("statements that wait here for an instance")


def report(counters: Counters) -> Iterator[Family]:
    """All of them, under the names of their metrics."""
    for each in fields(Counters):
        name, what = f"durproxy_proxy_{each.name}", each.metadata["help"]
        value = getattr(counters, each.name)
        if each.metadata["grows"]:
            count = Count(name, what)
            count.add(by=value)
            yield count.report()
        else:
            yield gauge(name, what, value)
