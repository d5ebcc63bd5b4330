"""The instances in this worker's memory: from a claim to a running instance, and out again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

import trio

from durproxy.engine.assuming import refuse_switches
from durproxy.engine.claim import Claim
from durproxy.engine.core.actions import FinishInstance
from durproxy.engine.core.advance import Execution
from durproxy.engine.core.graph import Graph, build_graph, read_graph
from durproxy.engine.core.states import Checkpoint, InstanceStatus, Key, StepError
from durproxy.engine.core.validate import validate
from durproxy.engine.http_step import HttpSteps
from durproxy.engine.leaving import released
from durproxy.engine.pools import RolePools
from durproxy.engine.running import RunningInstance
from durproxy.engine.statistics import ENDED, INTERRUPTED
from durproxy.engine.step_text import Shapes
from durproxy.engine.store import Store
from durproxy.errors import DurproxyError, LanguageError
from durproxy.log import get_logger

_log = get_logger(__name__)

_SHARED_GRAPHS = 500
_LARGEST_SHARED = 16_384  # characters


class Holding:
    """Runs what was claimed.

    `ended(claim)` is called when an instance reached its end here, `left(id, due, signalled)`
    when one has left memory: it can be claimed again at `due`; `signalled`: a message came while
    it left.
    """

    def __init__(
        self,
        store: Store,
        roles: RolePools,
        http: HttpSteps,
        nursery: trio.Nursery,
        ended: Callable[[Claim], None],
        left: Callable[[str, datetime | None, bool], None],
        shapes_of: Callable[[str], Shapes],
        *,
        flush_each_step: bool,
    ) -> None:
        """`shapes_of`: a role's, new, with the limit of what its steps return."""
        self._store = store
        self._roles = roles
        self._http = http
        self._nursery = nursery
        self._ended = ended
        self._left = left
        self._shapes_of = shapes_of
        self._flush_each_step = flush_each_step
        self._shapes: dict[tuple[str, str | None], Shapes] = {}
        # from the claim's reply on, so that nobody takes it for lost; None while it is loaded
        self._held: dict[str, RunningInstance | None] = {}
        self._roles_held: Counter[int] = Counter()
        self._next: dict[str, Claim] = {}  # claimed anew while the last claim's run still ends
        self._leaving = False
        self._paused: set[str] = set()  # while it was loaded
        self._empty = trio.Event()

    def ids(self) -> list[str]:
        return list(self._held)

    def roles(self) -> Counter[int]:
        """How many are held of which role."""
        return self._roles_held

    def begin(self, claims: list[Claim]) -> None:
        """Run these; returns at once."""
        self._next.update((claim.id, claim) for claim in claims if claim.id in self._held)
        claims = [claim for claim in claims if claim.id not in self._held]
        if claims:
            self._held.update(dict.fromkeys(claim.id for claim in claims))
            self._roles_held.update(claim.role_id for claim in claims)
            known = [claim for claim in claims if not claim.fresh]
            for claim in claims:
                if claim.fresh:
                    self._nursery.start_soon(self._run, claim, {})
            if known:
                self._nursery.start_soon(self._load, known)

    def poke(self, instance: str) -> bool:
        """A signal came; False when the instance is not held here."""
        running = self._held.get(instance)
        if running is not None:
            running.poke()
        return instance in self._held

    def pause(self, instance: str) -> None:
        """The instance was paused: it leaves after the steps in flight."""
        running = self._held.get(instance)
        if running is not None:
            running.leave()
        elif instance in self._held:
            self._paused.add(instance)

    def cancel(self, instance: str, token: str) -> None:
        """The instance is not held by this token any more: a user has cancelled it."""
        running = self._held.get(instance)
        if running is not None and running.claim.token == token:
            running.cancel()

    def claim_of(self, instance: str) -> Claim | None:
        """The claim by which it runs here."""
        running = self._held.get(instance)
        return None if running is None else running.claim

    async def wait_left(self) -> None:
        """Give back everything as soon as the steps in flight are done."""
        self._leaving = True
        while self._held:
            for running in self._held.values():
                if running is not None:
                    running.leave()
            self._empty = trio.Event()
            await self._empty.wait()

    # --- own ---

    async def _load(self, claims: list[Claim]) -> None:
        known = [claim.id for claim in claims]
        checkpoints: dict[str, dict[Key, Checkpoint]] = {}
        try:
            checkpoints = await self._store.load(known)
        except DurproxyError as error:  # still ours by the table: the tick gives them back
            _log.warning("claim.not_loaded", instances=known, error=error.message)
        for claim in claims:
            if claim.id in checkpoints:
                self._nursery.start_soon(self._run, claim, checkpoints[claim.id])
            else:
                self._out(claim)

    async def _run(self, claim: Claim, checkpoints: dict[Key, Checkpoint]) -> None:
        due, signalled = None, False
        try:
            running = self._entered(claim, checkpoints)
            await running.run()
            due, signalled = running.due, running.signalled
        except LanguageError as error:
            await self._refuse(claim, error)
        except Exception as error:  # noqa: BLE001 -- an instance that trips us must not stop the others
            INTERRUPTED.add("crash")
            _log.error("instance.crashed", instance=claim.id, error=repr(error), exc_info=True)
            trouble = f"it crashed its worker's task: {error!r}"
            due = await released(claim, self._store.put_off(claim, trouble, attempt=True))
        finally:
            self._out(claim)
            self._left(claim.id, due, signalled)

    def _entered(self, claim: Claim, checkpoints: dict[Key, Checkpoint]) -> RunningInstance:
        role, execution = _checked(claim, checkpoints)
        shapes = self._shapes.get((role, claim.database))
        if shapes is None:
            shapes = self._shapes[role, claim.database] = self._shapes_of(role)
        if self._roles.assumes:
            refuse_switches(claim, execution.graph)
        pool = self._roles.of(role, claim.database)
        running = RunningInstance(
            claim, execution, self._store, pool, shapes, self._http, self._ended,
            flush_each_step=self._flush_each_step,
        )  # fmt: skip
        self._held[claim.id] = running
        if self._leaving or claim.id in self._paused:
            running.leave()
        event = "instance.started" if claim.fresh else "instance.resumed"
        _log.debug(event, instance=claim.id, label=claim.label, role=role)
        return running

    async def _refuse(self, claim: Claim, error: LanguageError) -> None:
        """A graph that cannot run: it may have come in past df.start's checks."""
        failure = StepError(error.message, error.code, error.detail, error.hint, node=error.node)
        _log.info("instance.refused", instance=claim.id, error=error.message)
        try:
            await self._store.end(claim, FinishInstance(InstanceStatus.FAILED, error=failure))
        except DurproxyError as lost:
            _log.warning("instance.interrupted", instance=claim.id, error=lost.message)
            return
        ENDED.add("failed")
        self._ended(claim)

    def _out(self, claim: Claim) -> None:
        del self._held[claim.id]
        self._paused.discard(claim.id)
        self._roles_held[claim.role_id] -= 1
        if not self._roles_held[claim.role_id]:
            del self._roles_held[claim.role_id]
        if claim.id in self._next:
            self.begin([self._next.pop(claim.id)])
        if not self._held:
            self._empty.set()


def _checked(claim: Claim, checkpoints: dict[Key, Checkpoint]) -> tuple[str, Execution]:
    """The role and the execution. Raises LanguageError when the graph cannot run."""
    if claim.role is None:
        raise LanguageError(
            "the role that started this instance no longer exists", sqlstate="42704"
        )
    cached = len(claim.graph) <= _LARGEST_SHARED
    graph = _shared_graph(claim.graph) if cached else _valid_graph(claim.graph)
    return claim.role, Execution(graph, checkpoints, claim.substitutions, claim.ending)


def _valid_graph(text: str) -> Graph:
    raw = read_graph(text)
    for problem in validate(raw):
        raise LanguageError(
            problem.message, node=problem.node, sqlstate=problem.sqlstate, hint=problem.hint
        )
    return build_graph(raw)


# workflows of one kind have the same graph: nothing in it changes once it is built
_shared_graph = lru_cache(_SHARED_GRAPHS)(_valid_graph)
