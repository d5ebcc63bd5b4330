"""From the client to the server: counts what will be answered, looks at statements.

Only the bodies of Query and Parse are looked at, and those only by a search for a df call, until
a session has used df; from then on the extended protocol's names are read, too (``tracking``). A
message is held back until it is whole only when it has to be looked at; one that is longer than
LONGEST_HELD streams by unread.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Final

from durproxy.errors import ProtocolViolation
from durproxy.proxy.awaited import awaited_by_bind, awaited_by_group, awaited_by_query
from durproxy.proxy.flow import LONGEST_HELD, Flow
from durproxy.rewrite.plan import FORWARD, Plan, Session
from durproxy.rewrite.scan import mentions_df
from durproxy.wire.framing import HEADER_SIZE, walk
from durproxy.wire.frontend import (
    COPY_DONE,
    COPY_FAIL,
    FUNCTION_CALL,
    SYNC,
    Bind,
    Close,
    Describe,
    Execute,
    Parse,
    Query,
)
from durproxy.wire.shapes import Header

if TYPE_CHECKING:
    from durproxy.proxy.link import Link

_SYNC: Final = SYNC
_QUERY: Final = Query.kind
_PARSE: Final = Parse.kind
_STATEMENTS = frozenset((Query.kind, Parse.kind))
_LOOKED_INTO = frozenset(message.kind for message in (Query, Parse, Bind, Describe, Execute, Close))
PLAIN = frozenset((Query.kind, Parse.kind, SYNC, FUNCTION_CALL, COPY_DONE, COPY_FAIL))
TRACKED = PLAIN | _LOOKED_INTO

_LONGEST_PARSED_HERE = 4 * 1024  # a longer statement is parsed by a reader process

# What may change how the texts behind it read, in a group that is not answered before its end …
_SETS = re.compile(rb"(?i)standard_conforming|client_encoding|set\s+names|set_config|\breset\b")
# … and the session in which such a text is not read at all.
_UNSETTLED = Session(client_encoding="unknown", standard_conforming_strings=False)

_unpack_header = Struct(">BI").unpack_from


def is_plain_group(headers: list[Header]) -> bool:
    """Messages of these types need nothing but to be counted, unless a Parse among them has df."""
    kinds = [kind for kind, _ in headers]
    group = kinds[kinds[0] == _PARSE :]
    return group[-1:] == [_SYNC] and PLAIN.isdisjoint(group[:-1])


class _Wait(Enum):
    WAIT = "the message stays here until the link is resumed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was found out about the statement that waited."""

    plan: Plan
    waited: bool = False  # for the instance, too, and it need not be asked again
    released: bool = False  # it can go to the function that does not wait
    expired: bool = False  # the instance has not ended, but the user's timeout is over


Verdict = bytes | _Wait | None  # this instead, not now, as it is


