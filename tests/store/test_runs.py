"""Several steps in one call: each commits by itself, and each looks whether it still may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.arena import Arena, Waiting, Worker

_LOCK = 42
_WAITS = ("SELECT 1", f"SELECT pg_advisory_xact_lock({_LOCK})", "SELECT 1")
_RUNS = """
    CALL df._runs_2(%(id)s, %(token)s, '{}', '{}', '{}', '', %(nodes)s::int[], %(texts)s::text[],
        %(rows)s::boolean[], %(rows)s::text[], NULL, NULL, NULL, false, false, %(patience)s,
        %(flush)s, NULL, NULL)"""


@pytest.fixture
def arena(store: Database, add_user: Callable[[], Role]) -> Iterator[Arena]:
    with Arena(store, add_user()) as arena:
        yield arena


def _send(
    arena: Arena,
    session: psycopg.Connection,
    worker: Worker,
    *texts: str,
    patience: str = "1 h",
    flush: bool = True,
) -> Waiting:
    """Send the steps 1, 2, … of the instance."""
    params = {
        "id": worker.instance,
        "token": worker.token,
        "nodes": list(range(1, len(texts) + 1)),
        "texts": list(texts),
        "rows": [None] * len(texts),
        "patience": patience,
        "flush": flush,
    }
    return arena.waiting(session, _RUNS, params)


def test_a_step_is_committed_while_the_next_one_runs(arena: Arena) -> None:
    worker, blocker, session = arena.claimed(), arena.session(), arena.session(arena.user)
    blocker.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    sent = _send(arena, session, worker, *_WAITS)
    arena.wait_blocked(session)
    assert arena.rows(worker.instance, "d") == [(1, "")]
    blocker.execute("SELECT pg_advisory_unlock_all()")
    assert sent.value(arena.patience) == 3
    assert arena.rows(worker.instance, "d") == [(1, ""), (2, ""), (3, "")]


@pytest.mark.parametrize("ending", ["cancel", "takeover"])
def test_a_step_that_is_under_way_and_those_after_it_are_refused(arena: Arena, ending: str) -> None:
    worker, blocker, session = arena.claimed(), arena.session(), arena.session(arena.user)
    blocker.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    sent = _send(arena, session, worker, *_WAITS)
    arena.wait_blocked(session)
    if ending == "cancel":
        arena.session(arena.user).execute(arena.cancel(worker.instance).encode())
    else:
        thief = arena.other(worker)
        thief.session.execute("SELECT df._takeover_1(%s, 10)", [worker.engine])
    blocker.execute("SELECT pg_advisory_unlock_all()")
    assert arena.ends(sent) == "WF001"
    assert arena.rows(worker.instance, "d") == [(1, "")]


def test_a_step_that_fails_is_the_last_that_is_run(arena: Arena) -> None:
    worker, session = arena.claimed(), arena.session(arena.user)
    sent = _send(arena, session, worker, "SELECT 1", "SELECT 1 / 0", "SELECT 1")
    assert arena.ends(sent) == "22012"
    assert arena.rows(worker.instance, "d") == [(1, "")]
    counted = worker.session.execute(
        "SELECT df._done_1(%s, %s, '', '{1,2,3}')", [worker.instance, worker.token]
    ).fetchone()
    assert counted == (1,)


def test_a_call_whose_time_is_over_leaves_the_rest(arena: Arena) -> None:
    worker, session = arena.claimed(), arena.session(arena.user)
    sent = _send(arena, session, worker, "SELECT 1", "SELECT 1", patience="-1 s")
    assert sent.value(arena.patience) == 1
    assert arena.rows(worker.instance, "d") == [(1, "")]


# (what the call is asked for, what each of its commits waits for)
_FLUSHES = {
    "each step": ({"flush": True}, ["on", "on", "on"]),
    "the last one": ({"flush": False}, ["off", "off", "on"]),
    "where the call ends": ({"flush": False, "patience": "0"}, ["on"]),
}


@pytest.mark.parametrize(("asked", "waits_for"), _FLUSHES.values(), ids=_FLUSHES)
def test_the_commit_with_which_a_call_ends_is_flushed(
    arena: Arena, asked: dict[str, Any], waits_for: list[str]
) -> None:
    worker, owner = arena.claimed(), arena.session()
    owner.execute(
        """
        DROP TABLE IF EXISTS public.step, public.flushed;
        CREATE TABLE public.step (n int);
        CREATE TABLE public.flushed (n int, waits_for text);
        CREATE OR REPLACE FUNCTION public.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.flushed VALUES (NEW.n, current_setting('synchronous_commit'));
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON public.step
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.at_commit();
        GRANT INSERT ON public.step, public.flushed TO PUBLIC"""
    )
    session = arena.session(arena.user)
    session.execute("SET synchronous_commit = on")
    steps = [f"INSERT INTO public.step VALUES ({n})" for n in (1, 2, 3)]
    _send(arena, session, worker, *steps, **asked).value(arena.patience)
    found = owner.execute("SELECT waits_for FROM public.flushed ORDER BY n").fetchall()
    assert [waits for (waits,) in found] == waits_for
