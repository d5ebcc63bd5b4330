"""An engine worker: one process, one trio run; claims instances and runs them.

The worker is alive as long as its life connection is in the server's list of sessions: it LISTENs
there and does nothing else, so a killed worker is noticed within milliseconds. When that connection
breaks the worker exits and the supervisor starts a new one under a new id: whatever this one held
may have been taken over.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durproxy.bus import Ended, Gone, LocalBus, Reply, Report, Wake
from durproxy.child import announce_ready
from durproxy.config import Settings
from durproxy.engine.announcing import Announcing
from durproxy.engine.claim import Claim
from durproxy.engine.claims import Claims
from durproxy.engine.connection import Connection, ConnectionLost
from durproxy.engine.core.graph import FORMAT
from durproxy.engine.exporting import maybe_exporter
from durproxy.engine.hints import Hints
from durproxy.engine.holding import Holding
from durproxy.engine.http_step import HttpSteps
from durproxy.engine.logging_in import log_in
from durproxy.engine.pools import Pool, RolePools
from durproxy.engine.probation import run_probation
from durproxy.engine.quotas import Quotas
from durproxy.engine.recognising import wait_recognised
from durproxy.engine.retention import Retention
from durproxy.engine.statistics import report
from durproxy.engine.store import Store
from durproxy.engine.tracing import Traces
from durproxy.errors import DurproxyError, UpstreamUnreachable
from durproxy.log import get_logger
from durproxy.measures import Family

_log = get_logger(__name__)

_STORE_CONNECTIONS = 6
# whatever the owner's role or the database has by default
_STORE_SETTINGS = (
    "-c datestyle=ISO -c timezone=UTC -c lock_timeout=30s -c jit=off"
    " -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off"
    " -c statement_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0"
)
_RECURSION = 40_000  # a graph's JSON may be nested as deep as it has nodes
_RETRY = 1.0  # seconds between attempts to reach the upstream
_LEASE_LOST = 75  # the exit code, which the metrics name: a temporary failure, in sysexits.h
_LAST_WORDS = 5.0  # seconds to give back what is still held


def run(settings: Settings, index: int, *, alone: bool = False) -> int:
    """The engine child's whole life; its exit code. `alone`: for suspects, until none is left."""
    sys.setrecursionlimit(_RECURSION)
    return trio.run(Worker(settings, index, alone=alone).run)


