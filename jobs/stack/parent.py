"""Ties a child's life to its parent's, so that `kill -9` of the parent leaves no orphan (Linux)."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send `number` to this process when the thread that started it ends.

    parent: the process id that started this one. To be called in the child, after its last change of account, which
    clears the wish. Elsewhere than on Linux this does nothing: a stale process is found at the next start.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the wish was heard
        os.kill(os.getpid(), signal.SIGKILL)


def before_exec(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` for Popen that ties the new program to the calling process."""
    parent = os.getpid()

    def tie() -> None:
        die_with_parent(number, parent)

    return tie
