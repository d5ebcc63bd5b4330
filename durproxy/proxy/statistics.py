"""What one proxy process has done so far, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot; counts since the start of the process, except where it says "now"."""

    connections: int
    connections_now: int
    bytes_from_clients: int
    bytes_from_upstream: int
    statements_scanned: int  # searched for a df call
    statements_planned: int  # had one: given to the rewriter
    statements_rewritten: int
    rewriter_failures: int  # raised, died or was too slow; the statement went through untouched
    violations: int  # streams that broke the protocol and are relayed unread
    holds: int
    holds_now: int


class Counters:
    """The running numbers; only the pump's own thread writes them."""

    __slots__ = (
        "bytes_from_clients",
        "bytes_from_upstream",
        "connections",
        "connections_now",
        "holds",
        "holds_now",
        "rewriter_failures",
        "statements_planned",
        "statements_rewritten",
        "statements_scanned",
        "violations",
    )

    def __init__(self) -> None:
        self.bytes_from_clients = 0
        self.bytes_from_upstream = 0
        self.connections = 0
        self.connections_now = 0
        self.holds = 0
        self.holds_now = 0
        self.rewriter_failures = 0
        self.statements_planned = 0
        self.statements_rewritten = 0
        self.statements_scanned = 0
        self.violations = 0

    def statistics(self) -> Statistics:
        return Statistics(**{name: getattr(self, name) for name in self.__slots__})
