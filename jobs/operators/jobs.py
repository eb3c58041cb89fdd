"""What an operator can do to jobs. The admin, the API and the commands all come here."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from jobs.lanes import QUEUES
from jobs.ledger import cancel, results, states, workflow
from jobs.ledger.door import sent_by
from jobs.ledger.errors import JobRefused
from jobs.ledger.publisher import publish_soon
from jobs.ledger.records import plain_arguments
from jobs.ledger.records import unique_key as key_for
from jobs.ledger.states.keys import find_obstacle, release_elapsed
from jobs.models import Job, State
from jobs.operators.actors import Actor
from jobs.registry import check_arguments, find_task, policy_of
from jobs.unique_options import given_options

PAST_GRACE = timedelta(minutes=1)
MAX_AHEAD = timedelta(days=3660)
MAX_REASON = 1000
#: Arguments that an edit replaces are kept in the audit log up to this size.
MAX_KEPT_ARGUMENTS = 10_000


class JobNotChanged(Exception):
    """The job is not in a state that allows it; the message says why and what to do."""


@dataclass
class Tally:
    """What an action on several jobs did. skipped: reason → ids."""

    changed: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    @property
    def skipped_count(self) -> int:
        return sum(len(ids) for ids in self.skipped.values())

    def sentence(self, done: str) -> str:
        """For people: "3 jobs retried; 2 not: job … is succeeded; only a failed or cancelled job can be retried"."""
        text = f"{len(self.changed)} {'job' if len(self.changed) == 1 else 'jobs'} {done}"
        if self.skipped:
            reasons = "; ".join(f"{len(ids)} because {reason}" for reason, ids in self.skipped.items())
            text += f"; {self.skipped_count} not: {reasons}"
        return text


@dataclass(frozen=True)
class Enqueued:
    """The job, and whether an unfinished one with the same key took the new one in."""

    job: Job
    folded: bool


def enqueue_job(
    actor: Actor,
    task: str,
    args: list[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    *,
    queue: str | None = None,
    priority: int | None = None,
    run_at: datetime | None = None,
    unique_key: str | None = None,
    **unique_options: Any,
) -> Enqueued:
    """Send one job of a registered task.

    unique_options: those of `UniqueOptions`, for a key of the sender's.
    Raises PermissionDenied (jobs.enqueue_job, and jobs.cancel_job for `supersede`), UnknownTask, ArgumentsDoNotFit, or
    JobRefused for an unknown queue, a priority outside 0 to 9, a time in the past or more than ten years ahead,
    arguments that are not JSON, or options of a key that make no sense.
    """
    actor.require("jobs.enqueue_job")
    key_options = given_options(unique_options)
    if key_options.get("supersede"):
        actor.require("jobs.cancel_job")
    args, kwargs = list(args or []), dict(kwargs or {})
    registered = find_task(task)
    check_arguments(registered, args, kwargs)
    if queue is not None and queue not in QUEUES:
        raise JobRefused(f"unknown queue {queue!r}; choose from: {', '.join(QUEUES)}")
    if priority is not None and not 0 <= priority <= 9:
        raise JobRefused(f"priority {priority} is outside 0 to 9 (9 is taken first)")
    _check_run_at(run_at)
    options: dict[str, Any] = {"queue": queue, "priority": priority, "eta": run_at}
    if unique_key is not None:
        if not 0 < len(unique_key) <= 255:
            raise JobRefused(f"unique_key has {len(unique_key)} characters; it takes 1 to 255")
        options["headers"] = {"unique_key": unique_key}
    if key_options:
        options["headers"] = {**options.get("headers", {}), "unique_options": key_options}
    with transaction.atomic(), sent_by(actor.via, actor.name):
        sent = registered.apply_async(args, kwargs, **{k: v for k, v in options.items() if v is not None})
        job = Job.objects.get(pk=sent.id)
        folded = getattr(sent, "folded", False)
        actor.record("job.enqueue", job.pk, task=task, folded=folded)
    return Enqueued(job, folded)


def _check_run_at(run_at: datetime | None) -> None:
    if run_at is None:
        return
    now = timezone.now()
    if run_at < now - PAST_GRACE:
        raise JobRefused(
            f"run_at {run_at.isoformat()} is in the past (now is {now.isoformat(timespec='seconds')}); "
            "leave it out to run at once"
        )
    if run_at > now + MAX_AHEAD:
        raise JobRefused(
            f"run_at {run_at.isoformat()} is more than {MAX_AHEAD.days} days ahead; choose an earlier time"
        )


def retry_job(actor: Actor, job_id: str, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None) -> Job:
    """failed, cancelled → queued: the same row, its history stays, with a full set of attempts.

    Given arguments replace the old ones, and are checked. Raises PermissionDenied (jobs.retry_job, and
    jobs.edit_job_arguments for other arguments), Job.DoesNotExist, ArgumentsDoNotFit, UnknownTask, JobRefused for
    arguments that are not JSON, or JobNotChanged.
    """
    actor.require("jobs.retry_job")
    edited = args is not None or kwargs is not None
    if edited:
        actor.require("jobs.edit_job_arguments")
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=job_id)
        if job.state not in (State.FAILED, State.CANCELLED):
            raise JobNotChanged(f"job {job.pk} is {job.state}; only a failed or cancelled job can be retried")
        key = job.unique_key
        if edited:
            args, kwargs = plain_arguments(
                job.task, job.args if args is None else args, job.kwargs if kwargs is None else kwargs
            )
            check_arguments(find_task(job.task), args, kwargs)
            key = key_for(job.task, args, kwargs) or key
        _retry_row(job, args, kwargs, key)
        actor.record("job.retry", job.pk, was=job.state, attempts=job.attempt, **_replaced_arguments(job, edited))
        transaction.on_commit(lambda: publish_soon([job_id]), robust=True)
    job.refresh_from_db()
    return job


def _replaced_arguments(job: Job, edited: bool) -> dict[str, Any]:
    """What the audit log keeps of arguments that are about to be replaced: earlier attempts ran with them."""
    if not edited:
        return {"arguments_edited": False}
    replaced = {"args": job.args, "kwargs": job.kwargs}
    if len(json.dumps(replaced)) > MAX_KEPT_ARGUMENTS:
        return {"arguments_edited": True, "replaced": "too large to keep"}
    return {"arguments_edited": True, "replaced": replaced}


def _retry_row(job: Job, args: list[Any] | None, kwargs: dict[str, Any] | None, key: str | None) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if key is not None:
                release_elapsed(cursor, key)
            states.retry(
                cursor, job.pk, allowance=policy_of(job.task).max_attempts, args=args, kwargs=kwargs, unique_key=key
            )
            results.forget(cursor, job.pk)
        workflow.reopened(job.pk)
    except IntegrityError:
        with connection.cursor() as cursor:
            holder = find_obstacle(cursor, "", key)
        name = f"job {holder.id} ({holder.state})" if holder else "another job"
        raise JobNotChanged(f"job {job.pk} cannot be retried: its key {key!r} is held by {name}") from None


def cancel_job(actor: Actor, job_id: str, *, force: bool = False) -> Job:
    """scheduled, queued → cancelled at once; a running job is asked to stop.

    It does so at its next report; else, after CANCEL_SOFT_SECONDS, its soft limit is raised, and after another
    CANCEL_KILL_SECONDS its process is killed with all that it started. force: kill it at once.
    Raises PermissionDenied (jobs.cancel_job), Job.DoesNotExist, or JobNotChanged for a finished job.
    """
    actor.require("jobs.cancel_job")
    with transaction.atomic(), connection.cursor() as cursor:
        job = Job.objects.select_for_update().get(pk=job_id)
        reason = f"cancelled by {actor.name}"
        mode = cancel.Mode.FORCED if force else cancel.Mode.GRACED
        if not (
            states.cancel_waiting(cursor, job_id, reason)
            or cancel.request(cursor, job_id, reason, mode, by=actor.name, via=actor.via)
        ):
            raise JobNotChanged(f"job {job.pk} is {job.state}; only an unfinished job can be cancelled")
        workflow.stopped(job_id)
        actor.record("job.cancel", job.pk, was=job.state, force=force)
    job.refresh_from_db()
    return job


def discard_job(actor: Actor, job_id: str, reason: str = "") -> Job:
    """scheduled, queued, failed, cancelled → discarded: nobody wants it any more. A reason is cut to 1,000 characters.

    A chord that waited for it goes on without its result.

    Raises PermissionDenied (jobs.discard_job), Job.DoesNotExist, or JobNotChanged for any other state.
    """
    actor.require("jobs.discard_job")
    reason = reason.replace("\x00", "\ufffd").encode("utf-8", "replace").decode().strip()[:MAX_REASON]
    with transaction.atomic(), connection.cursor() as cursor:
        job = Job.objects.select_for_update().get(pk=job_id)
        if not states.discard(cursor, job_id, reason or f"discarded by {actor.name}"):
            advice = "cancel it first" if job.state == State.RUNNING else "it is finished"
            raise JobNotChanged(
                f"job {job.pk} is {job.state}; only a waiting, failed or cancelled job can be discarded: {advice}"
            )
        workflow.stopped(job_id)
        actor.record("job.discard", job.pk, was=job.state, reason=reason)
    job.refresh_from_db()
    return job


def each(action: Callable[..., Job], actor: Actor, job_ids: Iterable[str], **options: Any) -> Tally:
    """Do one action to many jobs, each in its own transaction. Raises PermissionDenied before the first."""
    tally = Tally()
    for job_id in job_ids:
        try:
            action(actor, job_id, **options)
        except Job.DoesNotExist:
            tally.skipped.setdefault("it is no longer there", []).append(job_id)
        except JobNotChanged as exc:
            reason = str(exc).removeprefix(f"job {job_id} ")
            tally.skipped.setdefault(f"it {reason}", []).append(job_id)
        else:
            tally.changed.append(job_id)
    return tally
