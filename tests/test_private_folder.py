"""A supervisor's folder: its own while it lives, removed by the next when it was killed."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from durproxy.errors import ConfigurationError
from durproxy.private_folder import private_folder
from tests.fix_postgres import Database
from tests.fix_serve import ServeWith
from tests.waiting import wait_until


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for unix sockets."""
    return tmp_path_factory.mktemp("p")


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def left_behind(place: Path, name: str) -> Path:
    """What a killed supervisor leaves: a folder with sockets that nobody has open."""
    folder = place / name
    folder.mkdir()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as dead:
        dead.bind(str(folder / "supervisor.sock"))
    return folder


def test_a_folder_is_gone_with_its_owner(place: Path) -> None:
    with private_folder(place) as folder:
        assert folder.is_dir()
        assert folder.parent == place
    assert list(place.iterdir()) == []


def test_what_nobody_owns_is_removed(place: Path) -> None:
    left_behind(place, "durproxy-abcd_123")
    (place / "durproxy-00000000").mkdir()
    with private_folder(place) as folder:
        assert list(place.iterdir()) == [folder]


def test_what_lives_or_is_not_ours_stays(place: Path, bound: list[socket.socket]) -> None:
    answering = left_behind(place, "durproxy-abcdefgh")
    (answering / "supervisor.sock").unlink()
    bound.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    bound[0].bind(str(answering / "supervisor.sock"))
    (place / "durproxy-test-abcdefgh").mkdir()
    (place / "durproxy-12345678").mkdir()
    (place / "durproxy-12345678" / "letter").touch()
    (place / "durproxy-87654321").touch()
    (place / "durproxy-link_too").symlink_to(place / "durproxy-test-abcdefgh")
    before = set(place.iterdir())
    with private_folder(place) as one, private_folder(place) as other:
        assert set(place.iterdir()) == before | {one, other}
    assert set(place.iterdir()) == before


def test_a_place_that_is_none_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="of option --runtime-dir"),
        private_folder(tmp_path / "nosuch"),
    ):
        pass


def test_the_folder_of_a_killed_serve_is_removed_by_the_next(
    serve_with: ServeWith, home: Database, place: Path
) -> None:
    killed = serve_with(runtime_dir=place)
    [left] = place.iterdir()
    killed.terminate(signal.SIGKILL)
    wait_until(killed.exited, "the supervisor is dead")
    assert left.is_dir()
    serve_with(runtime_dir=place)
    assert not left.exists()
