"""This interpreter once more, for a child of ours.

``python -m`` looks for modules in the current folder first. Whoever runs ``durproxy`` does not, so
neither may its children: the folder may hold another version, or anybody's ``trio.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path


def interpreter() -> list[str]:
    """The beginning of a command line that finds modules where this process does."""
    return [sys.executable] if _looks_here() else [sys.executable, "-P"]


def _looks_here() -> bool:
    try:
        return str(Path.cwd()) in sys.path
    except FileNotFoundError:  # it is gone
        return False
