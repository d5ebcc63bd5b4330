"""The SQL activity in another database: the step commits there, its checkpoint at home is a copy.

With a home schema there, too, the step commits together with a receipt, which says after a crash
that it has run and what came of it (exactly once). Without one there is nothing to tell, so it runs
again (at least once); our functions are then temporary ones of the session.

States of one instance's visit, for each claim anew:

    UNKNOWN   nobody has looked yet what is there
    GREETED   receipts: our token stands there, so nothing of an earlier holder can commit
    BARE      no receipts
"""

from __future__ import annotations

import json
from contextlib import suppress

import trio

from durproxy.engine.alone import must_be_alone
from durproxy.engine.alone_away import run_alone_there
from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection, ServerError
from durproxy.engine.core.actions import EndsInstance, RunStep
from durproxy.engine.core.graph import NodeType
from durproxy.engine.core.states import StepError, StepResult
from durproxy.engine.encoding import array_literal
from durproxy.engine.inner_step import run_inner
from durproxy.engine.rows import types_json
from durproxy.engine.sql_step import run_step
from durproxy.engine.sql_transaction import run_transaction
from durproxy.engine.step_text import (
    ReadyStep,
    SeveralStatements,
    Shapes,
    StepFailure,
)
from durproxy.engine.store import Store, lost_hold
from durproxy.engine.trigger import passed

# a schema df that is not the home owner's could hold anything
_LOOK = """
    SELECT 1 FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) 'df'
      AND p.proname OPERATOR(pg_catalog.=) '_run_received_1'
      AND pg_catalog.pg_get_userbyid(n.nspowner) OPERATOR(pg_catalog.=) $1::pg_catalog.name
      AND p.proowner OPERATOR(pg_catalog.=) n.nspowner
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')"""
_GREET = "SELECT df._greet_1($1::uuid, $2, $3::uuid, $4::bigint)"
_RUN_RECEIVED = (
    "SELECT df._run_received_1($1::uuid, $2, $3::uuid, $4::integer, $5, $6, $7::boolean,"
    " $8::text[], $9::json, $10::text[])"
)
_RECEIPT = "SELECT df._receipt_1($1::uuid, $2, $3::integer, $4, $5::text[])"
_RECEIVE = "SELECT df._receive_1($1::uuid, $2, $3::uuid, $4::integer, $5, $6::json, $7::json)"
_UNDEFINED = "42883"
_NOT_NOW = frozenset(("55P03", "57014"))  # lock not available, statement timeout
_FIRST_PAUSE = 0.05  # seconds
_LONGEST_PAUSE = 2.0


