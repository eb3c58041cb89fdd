"""The job that this process is running at the moment."""

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.registry import Policy, policy_of

if TYPE_CHECKING:
    from jobs.ledger.records import Record
    from jobs.models.workflow import Chord


@dataclass
class Run:
    """One claimed attempt. (job_id, claim_id) is the fence: what finishes it must show both.

    attempt: as the policy counts them. number: of all runs, those that used up no attempt included.
    """

    job_id: str
    claim_id: str
    attempt: int
    max_attempts: int
    policy: Policy
    number: int = 0
    crashes: int = 0
    worker: str = ""
    pid: int = 0
    # A limit let it through, so its end may let another one through.
    has_slot: bool = False
    began: float = field(default_factory=time.monotonic)
    progress_stored_at: float = 0.0
    # Once the body has ended, what Celery sends on its behalf is held, and inserted together with the finish.
    body_done: bool = False
    # Its soft limit was raised, because it had been asked to stop.
    told_to_stop: bool = False
    finished: bool = False
    replaced: bool = False
    held: "list[Record]" = field(default_factory=list)
    chords: "list[Chord]" = field(default_factory=list)
    # A send under the job's own id: Celery's retry, or a replacement of one task.
    own: "Record | None" = None

    @property
    def has_attempts_left(self) -> bool:
        return self.attempt < self.max_attempts

    def forget_held(self) -> None:
        """Drop what was to follow a success that did not come about."""
        self.held, self.chords, self.replaced = [], [], False

    @property
    def fence(self) -> dict[str, str | int]:
        """What a finish shows, and what is kept of it when its job has moved on."""
        return {
            "id": self.job_id,
            "claim_id": self.claim_id,
            "number": self.number,
            "worker": self.worker,
            "pid": self.pid,
        }

    @property
    def may_crash_again(self) -> bool:
        """Whether the job is tried again after this run took its process with it."""
        return self.crashes + 1 < self.policy.max_crashes


def run_of_row(
    job_id: str,
    claim_id: str,
    task: str,
    worker: str,
    pid: int,
    number: int,
    uncounted: int,
    crashes: int,
    max_attempts: int,
) -> Run:
    """The run that a claimed row tells of."""
    return Run(
        job_id,
        claim_id,
        number - uncounted,
        max_attempts,
        policy_of(task),
        number=number,
        crashes=crashes,
        worker=worker,
        pid=pid,
    )


class _Current(threading.local):
    run: Run | None = None


_current = _Current()


def current_run() -> Run | None:
    """The run that goes on in this thread and is not finished."""
    run = _current.run
    return run if run is not None and not run.finished else None


def run_of(job_id: str) -> Run | None:
    run = current_run()
    return run if run is not None and run.job_id == job_id else None


def set_current(run: Run | None) -> None:
    _current.run = run
