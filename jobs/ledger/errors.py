"""What the ledger refuses, and what a task may raise to end in another way than by an error."""


class JobRefused(ValueError):
    """The door does not take this job; the message says what to change."""


class JobCancelled(Exception):
    """An operator asked the running job to stop."""


class TaskExited(Exception):
    """The task called sys.exit(); recorded as its error, so that the worker lives."""


class OutOfMemory(Exception):
    """The task raised MemoryError; recorded as its error, so that the worker lives."""