class Worker:
    """The parts of one engine process, wired together."""

    def __init__(self, settings: Settings, index: int, *, alone: bool) -> None:
        self._settings = settings
        self._alone = alone
        self._name = f"engine-alone-{index}" if alone else f"engine-{index}"
        self._id = str(uuid.uuid4())
        self._store_pool = Pool(_store_conninfo(settings, "durproxy store"), _STORE_CONNECTIONS)
        self._store = Store(self._store_pool, self._id, alone=alone)
        self._roles = RolePools(settings)
        self._retention = Retention(self._store, settings)
        self._traces = Traces(self._store, maybe_exporter())
        self._life_lost = False

    async def run(self) -> int:
        with LocalBus(self._settings.runtime_dir, self._name) as bus:
            async with await self._connect_life() as life, trio.open_nursery() as nursery:
                self._nursery = nursery
                announcing = Announcing(bus.tell_proxies_ended)
                quotas = Quotas(self._store, self._settings)
                holding = Holding(
                    self._store,
                    self._roles,
                    HttpSteps(self._store, self._settings, quotas, self._traces),
                    nursery,
                    partial(self._ended, announcing),
                    self._left,
                    quotas.shapes_of,
                    flush_each_step=self._settings.flush_each_step,
                )
                self._claims = Claims(
                    self._store,
                    self._settings,
                    holding,
                    bus.tell_supervisor_suspects,
                    self._cut_off,
                )
                nursery.start_soon(self._stop_on_signal, holding, nursery)
                self._hints = Hints(
                    self._store, holding, None if self._alone else self._claims.claim_one
                )
                nursery.start_soon(self._hints.run)
                nursery.start_soon(self._listen, life)
                nursery.start_soon(self._receive, bus, holding)
                nursery.start_soon(self._claims.run_ticks)
                nursery.start_soon(self._claims.run)
                nursery.start_soon(self._roles.tidy)
                nursery.start_soon(announcing.run)
                nursery.start_soon(self._retention.run)
                nursery.start_soon(quotas.put_in_force)
                nursery.start_soon(self._traces.run)
                if self._alone:
                    nursery.start_soon(self._leave_unused, holding, nursery)
                announce_ready()
                _log.info("engine.started", engine_id=self._id, pid=os.getpid())
            announcing.tell_now()
            if not self._life_lost:  # its successor shall not wait
                await self._traces.finish()
        self._store_pool.close_idle()
        self._roles.close_idle()
        return _LEASE_LOST if self._life_lost else 0

    async def _connect_life(self) -> Connection:
        """The life connection, as soon as the upstream lets us in."""
        while True:
            try:
                life = await log_in(_store_conninfo(self._settings, "durproxy engine"))
                await wait_recognised(life, self._settings)
                await life.run(
                    "SELECT df._register_1($1::uuid, $2::smallint, $3::boolean)",
                    (self._id, str(FORMAT), str(self._alone)),
                )
                await life.run("LISTEN durproxy")
                await self._store.now()
            except (UpstreamUnreachable, ConnectionLost) as error:
                _log.warning("upstream.unreachable", error=error.message)
                await trio.sleep(_RETRY)
            else:
                return life

    # --- what comes in ---

    async def _listen(self, life: Connection) -> None:
        try:
            while True:
                for payload in await life.wait_notifies():
                    kind, _, instance = payload.partition(":")
                    if kind == "w":
                        self._claims.wake()
                    elif kind == "s":
                        self._hints.signalled(instance)
                    elif kind in ("c", "p"):
                        self._hints.changed(instance)
        except ConnectionLost as error:
            self._lose_life(error.message)

    def _cut_off(self) -> None:
        self._lose_life(f"no answer from the server for {self._settings.lease:g} s")

    def _lose_life(self, reason: str) -> None:
        """Whatever it held may be another's by now: begin anew, under another id."""
        _log.error("engine.life_lost", engine_id=self._id, error=reason)
        self._life_lost = True
        self._nursery.cancel_scope.cancel()

    async def _receive(self, bus: LocalBus, holding: Holding) -> None:
        async for message in bus.receive():
            match message:
                case Wake():
                    self._claims.wake()
                case Gone():
                    self._claims.look_around()
                case Report(reply):
                    self._nursery.start_soon(_tell, reply, report(len(holding.ids())))
                case Ended():
                    pass  # meant for proxies

    def _ended(self, announcing: Announcing, claim: Claim) -> None:
        """An instance has reached its end here."""
        announcing.ended(claim.id)
        self._retention.ended(claim.role_id)

    def _left(self, instance: str, due: datetime | None, signalled: bool) -> None:
        """An instance has left memory: there is room, and it may want to come back."""
        self._claims.left(due)
        self._traces.left(instance)
        if signalled:
            self._hints.signalled(instance)

    # --- the end ---

    async def _leave_unused(self, holding: Holding, nursery: trio.Nursery) -> None:
        await run_probation(self._claims, holding, self._settings.max_held)
        await self._drain(holding, nursery)

    async def _stop_on_signal(self, holding: Holding, nursery: trio.Nursery) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break
        await self._drain(holding, nursery)

    async def _drain(self, holding: Holding, nursery: trio.Nursery) -> None:
        _log.info("engine.draining", engine_id=self._id, held=len(holding.ids()))
        with trio.move_on_after(self._settings.drain_timeout):
            await self._claims.stop()
            await holding.wait_left()
        with trio.move_on_after(_LAST_WORDS):
            try:
                await self._store.release_all()
                await self._store.seen()
            except DurproxyError as error:  # whoever comes next takes it over
                _log.warning("engine.not_released", error=error.message)
        _log.info("engine.stopped", engine_id=self._id)
        nursery.cancel_scope.cancel()


async def _tell(reply: Reply, families: Sequence[Family]) -> None:
    await reply.say(json.dumps(families).encode())
    reply.close()


def _store_conninfo(settings: Settings, name: str) -> str:
    """As the home schema's owner, with the settings that the protocol's functions count on.

    jit is off: where the functions forbid sequential scans a plan without an index looks so
    expensive that the server would compile it, for most of a second.
    """
    given = conninfo_to_dict(settings.upstream)
    options = f"{given.get('options') or ''} {_STORE_SETTINGS}".strip()
    ours = {"options": options, "application_name": name, "client_encoding": "UTF8"}
    return make_conninfo("", **(given | ours))
