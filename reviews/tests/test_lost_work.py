"""Replies and code indexes whose job will not run any more say so, and are done when it runs after all."""

from typing import Any

import pytest

from jobs.models import Job, State
from jobs.tests.factories import make_job
from reviews.models import CodeIndex, CommentKind, IndexState, PullRequest, Reply, ReplyStatus, Repository
from reviews.tasks import settle_lost

pytestmark = pytest.mark.django_db


@pytest.fixture
def repository() -> Repository:
    return Repository.objects.create(full_name="acme/shop")


def reply(repository: Repository, job: Job, **fields: Any) -> Reply:
    row, _ = PullRequest.objects.get_or_create(repository=repository, number=7)
    values = {"kind": CommentKind.ISSUE, "author": "ada", "body": "@switchyard why?", **fields}
    return Reply.objects.create(pull_request=row, comment_id=Reply.objects.count() + 1, job_id=job.pk, **values)


@pytest.mark.parametrize("status", [ReplyStatus.PENDING, ReplyStatus.RUNNING])
@pytest.mark.parametrize("state", [State.CANCELLED, State.FAILED, State.DISCARDED])
def test_a_reply_whose_job_is_over_is_failed(repository: Repository, state: str, status: str) -> None:
    lost = reply(repository, make_job(state, error="three crashes"), status=status)

    assert settle_lost() == {"replies": 1, "indexes": 0}

    lost.refresh_from_db()
    assert (lost.status, lost.outcome) == ("failed", f"its job {lost.job_id} is {state}: three crashes")
    assert lost.finished_at is not None


def test_a_reply_that_is_done_or_whose_job_goes_on_is_left(repository: Repository) -> None:
    reply(repository, make_job(State.CANCELLED), status=ReplyStatus.DONE)
    for state in (State.SCHEDULED, State.QUEUED, State.RUNNING, State.SUCCEEDED):
        reply(repository, make_job(state))

    assert settle_lost() == {"replies": 0, "indexes": 0}


@pytest.mark.parametrize("state", [IndexState.QUEUED, IndexState.RUNNING])
def test_an_index_whose_job_is_over_is_failed(repository: Repository, state: str) -> None:
    job = make_job(State.CANCELLED)
    CodeIndex.objects.create(repository=repository, state=state, job_id=job.pk)

    assert settle_lost() == {"replies": 0, "indexes": 1}

    index = CodeIndex.objects.get()
    assert (index.state, index.error) == ("failed", f"its job {job.pk} is cancelled")


def test_an_index_that_is_ready_or_on_its_way_is_left(repository: Repository) -> None:
    CodeIndex.objects.create(repository=repository, state=IndexState.READY, job_id=make_job(State.CANCELLED).pk)
    other = Repository.objects.create(full_name="acme/till")
    CodeIndex.objects.create(repository=other, state=IndexState.QUEUED, job_id=make_job(State.QUEUED).pk)

    assert settle_lost() == {"replies": 0, "indexes": 0}
