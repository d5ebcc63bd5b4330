"""docs/security.md: every attack in its tables names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

_TESTS = Path(__file__).parent
_ROW = re.compile(r"`([a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


def test_every_attack_names_a_test_that_is_there() -> None:
    text = (_TESTS.parent / "docs" / "security.md").read_text()
    tables = text[text.index("## Attacks tried") :]
    rows = [line for line in tables.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| attack")]
    assert len(rows) > 30
    for row in rows:
        named = _ROW.findall(row)
        assert named, row
        for file, name in named:
            assert f"def {name}(" in (_TESTS / file).read_text(), row
