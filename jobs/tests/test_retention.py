"""What the daily clean-up takes, and what it leaves."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_results.models import TaskResult

from jobs import retention
from jobs.models import Attempt, Job, State
from jobs.tests.factories import make_attempt, make_job

pytestmark = pytest.mark.django_db


def long_ago(days: int) -> dict:
    return {"finished_at": timezone.now() - timedelta(days=days)}


def result_of(job: Job, hours: int) -> None:
    result = TaskResult.objects.create(task_id=job.pk, status="SUCCESS", result="1")
    TaskResult.objects.filter(pk=result.pk).update(date_done=timezone.now() - timedelta(hours=hours))


def test_old_jobs_go_with_their_attempts_and_young_ones_stay(settings):
    settings.JOBS = {**settings.JOBS, "KEEP_SUCCEEDED_DAYS": 14, "KEEP_FAILED_DAYS": 90}
    old = make_job(State.SUCCEEDED, **long_ago(15))
    make_attempt(old)
    kept = [make_job(State.SUCCEEDED, **long_ago(13)), make_job(State.FAILED, **long_ago(80)), make_job(State.QUEUED)]
    make_job(State.FAILED, **long_ago(91))

    assert retention.clean_up()["jobs"] == 2

    assert set(Job.objects.all()) == set(kept)
    assert not Attempt.objects.exists()


def test_results_are_emptied_after_a_day(settings):
    old, young = make_job(State.SUCCEEDED), make_job(State.SUCCEEDED)
    result_of(old, 25)
    result_of(young, 23)

    assert retention.clean_up()["results"] == 1

    assert TaskResult.objects.get().task_id == young.pk
    assert Job.objects.count() == 2


def test_nothing_goes_while_its_workflow_is_open():
    root = make_job(State.SUCCEEDED, id="root", root_id="root", **long_ago(1000))
    result_of(root, 1000)
    open_step = make_job(State.SCHEDULED, root_id="root", parent_id="root")

    assert retention.clean_up()["jobs"] == 0
    assert TaskResult.objects.exists()

    Job.objects.filter(pk=open_step.pk).delete()
    assert retention.clean_up()["jobs"] == 1


def test_more_than_a_batch_goes_in_several(monkeypatch):
    for _ in range(5):
        make_job(State.SUCCEEDED, **long_ago(1000))
    monkeypatch.setattr(retention, "BATCH", 1)
    monkeypatch.setattr(retention, "_JOBS", retention._JOBS.replace("LIMIT 1000", "LIMIT 1"))

    assert retention.clean_up()["jobs"] == 5
