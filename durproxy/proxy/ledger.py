"""What was sent to the server and is not answered yet: the books of one session, without sockets.

Each ReadyForQuery answers one unit: a Query, a FunctionCall, or all messages up to a Sync. The
units stand in ``expected`` in the order in which they were sent. A session that never used df pays
for no more than a number per unit; one that did has them as ``Unit`` (``tracking``).

States: between groups; in a group (``mid_group``); skipping (the open group has failed, the server
reads on at its Sync); copying in (of an Execute: the server reads data and ignores Sync).

Events: a unit was sent, a message went by unread, the server answered with ReadyForQuery, with an
error, with the start of a COPY FROM STDIN.

Invariants. While nothing was lost, ``expected`` is empty exactly when the server waits for the
client. What goes wrong errs on the side of an answer too many that is expected: such a session is
never quiet, so nothing of it is held, and a drain waits for its time to be over.

A Query or FunctionCall in the middle of a group is such a case: whether the server answers it
depends on what stands before it in the group. So the text of a group that is cut by the end of a
packet is kept (``opened``) until its Sync, as long as it is short, and with it the replies that
have come to it (``ended``); should a call follow, the group is tracked.

A client may send the data of several COPYs before the server begins the first. So the place of each
end of data among the units is kept (``data_sent``) until the server begins that COPY, or has
answered what it may belong to and so ignored it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from durproxy.proxy.tracking import Tracking, Unit
from durproxy.rewrite.plan import Plan
from durproxy.wire import backend
from durproxy.wire.framing import split_messages
from durproxy.wire.frontend import COPY_DONE, COPY_FAIL, SYNC, Execute, Query

_COPY_ENDS = frozenset((COPY_DONE, COPY_FAIL))
_LONGEST_OPENED = 16 * 1024  # bytes of an open group that are kept
_MOST_KEPT = 20_000  # steps and units, of some hundred bytes each; a packet more is possible
_MOST_DATA_ENDS = 100  # that are kept; without the oldest an answer too few may be expected


class DataEnd(NamedTuple):
    """The end of a COPY's data, which was sent before the server said that it copies."""

    place: int  # so many units were sent before it
    in_group: bool  # it may belong to the group that was open; otherwise to the last unit


