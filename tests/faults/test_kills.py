"""SIGKILL under load, again and again; afterwards each effect is there exactly once."""

from __future__ import annotations

from tests.fix_serve import Serve
from tests.waiting import wait_until

_BETWEEN_KILLS = 500  # effects: however slow the machine is, some work is done between two kills


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
        kills = 0

        def all_completed() -> bool:
            nonlocal kills
            row = client.execute(
                "SELECT (SELECT count(*) FROM df.instances WHERE status = 'completed'),"
                " (SELECT count(*) FROM effects)"
            ).fetchone()
            assert row is not None
            completed, effects = row
            if effects >= (kills + 1) * _BETWEEN_KILLS and serve.engine_pids():
                serve.kill_engine()
                kills += 1
            return bool(completed == workflows)

        wait_until(all_completed, "all completed", timeout=100)
        row = client.execute(
            "SELECT count(*), count(DISTINCT (workflow, step)) FROM effects"
        ).fetchone()
        assert row == (workflows * steps, workflows * steps)
        assert kills > 2
