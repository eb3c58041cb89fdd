"""What operators can do, who may, and what is written down about it."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from jobs.ledger.errors import JobRefused
from jobs.models import AuditEntry, Job, State
from jobs.operators.actors import Actor, command_actor
from jobs.operators.jobs import JobNotChanged, cancel_job, discard_job, each, enqueue_job, retry_job
from jobs.registry import ArgumentsDoNotFit, UnknownTask
from jobs.tests.factories import make_attempt, make_job

pytestmark = pytest.mark.django_db
ACTIONS = {"retry_job": retry_job, "cancel_job": cancel_job, "discard_job": discard_job}


def actor_with(*codenames: str) -> Actor:
    user = User.objects.create_user("ann")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return Actor.of_user(User.objects.get(pk=user.pk), "admin")


@pytest.mark.parametrize("name", ACTIONS)
def test_each_action_needs_its_own_permission(name):
    job = make_job(State.FAILED)
    others = actor_with(*(set(ACTIONS) - {name}), "view_job", "change_job", "enqueue_job")

    with pytest.raises(PermissionDenied, match=f"jobs.{name}"):
        ACTIONS[name](others, job.pk)

    assert Job.objects.get(pk=job.pk).state == State.FAILED
    assert not AuditEntry.objects.exists()


def test_nobody_may_do_anything():
    with pytest.raises(PermissionDenied):
        enqueue_job(Actor.of_user(AnonymousUser(), "api"), "selftest.echo", [1])


def test_a_retry_keeps_the_row_and_grants_a_full_set_of_attempts():
    job = make_job(State.FAILED, task="selftest.fail", args=["x"], attempt=4, max_attempts=4, error="RuntimeError: x")
    make_attempt(job, 4)

    retried = retry_job(actor_with("retry_job"), job.pk)

    assert (retried.pk, retried.state, retried.attempt, retried.max_attempts) == (job.pk, State.QUEUED, 4, 8)
    assert retried.attempts.count() == 1
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.via, entry.action, entry.target) == ("ann", "admin", "job.retry", job.pk)
    assert entry.detail == {"was": "failed", "attempts": 4, "arguments_edited": False}


@pytest.mark.parametrize("state", [s for s in State.values if s not in ("failed", "cancelled")])
def test_only_a_failed_or_cancelled_job_can_be_retried(state):
    job = make_job(state)
    with pytest.raises(JobNotChanged, match=f"is {state}; only a failed or cancelled job can be retried"):
        retry_job(command_actor(), job.pk)


def test_edited_arguments_need_a_permission_and_must_fit():
    job = make_job(State.FAILED)
    with pytest.raises(PermissionDenied, match="edit_job_arguments"):
        retry_job(actor_with("retry_job"), job.pk, args=[2])
    with pytest.raises(ArgumentsDoNotFit, match="too many"):
        retry_job(command_actor(), job.pk, args=[1, 2, 3])

    assert retry_job(command_actor(), job.pk, args=[2]).args == [2]
    assert AuditEntry.objects.get().detail["replaced"] == {"args": [1], "kwargs": {}}


def test_edited_arguments_are_kept_as_the_door_keeps_them():
    job = make_job(State.FAILED, unique_key="mine")

    assert retry_job(command_actor(), job.pk, args=["a\x00b"]).args == ["a\ufffdb"]
    assert Job.objects.get(pk=job.pk).unique_key == "mine"
    Job.objects.filter(pk=job.pk).update(state=State.FAILED, finished_at=timezone.now())
    with pytest.raises(JobRefused, match="send an id"):
        retry_job(command_actor(), job.pk, args=["x" * 2_000_000])


def test_a_retry_whose_key_is_held_names_the_holder():
    job = make_job(State.FAILED, unique_key="k")
    holder = make_job(State.RUNNING, unique_key="k")

    with pytest.raises(JobNotChanged, match=f"held by job {holder.pk}"):
        retry_job(command_actor(), job.pk)


def test_cancel_ends_a_waiting_job_and_asks_a_running_one():
    waiting, running = make_job(State.SCHEDULED), make_job(State.RUNNING)

    assert cancel_job(command_actor(), waiting.pk).state == State.CANCELLED
    asked = cancel_job(command_actor(), running.pk)
    assert asked.state == State.RUNNING
    assert asked.cancel_requested_at is not None
    with pytest.raises(JobNotChanged, match="only an unfinished job"):
        cancel_job(command_actor(), waiting.pk)


def test_discard_ends_waiting_and_failed_jobs_with_the_reason():
    failed = make_job(State.FAILED)

    assert discard_job(command_actor(), failed.pk, "the order was withdrawn").reason == "the order was withdrawn"
    with pytest.raises(JobNotChanged, match="cancel it first"):
        discard_job(command_actor(), make_job(State.RUNNING).pk)


def test_many_at_once_say_how_many_changed_and_why_others_did_not():
    failed = [make_job(State.FAILED) for _ in range(2)]
    done = make_job(State.SUCCEEDED)

    tally = each(retry_job, command_actor(), [*(job.pk for job in failed), done.pk, "no-such-job"])

    assert tally.changed == [job.pk for job in failed]
    assert tally.sentence("retried") == (
        "2 jobs retried; 2 not: 1 because it is succeeded; only a failed or cancelled job can be retried; "
        "1 because it is no longer there"
    )


def test_enqueue_keeps_who_and_how():
    enqueued = enqueue_job(actor_with("enqueue_job"), "selftest.echo", [1], priority=7)

    assert (enqueued.job.origin, enqueued.job.origin_detail, enqueued.job.priority) == ("admin", "ann", 7)
    assert enqueued.folded is False
    assert AuditEntry.objects.get().target == enqueued.job.pk


def test_enqueue_folds_into_the_holder_of_a_key():
    first = enqueue_job(command_actor(), "selftest.echo", [1], unique_key="mine")
    second = enqueue_job(command_actor(), "selftest.echo", [2], unique_key="mine")

    assert (second.job.pk, second.folded) == (first.job.pk, True)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"task": "os.system"}, UnknownTask, "unknown task 'os.system'; choose from: .*selftest.echo"),
        ({"task": "celery.backend_cleanup"}, UnknownTask, "unknown task"),
        ({"args": []}, ArgumentsDoNotFit, "missing a required argument: 'value'"),
        ({"task": "selftest.sleep", "args": ["long"]}, ArgumentsDoNotFit, "seconds must be float or int, not str"),
        ({"args": [float("inf")]}, JobRefused, "inf"),
        ({"queue": "express"}, JobRefused, "unknown queue 'express'; choose from: fast_lane"),
        ({"priority": 10}, JobRefused, "priority 10 is outside 0 to 9"),
        ({"run_at": timezone.now() - timedelta(days=1)}, JobRefused, "is in the past"),
        ({"run_at": timezone.now() + timedelta(days=5000)}, JobRefused, "more than 3660 days ahead"),
        ({"unique_key": "k" * 256}, JobRefused, "256 characters"),
    ],
)
def test_bad_input_is_named_with_its_remedy(wrong, error, said):
    with pytest.raises(error, match=said):
        enqueue_job(command_actor(), **{"task": "selftest.echo", "args": [1], **wrong})

    assert not Job.objects.exists()
    assert not AuditEntry.objects.exists()
