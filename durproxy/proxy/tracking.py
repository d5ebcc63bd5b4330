"""What a session that uses df has prepared, and which statement each reply belongs to.

A session gets one with its first df statement; before that nothing of this is paid for. It needs
to know which plan an error's position has to be mapped by, and which statement a Bind runs:
for both the extended protocol's messages are matched with their replies, in order, from the
beginning of a Sync group on. A group whose beginning was not seen is left alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from durproxy.rewrite.plan import Plan
from durproxy.wire import backend
from durproxy.wire.framing import Buffer, split_messages
from durproxy.wire.frontend import (
    NO_PARAMETER_TYPES,
    SYNC,
    Bind,
    Close,
    Describe,
    Execute,
    Parse,
    Query,
)

_INJECTED: Final = -1  # as a step: a Parse of ours, whose reply is nobody's
_MOST_NAMES = 10_000  # statements of one session that are remembered

# Which replies end a step; an error ends all steps up to the Sync.
_ENDED_BY: Final = {
    Parse.kind: frozenset((backend.PARSE_COMPLETE,)),
    _INJECTED: frozenset((backend.PARSE_COMPLETE,)),
    Bind.kind: frozenset((backend.BIND_COMPLETE,)),
    Close.kind: frozenset((backend.CLOSE_COMPLETE,)),
    Describe.kind: frozenset((backend.ROW_DESCRIPTION, backend.NO_DATA)),
    Execute.kind: frozenset(
        (backend.COMMAND_COMPLETE, backend.EMPTY_QUERY_RESPONSE, backend.PORTAL_SUSPENDED)
    ),
}


@dataclass(slots=True)
class Unit:
    """What one ReadyForQuery answers: a Query, or the messages up to a Sync."""

    kind: int
    plan: Plan | None = None  # of a Query
    steps: deque[tuple[int, Plan | None]] = field(default_factory=deque)  # not yet replied to
    prepares: bytes | None = None  # the one statement that it has parsed …
    prepares_only: bool = True  # … and it did nothing but parse and describe that
    failed: bool = False  # the server skips the rest of it

    def plan_in_doubt(self) -> Plan | None:
        """The plan of the statement that an error or notice is about now."""
        if self.kind == Query.kind:
            return self.plan
        return self.steps[0][1] if self.steps else None

    def add(self, kind: int, plan: Plan | None) -> None:
        """The server will reply to this message, too."""
        if not self.failed:  # so that a client cannot fill our memory with a group without end
            self.steps.append((kind, plan))

    def fail(self) -> None:
        """The server has answered with an error."""
        self.steps.clear()
        self.failed = self.kind == SYNC


class Tracking:
    """The names and the open Sync group of one session."""

    __slots__ = ("_lost", "_parameter_types", "_portals", "_statements", "open")

    def __init__(self, group: memoryview | None) -> None:
        self._statements: dict[bytes, Plan] = {}
        self._parameter_types: dict[bytes, bytes] = {}  # of the statements that can be held
        self._portals: dict[bytes, Plan] = {}
        self._lost = group is None  # the beginning of this group was not seen
        self.open: Unit | None = None  # the group whose Sync has not been sent
        for kind, body in split_messages(group) if group else ():
            if kind == Parse.kind:
                self.parsed(Parse.parse(body), None)
            elif kind == Bind.kind:
                self.bound(Bind.parse(body))
            elif kind in _ENDED_BY:
                self.sent(kind, body)

    def statement(self, name: bytes) -> Plan | None:
        return self._statements.get(name)

    def parameter_types(self, name: bytes) -> bytes:
        """Of a statement that can be held, as its Parse had them."""
        return self._parameter_types.get(name, NO_PARAMETER_TYPES)

    def parsed(self, message: Parse, plan: Plan | None) -> None:
        """A Parse goes to the server; ``plan`` is None for one without df."""
        name = message.statement
        self._parameter_types.pop(name, None)
        if plan is None or len(self._statements) >= _MOST_NAMES:
            self._statements.pop(name, None)
        else:
            self._statements[name] = plan
            if plan.hold is not None:
                self._parameter_types[name] = message.parameter_types
        unit = self._unit()
        unit.prepares_only = not unit.steps and unit.prepares is None
        unit.prepares = name
        unit.add(Parse.kind, plan)

    def injected(self) -> None:
        """A Parse of our own goes to the server."""
        self._statements.pop(b"", None)
        self._add(_INJECTED, None)

    def bound(self, message: Bind) -> Plan | None:
        """A Bind goes to the server; the answer is its statement's plan."""
        plan = self._statements.get(message.statement)
        if plan is None or len(self._portals) >= _MOST_NAMES:
            self._portals.pop(message.portal, None)
        else:
            self._portals[message.portal] = plan
        self._add(Bind.kind, plan)
        return plan

    def sent(self, kind: int, body: Buffer) -> None:
        """A Describe, Execute or Close goes to the server."""
        if kind == Execute.kind:
            self._add(kind, self._portals.get(Execute.parse(body).portal))
        elif kind == Describe.kind:
            describe = Describe.parse(body)
            if describe.what != ord("S"):
                self._add(kind, self._portals.get(describe.name))
                return
            unit = self._unit()
            unit.prepares_only &= describe.name == unit.prepares
            unit.add(kind, self._statements.get(describe.name))
        else:
            close = Close.parse(body)
            (self._statements if close.what == ord("S") else self._portals).pop(close.name, None)
            self._add(kind, None)

    def lose_group(self) -> None:
        """A message of this group went by unread."""
        self._lost = True

    def synced(self) -> Unit:
        """A Sync goes to the server: the unit that its ReadyForQuery will answer."""
        unit = self.open or Unit(SYNC)
        if self._lost:
            unit.steps.clear()
        self.open, self._lost = None, False
        return unit

    def replied(self, unit: Unit, kind: int) -> bool:
        """The server has sent a reply of this type for the unit; whether it is the client's."""
        if unit.steps and kind in _ENDED_BY[unit.steps[0][0]]:
            return unit.steps.popleft()[0] != _INJECTED
        return True

    def _unit(self) -> Unit:
        if self.open is None:
            self.open = Unit(SYNC)
        return self.open

    def _add(self, kind: int, plan: Plan | None) -> None:
        unit = self._unit()
        unit.prepares_only = False
        unit.add(kind, plan)
