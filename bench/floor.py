"""The floor: what a step costs without an engine, by pgbench.

BEGIN, one row update, one row insert, COMMIT: the effect and the note that it is done, prepared,
by eight clients that do nothing else.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from bench.ground import ACCOUNTS

CLIENTS = 8
_TPS = re.compile(r"tps = ([\d.]+)")
_TRANSACTION = f"""\
\\set id random(1, {ACCOUNTS})
\\set workflow random(1, 1000000000)
BEGIN;
UPDATE account SET value = value + 1 WHERE id = :id;
INSERT INTO entry (workflow, step, result) VALUES (:workflow, 1, '{{"rows":[],"row_count":1}}');
COMMIT;
"""


def floor(bindir: Path, dsn: str, seconds: int) -> float:
    """Transactions per second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_TRANSACTION)
        script.flush()
        return pgbench(bindir, dsn, Path(script.name), "-T", str(seconds))


def pgbench(bindir: Path, dsn: str, script: Path, *options: str) -> float:
    """Run a script with prepared statements; transactions per second."""
    command = [str(bindir / "pgbench"), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2"]
    done = subprocess.run(
        [*command, "-f", str(script), *options, dsn], capture_output=True, text=True, check=True
    )
    found = _TPS.search(done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])
