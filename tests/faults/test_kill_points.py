"""SIGKILL at every named point of the engine; afterwards each effect is there exactly once."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from durproxy.engine.trigger import POINTS
from tests.fix_serve import Serve, ServeWith
from tests.waiting import wait_until

# every construct that commits something of its own, in one workflow
_EVERYTHING = """
    SELECT df.start(
        'INSERT INTO effects VALUES (''first'') RETURNING effect' |=> 'first'
        ~> ('INSERT INTO effects VALUES (''left'')' & 'INSERT INTO effects VALUES (''right'')')
        ~> ('SELECT ''$first'' = ''first''' ?> 'INSERT INTO effects VALUES (''then'')'
            !> 'INSERT INTO effects VALUES (''else'')')
        ~> df.loop('INSERT INTO effects VALUES (''round'')',
                   'SELECT count(*) < 3 FROM effects WHERE effect = ''round''')
        ~> df.race('INSERT INTO effects VALUES (''winner'')', df.sleep(3600))
        ~> df.sleep(0)
        ~> df.wait_for_signal('go') |=> 'sent'
        ~> 'INSERT INTO effects VALUES (''$sent.data'')',
        'everything')"""
_EFFECTS = Counter(
    {"first": 1, "left": 1, "right": 1, "then": 1, "round": 3, "winner": 1, '{"by": "hand"}': 1}
)
_BETWEEN_KILLS = 0.3  # seconds
_FAILING = """
    SELECT df.start('INSERT INTO effects VALUES (''before'')' ~> 'SELECT 1/0'
                    ~> 'INSERT INTO effects VALUES (''never'')', 'failing')"""


@pytest.mark.parametrize(
    ("point", "nth"), [*((point, 1) for point in POINTS), ("step.sent", 4), ("step.after", 6)]
)
def test_an_engine_killed_at_a_point_loses_nothing_and_does_nothing_twice(
    serve_with: ServeWith, tmp_path: Path, point: str, nth: int
) -> None:
    ticket = tmp_path / "ticket"
    ticket.touch()
    serve = serve_with(env={"DURPROXY_TRIGGER": f"{point}:{nth}:{ticket}"})
    with serve.connect() as client:
        client.execute("CREATE TABLE effects (effect text)")
        everything, failing = _start(client, _EVERYTHING), _start(client, _FAILING)
        wait_until(lambda: _status(client, failing) == "failed", "the failing one failed")
        wait_until(lambda: _is_asleep(client, everything), "the other one waits", 30)
        client.execute("SELECT df.signal(%s, 'go', '{\"by\": \"hand\"}')", (everything,))
        wait_until(lambda: _status(client, everything) == "completed", "the other completed", 30)
        rows = client.execute("SELECT effect FROM effects").fetchall()
        effects = Counter(effect for (effect,) in rows)
        assert effects == _EFFECTS + Counter(before=1)
        _assert_nothing_left(client)
    assert not ticket.exists(), f"the point {point} was never passed"
    assert serve.events("child.ended", kind="engine", signal="SIGKILL")


def _start(client: psycopg.Connection, statement: str) -> str:
    row = client.execute(statement).fetchone()
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


def _assert_nothing_left(client: psycopg.Connection) -> None:
    """No open frame, no message, no holder of anything."""
    row = client.execute(
        "SELECT (SELECT count(*) FROM df._checkpoints WHERE status = 'o'),"
        " (SELECT count(*) FROM df._signals),"
        " (SELECT count(*) FROM df._instances WHERE owner IS NOT NULL OR ready_at IS NOT NULL)"
    ).fetchone()
    assert row == (0, 0, 0)


def test_work_goes_on_while_the_engine_is_killed_again_and_again(serve: Serve) -> None:
    workflows, steps = 200, 10
    with serve.connect() as client:
        client.execute("CREATE TABLE effects (workflow int, step int)")
        with client.transaction():  # all at once, or the first are done before the last have begun
            for workflow in range(workflows):
                chain = " ~> ".join(
                    f"'INSERT INTO effects SELECT {workflow}, {step} FROM pg_sleep(0.01)'"
                    for step in range(steps)
                )
                client.execute(f"SELECT df.start({chain})")
        kills, last = 0, time.monotonic()

        def all_completed() -> bool:
            nonlocal kills, last
            row = client.execute(
                "SELECT count(*) FROM df.instances WHERE status = 'completed'"
            ).fetchone()
            if row == (workflows,):
                return True
            if serve.engine_pids() and time.monotonic() - last > _BETWEEN_KILLS:
                serve.kill_engine()
                kills, last = kills + 1, time.monotonic()
            return False

        wait_until(all_completed, "all completed", timeout=60)
        row = client.execute(
            "SELECT count(*), count(DISTINCT (workflow, step)) FROM effects"
        ).fetchone()
        assert row == (workflows * steps, workflows * steps)
        assert kills > 2
