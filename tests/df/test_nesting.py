"""Every construct in every other, three deep, as real workflows against a reference interpreter.

A sample in each run, with a seed that a failure names; a large one, and all that are two deep,
behind the ``soak`` marker.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import psycopg
import pytest

from tests.df.programs import (
    Node,
    Outcome,
    all_programs,
    comparable,
    expected_of,
    expression_of,
    runs_in_order,
    signals_of,
    some_programs,
)
from tests.fix_serve import ServeWith, Visitor
from tests.waiting import wait_until

SAMPLE = 600
LARGE_SAMPLE = 20_000  # of 600,000
KILLED_SAMPLE = 600
KILLS = 12
BATCH = 600
MOST_ROUNDS = 8  # two of each of three loops: so often may one wait be reached
SEED = random.SystemRandom().randrange(1_000_000)

Effect = tuple[str, int | None]


@pytest.fixture
def session(visitor: Visitor) -> Iterator[psycopg.Connection]:
    with closing(visitor.database.connect(visitor.role)) as session:
        prepare(session)
        yield session


def prepare(session: psycopg.Connection) -> None:
    session.execute('SET search_path = "$user", public, df')
    session.execute("CREATE TABLE effects (n serial, program int, tag text, seen int)")


def test_how_many_programs_there_are() -> None:
    kinds = Counter(program.kind for program in all_programs(depth=2))
    assert len(kinds) == 24
    assert sum(kinds.values()) > 15_000


@pytest.mark.one_postgres
def test_a_sample_of_all_nestings(session: psycopg.Connection) -> None:
    programs = some_programs(random.Random(SEED), SAMPLE)
    differences = compare(session, programs)
    assert not differences, f"seed {SEED}: {len(differences)} differ\n" + "\n".join(differences[:5])


def test_each_construct_around_each_leaf(session: psycopg.Connection) -> None:
    differences = compare(session, list(all_programs(depth=1)))
    assert not differences, "\n".join(differences[:5])


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_all_nestings_two_deep(session: psycopg.Connection) -> None:
    differences = compare(session, list(all_programs(depth=2)))
    assert not differences, f"{len(differences)} differ\n" + "\n".join(differences[:20])


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_large_sample_of_all_nestings(session: psycopg.Connection) -> None:
    programs = some_programs(random.Random(SEED), LARGE_SAMPLE)
    differences = compare(session, programs)
    assert not differences, f"seed {SEED}: {len(differences)} differ\n" + "\n".join(
        differences[:20]
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_sample_of_all_nestings_while_engines_are_killed(serve_with: ServeWith) -> None:
    serve = serve_with(engines=2, lease=2.0, poll_interval=0.5, set_aside_after=1000)
    programs = dict(enumerate(some_programs(random.Random(SEED), KILLED_SAMPLE)))
    with closing(serve.connect()) as session:
        prepare(session)
        start(session, programs)
        for killed in range(KILLS):
            enough = (killed + 1) * KILLED_SAMPLE // KILLS
            wait_until(lambda n=enough: written(session) >= n, "steps write", 60)  # type: ignore[misc]
            serve.kill_engine(killed % 2)
        differences = judge(session, programs)
    assert not differences, f"seed {SEED}: {len(differences)} differ\n" + "\n".join(differences[:5])


def written(session: psycopg.Connection) -> int:
    row = session.execute("SELECT count(*) FROM effects").fetchone()
    assert row is not None
    return int(row[0])


def compare(session: psycopg.Connection, programs: Sequence[Node]) -> list[str]:
    """Run them in batches; what differs from the interpreter, told for each program."""
    numbered = enumerate(programs)
    differences: list[str] = []
    while batch := dict(islice(numbered, BATCH)):
        start(session, batch)
        differences += judge(session, batch)
    return differences


def start(session: psycopg.Connection, batch: dict[int, Node]) -> None:
    """All in one transaction, with their signals sent beforehand."""
    with session.transaction():
        for number, program in batch.items():
            started = session.execute(
                f"SELECT df.start({expression_of(program, number)}, '{number}')".encode()
            ).fetchone()
            assert started is not None
            for tag in signals_of(program):
                session.execute(
                    "SELECT df.signal(%s, %s, %s) FROM generate_series(1, %s)",
                    [started[0], f"s{tag}", json.dumps(tag), MOST_ROUNDS],
                )


def judge(session: psycopg.Connection, batch: dict[int, Node]) -> list[str]:
    ended = wait_until(lambda: ends_of(session, batch), "all programs have ended", timeout=100)
    wrote = effects_of(session, batch)
    return [
        difference
        for number, program in batch.items()
        if (difference := differs(program, *ended[number], wrote[number])) is not None
    ]


def ends_of(session: psycopg.Connection, batch: dict[int, Node]) -> dict[int, tuple[str, Any]]:
    """Status and result of all; nothing while one still runs."""
    live = session.execute(
        "SELECT FROM df.instances WHERE status IN ('pending', 'running') LIMIT 1"
    ).fetchone()
    if live is not None:
        return {}
    rows = session.execute(
        "SELECT label::int, status, df.result(id) FROM df.instances WHERE label::int = ANY (%s)",
        [list(batch)],
    )
    return {number: (status, json.loads(text or "null")) for number, status, text in rows}


def effects_of(session: psycopg.Connection, batch: dict[int, Node]) -> dict[int, list[Effect]]:
    wrote: dict[int, list[Effect]] = {number: [] for number in batch}
    rows = session.execute(
        "SELECT program, tag, seen FROM effects WHERE program = ANY (%s) ORDER BY n", [list(batch)]
    )
    for number, tag, seen in rows:
        wrote[number].append((tag, seen))
    return wrote


def differs(program: Node, status: str, result: Any, wrote: list[Effect]) -> str | None:
    possible = expected_of(program)
    if any(fits(program, outcome, status, result, wrote) for outcome in possible):
        return None
    return (
        f"{program}\n  {expression_of(program, 0)}\n"
        f"  is {status} {json.dumps(result)} {wrote}\n"
        f"  not one of {len(possible)}: {possible[:2]}"
    )


def fits(program: Node, outcome: Outcome, status: str, result: Any, wrote: list[Effect]) -> bool:
    if status != {"done": "completed", "failed": "failed"}[outcome.end]:
        return False
    if outcome.end == "done" and comparable(result) != outcome.result:
        return False
    if runs_in_order(program):
        return wrote == list(outcome.effects)
    sure, found = Counter(outcome.effects), Counter(wrote)
    rest = Counter(tag for tag, _ in (found - sure).elements())
    return sure <= found and rest <= Counter(tag for tag, _ in outcome.stray)
