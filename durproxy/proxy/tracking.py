"""What a session that uses df has prepared, and which statement each reply belongs to.

A session gets one with its first df statement; before that nothing of this is paid for. It needs
to know which plan an error's position has to be mapped by, and which statement a Bind runs:
for both the extended protocol's messages are matched with their replies, in order, from the
beginning of a Sync group on. A group whose beginning was not seen is left alone.

States of a unit: open (its Sync or Query has not been sent), outstanding, failed. Events and what
they do:

- a message of a group is sent: a step is added, with what its name meant before;
- the reply that ends the first step comes: the step is done, and what its name means is final;
- a Query or FunctionCall is sent in the middle of a group: it becomes a unit of its own that takes
  the steps so far with it, since their failure makes the server skip it;
- an error comes: the first step failed, all others of the group are skipped by the server; the
  names mean again what they meant before, but the unnamed one of a step that failed means nothing.

Invariants: the first step of the first outstanding unit is what the server's next reply is about;
after every reply the names mean what they mean to the server, or nothing.
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
)

_INJECTED: Final = -1  # as a step: a Parse of ours, whose reply is nobody's

# Of one session; what is older is forgotten, which only makes us less helpful.
_MOST_NAMES: Final = 1_000
_MOST_BYTES: Final = 256 * 1024
_ENTRY: Final = 200  # bytes that an entry, or an edit in one, costs beside its text

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


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a name stands for."""

    plan: Plan
    parameter_types: bytes = NO_PARAMETER_TYPES  # as its Parse had them, if it can be held

    @property
    def weight(self) -> int:
        plan = self.plan
        texts = (plan.text, plan.hold.released if plan.hold else None)
        return _ENTRY * (1 + len(plan.edits)) + sum(len(text) for text in texts if text)


class Names:
    """The statements or portals of a session that matter to us, by name."""

    __slots__ = ("_known", "_weight")

    def __init__(self) -> None:
        self._known: dict[bytes, Prepared] = {}  # the oldest first
        self._weight = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, name: bytes) -> Prepared | None:
        return self._known.get(name)

    def replace(self, name: bytes, prepared: Prepared | None) -> Prepared | None:
        """Let the name stand for this, or for nothing of ours; the answer is what it was."""
        before = self._known.pop(name, None)
        if before is not None:
            self._weight -= before.weight + len(name)
        if prepared is not None:
            self._known[name] = prepared
            self._weight += prepared.weight + len(name)
            while self._weight > _MOST_BYTES or len(self._known) > _MOST_NAMES:
                self.replace(next(iter(self._known)), None)
        return before


@dataclass(frozen=True, slots=True)
class Step:
    """A message that the server has not replied to."""

    kind: int
    plan: Plan | None
    names: Names | None = None  # in which it changed …
    name: bytes = b""  # … what this stood for …
    before: Prepared | None = None  # … which was this

    def undo(self, *, failed: bool) -> None:
        """The server did not do it; ``failed`` if it tried."""
        if self.names is not None:
            dropped = failed and not self.name
            self.names.replace(self.name, None if dropped else self.before)


@dataclass(slots=True)
class Unit:
    """What one ReadyForQuery answers: the messages up to a Sync, or a Query or call."""

    kind: int
    plan: Plan | None = None  # of a Query
    steps: deque[Step] = field(default_factory=deque)  # not yet replied to
    prepares: bytes | None = None  # the one statement that it has parsed …
    prepares_only: bool = True  # … and it did nothing but parse and describe that
    failed: bool = False  # the server skips the rest of it

    def plan_in_doubt(self) -> Plan | None:
        """The plan of the statement that an error or notice is about now."""
        return self.steps[0].plan if self.steps else self.plan

    def add(self, step: Step) -> None:
        """The server will reply to this message, too."""
        if self.failed:  # a client cannot fill our memory with a group without end
            step.undo(failed=False)
        else:
            self.steps.append(step)

    def fail(self) -> None:
        """The server has answered with an error, and skips what it has not replied to."""
        while self.steps:
            step = self.steps.pop()
            step.undo(failed=not self.steps)
        self.failed = self.kind == SYNC

    def skip(self) -> None:
        """The server skips it altogether, because something before it in its group failed."""
        while self.steps:
            self.steps.pop().undo(failed=False)
        self.failed = self.kind == SYNC


