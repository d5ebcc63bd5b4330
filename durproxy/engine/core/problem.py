"""What can be wrong with a graph, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a node; ``position`` is a 0-based character of the node's own text."""

    node: int
    message: str
    hint: str | None = None
    sqlstate: str = "22023"
    position: int | None = None
