"""Children import what their parent would, and nothing that lies in the current folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from durproxy.interpreter import interpreter


def imported(folder: Path) -> str:
    """Whose module a child takes that is started there."""
    (folder / "colorsys.py").write_text("raise SystemExit('of the folder')")
    done = subprocess.run(
        [*interpreter(), "-m", "colorsys"], capture_output=True, text=True, check=False
    )
    return done.stderr.strip()


def test_current_folder_is_searched_only_where_the_parent_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert imported(tmp_path) == ""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert imported(tmp_path) == "of the folder"