class Upward(Flow):
    """The client's messages on their way to the server."""

    __slots__ = ("_counters", "_shapes", "crowded", "decision")

    def __init__(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        super().__init__(link, source, sink)
        self.wanted = PLAIN
        self.decision: Decision | None = None
        self.crowded = False  # nothing is read until the server has answered more
        self._counters = link.pump.counters
        self._shapes = link.pump.groups.by_length

    def relay(self) -> None:
        link = self.link
        try:
            end = self._receive_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            link.close("client connection broke")
            return
        if end == 0:
            self.finish()
            return
        self._counters.bytes_from_clients += end
        if self._carry is not None:
            self.take_more(end)
        elif self._skip or not link.simple or link.mid_group or not (unit := self._unit(end)):
            self.take(self._buffer, self._view, end)
        else:  # take would do the same, in many more steps
            self.forward(self._view[:end])
            link.expected.append(unit)

    def _unit(self, end: int) -> int:
        """The common cases: one Query without df, or a whole Sync group; 0 for all others."""
        buffer = self._buffer
        if buffer[0] == _QUERY:
            length = _unpack_header(buffer)[1]
            if not 4 < length == end - 1 or mentions_df(buffer[HEADER_SIZE:end]):
                return 0
            self._counters.statements_scanned += 1
            return _QUERY
        shape = self._shapes.get(end)
        if shape is None or shape[0](buffer) != (headers := shape[1]):
            self.link.pump.groups.unknown(self._view[:end])
            return 0
        if headers[0] == _PARSE:
            # searched with all that stands behind it: at worst something is found that is no df
            if mentions_df(buffer[HEADER_SIZE:end]):
                return 0
            self._counters.statements_scanned += 1
        return _SYNC

    def take(self, buffer: bytearray, view: memoryview, end: int) -> None:
        link = self.link
        position = self._skip
        # here a Sync group or a Query may begin; -1: before this packet
        boundary = -1 if link.mid_group else position
        parts: list[memoryview | bytes] = []  # what was replaced, and all before it
        passed = 0  # what stands before this is in the parts
        try:
            while position < end:
                position, kind, after = walk(buffer, position, end, self.wanted)
                if kind == 0:
                    break
                if kind == _SYNC and link.simple:
                    link.skipping = False
                    link.expected.append(kind)
                    boundary = after
                elif kind in _LOOKED_INTO:
                    if after > end and after - position <= LONGEST_HELD:
                        self.keep(view[position:end], after - position)
                        end = position
                        break
                    verdict = self._look(kind, view, position, after, end, boundary)
                    if verdict is _Wait.WAIT:
                        self.keep(view[position:end], 0)
                        end = position
                        break
                    if verdict is not None:
                        parts += (view[passed:position], verdict)
                        passed = after
                    if kind == _QUERY:
                        boundary = after
                else:
                    if link.unit_sent(kind, self._group(view, boundary, position)):
                        boundary = after
                position = after
        except ProtocolViolation as error:
            position = self.give_up_reading(error.message)
        link.mid_group = boundary != position or link.skipping
        if link.mid_group:
            link.packet_ended(self._group(view, boundary, min(position, end)))
        else:
            link.opened = None
        self.pass_on(view, position, end, parts, passed)
        self._mind_crowd()

    def _mind_crowd(self) -> None:
        """A client may send for ever without reading an answer; what is kept of it has an end."""
        link = self.link
        if link.is_crowded():
            self.crowded = link.attentive = True
            link.rearm()

    @property
    def reading(self) -> bool:
        return not self.crowded and super().reading

    def _group(self, view: memoryview, boundary: int, position: int) -> memoryview | None:
        """What came since the last Sync, up to the position; None when that is not known."""
        if boundary >= 0:
            self.link.ended.clear()  # that was about a group before
            return view[boundary:position]
        opened = self.link.opened
        return None if opened is None else memoryview(opened + view[:position])

    def decide(self, decision: Decision) -> None:
        """The statement that waited can go, and what came behind it."""
        self.decision = decision
        self.resume()

    def track(self) -> None:
        """Read the extended protocol's names from now on."""
        self.wanted = TRACKED

    def sink_broke(self) -> None:
        """The server is gone; what it said last may still be on its way to the client."""
        self.ended = True
        self.pending = None
        self.link.rearm()

    def _look(
        self, kind: int, view: memoryview, position: int, after: int, end: int, boundary: int
    ) -> Verdict:
        link = self.link
        if after > end:
            link.passed_unread(kind)
            return None
        body = view[position + HEADER_SIZE : after]
        if kind in _STATEMENTS:
            self._counters.statements_scanned += 1
            if link.rewriting and mentions_df(bytes(body)):
                group = self._group(view, boundary, position)
                return self._look_at_statement(kind, body, view[after:end], group)
            if kind == _QUERY:
                link.call_sent(kind, None, self._group(view, boundary, position))
                return None
        tracking = link.tracking
        if tracking is None:
            return None
        if kind == _PARSE:
            tracking.parsed(Parse.parse(body), None)
        elif kind == Bind.kind:
            return self._look_at_bind(Bind.parse(body), view[after:end], position == boundary)
        else:
            tracking.sent(kind, body)
        return None

    def _look_at_statement(
        self, kind: int, body: memoryview, rest: memoryview, group: memoryview | None
    ) -> Verdict:
        """``group`` is what came before in this Sync group, as far as it is known."""
        link = self.link
        fresh = group is not None and not group
        message = (Query if kind == _QUERY else Parse).parse(body)
        decision, self.decision = self.decision, None
        if decision is None:
            session = link.session
            if _depends_on_settings(message.query):
                if fresh and link.expected:
                    link.settle()
                    return _Wait.WAIT
                if group and _SETS.search(bytes(group)):
                    session = _UNSETTLED
            if len(message.query) > _LONGEST_PARSED_HERE:
                link.plan_elsewhere(message.query, session)
                return _Wait.WAIT
            decision = Decision(link.shell.rewriter.plan(message.query, session))
        if decision.plan.extension and link.database != link.shell.upstream.database:
            decision = Decision(FORWARD)  # nothing stands in for it there
        plan = decision.plan
        if plan.hold is not None and not decision.waited and fresh and link.quiet:
            if isinstance(message, Query):
                awaited = None if rest else awaited_by_query(plan.hold)
            else:
                awaited = awaited_by_group(plan.hold, message, rest)
            if awaited is not None:
                link.hold(plan, awaited)
                return _Wait.WAIT
        return self._send_statement(message, decision, group)

    def _send_statement(
        self, message: Query | Parse, decision: Decision, group: memoryview | None
    ) -> Verdict:
        link, plan = self.link, decision.plan
        if plan == FORWARD and link.tracking is None:
            if isinstance(message, Query):
                link.call_sent(message.kind, None, group)
            return None
        text = plan.hold.released if decision.released and plan.hold else plan.text
        if text is not None:
            self._counters.statements_rewritten += 1
        tracking = link.track(group)
        if isinstance(message, Query):
            link.call_sent(message.kind, plan, group)
            if plan.wakes_engine:
                link.wake_engines_later()
            return None if text is None else Query(text).encode()
        tracking.parsed(message, plan)
        if decision.waited:
            self.decision = decision  # the Bind behind it has waited, too
        if text is None:
            return None
        return Parse(message.statement, text, message.parameter_types).encode()

    def _look_at_bind(self, message: Bind, rest: memoryview, fresh: bool) -> Verdict:
        link = self.link
        tracking = link.tracking
        assert tracking is not None
        decision, self.decision = self.decision, None
        plan = tracking.statement(message.statement)
        if plan is not None and plan.hold is not None and decision is None:
            group = tracking.open
            alone = fresh or (
                group is not None and group.prepares_only and group.prepares == message.statement
            )
            awaited = awaited_by_bind(plan.hold, message, rest) if alone and link.quiet else None
            if awaited is not None:
                link.hold(plan, awaited)
                return _Wait.WAIT
        if decision is not None and decision.expired and plan is not None and plan.hold is not None:
            # the statement as it was prepared would wait as long again
            types = tracking.parameter_types(message.statement)
            tracking.injected()
            message = replace(message, statement=b"")
            tracking.bound(message)
            return Parse(b"", plan.hold.released, types).encode() + message.encode()
        plan = tracking.bound(message)
        if plan is not None and plan.wakes_engine:
            link.wake_engines_later()
        return None


def _depends_on_settings(text: bytes) -> bool:
    """Whether it may read otherwise when a statement before it has changed the session."""
    return b"\\" in text or not text.isascii()
