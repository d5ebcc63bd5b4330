"""Slots of HTTP calls: no role keeps others from calling, and none waits beside its own slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from durproxy.engine.http_shares import Shares

ROLES = range(5)


class Calls:
    """Calls of roles, as many as are asked for, until they are told to end."""

    def __init__(self, slots: int, nursery: trio.Nursery) -> None:
        self.shares = Shares(slots)
        self._nursery = nursery
        self.waiting: list[tuple[int, trio.CancelScope]] = []
        self.under_way: list[tuple[int, trio.Event]] = []

    async def ask(self, role: int) -> None:
        self._nursery.start_soon(self._call, role)
        await trio.testing.wait_all_tasks_blocked()

    async def _call(self, role: int) -> None:
        with trio.CancelScope() as scope:
            asked, end = (role, scope), trio.Event()
            self.waiting.append(asked)
            try:
                async with self.shares.slot(role):
                    self.waiting.remove(asked)
                    self.under_way.append((role, end))
                    await end.wait()
                    self.under_way.remove((role, end))
            finally:
                if asked in self.waiting:
                    self.waiting.remove(asked)

    async def end(self, number: int) -> None:
        if self.under_way:
            self.under_way[number % len(self.under_way)][1].set()
        await trio.testing.wait_all_tasks_blocked()

    async def give_up(self, number: int) -> None:
        if self.waiting:
            self.waiting[number % len(self.waiting)][1].cancel()
        await trio.testing.wait_all_tasks_blocked()

    def of(self, role: int) -> int:
        return sum(one == role for one, _ in self.under_way)


@asynccontextmanager
async def calls_of(slots: int) -> AsyncIterator[Calls]:
    async with trio.open_nursery() as nursery:
        yield Calls(slots, nursery)
        nursery.cancel_scope.cancel()


async def test_one_role_alone_has_half() -> None:
    async with calls_of(20) as calls:
        for _ in range(30):
            await calls.ask(1)
        assert calls.of(1) == 10
        for _ in range(30):
            await calls.ask(2)
        assert (calls.of(1), calls.of(2)) == (10, 5)


async def test_what_one_role_ends_another_may_have() -> None:
    async with calls_of(8) as calls:
        for role in (1, 1, 1, 1, 1, 2, 2, 2):
            await calls.ask(role)
        assert (calls.of(1), calls.of(2)) == (4, 2)
        await calls.end(0)
        assert (calls.of(1), calls.of(2)) == (3, 3)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "end", "give_up"]), st.integers(0, 30)), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), EVENTS)
def test_no_role_keeps_another_from_calling(slots: int, events: list[tuple[str, int]]) -> None:
    async def run() -> None:
        async with calls_of(slots) as calls:
            for what, number in events:
                await getattr(calls, what)(number % len(ROLES) if what == "ask" else number)
                free = slots - len(calls.under_way)
                for role, _ in calls.waiting:
                    assert calls.of(role) > 0
                    assert calls.of(role) >= free
                assert max(map(calls.of, ROLES)) <= (slots + 1) // 2

    trio.run(run)
