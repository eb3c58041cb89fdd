"""What became of a request to stop a job."""

from dataclasses import dataclass
from datetime import datetime

from jobs.ledger.cancel import KILLED, REQUESTED, SOFT, Mode
from jobs.models import Job, JobEvent, State

STAGES = {REQUESTED: "requested", SOFT: "soft", KILLED: "killed"}


@dataclass(frozen=True)
class Cancelling:
    """stage: how far it has come: requested, soft (its soft limit was raised), killed (its process was).

    outcome: how the job ended; None while it runs.
    """

    requested_at: datetime
    mode: str
    stage: str
    outcome: str | None

    def sentence(self) -> str:
        stage = {
            "requested": "asked to stop",
            "soft": "asked to stop, then its soft limit was raised",
            "killed": "asked to stop, then its process was killed",
        }[self.stage]
        return f"{stage}; it is still running" if self.outcome is None else f"{stage}; it ended {self.outcome}"


def cancelling_of(job: Job) -> Cancelling | None:
    """How far the latest request to stop this job has come, from its events; None if there was none."""
    if job.cancel_requested_at is None:
        return None
    events = JobEvent.objects.filter(job_id=job.pk, kind__in=STAGES, at__gte=job.cancel_requested_at)
    found = list(events.order_by("at").values_list("kind", "detail"))
    kinds = {kind for kind, _ in found} | {REQUESTED}
    modes = [detail.get("mode") for kind, detail in found if kind == REQUESTED]
    return Cancelling(
        requested_at=job.cancel_requested_at,
        mode=next((mode for mode in (Mode.FORCED, Mode.GRACED, Mode.ASKED) if mode in modes), Mode.GRACED).value,
        stage=next(STAGES[kind] for kind in (KILLED, SOFT, REQUESTED) if kind in kinds),
        outcome=None if job.state == State.RUNNING else job.state,
    )
