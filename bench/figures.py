"""What is measured of this engine alone: latency, length, sleepers, recovery, idleness.

Each figure gives numbers by name. Connections of a bench go where the work is counted, straight to
Postgres; whatever starts a workflow goes through the proxy, as a client would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import psycopg

from bench.ground import NEIGHBOURS, Ground, resident_megabytes
from bench.ours import USER, ours

_LATENCIES = 300
_LONG = 2000  # steps
_SLEEPERS = (100_000, 1_000_000)
_WOKEN = 10_000
_IN_FLIGHT = 200
_IDLE_SECONDS = 60
_SETTLED = 3  # seconds until an engine that has nothing to do sleeps
_FIRST_SWEEP = 75  # seconds until it has swept for the first time, and then not for long
_UPDATE = "UPDATE account SET value = value + 1 WHERE id = "


@contextmanager
def _session(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as session:
        yield session


def _value(session: psycopg.Connection, query: str) -> float:
    row = session.execute(query.encode()).fetchone()
    assert row is not None
    return float(row[0])


def _pause(session: psycopg.Connection, seconds: float) -> None:
    session.execute("SELECT pg_sleep(%s)", [seconds])


def latency(ground: Ground, bindir: Path) -> dict[str, float]:
    """Milliseconds from the start's commit to the end of a one-step workflow, one at a time."""
    taken = []
    with ours(ground, bindir) as server, _session(server.dsn) as client:
        _pause(client, _SETTLED)
        for k in range(_LATENCIES):
            began = time.monotonic()
            row = client.execute(f"SELECT df.start('{_UPDATE}{k + 1}')".encode()).fetchone()
            assert row is not None
            client.execute("SELECT df.await_instance(%s)", [row[0]])
            taken.append((time.monotonic() - began) * 1000)
            _pause(client, 0.001 * (k % 7))
    cuts = quantiles(taken, n=100)
    return {"p50 ms": cuts[49], "p99 ms": cuts[98]}


def length(ground: Ground, bindir: Path) -> dict[str, float]:
    """A sequence of 2,000 steps: its last tenth beside its first, by the times of the checkpoints.

    And the cost of df.start for each step of the graph, with 1,000 steps beside 10.
    """
    with ours(ground, bindir) as server, _session(server.dsn) as client:
        client.execute(f"SELECT df.start({_sequence(_LONG)})".encode())
        server.wait_done()
        with _session(server.direct_dsn) as watcher:
            rows = watcher.execute("SELECT at FROM df._checkpoints ORDER BY at").fetchall()
        small, large = _seconds_to_start(client, 10) / 10, _seconds_to_start(client, 1000) / 1000
        server.wait_done()
    at = [row[0].timestamp() for row in rows]
    tenth = len(at) // 10
    return {
        "last tenth / first": (at[-1] - at[-1 - tenth]) / (at[tenth] - at[0]),
        "start of 1000 / of 10, per step": large / small,
    }


def _sequence(steps: int, first: int = 1) -> str:
    """Nested as a balanced tree; to the engine a sequence is one however it is nested."""
    if steps == 1:
        return f"'{_UPDATE}{first}'"
    half = steps // 2
    return f"df.seq({_sequence(half, first)}, {_sequence(steps - half, first + half)})"


def _seconds_to_start(client: psycopg.Connection, steps: int) -> float:
    query = f"SELECT df.start({_sequence(steps)})".encode()
    taken = []
    for _ in range(5):
        began = time.monotonic()
        client.execute(query)
        taken.append(time.monotonic() - began)
    return median(taken)


