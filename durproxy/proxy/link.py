"""One client and its upstream connection, from the first ReadyForQuery until both are closed.

The two flows move the bytes; the link is what they both know: what is outstanding (``ledger``), the
settings that were reported, whether the next statement has to wait, and for what.

Who resumes a statement that waited is another task, or the other flow: what goes wrong then is this
connection's fault, as it would be in the pump's loop (``Pump.guarding``).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeVarTuple

import trio

from durproxy.log import get_logger
from durproxy.proxy.awaited import Awaited
from durproxy.proxy.downward import Downward
from durproxy.proxy.ledger import Ledger
from durproxy.proxy.request import Request
from durproxy.proxy.tracking import Tracking
from durproxy.proxy.upstream import Place, Upstream
from durproxy.proxy.upward import Decision, Upward
from durproxy.rewrite.plan import Plan, Session
from durproxy.wire import backend, sqlstate
from durproxy.wire.frontend import TERMINATE
from durproxy.wire.startup import StartupMessage
from durproxy.wire.states import Event, State, next_state

if TYPE_CHECKING:
    from durproxy.proxy.pump import Pump
    from durproxy.proxy.shell import Shell

A = TypeVarTuple("A")

log = get_logger(__name__)

# The server's defaults, until it reports others: before its first ReadyForQuery, always.
_UNKNOWN_SESSION = Session(client_encoding="SQL_ASCII", standard_conforming_strings=True)


class Link(Ledger):
    """A relayed session."""

    __slots__ = (
        "application_name",
        "cancels",
        "client",
        "database",
        "down",
        "key",
        "last_request",
        "login",
        "opened_at",
        "peer",
        "place",
        "pump",
        "released",
        "rewriting",
        "server",
        "session",
        "shell",
        "state",
        "up",
        "upstream",
        "user",
        "wakes_engine",
    )

    def __init__(
        self,
        shell: Shell,
        client: socket.socket,
        server: socket.socket,
        *,
        upstream: Upstream,
        place: Place,
        peer: str,
        startup: StartupMessage,
    ) -> None:
        super().__init__()
        self.shell = shell
        self.pump: Pump = shell.pump
        self.client = client
        self.server = server
        self.upstream = upstream  # as it was when the session began
        self.place = place
        self.peer = peer
        self.opened_at = monotonic()
        self.login = startup.user
        self.user = startup.user  # changes with SET SESSION AUTHORIZATION
        self.database = startup.database
        self.application_name = ""
        self.rewriting = not startup.wants_replication
        self.key: tuple[int, bytes] | None = None  # what a CancelRequest has to show
        self.state = State.STARTING
        self.session = _UNKNOWN_SESSION
        self.wakes_engine = False  # at the next commit there may be work
        self.last_request = -1  # the number of the last one that was acted on
        self.cancels = 0  # that are on their way to a statement that waited here
        self.released: trio.Event | None = None  # the statement that waits here has gone on
        self.up = Upward(self, client, server)
        self.down = Downward(self, server, client)

    def __repr__(self) -> str:
        return f"<Link {self.peer} {self.state.value} outstanding={len(self.expected)}>"

    def enter(self, event: Event) -> None:
        self.state = next_state(self.state, event)

    def take_initial(self, from_server: bytes, from_client: bytes) -> None:
        """What came in the same packets as the end of the login."""
        if from_server:
            with self.pump.guarding(self):
                self.down.take_initial(from_server)
        if self.pump.paused:  # since the login began
            self.maybe_pause()
        if self.state is State.PAUSED:
            self.up.keep(memoryview(from_client), 0)
        elif from_client and self.state is State.RELAYING:
            with self.pump.guarding(self):
                self.up.take_initial(from_client)

    # -- what was sent and answered

    def wake_engines_later(self) -> None:
        """At the next commit."""
        self.wakes_engine = self.attentive = True

    def track(self, group: memoryview | None) -> Tracking:
        if self.tracking is None:
            self.up.track()
            self.down.track()
        return super().track(group)

    def parameter_reported(self, name: bytes, value: bytes) -> None:
        text = value.decode("utf-8", "replace")
        if name == b"client_encoding":
            self.session = Session(text, self.session.standard_conforming_strings)
        elif name == b"standard_conforming_strings":
            self.session = Session(self.session.client_encoding, text == "on")
        elif name == b"session_authorization":
            self.user = text
        elif name == b"application_name":
            self.application_name = text

    def became_ready(self) -> None:
        """A ReadyForQuery went to the client, and something waited for it."""
        if self.expected:
            return
        if self.state is State.SETTLING:
            self._release(self.up.resume)
        if not self.quiet:
            return
        self.attentive = self.pump.draining or self.pump.paused
        self.forget_copy()
        if self.wakes_engine:
            self.wakes_engine = False
            self.shell.wake_engines()
        if self.pump.draining:
            self.maybe_drain()
        elif self.pump.paused:
            self.maybe_pause()
            self.pump.look_for_quiet()

    # -- statements that wait

    def settle(self) -> None:
        """Let the server answer what was sent, which may change how the next statement reads."""
        self.attentive = True
        self._wait(Event.ANSWERS_AWAITED)

    def plan_elsewhere(self, text: bytes, session: Session) -> None:
        """Let another process read this long statement."""
        self._wait(Event.PLAN_REQUESTED)
        self.shell.plan_elsewhere(self, text, session)

    def hold(self, plan: Plan, awaited: Awaited) -> None:
        """Keep the client's statement until the instance has ended."""
        self._wait(Event.HOLD_STARTED)
        self.shell.holds.add(self, plan, awaited)

    def resume(self, decision: Decision) -> None:
        """It is known what to do with the statement that waits."""
        if self.state is not State.CLOSED:
            with self.pump.guarding(self):
                self._release(self.up.decide, decision)

    async def wait_released(self) -> None:
        """Until the statement that waits has gone on, perhaps to wait for something else."""
        if self.released is not None:
            await self.released.wait()

    def _wait(self, event: Event) -> None:
        self.enter(event)
        self.released = trio.Event()
        self.up.suspend()

    def _release(self, go_on: Callable[[*A], None], *arguments: *A) -> None:
        released = self.released
        self.enter(Event.STATEMENT_RELEASED)
        go_on(*arguments)
        if released is not None:
            released.set()

    @contextmanager
    def client_waiting(self) -> Iterator[None]:
        """Nothing is read from the client meanwhile: a cancel must not hit what it says next."""
        self.cancels += 1
        self.up.suspend()
        try:
            yield
        finally:
            self.cancels -= 1
            # it may have been paused meanwhile, or its next statement waits for something
            if not self.cancels and self.state is State.RELAYING:
                with self.pump.guarding(self):
                    self.up.resume()
            if self.pump.draining and self.state is not State.CLOSED:
                self.maybe_drain()

    # -- an administrator's pause

    @property
    def pid(self) -> int | None:
        """Of the backend."""
        return None if self.key is None else self.key[0]

    @property
    def busy(self) -> bool:
        """The server is at work for it, or in a transaction."""
        return self.mid_group or not self.quiet

    def maybe_pause(self) -> None:
        """Read nothing more, unless something is under way."""
        if not self.busy and self.state is State.RELAYING:
            self.enter(Event.PAUSE_BEGUN)
            self.up.suspend()

    def end_pause(self) -> None:
        if self.state is State.PAUSED:
            with self.pump.guarding(self):
                self.enter(Event.PAUSE_ENDED)
                if not self.cancels:
                    self.up.resume()

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
            with self.pump.guarding(self):
                self.down.resume()

    # -- the end

    def rearm(self) -> None:
        if self.state is not State.CLOSED:
            self.pump.arm(self)

    def lost_track(self, reason: str) -> None:
        self.rewriting = False
        self.pump.counters.violations += 1
        log.warning(
            "connection.unreadable", peer=self.peer, pid=self.pid, user=self.user, reason=reason
        )

    def maybe_drain(self) -> None:
        """Say goodbye if no transaction and no reply would be cut."""
        if self.quiet and not self.mid_group and not self.down.pending and not self.up.suspended:
            self.say_goodbye()

    def say_goodbye(self, why: str = "The proxy is shutting down.") -> None:
        """End a session in which nothing that the server said would be cut."""
        self.end_with(
            backend.fatal(
                sqlstate.ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
                detail=why,
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
        if self.released is not None:
            self.released.set()
        self.client.close()
        self.server.close()
        log.debug("connection.closed", peer=self.peer, pid=self.pid, user=self.user, reason=reason)
