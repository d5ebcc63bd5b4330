"""A fault before, while and after everything that an engine commits or sends; counts stay exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest

from durproxy.engine.trigger import CALLS, POINTS
from tests.faults import rig as faults
from tests.faults.rig import Meddling, Rig
from tests.fix_http import Web
from tests.fix_postgres import BINDIRS, Clusters
from tests.waiting import wait_until

_cases = count(1)

# every construct that commits something of its own, in one workflow
_EVERYTHING = """
    SELECT df.start(
        'INSERT INTO effects VALUES ({case}, ''first'') RETURNING effect' |=> 'first'
        ~> ('INSERT INTO effects VALUES ({case}, ''left'')'
            & 'INSERT INTO effects VALUES ({case}, ''right'')')
        ~> ('SELECT ''$first'' = ''first''' ?> 'INSERT INTO effects VALUES ({case}, ''then'')'
            !> 'INSERT INTO effects VALUES ({case}, ''else'')')
        ~> df.loop('INSERT INTO effects VALUES ({case}, ''round'')',
                   'SELECT count(*) < 3 FROM effects
                    WHERE workflow = {case} AND effect = ''round''')
        ~> df.race('INSERT INTO effects VALUES ({case}, ''winner'')', df.sleep(3600))
        ~> df.http('{url}/echo/{case}')
        ~> df.sleep(0)
        ~> df.wait_for_signal('go') |=> 'sent'
        ~> 'INSERT INTO effects VALUES ({case}, ''$sent.data'')',
        'everything')"""
_EFFECTS = Counter(
    {"first": 1, "left": 1, "right": 1, "then": 1, "round": 3, "winner": 1, '{"by": "hand"}': 1}
)
# what failures, limits and fan-out commit
_FAILURES = """
    SELECT df.start(
        df.retry('SELECT 1 / (nextval(''tries_{case}'') - 1)', backoff => '1 ms', jitter => false,
                 retry_on => ARRAY['22012'])
        ~> df.catch(df.timeout('SELECT pg_sleep(60)', '50 ms'),
                    'INSERT INTO effects VALUES ({case}, ''late'')')
        ~> df.finally('INSERT INTO effects VALUES ({case}, ''work'')',
                      'INSERT INTO effects VALUES ({case}, ''cleanup'')')
        ~> df.map('SELECT k FROM generate_series(1, 3) k',
                  'INSERT INTO effects VALUES ({case}, ''item $item.k'')')
        ~> df.saga(df.compensate('INSERT INTO effects VALUES ({case}, ''booked'')',
                                 'INSERT INTO effects VALUES ({case}, ''unbooked'')')
                   ~> 'SELECT 1/0'),
        'failures')"""
_FAILED_EFFECTS = Counter(
    ["late", "work", "cleanup", "item 1", "item 2", "item 3", "booked", "unbooked"]
)
_CLAIM = """
    SELECT df._claim_one_1(e.id, %s, e.fmt_max) FROM df._engines e
    JOIN pg_stat_activity a ON a.pid = e.pid AND a.backend_start = e.backend_start"""
_PASSED_BY_ALL = (
    "step", "claim", "open", "close", "next", "fire", "take", "fail", "finish_call", "end",
    "release", "claim_one", "load", "tick", "doze", "retry", "expire",
)  # fmt: skip
# what is called only after a worker was killed, or its claim's reply lost
_ONLY_AFTER_A_FAULT = ("takeover", "forget", "reclaim")
_ELSEWHERE = ("alone", "alone_away", "still")  # test_alone.py; asked only when somebody notifies


@pytest.fixture(scope="module")
def rig(clusters: Clusters) -> Iterator[Rig]:
    rig = Rig(
        clusters.get(list(BINDIRS.values())[-1]),
        http_allow_private=True,
        poll_interval=0.3,
        set_aside_after=1000,
        drain_timeout=2.0,  # a step of a minute is in it
    )
    with rig.serve.connect() as owner:
        owner.execute("CREATE TABLE effects (workflow int, effect text)")
    yield rig
    rig.close()


@pytest.fixture
def client(rig: Rig) -> Iterator[psycopg.Connection]:
    with rig.serve.connect() as session:
        yield session


def test_the_points_are_those_that_are_tested() -> None:
    assert set(CALLS) == {*_PASSED_BY_ALL, *_ONLY_AFTER_A_FAULT, *_ELSEWHERE}


@pytest.mark.parametrize(
    "point",
    [
        # what is under way is also lost, or dropped, below
        pytest.param(point, marks=pytest.mark.soak if moment == "sent" and call != "step" else ())
        for point in POINTS
        for call, moment in [point.split(".")]
        if call in _PASSED_BY_ALL
    ],
)
def test_an_engine_killed_at_a_point_loses_nothing_and_does_nothing_twice(
    rig: Rig, client: psycopg.Connection, web: Web, point: str
) -> None:
    _run_through(rig, client, web, point, faults.kill)
    assert rig.serve.events("child.ended", kind="engine", signal="SIGKILL")


@pytest.mark.parametrize("call", _PASSED_BY_ALL)
def test_a_reply_that_is_lost_after_the_commit_changes_nothing(
    rig: Rig, client: psycopg.Connection, web: Web, call: str
) -> None:
    lost = rig.relay.lost
    _run_through(rig, client, web, f"{call}.before", faults.lose_reply)
    assert rig.relay.lost == lost + 1


@pytest.mark.parametrize(
    ("moment", "fault"),
    [
        ("sent", faults.kill),
        ("before", faults.lose_reply),
        *(
            pytest.param(moment, fault, marks=pytest.mark.soak)
            for moment, fault in [
                ("before", faults.kill),
                ("after", faults.kill),
                ("before", faults.drop_store),
                ("sent", faults.drop),
                ("sent", faults.drain),
                ("before", faults.delay),
            ]
        ),
    ],
)
@pytest.mark.parametrize("call", _ONLY_AFTER_A_FAULT)
def test_a_second_fault_while_one_is_made_good_changes_nothing(
    rig: Rig, client: psycopg.Connection, web: Web, call: str, moment: str, fault: Meddling
) -> None:
    if call == "reclaim":
        _run_through(rig, client, web, f"{call}.{moment}", fault, astray=True)
    else:
        both = faults.then(faults.kill, f"{call}.{moment}", fault)
        _run_through(rig, client, web, "step.sent", both)


@pytest.mark.soak
@pytest.mark.parametrize("call", ["step", "claim", "open", "fire", "take", "end", "release"])
def test_an_engine_told_to_stop_while_a_call_is_under_way_changes_nothing(
    rig: Rig, client: psycopg.Connection, web: Web, call: str
) -> None:
    before = len(rig.serve.events("child.ended", kind="engine"))
    _run_through(rig, client, web, f"{call}.sent", faults.drain)
    assert len(rig.serve.events("child.ended", kind="engine", exit_code=0)) > 0
    assert len(rig.serve.events("child.ended", kind="engine")) == before + 1


@pytest.mark.parametrize("call", ["step", "claim", "open", "fire", "end", "release"])
def test_connections_that_are_dropped_while_a_call_is_under_way_change_nothing(
    rig: Rig, client: psycopg.Connection, web: Web, call: str
) -> None:
    _run_through(rig, client, web, f"{call}.sent", faults.drop)


@pytest.mark.soak
@pytest.mark.parametrize("call", _PASSED_BY_ALL)
@pytest.mark.parametrize("fault", [faults.drop, faults.drop_steps, faults.drop_store])
@pytest.mark.parametrize("moment", ["before", "sent", "after"])
def test_connections_that_are_dropped_at_a_point_change_nothing(
    rig: Rig, client: psycopg.Connection, web: Web, call: str, moment: str, fault: Meddling
) -> None:
    _run_through(rig, client, web, f"{call}.{moment}", fault)


@pytest.mark.soak
@pytest.mark.parametrize("call", _PASSED_BY_ALL)
def test_a_call_that_arrives_late_changes_nothing(
    rig: Rig, client: psycopg.Connection, web: Web, call: str
) -> None:
    _run_through(rig, client, web, f"{call}.before", faults.delay)


def _run_through(
    rig: Rig,
    client: psycopg.Connection,
    web: Web,
    point: str,
    fault: Meddling,
    *,
    astray: bool = False,
) -> None:
    """`astray`: meanwhile a claim of the engine's is answered, but not to it."""
    case = next(_cases)
    client.execute(f"CREATE SEQUENCE tries_{case}".encode())
    rig.plan(point, 1, fault)
    everything = _start(client, _EVERYTHING.format(case=case, url=web.url))
    failing = _start(client, _FAILURES.format(case=case))
    wait_until(lambda: _status(client, failing) == "failed", "the failing one failed", 30)
    wait_until(lambda: _is_asleep(client, everything), "the other one waits", 30)
    if astray:
        client.execute(_CLAIM, (everything,))
    client.execute("SELECT df.signal(%s, 'go', '{\"by\": \"hand\"}')", (everything,))
    wait_until(lambda: _status(client, everything) == "completed", "the other completed", 30)
    wait_until(lambda: rig.hits == 1, f"the point {point} is passed")
    rows = client.execute("SELECT effect FROM effects WHERE workflow = %s", [case]).fetchall()
    assert Counter(effect for (effect,) in rows) == _EFFECTS + _FAILED_EFFECTS
    assert len({asked.headers["idempotency-key"] for asked in web.asked}) == 1
    assert len(web.asked) <= 2
    _assert_nothing_left(client, everything, failing)


def _start(client: psycopg.Connection, statement: str) -> str:
    row = client.execute(statement.encode()).fetchone()
    assert row is not None
    return str(row[0])


def _status(client: psycopg.Connection, instance: str) -> str:
    row = client.execute("SELECT df.status(%s)", (instance,)).fetchone()
    assert row is not None
    return str(row[0])


def _is_asleep(client: psycopg.Connection, instance: str) -> bool:
    """It waits for its signal, and no worker has it in memory."""
    row = client.execute(
        "SELECT ready_at = 'infinity' FROM df._instances WHERE id = %s", (instance,)
    ).fetchone()
    return row == (True,)


def _assert_nothing_left(client: psycopg.Connection, everything: str, failing: str) -> None:
    """No open scope or wait, no message, no holder of anything."""
    row = client.execute(
        "SELECT (SELECT count(*) FROM df._checkpoints WHERE status = 'o' AND instance_id = %s),"
        " (SELECT count(*) FROM df._signals WHERE instance_id = %s),"
        " (SELECT count(*) FROM df._instances WHERE id IN (%s, %s)"
        "     AND (owner IS NOT NULL OR ready_at IS NOT NULL))",
        (everything, everything, everything, failing),
    ).fetchone()
    assert row == (0, 0, 0)
