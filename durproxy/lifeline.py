"""Ties the life of a process to its parent's, by the kernel's own means (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for ``with_signal`` when ``parent`` dies, however it dies.

    The signal comes when the *thread* that forked us ends, so the parent has to start its
    children from its main thread.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(with_signal)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), with_signal)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def dying_with_me(with_signal: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn`` for programs that are not ours; runs after any change of user,
    which would have cleared the request."""
    parent = os.getpid()
    return lambda: die_with_parent(parent, with_signal)
