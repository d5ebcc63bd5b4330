"""docs/faults.md names tests: they must be there, and it must name all tests of faults."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_TESTS = Path(__file__).parent.parent
_NAMED = re.compile(r"`([a-z_/]+\.py)::(test_[a-z_]+)`")
# what a fault test needs beside: that it tests all there is, or that something does not happen
_OTHERS = {
    "test_the_points_are_those_that_are_tested",
    "test_a_short_lease_does_not_make_engines_take_from_each_other",
    "test_the_tests_that_the_table_of_faults_names_are_there",
    "test_every_fault_test_is_in_the_table",
}


def _named() -> set[tuple[str, str]]:
    text = (_TESTS.parent / "docs" / "faults.md").read_text()
    return {(file, name) for file, name in _NAMED.findall(text)}


def _tests_in(file: Path) -> set[str]:
    functions = (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.FunctionDef))
    return {f.name for f in functions if f.name.startswith("test_")}


def test_the_tests_that_the_table_of_faults_names_are_there() -> None:
    named = _named()
    assert len(named) > 30
    missing = {(file, name) for file, name in named if name not in _tests_in(_TESTS / file)}
    assert not missing


def test_every_fault_test_is_in_the_table() -> None:
    named = {name for _, name in _named()}
    there = {name for file in Path(__file__).parent.glob("test_*.py") for name in _tests_in(file)}
    assert there - named == _OTHERS
