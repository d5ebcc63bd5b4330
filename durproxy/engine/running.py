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
- Only signals that are waited for are ever to be looked for: anything else would be looked for
  again and again, and the whole worker with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime

import trio

from durproxy.engine.away_step import AwaySteps
from durproxy.engine.connection import Connection, ConnectionLost
from durproxy.engine.core.actions import (
    Abandon,
    Action,
    CloseFrame,
    EndsInstance,
    Event,
    FinishInstance,
    FrameClosed,
    FrameOpened,
    NextRound,
    OpenFrame,
    RecordFailure,
    RoundAdvanced,
    RunStep,
    StepCompleted,
    StepFailed,
    WaitSignal,
    WaitTimer,
)
from durproxy.engine.core.advance import Execution
from durproxy.engine.core.graph import NodeType
from durproxy.engine.core.states import Key, StepError, StepResult
from durproxy.engine.http_step import HttpSteps
from durproxy.engine.pace import Pace
from durproxy.engine.pools import Pool
from durproxy.engine.runs import RunsAhead
from durproxy.engine.schedule import next_after
from durproxy.engine.step_text import Shapes, StepFailure
from durproxy.engine.store import Claim, Store
from durproxy.errors import (
    DurproxyError,
    LanguageError,
    LostHold,
    NotHeld,
    ScopeEnded,
    UpstreamUnreachable,
)
from durproxy.log import get_logger

_log = get_logger(__name__)

_SOON = 0.1  # seconds: a wait that short is not worth a claim
_PATIENCE = 1.0  # seconds until a decided scope must have been told to us


class SessionLost(ConnectionLost):
    """A step's own session broke: the step may have ended it itself."""


