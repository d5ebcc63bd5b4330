"""The home schema as a worker uses it: one method for each function of the engine protocol.

Every write names the claim's token and the frames that it holds; LostHold says that the database
refused it. All times are the database's; `clock` keeps the offset to this machine's monotonic
clock, for waiting only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from durproxy.engine.claim import Claim, Look, Origin, OtherEngine, Walk
from durproxy.engine.clock import Clock
from durproxy.engine.connection import UNTRANSLATABLE, Result, ServerError
from durproxy.engine.core.actions import (
    CloseFrame,
    FinishInstance,
    NextRound,
    OpenAttempt,
    OpenFrame,
    RunStep,
    Scopes,
)
from durproxy.engine.core.graph import FORMAT
from durproxy.engine.core.states import (
    Checkpoint,
    Key,
    StepError,
    StepResult,
)
from durproxy.engine.encoding import (
    array_literal,
    frames_literals,
    json_in_ascii,
    parse_array,
)
from durproxy.engine.pools import Pool
from durproxy.engine.rows import (
    checkpoint_of,
    claims_of,
    decision_values,
    error_json,
    interval_text,
    names_json,
    time_of,
    types_json,
)
from durproxy.engine.trigger import passed, when_sent
from durproxy.errors import FinishedBefore, InstancePaused, LostHold, NotHeld, ScopeEnded

_LOST: dict[str, type[LostHold]] = {
    cls.sqlstate: cls for cls in (NotHeld, ScopeEnded, FinishedBefore, InstancePaused)
}
_TAKE_RESULTS = frozenset(("_close_1", "_next_1"))
_CLAIM_COLUMNS = (
    "id, token, graph, vars, label, role, fresh, role_id, lane, next_ready, database, ending"
)
# a server that crashes may forget these: whatever is done under a claim reaches the disk after it
_NEED_NOT_LAST = frozenset(("_claim_1", "_claim_one_1", "_tick_1"))
_UNFLUSHED = "pg_catalog.set_config('synchronous_commit', 'off', true), "
# what goes with a call, so that an idle worker asks nothing else of the server
_BESIDE = {"_tick_1": "df._seen_1(), "}


def lost_hold(error: ServerError) -> LostHold | None:
    """The refusal that `error` of one of our own functions is."""
    kind = _LOST.get(error.code)
    return kind(error.message) if kind else None


class Store:
    """The engine protocol over a pool of connections as the home schema's owner."""

    def __init__(self, pool: Pool, engine_id: str, *, alone: bool = False) -> None:
        """`alone`: the worker takes suspects, and nothing else."""
        self._pool = pool
        self.engine_id = engine_id
        self.alone = alone
        self.clock = Clock()

    async def _call(self, name: str, arguments: str, values: Sequence[str | None]) -> Result:
        columns = _CLAIM_COLUMNS if name.startswith("_claim") else "it.*"
        unflushed = _UNFLUSHED if name in _NEED_NOT_LAST else ""
        beside = _BESIDE.get(name, "")
        sql = f"SELECT {columns} FROM {unflushed}{beside}df.{name}({arguments}) AS it"
        about = name.removeprefix("_").removesuffix("_1")
        async with self._pool.connection() as connection:
            passed(f"{about}.before")
            try:
                answer = await connection.call(name, sql, values, when_sent(about))
            except ServerError as error:
                raise lost_hold(error) or error from None
            passed(f"{about}.after")
            return answer

    async def _call_with_results(
        self, name: str, arguments: str, values: Sequence[str | None]
    ) -> Result:
        """The database's encoding may lack a character of them: of an HTTP answer, for one."""
        try:
            return await self._call(name, arguments, values)
        except ServerError as error:
            escaped = [json_in_ascii(value) for value in values]
            if error.code != UNTRANSLATABLE or escaped == list(values):
                raise
        return await self._call(name, arguments, escaped)

    # --- holding ---

    async def claim(
        self, room: int, walk: Walk, held: Mapping[int, int], of_a_role: int
    ) -> tuple[list[Claim], Walk]:
        """Claim up to `room`, going on after the last walk; `held`: how many of which role."""
        result = await self._call(
            "_claim_1",
            "$1::uuid, $2::integer, $3::smallint, $4::oid, $5::integer, $6::oid[], $7::integer[],"
            " $8::integer, $9::boolean",
            (
                self.engine_id, str(room), str(FORMAT), str(walk.role_id), str(walk.lane),
                array_literal(map(str, held)),
                array_literal(str(of_a_role - count) for count in held.values()),
                str(of_a_role), "t" if self.alone else "f",
            ),
        )  # fmt: skip
        *rows, last = result
        ended = Walk(int(last[7] or 0), int(last[8] or 0), time_of(last[9]), last[6] == "t")
        return claims_of(rows), ended

    async def claim_one(self, instance: str) -> list[Claim]:
        values = (self.engine_id, instance, str(FORMAT))
        return claims_of(await self._call("_claim_one_1", "$1::uuid, $2, $3::smallint", values))

    async def still(self, claims: Sequence[Claim]) -> dict[str, bool]:
        """Of these the ones that are still held by these tokens, and whether they are paused."""
        ids = array_literal(claim.id for claim in claims)
        tokens = array_literal(claim.token for claim in claims)
        result = await self._call("_still_1", "$1::text[], $2::uuid[]", (ids, tokens))
        return {instance or "": paused == "t" for instance, paused in result}

    async def take_over(self, dead: str, room: int) -> int:
        result = await self._call("_takeover_1", "$1::uuid, $2::integer", (dead, str(room)))
        return int(result.one()[0] or 0)

    async def release(self, claim: Claim, ready: datetime | None) -> datetime | None:
        """Give back until `ready` (None: only a signal).

        Returns when it can be claimed: at once when a message is there already.
        """
        return await self._release(claim, "infinity" if ready is None else ready.isoformat(), "w")

    async def release_now(self, claim: Claim) -> datetime | None:
        """Give back for the next claim."""
        return await self._release(claim, "-infinity", "b")

    async def put_off(
        self, claim: Claim, trouble: str, *, attempt: bool = False
    ) -> datetime | None:
        """Give back until later, longer each time; `attempt`: it may be its own fault."""
        return await self._release(claim, "-infinity", "a" if attempt else "l", trouble)

    async def _release(
        self, claim: Claim, ready: str, how: str, trouble: str | None = None
    ) -> datetime | None:
        values = (claim.id, claim.token, ready, how, trouble)
        result = await self._call(
            "_release_1", '$1, $2::uuid, $3::timestamptz, $4::"char", $5', values
        )
        return time_of(result.one()[0])

    async def reclaim(self, instances: Sequence[str]) -> None:
        await self._call(
            "_reclaim_1", "$1::uuid, $2::text[]", (self.engine_id, array_literal(instances))
        )

    async def release_all(self) -> None:
        await self._call("_release_all_1", "$1::uuid", (self.engine_id,))

    async def load(self, instances: Sequence[str]) -> dict[str, dict[Key, Checkpoint]]:
        rows = await self._call("_load_1", "$1::text[]", (array_literal(instances),))
        loaded: dict[str, dict[Key, Checkpoint]] = {instance: {} for instance in instances}
        for row in rows:
            instance, node, path = row[0] or "", int(row[1] or 0), row[2] or ""
            loaded[instance][Key(node, path)] = checkpoint_of(row[3:])
        return loaded

    async def count_done(self, claim: Claim, keys: Sequence[Key]) -> int:
        """How many of these steps, all at one path, have succeeded."""
        nodes = "{" + ",".join(str(key.node) for key in keys) + "}"
        values = (claim.id, claim.token, keys[0].path, nodes)
        rows = list(await self._call("_done_1", "$1, $2::uuid, $3, $4::integer[]", values))
        done = rows[0][0] if rows else None
        if done is None:
            raise NotHeld(f'instance "{claim.id}" is not held by this worker any more')
        return int(done)

    # --- frames, failures, ends ---

    async def fail(
        self, claim: Claim, key: Key, scopes: Scopes, error: StepError, seconds: float
    ) -> None:
        """A step has failed, after so many seconds."""
        await self._write(
            "_fail_1",
            claim,
            scopes,
            "$6::integer, $7, $8::json, $9::double precision",
            (str(key.node), key.path, error_json(error), str(seconds)),
        )

    async def open(
        self, claim: Claim, action: OpenFrame, due: datetime | None = None
    ) -> datetime | None:
        """Open a frame, due at a time that is known, or after the action's delay."""
        until = action.until if due is None else due.isoformat()
        after = action.duration or interval_text(action.delay)
        result = await self._write(
            "_open_1", claim, action.scopes,
            "$6::integer, $7, $8::integer, $9, $10::interval, $11, $12::timestamptz",
            (
                str(action.key.node), action.key.path, str(action.node.last),
                action.node.type.value, after, action.signal, until,
            ),
        )  # fmt: skip
        return time_of(result.one()[0])

    async def retry(self, claim: Claim, action: OpenAttempt) -> datetime:
        """Count an attempt on; when the next one begins."""
        result = await self._write(
            "_retry_1", claim, action.scopes,
            "$6::integer, $7, $8::integer, $9, $10::bigint, $11::interval, $12::boolean, $13::json",
            (
                str(action.key.node), action.key.path, str(action.node.last),
                action.node.type.value, str(action.failed), f"{action.delay:.6f} seconds",
                "t" if action.jitter else "f", error_json(action.error),
            ),
        )  # fmt: skip
        due = time_of(result.one()[0])
        assert due is not None
        return due

    async def finish_call(self, claim: Claim, action: RunStep, result: str) -> None:
        """The outcome of a step that ran outside the database, and what it decides."""
        await self._write(
            "_finish_call_1", claim, action.scopes,
            '$6::integer, $7, $8::json, $9::"char", $10::integer',
            (str(action.key.node), action.key.path, result, *decision_values(action.decides)),
        )  # fmt: skip

    async def close(self, claim: Claim, action: CloseFrame) -> None:
        result = action.result
        await self._write(
            "_close_1", claim, action.scopes,
            "$6::json, $7::json, $8::text[], $9::json, $10::json",
            (
                result.text if result else None,
                types_json(result.types) if result else None,
                array_literal(result.exact) if result and result.exact is not None else None,
                error_json(action.error) if action.error else None,
                names_json(action.names),
            ),
        )  # fmt: skip

    async def next_round(self, claim: Claim, action: NextRound) -> None:
        values = (names_json(action.names), action.result)
        await self._write("_next_1", claim, action.scopes, "$6::json, $7::json", values)

    async def fire(self, claim: Claim, scopes: Scopes, result: str) -> bool:
        answer = await self._write("_fire_1", claim, scopes, "$6::json", (result,))
        return answer.one()[0] == "t"

    async def expire(self, claim: Claim, scopes: Scopes, error: StepError) -> bool:
        """Fail the last of the frames if its time is over."""
        answer = await self._write("_expire_1", claim, scopes, "$6::json", (error_json(error),))
        return answer.one()[0] == "t"

    async def take(self, claim: Claim, scopes: Scopes, signal: str) -> str | None:
        answer = await self._write("_take_1", claim, scopes, "$6", (signal,))
        return answer.one()[0]

    async def end(self, claim: Claim, action: FinishInstance) -> None:
        at = action.result_of
        await self._call_with_results(
            "_end_1", "$1, $2::uuid, $3, $4::json, $5::integer, $6, $7::json",
            (
                claim.id, claim.token, action.status.value, action.result,
                str(at.node) if at else None, at.path if at else None,
                error_json(action.error) if action.error else None,
            ),
        )  # fmt: skip

    async def _write(
        self, name: str, claim: Claim, scopes: Scopes, arguments: str, values: Iterable[str | None]
    ) -> Result:
        call = self._call_with_results if name in _TAKE_RESULTS else self._call
        return await call(
            name,
            f"$1, $2::uuid, $3::integer[], $4::text[], $5::bigint[], {arguments}",
            (claim.id, claim.token, *frames_literals(scopes), *values),
        )

    # --- steps in another database ---

    async def visit(self, claim: Claim) -> tuple[str, str, str]:
        """What the home tells of itself there: its id, the visit's number, its owner."""
        rows = list(await self._call("_visit_1", "$1, $2::uuid", (claim.id, claim.token)))
        if not rows:
            raise NotHeld(f'instance "{claim.id}" is not held by this worker any more')
        [(home, number, owner)] = rows
        return home or "", number or "", owner or ""

    async def finish_away(self, claim: Claim, action: RunStep, result: StepResult) -> None:
        """The outcome of a step that has committed there, and what it decides."""
        await self._write(
            "_finish_1", claim, action.scopes,
            '$6::integer, $7, $8::json, $9::json, $10::text[], $11::"char", $12::integer',
            (
                str(action.key.node), action.key.path, result.text, types_json(result.types),
                None if result.exact is None else array_literal(result.exact),
                *decision_values(action.decides),
            ),
        )  # fmt: skip

    async def alone_before(self, claim: Claim, key: Key) -> tuple[str, str] | None:
        """Pid and start of the backend that an earlier attempt at a lone statement was given."""
        values = (claim.id, claim.token, str(key.node), key.path)
        rows = await self._call("_alone_before_1", "$1, $2::uuid, $3::integer, $4", values)
        for pid, began in rows:
            return pid or "", began or ""
        return None

    async def begin_alone(self, claim: Claim, action: RunStep, pid: str, began: str) -> None:
        """Write down which backend is given the statement now."""
        await self._write(
            "_alone_1", claim, action.scopes, "$6::integer, $7, $8::integer, $9::timestamptz",
            (str(action.key.node), action.key.path, pid, began),
        )  # fmt: skip

    async def alone_done(self, claim: Claim, key: Key) -> None:
        """It has come to its end."""
        values = (claim.id, claim.token, str(key.node), key.path)
        await self._call("_alone_done_1", "$1, $2::uuid, $3::integer, $4", values)

    async def found(self, database: str, *, receipts: bool) -> None:
        """Whether steps leave receipts there, for df.explain."""
        values = (database, "t" if receipts else "f")
        await self._call("_found_1", "$1, $2::boolean", values)

    async def closed(self, database: str, role: str) -> tuple[str, str] | None:
        """SQLSTATE and message, when the role cannot get into the database."""
        for code, message in await self._call("_closed_1", "$1, $2", (database, role)):
            return code or "", message or ""
        return None

    async def luggage(self) -> str:
        """A script that makes our functions for steps where there are none."""
        return (await self._call("_luggage_1", "", ())).one()[0] or ""

    # --- retention ---

    async def roles_with_ended(self) -> list[int]:
        """The roles, by number, of whose instances some have ended."""
        return [int(row[0] or 0) for row in await self._call("_ended_roles_1", "", ())]

    async def sweep(
        self, roles: Sequence[int], days: float | None, instances: int | None, room: int
    ) -> int:
        """Delete up to `room` instances of these roles that ended too long ago; how many."""
        limits = (None if value is None else str(value) for value in (days, instances, room))
        values = (array_literal([str(role) for role in roles]), *limits)
        answer = await self._call(
            "_sweep_2", "$1::oid[], $2::float8, $3::integer, $4::integer", values
        )
        return int(answer.one()[0] or 0)

    async def sweep_signals(self, room: int) -> int:
        """Delete up to `room` messages whose instance has ended; how many."""
        answer = await self._call("_sweep_signals_1", "$1::integer", (str(room),))
        return int(answer.one()[0] or 0)

    async def sweep_audit(self, room: int) -> int:
        """Delete up to `room` rows of the audit that are old enough; how many."""
        answer = await self._call("_sweep_audit_1", "$1::integer", (str(room),))
        return int(answer.one()[0] or 0)

    async def tables_of_instances(self) -> list[str]:
        """The tables whose rows belong to an instance."""
        return [row[0] or "" for row in await self._call("_tables_of_instances", "", ())]

    async def reconcile(self, table: str, after: str, room: int) -> tuple[str | None, int]:
        """Delete rows without an instance; the id to go on after, and how many there were."""
        values = (table, after, str(room))
        answer = await self._call("_reconcile_1", "$1::regclass, $2, $3::integer", values)
        last, gone = answer.one()
        return last, int(gone or 0)

    # --- looking around ---

    async def origins(self, instances: Sequence[str]) -> list[Origin]:
        """Of those of these that are there."""
        rows = await self._call("_traces_1", "$1::text[]", (array_literal(instances),))
        return [
            Origin(row[0] or "", row[1], row[2], row[3] or "", created, time_of(row[5]), row[6])
            for row in rows
            if (created := time_of(row[4])) is not None
        ]

    async def seen(self) -> None:
        """Workers are at work in this database."""
        await self._call("_seen_1", "", ())

    async def now(self) -> datetime:
        """The database's time, by which the clock goes on."""
        now = time_of((await self._call("_now_1", "", ())).one()[0])
        assert now is not None
        self.clock.set(now)
        return now

    async def may_call(self, claim: Claim, function: str) -> bool:
        """Whether the role that started the instance may call a function of df."""
        answer = await self._call("_may_call_1", "$1, $2", (claim.id, function))
        return answer.one()[0] == "t"

    async def set_quotas(self, quotas: str) -> list[int] | None:
        """Put these, as JSON, in the place of what there is; None when they are in force.

        Otherwise to be repeated: the backends that hold it up, 0 for a prepared transaction.
        """
        told = (await self._call("_set_quotas_1", "$1::json", (quotas,))).one()[0]
        return None if told is None else [int(pid or 0) for pid in parse_array(told)]

    async def spend_call(self, role_id: int, limit: int) -> float:
        """Count an HTTP call of a role that may make `limit` in a minute: 0, or when it may."""
        values = (str(role_id), str(limit))
        answer = await self._call("_spend_call_1", "$1::oid, $2::integer", values)
        return float(answer.one()[0] or 0)

    async def tick(self, held: Iterable[str]) -> Look:
        result = await self._call(
            "_tick_1", "$1::uuid, $2::text[]", (self.engine_id, array_literal(list(held)))
        )
        now, next_ready, others, signalled, orphans, paused, suspects = result.one()
        self.clock.set(time_of(now) or datetime.now(UTC))
        return Look(
            time_of(next_ready),
            tuple(OtherEngine(**other) for other in json.loads(others or "[]") or ()),
            tuple(x or "" for x in parse_array(signalled)),
            tuple(x or "" for x in parse_array(orphans)),
            tuple(x or "" for x in parse_array(paused)),
            suspects == "t",
        )

    async def forget(self, dead: str) -> None:
        await self._call("_forget_1", "$1::uuid", (dead,))

    async def doze(self, *, idle: bool) -> None:
        await self._call("_doze_1", "$1::boolean", ("t" if idle else "f",))
