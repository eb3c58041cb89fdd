"""Errors of indexes and runs, in a module that loads nothing: API, admin and commands name them as they start."""


class IndexDamaged(RuntimeError):
    """An index is not what its version says: cut short, altered, or gone. The message names the file."""


class EngineUnavailable(RuntimeError):
    """The engine cannot be used here; the message says what to install or set."""


class IndexRefused(Exception):
    """A new index does not hold what it must; the one in use stays. The message says why, and what to change."""


class VersionNotActivated(Exception):
    """The version cannot be put in use; the message says why."""


class VersionWithoutFiles(Exception):
    """The version is not one that can be checked; the message says why."""


class StoreUnavailable(OSError):
    """The storage of indexes does not take or give a file; the message names it."""


class BuildUnderWay(Exception):
    """Another process builds this collection's index at this moment."""


class DiskFull(OSError):
    """There is no room for a build."""


class RunRefused(ValueError):
    """A run cannot be started so; the message says what to choose."""


class RunNotChanged(Exception):
    """The run is not in a state that allows it; the message says which it is in."""
