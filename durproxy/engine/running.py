"""One held instance: performs the core's actions and feeds back what happened.

States of a running instance:

    WORKING    at least one action is being performed
    WAITING    only timers and signals are left, and the next is due soon: stays in memory
    GIVEN BACK only timers and signals are left: a row with the next time, nothing in memory
    ENDED      the final status is written
    LOST       the database refused a write: another holder, a cancel, or a scope that is over

Invariants:
- An action is performed once. After anything whose outcome is not known the whole instance is
  given back: that voids its token, so whatever is still in flight cannot commit, and the next
  claim reads what is really there.
- While an instance does one step after the other it keeps one connection; it lets it go before it
  forks or waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

import trio

from durproxy.engine.claim import Claim
from durproxy.engine.connection import ServerError
from durproxy.engine.core.actions import (
    Abandon,
    Action,
    Event,
    FinishInstance,
    WaitCondition,
    WaitDeadline,
    WaitDue,
    WaitSignal,
    WaitTimer,
)
from durproxy.engine.core.advance import Execution
from durproxy.engine.core.states import Key, StepError
from durproxy.engine.http_step import HttpSteps
from durproxy.engine.leaving import released
from durproxy.engine.performing import Performable, Performing, SessionLost
from durproxy.engine.pools import Pool
from durproxy.engine.runs import RunsAhead
from durproxy.engine.statistics import ENDED, INTERRUPTED
from durproxy.engine.step_text import Shapes
from durproxy.engine.store import Store
from durproxy.engine.waits import Waits
from durproxy.errors import (
    DurproxyError,
    InstancePaused,
    LostHold,
    NotHeld,
    ScopeEnded,
    UpstreamUnreachable,
)
from durproxy.log import get_logger

_log = get_logger(__name__)

_SOON = 0.1  # seconds: a wait that short is not worth a claim
_PATIENCE = 1.0  # seconds until a decided scope must have been told to us
_LOOK_AGAIN = 2.0  # seconds: the database's clock may have been set forward


class RunningInstance:
    """An instance in this worker's memory; `run` returns when it has left it."""

    def __init__(
        self,
        claim: Claim,
        execution: Execution,
        store: Store,
        pool: Pool,
        shapes: Shapes,
        http: HttpSteps,
        ended: Callable[[Claim], None],
        *,
        flush_each_step: bool,
    ) -> None:
        self.claim = claim
        self._execution = execution
        self._store = store
        self._pool = pool
        self._ahead = RunsAhead(claim, execution, store, shapes, flush_each=flush_each_step)
        self._performing = Performing(claim, store, pool, shapes, http, self._ahead)
        self._ended = ended
        self._tasks: dict[Key, trio.CancelScope] = {}
        self._waits = Waits(claim, store)
        self._events: deque[Event] = deque()
        self._happened = trio.Event()
        self._whole = trio.CancelScope()
        self._leaving = False
        self._put_back = False  # an action was not begun: it is asked for again after a claim
        self.due: datetime | None = None  # when it can be claimed again
        self.signalled = False  # a message came while it was given back

    # --- told from outside ---

    def poke(self) -> None:
        """A signal may have come."""
        self._waits.poke()
        self._happened.set()

    def leave(self) -> None:
        """Give the instance back when no step is in flight; nothing new begins, deadlines hold."""
        self._leaving = True
        self._happened.set()

    def cancel(self) -> None:
        """The instance was cancelled: nothing of ours can commit any more, stop trying."""
        self._whole.cancel()

    # --- the life in memory ---

    async def run(self) -> None:
        """Perform until the instance ends, waits for long, or is lost."""
        try:
            with self._whole:
                try:
                    actions = await self._go_straight()
                    if actions is not None:
                        async with trio.open_nursery() as nursery:
                            await self._work(actions, nursery)
                            nursery.cancel_scope.cancel()
                finally:
                    await self._performing.let_go()
        except* NotHeld:
            INTERRUPTED.add("lost")
            _log.info("instance.lost", instance=self.claim.id)
        except* LostHold:
            INTERRUPTED.add("unknown")
            await self._give_back_now()
        except* UpstreamUnreachable as group:
            INTERRUPTED.add("role")
            trouble = str(group.exceptions[0])
            if self._pool.is_news():  # there may be many workflows of its, each tried again
                _log.warning("role.unreachable", role=self.claim.role, error=trouble)
            await self._put_off(trouble)
        except* SessionLost as group:
            INTERRUPTED.add("session")
            trouble = str(group.exceptions[0])
            _log.warning("instance.interrupted", instance=self.claim.id, error=trouble)
            await self._put_off(f"the session of its step was lost: {trouble}", attempt=True)
        except* DurproxyError as group:
            INTERRUPTED.add("error")
            trouble = str(group.exceptions[0])
            _log.warning("instance.interrupted", instance=self.claim.id, error=trouble)
            await self._put_off(trouble, attempt=all(map(_will_come_again, group.exceptions)))

    async def _go_straight(self) -> deque[Action] | None:
        """One action after the other; the actions where it forks or waits, None when it has ended.

        Most workflows need no more, and so no nursery.
        """
        actions = deque(self._execution.start())
        while len(actions) == 1 and isinstance(action := actions[0], Performable):
            if self._leaving and not self._ahead:
                return actions
            actions.clear()
            event = await self._perform(action)
            if event is not None:
                actions.extend(self._execution.advance(event))
        if self._execution.finished and not actions:
            self._tell_ended("completed")
            return None
        return actions

    async def _work(self, actions: deque[Action], nursery: trio.Nursery) -> None:
        while True:
            while actions:
                action = actions.popleft()
                if isinstance(action, FinishInstance):
                    await self._finish(action)
                    return
                if self._leaving and not self._ahead:
                    if not self._tasks:
                        await self._give_back_now()
                        return
                    if isinstance(action, Performable):
                        self._put_back = True
                        continue
                if isinstance(action, Performable) and not actions and self._is_alone():
                    event = await self._perform(action)
                    if event is not None:
                        actions.extend(self._execution.advance(event))
                else:
                    await self._dispatch(action, nursery)
            if self._execution.finished:
                self._tell_ended("completed")
                return
            event_or_none = await self._next_event(nursery)
            if event_or_none is None:
                return
            actions.extend(self._execution.advance(event_or_none))

    def _is_alone(self) -> bool:
        return not (self._tasks or self._waits or self._events)

    async def _dispatch(self, action: Action, nursery: trio.Nursery) -> None:
        match action:
            case Abandon(keys):
                for key in keys:
                    self._drop(key)
            case WaitTimer() | WaitSignal() | WaitDue() | WaitDeadline():
                self._waits.add(action)
            case FinishInstance():
                raise AssertionError("handled by the caller")
            case _:
                await self._performing.let_go()
                self._start_task(action, nursery)

    def _start_task(self, action: Performable | WaitCondition, nursery: trio.Nursery) -> None:
        scope = self._tasks[action.key] = trio.CancelScope()
        nursery.start_soon(self._perform_in_task, action, scope)

    def _drop(self, key: Key) -> None:
        self._waits.drop(key)
        scope = self._tasks.pop(key, None)
        if scope is not None:
            scope.cancel()

    async def _perform_in_task(
        self, action: Performable | WaitCondition, scope: trio.CancelScope
    ) -> None:
        with scope:
            try:
                event = await self._perform(action)
            except ScopeEnded:
                # a sibling has decided the scope; its news comes in a moment and cancels us here
                await trio.sleep(_PATIENCE)
                raise
            if self._tasks.get(action.key) is scope:
                del self._tasks[action.key]
                if event is not None:
                    self._events.append(event)
                self._happened.set()

    async def _perform(self, action: Performable | WaitCondition) -> Event | None:
        """What came of it; None when it is not over."""
        try:
            event = await self._performing.perform(action, alone=self._is_alone())
        except InstancePaused:
            self._put_back = True
            self.leave()
            return None
        if event is None and isinstance(action, WaitCondition):
            self._waits.add_look(action)
        return event

    async def _next_event(self, nursery: trio.Nursery) -> Event | None:
        """What happens next; None when the instance was given back."""
        while not self._events:
            if self._leaving and not self._tasks:
                await (self._give_back_now() if self._put_back else self._give_back())
                return None
            trying = self._waits.try_deadlines if self._leaving else self._waits.try_all
            event = await trying()
            if event is not None:
                return event
            if self._events:  # a step has ended while we looked: there is work, do not give back
                break
            due = self._waits.seconds_to_deadline()
            if not self._leaving:
                for look in self._waits.take_looks():
                    self._start_task(look, nursery)
                due = self._waits.seconds_to_next()
                if not self._tasks and not self._waits.has_untaken and due > _SOON:
                    await self._give_back()
                    return None
            await self._performing.let_go()
            self._happened = trio.Event()
            if self._events or self._is_news():  # it came while nobody waited for it
                continue
            with trio.move_on_after(min(due, _LOOK_AGAIN)):
                await self._happened.wait()
        return self._events.popleft()

    def _is_news(self) -> bool:
        return not self._tasks if self._leaving else self._waits.has_untaken

    # --- leaving ---

    async def _finish(self, action: FinishInstance) -> None:
        # a script may drop the step's tables as soon as it sees the end
        await self._performing.let_go()
        await self._store.end(self.claim, action)
        self._tell_ended(action.status.value, action.error)

    def _tell_ended(self, status: str, error: StepError | None = None) -> None:
        ENDED.add(status)
        if error is None:
            _log.debug("instance.ended", instance=self.claim.id, status=status)
        else:
            _log.info(
                "instance.ended", instance=self.claim.id, status=status,
                error=error.message, sqlstate=error.sqlstate,
            )  # fmt: skip
        self._ended(self.claim)

    async def _give_back(self) -> None:
        """Only waits are left: out of memory, a row with a time."""
        await self._performing.let_go()
        self.due = await self._store.release(self.claim, self._waits.next_due())
        self.signalled = self._waits.has_untaken

    async def _give_back_now(self) -> None:
        """Its state here is not to be trusted: void the token, and let it be claimed anew."""
        self.due = await released(self.claim, self._store.release_now(self.claim))

    async def _put_off(self, trouble: str, *, attempt: bool = False) -> None:
        """The same, but not before a while; `attempt`: the instance itself may be the reason."""
        release = self._store.put_off(self.claim, trouble, attempt=attempt)
        self.due = await released(self.claim, release)


def _will_come_again(error: Exception) -> bool:
    return isinstance(error, ServerError) and error.will_come_again
