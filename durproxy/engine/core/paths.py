"""Where an activation lies: its path has a part for each repeating construct around it.

    .k    round k of a LOOP              ~k    attempt k of a RETRY, or of an undo
    :k    item k of a MAP                !     unwinding: an undo, or a cleanup

Parts stand outermost first, so whatever happens inside a round, an item, an attempt or an
unwinding has a path that goes on with one of these characters. Straight-line nodes have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from durproxy.engine.core.states import Key

_ATTEMPT = re.compile(r"~[0-9]+")


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


def attempts_in(keys: Iterable[Key]) -> dict[str, list[int]]:
    """The paths of all attempts that hold something, with the nodes of what they hold, in order."""
    found: dict[str, list[int]] = {}
    for node, path in sorted(keys):
        if "~" in path:
            for part in _ATTEMPT.finditer(path):
                found.setdefault(path[: part.end()], []).append(node)
    return found
