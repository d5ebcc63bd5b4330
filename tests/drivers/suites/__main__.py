"""`./scripts/drivers`: drivers' own test suites, directly and through the proxy, compared.

Prints for each suite how many tests passed, failed and were skipped each way, and the tests that
ended differently, each tried again by itself both ways. Then the programs in other languages, which
are tests of ours. Exit code 0: every difference is explained.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.drivers.suites.catalogue import SUITES, Suite
from tests.drivers.suites.stage import staged
from tests.drivers.suites.workshop import Outcome, Workshop
from tests.fix_postgres import BINDIRS

_TESTS = Path(__file__).parents[1]
_ABSENT = Outcome("absent", "")
_PROGRAMS = "programs"
_DEFAULT = [*(name for name in SUITES if name != "psycopg"), _PROGRAMS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/drivers", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"of: {', '.join(SUITES)}, {_PROGRAMS}")
    parser.add_argument("--postgres", choices=list(BINDIRS), default=list(BINDIRS)[-1])
    parser.add_argument("--folder", type=Path, help="where to keep what was downloaded")
    parser.add_argument("--checkout", type=Path, help="a driver's sources, instead of a download")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="durproxy-drivers-"))
    unexplained = 0
    for name in options.suites or _DEFAULT:
        if name == _PROGRAMS:
            unexplained += _try_programs()
            continue
        workshop = Workshop(SUITES[name], folder.resolve(), options.checkout)
        unexplained += _compare(SUITES[name], workshop, BINDIRS[options.postgres])
    return 1 if unexplained else 0


def _try_programs() -> int:
    command = [sys.executable, "-m", "pytest", "-v", "-m", "soak", str(_TESTS / "test_programs.py")]
    return subprocess.run(command, check=False).returncode


def _compare(suite: Suite, workshop: Workshop, bindir: Path) -> int:
    """How many differences nobody has explained."""
    outcomes: list[Mapping[str, Outcome]] = []
    for through in (False, True):
        with staged(bindir, through=through) as access:
            outcomes.append(workshop.run(access))
        counts = Counter(outcome.outcome for outcome in outcomes[-1].values())
        _say(suite.name, "through" if through else "direct", **counts)
    direct, through_us = outcomes
    different = _different(direct, through_us)
    if different:
        different = _again(workshop, bindir, different)
    unexplained = 0
    for test, (before, after) in different.items():
        reason = suite.explanation(test)
        if before.outcome == "failed":  # what passes directly has to pass through, no more
            reason = reason or "the test depends on the moment"
        unexplained += reason is None
        print(f"  {test}: {before.outcome} directly, {after.outcome} through: {reason or '?'}")
        if reason is None:
            print(_indented(after.text or before.text))
    return unexplained


def _different(
    direct: Mapping[str, Outcome], through: Mapping[str, Outcome]
) -> dict[str, tuple[Outcome, Outcome]]:
    pairs = {
        test: (direct.get(test, _ABSENT), through.get(test, _ABSENT))
        for test in {**direct, **through}
    }
    return {
        test: (before, after)
        for test, (before, after) in pairs.items()
        if before.outcome != after.outcome
    }


def _again(
    workshop: Workshop, bindir: Path, different: Mapping[str, object]
) -> dict[str, tuple[Outcome, Outcome]]:
    """Those that differ when they run by themselves, too: the others depend on the moment."""
    outcomes = []
    for through in (False, True):
        with staged(bindir, through=through) as access:
            outcomes.append(workshop.run(access, list(different)))
    still = _different(*outcomes)
    for test in different.keys() - still.keys():
        print(f"  {test}: differs at times, {outcomes[0][test].outcome} both ways by itself")
    return still


def _say(*words: str, **counts: int) -> None:
    print(*words, *(f"{name}={count}" for name, count in sorted(counts.items())), flush=True)


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines()[-25:])


if __name__ == "__main__":
    sys.exit(main())
