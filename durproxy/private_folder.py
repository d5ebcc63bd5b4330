"""The private folder of one ``serve``, for its children's sockets; gone with it, or with the next.

Whoever owns a folder keeps it locked. A supervisor that was killed leaves its folder behind,
unlocked, and the next one that uses the same place removes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from durproxy.config import option_name
from durproxy.errors import ConfigurationError

_OPTION = option_name("runtime_dir")
_PREFIX = "durproxy-"
_OURS = re.compile(_PREFIX + r"[a-z0-9_]{8}")  # as tempfile names them
_LONGEST = 107 - len("/supervisor.sock")  # sun_path in <sys/un.h>
SUPERVISOR = "supervisor"


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`; those that nobody owns any more are removed."""
    try:
        _remove_left(parent)
        folder, lock = _locked_folder(parent)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigurationError(
            f'could not make a folder in "{parent}" of option {_OPTION}: {reason}'
        ) from None
    try:
        if len(os.fsencode(folder)) > _LONGEST:
            raise ConfigurationError(
                f'the path "{parent}" of option {_OPTION} is too long for unix sockets'
            )
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def running_supervisors(parent: Path) -> list[Path]:
    """The sockets of this user's supervisors that have their folder in `parent`."""
    return [folder / f"{SUPERVISOR}.sock" for folder in running_folders(parent)]


def running_folders(parent: Path, but: Path | None = None) -> list[Path]:
    """The folders in `parent` of this user's `serve`s that run, without one."""
    with suppress(OSError):
        folders = [one for one in parent.iterdir() if one != but and _is_ours(one)]
        return [folder for folder in folders if _answers(folder / f"{SUPERVISOR}.sock")]
    return []


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """Between the making and the lock somebody else may have taken it for left, and removed it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _lock(folder)
        if lock is not None:
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """None when it is another's, or not there any more."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return descriptor
    return None


def _remove_left(parent: Path) -> None:
    for folder in parent.iterdir():
        if not _is_ours(folder):
            continue
        lock = _lock(folder)
        if lock is not None:
            try:
                if not _answers(folder / f"{SUPERVISOR}.sock"):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _is_ours(folder: Path) -> bool:
    """Of this user's, and with nothing in it that is not ours."""
    if not _OURS.fullmatch(folder.name):
        return False
    try:
        status = folder.lstat()
        return (
            stat.S_ISDIR(status.st_mode)
            and status.st_uid == os.geteuid()
            and all(stat.S_ISSOCK(file.lstat().st_mode) for file in folder.iterdir())
        )
    except OSError:  # removed meanwhile
        return False


def _answers(path: Path) -> bool:
    """A process has this socket open."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
