"""What is owed: the undos of compensated nodes that are done, in the order of their completion.

Nothing of this is stored: an activation that is walked again hands up the same list. Order is
causal wherever one thing followed another; between parallel branches it is that of the commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from durproxy.engine.core.graph import Node
from durproxy.engine.core.states import StepResult


@dataclass(frozen=True, slots=True)
class Owed:
    """The undo of the COMPENSATE `node` at `path`, with the names as they were at its completion.

    `stamp` says when that was, for comparing only.
    """

    node: Node
    path: str
    environment: Mapping[str, StepResult]
    stamp: str


def merged(branches: Iterable[tuple[Owed, ...]]) -> tuple[Owed, ...]:
    """What parallel branches owe together; each branch keeps its own order, whatever the clock."""
    branches = [branch for branch in branches if branch]
    if len(branches) < 2:
        return branches[0] if branches else ()
    stamped: list[tuple[str, Owed]] = []
    for branch in branches:
        latest = ""
        for owed in branch:
            latest = max(latest, owed.stamp)
            stamped.append((latest, owed))
    stamped.sort(key=lambda pair: pair[0])
    return tuple(owed for _, owed in stamped)