def sleepers(ground: Ground, bindir: Path, scale: float) -> dict[str, float]:
    """W4: an engine's memory beside so many sleepers, then ten thousand that wake at once."""
    found = {}
    with ours(ground, bindir) as server, _session(server.direct_dsn) as owner:
        for trigger in ("check_instance", "wake_engine"):
            owner.execute(f"ALTER TABLE df._instances DISABLE TRIGGER {trigger}")
        here = 0
        for number in _SLEEPERS:
            wanted = int(number * scale)
            owner.execute(_ASLEEP.encode(), _asleep(wanted - here, "1 day"))
            here = wanted
            owner.execute("VACUUM ANALYZE df._instances, df._checkpoints")
            _pause(owner, _SETTLED * 2)  # a look and a tick or two beside all of them
            [engine] = server.server.child_pids("engine")
            found[f"MB beside {wanted:,}"] = resident_megabytes(engine)
        woken = int(_WOKEN * scale)
        owner.execute(_ASLEEP.encode(), _asleep(woken, "5 s"))
        row = owner.execute(
            "SELECT max(ready_at) FROM df._instances WHERE ready_at < now() + interval '1 h'"
        ).fetchone()
        assert row is not None
        owner.execute("SELECT pg_sleep_until(%s)", [row[0]])
        began = time.monotonic()
        while _value(owner, _COMPLETED) < woken:
            _pause(owner, 0.1)
        found[f"s until {woken:,} have woken and ended"] = time.monotonic() - began
        found["MB then"] = resident_megabytes(engine)
    return found


_COMPLETED = "SELECT count(*) FROM df._instances WHERE status = 'completed'"
# as an engine leaves them when they begin to sleep
_ASLEEP = """
    WITH asleep AS (
        INSERT INTO df._instances (seq, id, lane, graph, status, submitted_by, started_at, ready_at)
        OVERRIDING SYSTEM VALUE
        SELECT seq, lpad(to_hex(seq), 8, '0'), hashtext(current_database() || '/') & 63,
            json_build_object(
                'node_type', 'THEN',
                'left_node', json_build_object('node_type', 'SLEEP', 'query', '3600'),
                'right_node', json_build_object(
                    'node_type', 'SQL', 'query', %(update)s || k %% 100000 + 1)),
            'running', %(user)s::regrole, now(), now() + %(due)s::interval
        FROM (SELECT k, nextval(pg_get_serial_sequence('df._instances', 'seq')) AS seq
              FROM generate_series(1, %(count)s::int) AS k) AS made
        RETURNING id, ready_at)
    INSERT INTO df._checkpoints (instance_id, node, status, last, kind, due)
    SELECT id, 2, 'o', 2, 'SLEEP', ready_at FROM asleep"""


def _asleep(count: int, due: str) -> dict[str, object]:
    return {"count": count, "due": due, "user": USER, "update": _UPDATE}


def recovery(ground: Ground, bindir: Path) -> dict[str, float]:
    """W5: SIGKILL with two hundred sequences half done; when all are, and what happened twice."""
    step = "'INSERT INTO effect VALUES (''{{sys_instance_id}}'', {})'"
    steps = NEIGHBOURS
    chain = " ~> ".join(step.format(k) for k in range(steps))
    with ours(ground, bindir) as server, _session(server.dsn) as client:
        with client.transaction():
            for _ in range(_IN_FLIGHT):
                client.execute(f"SELECT df.start({chain})".encode())
        with _session(server.direct_dsn) as watcher:
            while _value(watcher, "SELECT count(*) FROM effect") < _IN_FLIGHT * steps / 2:
                pass
            server.kill_engine()
            began = time.monotonic()
            done = _value(watcher, _COMPLETED)
            server.wait_done()
            took = time.monotonic() - began
            effects = _value(watcher, "SELECT count(*) FROM effect")
            distinct = _value(watcher, "SELECT count(DISTINCT (workflow, step)) FROM effect")
    return {
        "done at the kill": done,
        "s until all are": took,
        "effects twice": effects - distinct,
        "effects lost": _IN_FLIGHT * steps - distinct,
    }


def idleness(ground: Ground, bindir: Path) -> dict[str, float]:
    """Transactions per second of an engine that has nothing to do."""
    with ours(ground, bindir) as server, _session(ground.dsn("postgres")) as watcher:
        watcher.execute("ALTER SYSTEM SET autovacuum = off")
        watcher.execute("SELECT pg_reload_conf()")
        count = (
            "SELECT xact_commit + xact_rollback FROM pg_stat_database"
            f" WHERE datname = '{server.database}'"
        )
        _pause(watcher, _FIRST_SWEEP)
        before = _value(watcher, count)
        _pause(watcher, _IDLE_SECONDS)
        queries = _value(watcher, count) - before
        watcher.execute("ALTER SYSTEM RESET autovacuum")
        watcher.execute("SELECT pg_reload_conf()")
    return {"transactions/s": queries / _IDLE_SECONDS}
