"""One client and its upstream connection, from the first ReadyForQuery until both are closed.

The two flows move the bytes; the link is what they both know: how many answers are outstanding,
the transaction status, the settings that were reported, whether the next statement has to wait.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from durproxy.log import get_logger
from durproxy.proxy import downward, upward
from durproxy.proxy.awaited import Awaited
from durproxy.proxy.downward import Downward
from durproxy.proxy.request import Request
from durproxy.proxy.tracking import Tracking, Unit
from durproxy.proxy.upstream import Place
from durproxy.proxy.upward import Decision, Upward
from durproxy.rewrite.plan import Plan, Session
from durproxy.wire import backend, sqlstate
from durproxy.wire.frontend import COPY_DONE, COPY_FAIL, SYNC, TERMINATE, Query
from durproxy.wire.startup import StartupMessage
from durproxy.wire.states import Event, State, next_state

if TYPE_CHECKING:
    from durproxy.proxy.shell import Shell

log = get_logger(__name__)

# The server's defaults, until it reports others: before its first ReadyForQuery, always.
_UNKNOWN_SESSION = Session(client_encoding="SQL_ASCII", standard_conforming_strings=True)

_COPY_ENDS = frozenset((COPY_DONE, COPY_FAIL))


class Link:
    """A relayed session."""

    __slots__ = (
        "attentive",
        "client",
        "copying_in",
        "database",
        "down",
        "expected",
        "had_copy",
        "key",
        "last_request",
        "mid_group",
        "peer",
        "place",
        "pump",
        "rewriting",
        "server",
        "session",
        "shell",
        "simple",
        "state",
        "status",
        "tracking",
        "up",
        "user",
        "wakes_engine",
    )

    def __init__(
        self,
        shell: Shell,
        client: socket.socket,
        server: socket.socket,
        *,
        place: Place,
        peer: str,
        startup: StartupMessage,
    ) -> None:
        self.shell = shell
        self.pump = shell.pump
        self.client = client
        self.server = server
        self.place = place
        self.peer = peer
        self.user = startup.user  # changes with SET SESSION AUTHORIZATION
        self.database = startup.database
        self.rewriting = not startup.wants_replication
        self.key: tuple[int, bytes] | None = None  # what a CancelRequest has to show
        self.state = State.STARTING
        self.status = 0  # of the last ReadyForQuery
        self.expected: deque[int | Unit] = deque()  # what the coming ReadyForQuerys answer
        self.mid_group = False  # messages were sent that no Sync has followed yet
        self.simple = True  # a Sync is just counted: no tracking, no COPY
        self.copying_in = False  # the server reads COPY data and ignores Sync
        self.had_copy = False  # since the last time that nothing was outstanding
        self.session = _UNKNOWN_SESSION
        self.tracking: Tracking | None = None  # from the first df statement on
        self.wakes_engine = False  # at the next commit there may be work
        self.attentive = False  # something depends on the next ReadyForQuery
        self.last_request = -1  # the number of the last one that was acted on
        self.up = Upward(self, client, server)
        self.down = Downward(self, server, client)

    def __repr__(self) -> str:
        return f"<Link {self.peer} {self.state.value} outstanding={len(self.expected)}>"

    def enter(self, event: Event) -> None:
        self.state = next_state(self.state, event)

    def take_initial(self, from_server: bytes, from_client: bytes) -> None:
        """What came in the same packets as the end of the login."""
        for flow, data in ((self.down, from_server), (self.up, from_client)):
            if data and self.state is State.RELAYING:
                flow.take_initial(data)

    # -- what was sent and answered

    @property
    def quiet(self) -> bool:
        """The server waits for the client, outside a transaction."""
        return self.status == backend.IDLE and not self.expected

    def unit_sent(self, kind: int) -> None:
        """The client ended something: a Query, a Sync group, a FunctionCall, a COPY."""
        if kind in _COPY_ENDS:
            self.copy_in_ended()
        elif kind != SYNC:
            self.expected.append(kind)
        elif not self.copying_in:
            self.expected.append(SYNC if self.tracking is None else self.tracking.synced())

    def query_sent(self, plan: Plan) -> None:
        self.expected.append(Unit(Query.kind, plan))
        if plan.wakes_engine:
            self.wake_engines_later()

    def wake_engines_later(self) -> None:
        """At the next commit."""
        self.wakes_engine = self.attentive = True

    def passed_unread(self, kind: int) -> None:
        """A message too long to look at."""
        if kind == Query.kind:
            self.expected.append(kind)
        elif self.tracking is not None:
            self.tracking.lose_group()

    def track(self, group: memoryview | None) -> Tracking:
        """Know names and replies from now on, and from ``group``, the open Sync group so far."""
        if self.tracking is None:
            self.tracking = Tracking(group)
            self.up.wanted = upward.TRACKED
            self.down.wanted = downward.TRACKED
            self.simple = False
        return self.tracking

    def unit_in_doubt(self) -> Unit | None:
        """What the server's next reply belongs to, if that is tracked."""
        if self.tracking is None:
            return None
        if not self.expected:
            return self.tracking.open
        unit = self.expected[0]
        return unit if isinstance(unit, Unit) else None

    def parameter_reported(self, name: bytes, value: bytes) -> None:
        text = value.decode("utf-8", "replace")
        if name == b"client_encoding":
            self.session = replace(self.session, client_encoding=text)
        elif name == b"standard_conforming_strings":
            self.session = replace(self.session, standard_conforming_strings=text == "on")
        elif name == b"session_authorization":
            self.user = text

    def copy_in_started(self) -> None:
        """From now until the data ends the server ignores Sync, also one that was sent already.

        So it is for a COPY that was started by Execute; a Query is answered as ever.
        """
        self.copying_in = self.had_copy = self.attentive = True
        self.simple = False
        while self.expected and _is_sync(self.expected[-1]):
            self.expected.pop()

    def copy_in_ended(self) -> None:
        self.copying_in = False
        self.simple = self.tracking is None

    def became_ready(self) -> None:
        """A ReadyForQuery went to the client, and something waited for it."""
        if self.expected or self.status != backend.IDLE:
            return
        self.attentive = self.pump.draining
        if self.had_copy:  # data that came after an error belongs to no group
            self.had_copy = self.mid_group = False
        if self.wakes_engine:
            self.wakes_engine = False
            self.shell.wake_engines()
        if self.pump.draining:
            self.maybe_drain()

    # -- statements that wait

    def plan_elsewhere(self, text: bytes) -> None:
        """Let the helper process read this long statement."""
        self.enter(Event.PLAN_REQUESTED)
        self._suspend()
        self.shell.plan_elsewhere(self, text)

    def hold(self, plan: Plan, awaited: Awaited) -> None:
        """Keep the client's statement until the instance has ended."""
        self.enter(Event.HOLD_STARTED)
        self._suspend()
        self.shell.holds.add(self, plan, awaited)

    def resume(self, decision: Decision) -> None:
        if self.state is State.CLOSED:
            return
        self.enter(Event.STATEMENT_RELEASED)
        self.up.resume(decision)

    @contextmanager
    def client_waiting(self) -> Iterator[None]:
        """Nothing is read from the client meanwhile."""
        self._suspend()
        try:
            yield
        finally:
            self.up.suspended = False
            self.rearm()
            if self.pump.draining and self.state is not State.CLOSED:
                self.maybe_drain()

    def _suspend(self) -> None:
        self.up.suspended = True
        self.rearm()

    # -- what the server's functions ask for

    def asked(self, request: Request) -> bool | None:
        """A notice asks the proxy to act. Whether it does; None: the flow down is resumed later."""
        if not self.rewriting or self.key is None or request.process_id != self.key[0]:
            return False
        if request.number <= self.last_request:  # each one once
            return False
        genuine = self.shell.acting.is_genuine(request, self.database)
        if genuine is None:
            self.down.suspend()
            self.shell.read_secret(self)
        elif genuine:
            self.last_request = request.number
            self.shell.acting.act(request)
        return genuine

    def resume_down(self) -> None:
        if self.state is not State.CLOSED:
            self.down.resume()

    # -- the end

    def rearm(self) -> None:
        if self.state is not State.CLOSED:
            self.pump.arm(self)

    def lost_track(self, reason: str) -> None:
        self.rewriting = False
        self.pump.counters.violations += 1
        log.warning("connection.unreadable", peer=self.peer, user=self.user, reason=reason)

    def maybe_drain(self) -> None:
        """Say goodbye if no transaction and no reply would be cut."""
        if self.quiet and not self.mid_group and not self.down.pending and not self.up.suspended:
            self.say_goodbye()

    def say_goodbye(self) -> None:
        """The proxy is shutting down, and nothing that the server said would be cut."""
        self.end_with(
            backend.fatal(
                sqlstate.ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
                detail="The proxy is shutting down.",
                hint="Connect again.",
            )
        )

    def end_with(self, farewell: backend.ErrorResponse) -> None:
        """End the session in the protocol's words, to both sides, neither of which is talking."""
        self.up.forward(memoryview(TERMINATE))
        self.down.forward(memoryview(farewell.encode()))
        self.close("drained")

    def maybe_close(self) -> None:
        """Close when nothing can be said any more; a client that lingers gets a little time."""
        if self.up.ended and self.down.ended:
            self.close("both sides left")
        elif self.down.ended:
            self.pump.linger(self)

    def close(self, reason: str) -> None:
        if self.state is State.CLOSED:
            return
        self.enter(Event.CONNECTION_ENDED)
        self.pump.forget(self)
        self.shell.forget(self)
        self.client.close()
        self.server.close()
        log.debug("connection.closed", peer=self.peer, user=self.user, reason=reason)


def _is_sync(unit: int | Unit) -> bool:
    return (unit.kind if isinstance(unit, Unit) else unit) == SYNC
