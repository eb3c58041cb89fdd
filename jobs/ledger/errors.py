"""What the ledger refuses, and what a task may raise to end in another way than by an error."""

MAX_SNOOZE_SECONDS = 3660 * 86_400


class JobRefused(ValueError):
    """The door does not take this job; the message says what to change."""


class JobCancelled(Exception):
    """An operator asked the running job to stop. how: what made this run stop, for its record."""

    def __init__(self, message: str = "", *, how: str = "it stopped when it was asked to") -> None:
        super().__init__(message)
        self.how = how


class JobMovedOn(Exception):
    """This run's claim no longer holds: the job was taken for lost and given to another worker."""


class Snooze(Exception):
    """Raise in a task to have it run again after `seconds`, without using up an attempt."""

    def __init__(self, seconds: float, why: str = "") -> None:
        if not 0 <= seconds <= MAX_SNOOZE_SECONDS:
            raise ValueError(f"a snooze of {seconds} s is outside 0 to {MAX_SNOOZE_SECONDS} s")
        super().__init__(seconds, why)
        self.seconds = float(seconds)
        self.why = why


class Discard(Exception):
    """Raise in a task to end it for good as discarded: `raise Discard("the pull request was closed")`."""


class TaskExited(Exception):
    """The task called sys.exit(); recorded as its error, so that the worker lives."""


class OutOfMemory(Exception):
    """The task raised MemoryError; recorded as its error, so that the worker lives."""
