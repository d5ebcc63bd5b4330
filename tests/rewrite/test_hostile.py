"""Nothing that a client sends ends the process that reads it."""

from __future__ import annotations

import resource
import subprocess
import sys


def test_hostile_statements_leave_the_process_alive() -> None:
    """On a quarter of the usual stack, since containers and threads have less."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.rewrite.hostile"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (2 << 20, 2 << 20)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "alive\n", done.stderr
