"""SIGKILL under load, again and again; afterwards each effect is there exactly once."""

from __future__ import annotations

import time

from tests.fix_serve import Serve
from tests.waiting import wait_until

_BETWEEN_KILLS = 0.3  # seconds


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
