"""From the server to the client: every header is read, hardly a body.

Of interest are the transaction status, reported settings, the start of a COPY FROM STDIN, and
the notices by which a function asks the proxy to act; in sessions that use df also the replies
that tell which statement an error belongs to, so that its position can be moved back to the place
in the text that the user wrote.
"""

from __future__ import annotations

import socket
from enum import Enum
from typing import TYPE_CHECKING, Final

from durproxy.errors import ProtocolViolation
from durproxy.proxy import request
from durproxy.proxy.flow import LONGEST_HELD, Flow
from durproxy.proxy.tracking import Unit
from durproxy.rewrite.extension import NAME, STAND_IN
from durproxy.rewrite.reports import original_fields
from durproxy.wire import backend
from durproxy.wire.framing import HEADER_SIZE, walk
from durproxy.wire.shapes import Header
from durproxy.wire.sqlstate import DUPLICATE_OBJECT

if TYPE_CHECKING:
    from durproxy.proxy.link import Link

_READY: Final = backend.READY_FOR_QUERY
_ERROR = backend.ErrorResponse.kind
_NOTICE = backend.NoticeResponse.kind
_PARAMETER = backend.ParameterStatus.kind

_READY_HEADER: Final = (_READY, 5)
_REPORTS = frozenset((_ERROR, _NOTICE))

PLAIN = frozenset((_READY, _PARAMETER, _ERROR, _NOTICE, backend.COPY_IN_RESPONSE))
TRACKED = PLAIN | frozenset(
    (
        backend.PARSE_COMPLETE,
        backend.BIND_COMPLETE,
        backend.CLOSE_COMPLETE,
        backend.ROW_DESCRIPTION,
        backend.NO_DATA,
        backend.COMMAND_COMPLETE,
        backend.EMPTY_QUERY_RESPONSE,
        backend.PORTAL_SUSPENDED,
    )
)
_STEP_ENDS = TRACKED - PLAIN


def is_plain_answer(headers: list[Header]) -> bool:
    """Messages of these types need nothing but to be counted, in a session that never used df."""
    return headers[-1] == _READY_HEADER and PLAIN.isdisjoint(kind for kind, _ in headers[:-1])


class _Wait(Enum):
    WAIT = "the message stays here until the flow is resumed"


Verdict = bytes | _Wait | None  # this instead, not now, as it is


class Downward(Flow):
    """The server's messages on their way to the client."""

    __slots__ = ("_counters", "_shapes")

    def __init__(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        super().__init__(link, source, sink)
        self.wanted = PLAIN
        self._counters = link.pump.counters
        self._shapes = link.pump.answers.by_length

    def relay(self) -> None:
        buffer, link = self._buffer, self.link
        try:
            end = self._receive_into(buffer)
        except BlockingIOError:
            return
        except OSError:  # it says no more, which for the client is the end of the stream
            end = 0
        if end == 0:
            self.finish()
            return
        self._counters.bytes_from_upstream += end
        if self._carry is not None:
            self.take_more(end)
        elif (
            self._skip or link.attentive or link.mid_group or not self._is_whole_answer(buffer, end)
        ):
            self.take(buffer, self._view, end)
        else:  # take would do the same, in many more steps
            self.forward(self._view[:end])
            if link.expected:
                link.expected.popleft()
            link.status = buffer[end - 1]

    def _is_whole_answer(self, buffer: bytearray, end: int) -> bool:
        """The common case: whole messages, of which only the last matters, a ReadyForQuery."""
        shape = self._shapes.get(end)
        if shape is not None and shape[0](buffer) == shape[1]:
            return True
        if buffer[end - 6] != _READY:
            return False
        try:
            position, _, after = walk(buffer, 0, end, self.wanted)
        except ProtocolViolation:
            return False
        if position != end - 6 or after != end:
            return False
        self.link.pump.answers.unknown(self._view[:end])
        return True

    def take(self, buffer: bytearray, view: memoryview, end: int) -> None:
        link = self.link
        position = self._skip
        parts: list[memoryview | bytes] = []  # what was replaced, and all before it
        passed = 0  # what stands before this is in the parts
        ready = False
        try:
            while position < end:
                wanted = TRACKED if link.counts_steps else self.wanted
                position, kind, after = walk(buffer, position, end, wanted)
                if kind == 0:
                    break
                if after > end and after - position <= _longest_held(kind):
                    self.keep(view[position:end], after - position)
                    end = position
                    break
                if kind == _READY:
                    if link.expected:
                        link.expected.popleft()
                    link.status = backend.ReadyForQuery.parse(
                        view[position + HEADER_SIZE : after]
                    ).status
                    ready = True
                elif after > end:
                    self._note_long(kind)
                else:
                    verdict = self._look(kind, view[position + HEADER_SIZE : after])
                    if verdict is _Wait.WAIT:
                        self.keep(view[position:end], 0)
                        end = position
                        break
                    if verdict is not None:
                        parts += (view[passed:position], verdict)
                        passed = after
                position = after
        except ProtocolViolation as error:
            position = self.give_up_reading(error.message)
        self.pass_on(view, position, end, parts, passed)
        if link.up.crowded and not link.is_crowded():
            link.up.crowded = False
            link.rearm()
        if ready and link.attentive:
            link.became_ready()

    def track(self) -> None:
        """See each reply from now on."""
        self.wanted = TRACKED
        self._shapes = {}

    def sink_broke(self) -> None:
        self.link.close("client connection broke")

    def _note_long(self, kind: int) -> None:
        """A message that is longer than anything that is held back."""
        if kind == _ERROR:
            self.link.error_received()
        elif kind in _STEP_ENDS:
            self.link.step_ended(kind)

    def _look(self, kind: int, body: memoryview) -> Verdict:
        link = self.link
        if kind == _NOTICE and (asked := request.maybe_request(body)) is not None:
            taken = link.asked(asked)
            if taken is None:
                return _Wait.WAIT
            if taken:
                return b""
        if kind == _PARAMETER:
            parameter = backend.ParameterStatus.parse(body)
            link.parameter_reported(parameter.name, parameter.value)
            return None
        if kind == backend.COPY_IN_RESPONSE:
            link.copy_in_started()
            return None
        if kind in _STEP_ENDS:
            return None if link.step_ended(kind) else b""
        unit = link.unit_in_doubt()
        moved = None if unit is None else self._move(kind, body, unit)
        if kind == _ERROR:
            link.error_received()
        return moved

    def _move(self, kind: int, body: memoryview, unit: Unit) -> bytes | None:
        """The report as it would be about the user's own text; None: as it is."""
        plan = unit.plan_in_doubt()
        if plan is None or not plan.edits:
            return None
        if plan.extension and kind == _NOTICE:
            return backend.renamed_notice(body, DUPLICATE_OBJECT, STAND_IN, NAME)
        fields = backend.report_fields(body)
        if fields is None:
            return None
        original = original_fields(plan, fields)
        return None if original == fields else backend.encode_report(kind, original)


def _longest_held(kind: int) -> int:
    return request.LONGEST if kind == _NOTICE else LONGEST_HELD