Performable = RunStep | RecordFailure | OpenFrame | CloseFrame | NextRound


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
        ended: Callable[[str], None],
    ) -> None:
        self.claim = claim
        self._execution = execution
        self._store = store
        self._pool = pool
        self._away = None if claim.database is None else AwaySteps(claim, store)
        self._shapes = shapes
        self._ahead = RunsAhead(claim, execution, store, shapes)
        self._http = http
        self._ended = ended
        self._pace = Pace()
        self._tasks: dict[Key, trio.CancelScope] = {}
        self._timers: dict[Key, WaitTimer] = {}
        self._signals: dict[Key, WaitSignal] = {}
        self._untaken: set[Key] = set()  # signals whose mailbox is to be looked into
        self._events: deque[Event] = deque()
        self._happened = trio.Event()
        self._whole = trio.CancelScope()
        self._connection: Connection | None = None  # kept from step to step
        self._leaving = False
        self.due: datetime | None = None  # when it can be claimed again
        self.signalled = False  # a message came while it was given back

    # --- told from outside ---

    def poke(self) -> None:
        """A signal may have come."""
        self._untaken.update(self._signals)
        self._happened.set()

    def leave(self) -> None:
        """Give the instance back after the steps in flight."""
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
                    await self._let_go()
        except* NotHeld:
            _log.info("instance.lost", instance=self.claim.id)
        except* LostHold:
            await self._give_back_now()
        except* UpstreamUnreachable as group:
            trouble = str(group.exceptions[0])
            _log.warning(
                "role.unreachable", instance=self.claim.id, role=self.claim.role, error=trouble
            )
            await self._put_off(trouble)
        except* SessionLost as group:
            trouble = str(group.exceptions[0])
            _log.warning("instance.interrupted", instance=self.claim.id, error=trouble)
            await self._put_off(f"the session of its step was lost: {trouble}", attempt=True)
        except* DurproxyError as group:
            trouble = str(group.exceptions[0])
            _log.warning("instance.interrupted", instance=self.claim.id, error=trouble)
            await self._put_off(trouble)

    async def _go_straight(self) -> deque[Action] | None:
        """One action after the other; the actions where it forks or waits, None when it has ended.

        Most workflows need no more, and so no nursery.
        """
        actions = deque(self._execution.start())
        while len(actions) == 1 and isinstance(actions[0], Performable):
            if self._leaving and not self._ahead:
                return actions
            event = await self._perform(actions.popleft())
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
                if self._leaving and not self._tasks and not self._ahead:
                    await self._give_back_now()
                    return
                if isinstance(action, Performable) and not actions and self._is_alone():
                    event = await self._perform(action)
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
        return not (self._tasks or self._timers or self._signals or self._events)

    async def _dispatch(self, action: Action, nursery: trio.Nursery) -> None:
        match action:
            case Abandon(keys):
                for key in keys:
                    self._drop(key)
            case WaitTimer():
                self._timers[action.key] = action
            case WaitSignal():
                self._signals[action.key] = action
                self._untaken.add(action.key)
            case FinishInstance():
                raise AssertionError("handled by the caller")
            case _:
                await self._let_go()
                scope = self._tasks[action.key] = trio.CancelScope()
                nursery.start_soon(self._perform_in_task, action, scope)

    def _drop(self, key: Key) -> None:
        self._timers.pop(key, None)
        self._signals.pop(key, None)
        self._untaken.discard(key)
        scope = self._tasks.pop(key, None)
        if scope is not None:
            scope.cancel()

    async def _perform_in_task(self, action: Performable, scope: trio.CancelScope) -> None:
        with scope:
            try:
                event = await self._perform(action)
            except ScopeEnded:
                # a sibling has decided the scope; its news comes in a moment and cancels us here
                await trio.sleep(_PATIENCE)
                raise
            if self._tasks.get(action.key) is scope:
                del self._tasks[action.key]
                self._events.append(event)
                self._happened.set()

    async def _next_event(self, nursery: trio.Nursery) -> Event | None:
        """What happens next; None when the instance was given back."""
        while not self._events:
            event = await self._try_waits()
            if event is not None:
                return event
            if self._events:  # a step has ended while we looked: there is work, do not give back
                break
            due = self._seconds_to_next()
            if not self._tasks and not self._untaken and (due > _SOON or self._leaving):
                await self._give_back()
                return None
            await self._let_go()
            self._happened = trio.Event()
            if self._events or self._untaken:
                continue
            with trio.move_on_after(due):
                await self._happened.wait()
        return self._events.popleft()

    async def _try_waits(self) -> Event | None:
        """The event of a wait that is over; looks into the mailbox where a message may be."""
        for key, timer in list(self._timers.items()):
            if self._store.clock.seconds_until(timer.due) > 0:
                continue
            if await self._store.fire(self.claim, timer.scopes, timer.result):
                del self._timers[key]
                return StepCompleted(key, StepResult(timer.result))
        for key, wait in list(self._signals.items()):
            over = wait.due is not None and self._store.clock.seconds_until(wait.due) <= 0
            if key not in self._untaken and not over:
                continue
            self._untaken.discard(key)
            result = await self._store.take(self.claim, wait.scopes, wait.signal)
            if result is not None:
                self._drop(key)  # from the ones to look for too: a poke may have come meanwhile
                return StepCompleted(key, StepResult(result))
        return None

    def _seconds_to_next(self) -> float:
        dues = [timer.due for timer in self._timers.values()]
        dues += [wait.due for wait in self._signals.values() if wait.due is not None]
        return max(0.001, min(map(self._store.clock.seconds_until, dues), default=math.inf))

    # --- performing ---

    async def _perform(self, action: Performable) -> Event:
        key = action.key
        match action:
            case RunStep():
                return await self._run_step(action)
            case RecordFailure():
                return await self._fail(action, action.error)
            case OpenFrame():
                return await self._open(action)
            case CloseFrame():
                await self._store.close(self.claim, action)
                return FrameClosed(key)
            case NextRound():
                if action.paced:
                    await self._let_go()
                    await self._pace.turn(key)
                await self._store.next_round(self.claim, action)
                return RoundAdvanced(key)

    async def _open(self, action: OpenFrame) -> Event:
        if action.schedule is None:
            due = await self._store.open(self.claim, action)
        else:
            try:
                next_match = next_after(action.schedule, await self._store.now())
            except LanguageError as error:
                node = action.key.node
                failure = StepError(error.message, error.code, hint=error.hint, node=node)
                return await self._fail(action, failure)
            due = await self._store.open_at(self.claim, action, next_match)
        return FrameOpened(action.key, due)

    async def _run_step(self, action: RunStep) -> Event:
        if (ran := self._ahead.take(action.key)) is not None:
            return StepCompleted(action.key, ran)
        try:
            if action.node.type is not NodeType.SQL:
                await self._let_go()
                result = await self._http.run(self.claim, action)
            else:
                result = await self._run_sql(action)
        except StepFailure as failure:
            return await self._fail(action, failure.error)
        return StepCompleted(action.key, result)

    async def _run_sql(self, action: RunStep) -> StepResult:
        try:
            if self._is_alone():
                result = await self._run_on(await self._keep_connection(), action)
            else:
                async with self._pool.connection() as connection:
                    result = await self._run_on(connection, action)
        except UpstreamUnreachable:
            if self._away is not None:
                await self._away.check_open(action)
            raise
        if self._away is None:
            return result
        if action.decides == EndsInstance():
            await self._let_go()  # a script may drop the database as soon as it sees the end
        return await self._away.record(action, result)

    async def _run_on(self, connection: Connection, action: RunStep) -> StepResult:
        try:
            if self._away is not None:
                return await self._away.run(connection, self._shapes, action)
            return await self._ahead.run(connection, action)
        except ConnectionLost as error:
            raise SessionLost(error.message) from None

    async def _fail(self, action: RunStep | RecordFailure | OpenFrame, error: StepError) -> Event:
        await self._store.fail(self.claim, action.key, action.scopes, error)
        _log.info(
            "step.failed", instance=self.claim.id, node=action.key.node, path=action.key.path,
            sqlstate=error.sqlstate, error=error.message,
        )  # fmt: skip
        return StepFailed(action.key, error)

    async def _keep_connection(self) -> Connection:
        if self._connection is None:
            self._connection = await self._pool.take()
        return self._connection

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.give_back(connection)

    # --- leaving ---

    async def _finish(self, action: FinishInstance) -> None:
        await self._let_go()  # a script may drop the step's tables as soon as it sees the end
        await self._store.end(self.claim, action)
        self._tell_ended(action.status.value, action.error)

    def _tell_ended(self, status: str, error: StepError | None = None) -> None:
        if error is None:
            _log.debug("instance.ended", instance=self.claim.id, status=status)
        else:
            _log.info(
                "instance.ended", instance=self.claim.id, status=status,
                error=error.message, sqlstate=error.sqlstate,
            )  # fmt: skip
        self._ended(self.claim.id)

    async def _give_back(self) -> None:
        """Only waits are left: out of memory, a row with a time."""
        await self._let_go()
        dues = [timer.due for timer in self._timers.values()]
        dues += [wait.due for wait in self._signals.values() if wait.due is not None]
        self.due = await self._store.release(self.claim, min(dues, default=None))
        self.signalled = bool(self._untaken)

    async def _give_back_now(self) -> None:
        """Its state here is not to be trusted: void the token, and let it be claimed anew."""
        await self._leave_by(self._store.release_now(self.claim))

    async def _put_off(self, trouble: str, *, attempt: bool = False) -> None:
        """The same, but not before a while; `attempt`: the instance itself may be the reason."""
        await self._leave_by(self._store.put_off(self.claim, trouble, attempt=attempt))

    async def _leave_by(self, release: Awaitable[datetime | None]) -> None:
        try:
            self.due = await release
        except NotHeld:
            _log.info("instance.lost", instance=self.claim.id)
        except DurproxyError as error:  # the tick will find that nobody here has it in memory
            _log.warning("instance.not_released", instance=self.claim.id, error=error.message)