class Ledger:
    """The books; a ``Link`` adds the sockets."""

    __slots__ = (
        "attentive",
        "copying_in",
        "data_sent",
        "ended",
        "expected",
        "had_copy",
        "mid_group",
        "opened",
        "simple",
        "skipping",
        "status",
        "tracking",
        "units_sent",
    )

    def __init__(self) -> None:
        self.status = 0  # of the last ReadyForQuery
        self.expected: deque[int | Unit] = deque()  # what the coming ReadyForQuerys answer
        self.mid_group = False  # messages were sent that no Sync has followed yet
        self.opened: bytes | None = None  # … these; None: not known
        self.ended = bytearray()  # … and the replies that ended steps of it, by type
        self.skipping = False  # … one of which has failed
        self.simple = True  # a Sync is just counted: no tracking, no COPY
        self.copying_in = False
        self.data_sent: tuple[DataEnd, ...] = ()  # what may still be asked for
        self.units_sent = 0  # counted only while there is such data
        self.had_copy = False  # since the last time that nothing was outstanding; data may follow
        self.attentive = False  # something depends on the next ReadyForQuery
        self.tracking: Tracking | None = None  # from the first df statement on

    @property
    def quiet(self) -> bool:
        """The server waits for the client, outside a transaction."""
        return self.status == backend.IDLE and not self.expected

    def is_crowded(self) -> bool:
        """Whether too much is kept for what is not answered: then no more is taken on."""
        tracking = self.tracking
        if tracking is None or tracking.added < _MOST_KEPT // 2:  # since it was little
            return False
        kept = len(tracking.open.steps) if tracking.open is not None else 0
        kept += sum(1 + len(unit.steps) for unit in self.expected if isinstance(unit, Unit))
        if kept > _MOST_KEPT:
            return True
        tracking.added = 0
        return False

    # -- sent

    def unit_sent(self, kind: int, group: memoryview | None) -> bool:
        """The client ended something: a Query, a Sync group, a FunctionCall, a COPY.

        ``group`` is what came before it since the last Sync; None when that is not known. The
        answer is whether another group begins: the data of an Execute do not end its group.
        """
        if kind in _COPY_ENDS:
            executed = group is not None and _has_execute(group)
            if self.copying_in:
                self.copy_in_ended()
            elif not self.skipping:
                if executed:  # should the COPY fail later, the server will skip what follows
                    self.track(group)
                end = DataEnd(self.units_sent, group is None or executed)
                self.data_sent = (*self.data_sent, end)[-_MOST_DATA_ENDS:]
                self._forget_data()
            return not executed
        if kind != SYNC:
            self.call_sent(kind, None, group)
        elif not self.copying_in:
            self.skipping = False
            self._expect(SYNC if self.tracking is None else self.tracking.synced())
        return True

    def call_sent(self, kind: int, plan: Plan | None, group: memoryview | None) -> None:
        """A Query or a FunctionCall, which are answered without a Sync."""
        if self.skipping:
            return
        if group:  # should a message in it fail, the server will skip this one
            self.track(group)
        unit = kind if self.tracking is None else self.tracking.called(kind, plan)
        self._expect(unit)

    def _expect(self, unit: int | Unit) -> None:
        self.expected.append(unit)
        if self.data_sent:
            self.units_sent += 1
            self._forget_data()

    def passed_unread(self, kind: int) -> None:
        """A message too long to look at."""
        if kind == Query.kind:
            self.call_sent(kind, None, None)
        elif self.tracking is not None:
            self.tracking.lose_group()

    def packet_ended(self, group: memoryview | None) -> None:
        """Nothing more has come from the client so far; ``group`` is the open one, if known."""
        if group is None or len(group) > _LONGEST_OPENED or self.skipping or self.tracking:
            self.forget_group()
        else:
            self.opened = bytes(group)

    def forget_group(self) -> None:
        """The open group has ended, or what it is made of does not matter any more."""
        self.opened = None
        self.ended.clear()

    def track(self, group: memoryview | None) -> Tracking:
        """Know names and replies from now on, and from ``group``, the open Sync group so far."""
        if self.tracking is None:
            self.tracking = Tracking(group)
            self.simple = False
            for reply in self.ended:
                if self.tracking.open is not None:
                    self.tracking.replied(self.tracking.open, reply)
            self.forget_group()
        return self.tracking

    # -- answered

    @property
    def counts_steps(self) -> bool:
        """The server's next reply is to the open group, which is known and not tracked."""
        return self.opened is not None and not self.expected

    def step_ended(self, kind: int) -> bool:
        """The server has sent a reply of this type; whether it is the client's."""
        unit = self.unit_in_doubt()
        if unit is not None and self.tracking is not None:
            return self.tracking.replied(unit, kind)
        if self.counts_steps:
            self.ended.append(kind)
            if len(self.ended) > _LONGEST_OPENED:  # more replies than it can have
                self.forget_group()
        return True

    def unit_in_doubt(self) -> Unit | None:
        """What the server's next reply belongs to, if that is tracked."""
        if self.tracking is None:
            return None
        if not self.expected:
            return self.tracking.open
        unit = self.expected[0]
        return unit if isinstance(unit, Unit) else None

    def error_received(self) -> None:
        """The server has answered with an error."""
        copied_in = self.copying_in
        self.copy_in_ended()
        if not self.expected:
            self.skipping = self.mid_group = self.mid_group or copied_in
            if self.tracking is not None and self.tracking.open is not None:
                self.tracking.open.fail()
            return
        unit = self.expected[0]
        if not isinstance(unit, Unit):
            return
        in_group = bool(unit.steps) and not _is_sync(unit)
        unit.fail()
        if in_group:  # so that this Query or call is skipped itself, and all up to the Sync
            self.expected.popleft()
            self._skip_to_sync()

    def copy_in_started(self) -> None:
        """From now until the data ends the server ignores Sync, also one that was sent already.

        So it is for a COPY that was started by Execute; a Query is answered as ever. Of a client
        that does not wait before it sends the data, the end of the data may be under way already.
        """
        self.attentive = True
        self._forget_data()
        self.copying_in = not self.data_sent
        self.had_copy |= self.copying_in
        ignored = len(self.expected)
        if self.data_sent:
            ignored = self.data_sent[0].place - self._units_answered
            self.data_sent = self.data_sent[1:]
        while ignored > 0 and self.expected and _is_sync(self.expected[0]):
            self.expected.popleft()
            ignored -= 1
        self._simplify()

    def copy_in_ended(self) -> None:
        self.copying_in = False
        self._simplify()

    @property
    def _units_answered(self) -> int:
        """As they are counted in ``units_sent``."""
        return self.units_sent - len(self.expected)

    def _forget_data(self) -> None:
        """Forget what the server has ignored: that for which it was sent is answered."""
        answered = self._units_answered
        while self.data_sent and self.data_sent[0].place + self.data_sent[0].in_group <= answered:
            self.data_sent = self.data_sent[1:]
        self._simplify()

    def _simplify(self) -> None:
        self.simple = self.tracking is None and not self.copying_in and not self.data_sent

    def forget_copy(self) -> None:
        """Nothing is outstanding: data that came after an error belongs to no group."""
        if self.had_copy:
            self.had_copy = self.mid_group = False

    def _skip_to_sync(self) -> None:
        while self.expected:
            unit = self.expected[0]
            if isinstance(unit, Unit):
                unit.skip()
            if _is_sync(unit):
                return
            self.expected.popleft()
        self.skipping = self.mid_group = True
        if self.tracking is not None and self.tracking.open is not None:
            self.tracking.open.skip()


def _has_execute(group: memoryview) -> bool:
    return any(kind == Execute.kind for kind, _ in split_messages(group))


def _is_sync(unit: int | Unit) -> bool:
    return (unit.kind if isinstance(unit, Unit) else unit) == SYNC
