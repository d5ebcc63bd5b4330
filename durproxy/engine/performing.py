"""Carrying out one action of the core: what it asks for, done, and what came of it as an event."""

from __future__ import annotations

from datetime import datetime

import trio

from durproxy.engine.away_step import AwaySteps
from durproxy.engine.claim import Claim
from durproxy.engine.condition import is_met
from durproxy.engine.connection import UNTRANSLATABLE, Connection, ConnectionLost, ServerError
from durproxy.engine.core.actions import (
    AttemptOpened,
    CloseFrame,
    EndsInstance,
    Event,
    FrameClosed,
    FrameOpened,
    LoadRows,
    NextRound,
    OpenAttempt,
    OpenFrame,
    RecordFailure,
    RoundAdvanced,
    RowsLoaded,
    RunStep,
    StepCompleted,
    StepFailed,
    WaitCondition,
)
from durproxy.engine.core.graph import NodeType
from durproxy.engine.core.states import StepError, StepResult
from durproxy.engine.http_step import HttpSteps
from durproxy.engine.pace import Pace
from durproxy.engine.pools import Pool
from durproxy.engine.runs import RunsAhead
from durproxy.engine.schedule import next_after
from durproxy.engine.sql_step import step_error
from durproxy.engine.sql_transaction import run_transaction
from durproxy.engine.statistics import RETRIES, step_over
from durproxy.engine.step_text import SeveralStatements, Shapes, StepFailure
from durproxy.engine.store import Store
from durproxy.errors import LanguageError, UpstreamUnreachable
from durproxy.log import get_logger

_log = get_logger(__name__)

Performable = RunStep | RecordFailure | OpenFrame | OpenAttempt | CloseFrame | NextRound | LoadRows


class SessionLost(ConnectionLost):
    """A step's own session broke: the step may have ended it itself."""


class Performing:
    """Performs the actions of one instance; between two steps it may keep a connection."""

    def __init__(
        self,
        claim: Claim,
        store: Store,
        pool: Pool,
        shapes: Shapes,
        http: HttpSteps,
        ahead: RunsAhead,
    ) -> None:
        self._claim = claim
        self._store = store
        self._pool = pool
        self._shapes = shapes
        self._http = http
        self._ahead = ahead
        self._away = None if claim.database is None else AwaySteps(claim, store)
        self._pace = Pace()
        self._connection: Connection | None = None  # kept from step to step
        self._last_call = (0.0, 0.0)  # from when to when it took, with what went along

    async def perform(self, action: Performable | WaitCondition, *, alone: bool) -> Event | None:
        """What came of it; None for a condition that is not true yet.

        `alone`: the instance does nothing beside it, so its connection may be kept.
        Raises LostHold, InstancePaused, SessionLost, UpstreamUnreachable, ServerError.
        """
        key = action.key
        match action:
            case WaitCondition():
                return await self._look(action)
            case LoadRows():
                rows = await self._store.load([self._claim.id])
                return RowsLoaded(key, rows[self._claim.id])
            case OpenAttempt():
                begins = await self._store.retry(self._claim, action)
                RETRIES.add()
                return AttemptOpened(key, begins)
            case RunStep():
                return await self._run_step(action, alone=alone)
            case RecordFailure():
                return await self._fail(action, action.error)
            case OpenFrame():
                return await self._open(action)
            case CloseFrame():
                await self._store.close(self._claim, action)
                return FrameClosed(key)
            case NextRound():
                if action.paced:
                    await self.let_go()
                    await self._pace.turn(key)
                await self._store.next_round(self._claim, action)
                return RoundAdvanced(key)

    async def _open(self, action: OpenFrame) -> Event:
        node = action.key.node
        try:
            match = await self._next_match(action)
            return FrameOpened(action.key, await self._store.open(self._claim, action, match))
        except LanguageError as error:
            failure = StepError(error.message, error.code, hint=error.hint, node=node)
        except ServerError as error:
            if not error.will_come_again:
                raise
            failure = step_error(error, node, None)
        return await self._fail(action, failure)

    async def _next_match(self, action: OpenFrame) -> datetime | None:
        if action.schedule is None:
            return None
        return next_after(action.schedule, await self._store.now(), action.zone)

    async def _run_step(self, action: RunStep, *, alone: bool) -> Event:
        if (ran := self._ahead.take(action.key)) is not None:
            step_over(action.node.type, "completed", None)
            self._http.traces.step_over(self._claim, action, *self._last_call, None)
            return StepCompleted(action.key, ran)
        began = trio.current_time()
        try:
            if action.node.type in (NodeType.HTTP, NodeType.HTTP_MULTIPART):
                await self.let_go()
                result = await self._http.run(self._claim, action)
            else:
                result = await self._run_sql(action, alone=alone)
        except StepFailure as failure:
            event = await self._fail(action, failure.error, trio.current_time() - began)
            self._over(action, began, failure.error)
            return event
        self._over(action, began)
        return StepCompleted(action.key, result)

    def _over(self, action: RunStep, began: float, error: StepError | None = None) -> None:
        """The outcome is committed: count the step, and let its span be exported."""
        ended = trio.current_time()
        self._last_call = (began, ended)
        step_over(action.node.type, "failed" if error else "completed", ended - began)
        self._http.traces.step_over(self._claim, action, began, ended, error)

    async def _run_sql(self, action: RunStep, *, alone: bool) -> StepResult:
        try:
            if alone:
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
            await self.let_go()  # a script may drop the database as soon as it sees the end
        return await self._away.record(action, result)

    async def _run_on(self, connection: Connection, action: RunStep) -> StepResult:
        try:
            if self._away is not None:
                return await self._away.run(connection, self._shapes, action)
            if action.node.type is NodeType.TRANSACTION:
                return await run_transaction(connection, self._shapes, self._claim, action)
            try:
                return await self._ahead.run(connection, action)
            except SeveralStatements:
                return await run_transaction(connection, self._shapes, self._claim, action)
        except ConnectionLost as error:
            raise SessionLost(error.message) from None

    async def _look(self, action: WaitCondition) -> Event | None:
        """Ask a condition; when it is true, or cannot be asked, its wait is over."""
        try:
            async with self._pool.connection() as connection:
                if self._away is not None:
                    await self._away.prepare(connection)
                met = await is_met(connection, self._shapes, self._claim, action)
        except StepFailure as failure:
            await self._store.close(
                self._claim, CloseFrame(action.key, action.scopes, error=failure.error)
            )
            return StepFailed(action.key, failure.error)
        if not met:
            return None
        result = StepResult(action.result)
        await self._store.close(self._claim, CloseFrame(action.key, action.scopes, result))
        return StepCompleted(action.key, result)

    async def _fail(
        self,
        action: RunStep | RecordFailure | OpenFrame,
        error: StepError,
        seconds: float = 0.0,
    ) -> Event:
        try:
            await self._store.fail(self._claim, action.key, action.scopes, error, seconds)
        except ServerError as refused:
            if refused.code != UNTRANSLATABLE or error.in_ascii() == error:
                raise
            return await self._fail(action, error.in_ascii(), seconds)
        _log.info(
            "step.failed", instance=self._claim.id, node=action.key.node, path=action.key.path,
            sqlstate=error.sqlstate, error=error.message,
        )  # fmt: skip
        return StepFailed(action.key, error)

    async def _keep_connection(self) -> Connection:
        if self._connection is None:
            self._connection = await self._pool.take()
        return self._connection

    async def let_go(self) -> None:
        """Give back the connection that is kept from step to step."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.give_back(connection)