class AwaySteps:
    """The steps of one held instance in the database that it was started for."""

    def __init__(self, claim: Claim, store: Store) -> None:
        assert claim.database is not None
        self._claim = claim
        self._store = store
        self._database = claim.database
        self._visit: tuple[str, str] | None = None  # the home's id, the number of the visit
        self._owner = ""  # of the home schema
        self._is_greeted = False
        self._one_greets = trio.Lock()
        self._copied: list[str] = []  # keys whose receipts can go

    async def run(self, connection: Connection, shapes: Shapes, action: RunStep) -> StepResult:
        """Run one step there; its whole result, for `record`.

        Raises StepFailure, LostHold, ConnectionLost; ServerError when it cannot be run now.
        """
        await self.prepare(connection)
        if action.node.type is not NodeType.TRANSACTION:
            with suppress(SeveralStatements):
                return await run_step(connection, shapes, self._claim, action, self._attempt)
        return await run_transaction(connection, shapes, self._claim, action, self)

    async def prepare(self, connection: Connection) -> None:
        """Make the connection ready for what runs there."""
        if not connection.is_settled:
            await self._settle(connection)

    async def record(self, action: RunStep, result: StepResult) -> StepResult:
        """Copy the outcome home, with what it decides; the result as far as anything reads it."""
        pause = _FIRST_PAUSE
        while True:  # the step has committed: it waits as long as a user keeps the instance locked
            try:
                await self._store.finish_away(self._claim, action, result)
                break
            except ServerError as error:
                if error.code not in _NOT_NOW:
                    raise
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._copied.append(f"{action.key.node} {action.key.path}")
        is_read = bool(action.node.use) and action.decides != EndsInstance()
        return result if is_read else StepResult(None)

    async def check_open(self, action: RunStep) -> None:
        """Raise StepFailure when the role cannot get into the database, and not just now."""
        closed = await self._store.closed(self._database, self._claim.role or "")
        if closed is not None:
            code, message = closed
            raise StepFailure(StepError(message, code, node=action.key.node))

    # --- the ending of a transaction of several statements ---

    async def find(self, connection: Connection, action: RunStep) -> StepResult | None:
        """The outcome that its receipt tells."""
        if connection.functions == "pg_temp":
            return None
        assert self._visit is not None
        copied = list(self._copied)
        key = (str(action.key.node), action.key.path, array_literal(copied))
        answer = await connection.run(_RECEIPT, (self._visit[0], self._claim.id, *key))
        self._copied = [key for key in self._copied if key not in copied]
        receipt = answer.one()[0]
        return None if receipt is None else _received(receipt)

    async def write(self, connection: Connection, action: RunStep, result: StepResult) -> None:
        """Leave a receipt."""
        if connection.functions == "pg_temp":
            return
        assert self._visit is not None
        outcome = json.dumps([result.text, result.exact], ensure_ascii=False)
        await connection.run(
            _RECEIVE,
            (
                self._visit[0], self._claim.id, self._claim.token, str(action.key.node),
                action.key.path, outcome, types_json(result.types),
            ),
        )  # fmt: skip

    # --- own ---

    async def _settle(self, connection: Connection) -> None:
        async with self._one_greets:
            if self._visit is None:
                home, number, self._owner = await self._store.visit(self._claim)
                self._visit = home, number
            has_receipts = len(await connection.run(_LOOK, (self._owner,))) > 0
            if has_receipts and not self._is_greeted:
                await self._greet(connection, *self._visit)
            await self._store.found(self._database, receipts=has_receipts)
        if not has_receipts:
            await self._unpack(connection)
        connection.is_settled = True

    async def _greet(self, connection: Connection, home: str, number: str) -> None:
        values = (home, self._claim.id, self._claim.token, number)
        try:
            await connection.run(_GREET, values)
        except ServerError as error:
            raise lost_hold(error) or error from None
        self._is_greeted = True

    async def _unpack(self, connection: Connection) -> None:
        await connection.script(await self._store.luggage())
        connection.functions = "pg_temp"

    async def _attempt(
        self, connection: Connection, claim: Claim, action: RunStep, ready: ReadyStep
    ) -> StepResult:
        is_bare = connection.functions == "pg_temp"
        passed("step.before")
        try:
            if is_bare:
                result = await run_inner(connection, claim, ready)
            else:
                result = await self._run_received(connection, action, ready)
        except ServerError as error:
            if must_be_alone(error, ready):
                # it leaves no receipt
                return await run_alone_there(connection, self._store, claim, action, ready)
            if is_bare and error.code == _UNDEFINED and not error.context:
                await self._unpack(connection)  # an earlier step has thrown them away
                return await self._attempt(connection, claim, action, ready)
            raise
        passed("step.after")
        return result

    async def _run_received(
        self, connection: Connection, action: RunStep, ready: ReadyStep
    ) -> StepResult:
        assert self._visit is not None
        copied = list(self._copied)
        values = (
            self._visit[0], self._claim.id, self._claim.token,
            str(action.key.node), action.key.path, ready.text, "t" if ready.rows else "f",
            ready.values, types_json(ready.types), array_literal(copied),
        )  # fmt: skip
        answer = await connection.call(
            "durproxy received", _RUN_RECEIVED, values, lambda: passed("step.sent")
        )
        self._copied = [key for key in self._copied if key not in copied]
        return _received(answer.one()[0] or "")


def _received(receipt: str) -> StepResult:
    """The outcome in a receipt: [[result, exact rows], types]."""
    (text, exact), types = json.loads(receipt)
    return StepResult(
        text,
        None if types is None else tuple((name, kind) for name, kind in types),
        None if exact is None else tuple(exact),
    )
