"""What AsyncResult tells of a job."""

import pytest
from celery import current_app
from django_celery_results.backends.database import DatabaseBackend
from django_celery_results.models import TaskResult

from jobs.models import State
from jobs.tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (State.SCHEDULED, "PENDING"),
        (State.QUEUED, "PENDING"),
        (State.RUNNING, "STARTED"),
        (State.SUCCEEDED, "SUCCESS"),
        (State.FAILED, "FAILURE"),
        (State.CANCELLED, "REVOKED"),
        (State.DISCARDED, "REVOKED"),
    ],
)
def test_without_a_result_the_ledgers_state_is_told(state, told):
    assert current_app.AsyncResult(make_job(state).pk).state == told


def test_an_unknown_id_is_pending():
    assert current_app.AsyncResult("nobody").state == "PENDING"


def test_a_job_that_finishes_while_it_is_asked_for_has_its_result(monkeypatch):
    job = make_job(State.SUCCEEDED)
    stock = DatabaseBackend._get_task_meta_for

    def finish_after_the_first_look(self, task_id):
        meta = stock(self, task_id)
        if not TaskResult.objects.exists():
            TaskResult.objects.create(
                task_id=task_id, status="SUCCESS", result="4", content_type="application/json", content_encoding="utf-8"
            )
        return meta

    monkeypatch.setattr(DatabaseBackend, "_get_task_meta_for", finish_after_the_first_look)

    assert current_app.AsyncResult(job.pk).result == 4