class Tracking:
    """The names and the open Sync group of one session."""

    __slots__ = ("_lost", "_portals", "_statements", "added", "open")

    def __init__(self, group: memoryview | None) -> None:
        self._statements = Names()
        self._portals = Names()
        self.added = 0  # steps and units, since they were counted last
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
        found = self._statements.get(name)
        return None if found is None else found.plan

    def parameter_types(self, name: bytes) -> bytes:
        """Of a statement that can be held, as its Parse had them."""
        found = self._statements.get(name)
        return NO_PARAMETER_TYPES if found is None else found.parameter_types

    def parsed(self, message: Parse, plan: Plan | None) -> None:
        """A Parse goes to the server; ``plan`` is None for one without df."""
        name = message.statement
        prepared = None
        if plan is not None:
            types = message.parameter_types if plan.hold is not None else NO_PARAMETER_TYPES
            prepared = Prepared(plan, types)
        before = self._statements.replace(name, prepared)
        unit = self._unit()
        unit.prepares_only = not unit.steps and unit.prepares is None
        unit.prepares = name
        unit.add(Step(Parse.kind, plan, self._statements, name, before))

    def injected(self) -> None:
        """A Parse of our own goes to the server."""
        before = self._statements.replace(b"", None)
        self._add(Step(_INJECTED, None, self._statements, b"", before))

    def bound(self, message: Bind) -> Plan | None:
        """A Bind goes to the server; the answer is its statement's plan."""
        prepared = self._statements.get(message.statement)
        plan = None if prepared is None else prepared.plan
        before = self._portals.replace(message.portal, prepared)
        self._add(Step(Bind.kind, plan, self._portals, message.portal, before))
        return plan

    def sent(self, kind: int, body: Buffer) -> None:
        """A Describe, Execute or Close goes to the server."""
        if kind == Execute.kind:
            self._add(Step(kind, self._plan_of_portal(Execute.parse(body).portal)))
        elif kind == Describe.kind:
            describe = Describe.parse(body)
            if describe.what != ord("S"):
                self._add(Step(kind, self._plan_of_portal(describe.name)))
                return
            unit = self._unit()
            unit.prepares_only &= describe.name == unit.prepares
            unit.add(Step(kind, self.statement(describe.name)))
        else:
            close = Close.parse(body)
            names = self._statements if close.what == ord("S") else self._portals
            self._add(Step(kind, None, names, close.name, names.replace(close.name, None)))

    def lose_group(self) -> None:
        """A message of this group went by unread."""
        self._lost = True

    def synced(self) -> Unit:
        """A Sync goes to the server: the unit that its ReadyForQuery will answer."""
        self.added += 1
        unit = self.open or Unit(SYNC)
        if self._lost:
            unit.steps.clear()
        self.open, self._lost = None, False
        return unit

    def called(self, kind: int, plan: Plan | None) -> Unit:
        """A Query or FunctionCall goes to the server: the unit that its ReadyForQuery answers."""
        self.added += 1
        unit = Unit(kind, plan)
        if self.open is not None:
            unit.steps, self.open.steps = self.open.steps, unit.steps
            self.open.prepares_only = False
            if self._lost:
                unit.steps.clear()
        return unit

    def replied(self, unit: Unit, kind: int) -> bool:
        """The server has sent a reply of this type for the unit; whether it is the client's."""
        if unit.steps and kind in _ENDED_BY[unit.steps[0].kind]:
            return unit.steps.popleft().kind != _INJECTED
        return True

    def _plan_of_portal(self, name: bytes) -> Plan | None:
        found = self._portals.get(name)
        return None if found is None else found.plan

    def _unit(self) -> Unit:
        """The one to which a step is about to be added."""
        self.added += 1
        if self.open is None:
            self.open = Unit(SYNC)
        return self.open

    def _add(self, step: Step) -> None:
        unit = self._unit()
        unit.prepares_only = False
        unit.add(step)
