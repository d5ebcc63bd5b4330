"""docs/security.md names tests: they must be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_TESTS = Path(__file__).parent
_NAMED = re.compile(r"`([a-z_/0-9]+\.py)::(\w+)`")


def test_every_attack_that_the_docs_list_has_its_test() -> None:
    text = (_TESTS.parent / "docs" / "security.md").read_text()
    rows = [line for line in text.splitlines() if line.endswith("` |")]
    named = [found for row in rows if (found := _NAMED.search(row))]
    assert len(named) == len(rows) > 50
    for file, name in (found.groups() for found in named):
        tree = ast.parse((_TESTS / file).read_text())
        functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        functions |= {n.name for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef)}
        assert name in functions, f"{file}::{name}"
