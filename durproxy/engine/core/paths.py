"""Where an activation lies: its path has a part for each repeating construct around it.

    .k    round k of a LOOP              ~k    attempt k of a RETRY, or of an undo
    :k    item k of a MAP                !     unwinding: an undo, or a cleanup

Parts stand outermost first, so whatever happens inside a round, an item, an attempt or an
unwinding has a path that goes on with one of these characters. Straight-line nodes have none.
"""

from __future__ import annotations

from typing import Final

SEPARATORS: Final = ".:~!"


def round_path(path: str, number: int) -> str:
    return f"{path}.{number}"


def item_path(path: str, number: int) -> str:
    return f"{path}:{number}"


def attempt_path(path: str, number: int) -> str:
    return f"{path}~{number}"


def unwinding_path(path: str) -> str:
    return f"{path}!"


def item_number(path: str, inner: str) -> int:
    """The number of the item that `inner`, the path of an item of the map at `path`, is of."""
    return int(inner[len(path) + 1 :])


def is_within(path: str, outer: str) -> bool:
    """Whether `path` is `outer` or lies inside it; attempt 10 does not lie inside attempt 1."""
    return path.startswith(outer) and path[len(outer) : len(outer) + 1] in ("", *SEPARATORS)
