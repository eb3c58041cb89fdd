"""Several reviews retried or cancelled from the list."""

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models.functions import Now
from django.test import Client

from jobs.models import AuditEntry, Job, State
from jobs.tests.admin_helpers import client_with, page_of, said
from reviews.models import PullRequest, PullRequestReview, Repository, ReviewStatus, Trigger
from reviews.services import requesting

pytestmark = pytest.mark.django_db
VIEW, RETRY, CANCEL = "reviews.view_pullrequestreview", "reviews.request_review", "jobs.cancel_job"


@pytest.fixture
def waiting() -> list[PullRequestReview]:
    repository = Repository.objects.create(github_id=1, full_name="acme/shop")
    found = []
    for number in (7, 8, 9):
        row = PullRequest.objects.create(repository=repository, number=number, base_sha="a" * 40, head_sha="b" * 40)
        asked = requesting.request(row, Trigger.OPENED)
        assert asked.review is not None
        found.append(asked.review)
    return found


def tick(client: Client, action: str, *reviews: PullRequestReview, **more: str) -> str:
    """The page that follows, or what is said on it."""
    ticked = {"action": action, ACTION_CHECKBOX_NAME: [review.pk for review in reviews], **more}
    answer = client.post(page_of("reviews_pullrequestreview", "changelist"), ticked)
    return answer.content.decode() if answer.status_code == 200 else said(answer)


def statuses() -> list[str]:
    return list(PullRequestReview.objects.order_by("pk").values_list("status", flat=True))


def test_ticked_reviews_are_cancelled_once_that_is_confirmed(waiting: list[PullRequestReview]) -> None:
    client = client_with(VIEW, CANCEL)

    assert "Cancel 2 reviews" in tick(client, "cancel_selected", *waiting[:2])
    assert statuses() == ["pending"] * 3

    assert "2 reviews cancelled" in tick(client, "cancel_selected", *waiting[:2], confirmed="yes")
    assert statuses() == ["failed", "failed", "pending"]
    assert AuditEntry.objects.filter(action="review.cancel").count() == 2


def test_ticked_reviews_that_failed_are_retried_and_others_told(waiting: list[PullRequestReview]) -> None:
    ended = PullRequestReview.objects.filter(pk__in=[review.pk for review in waiting[:2]])
    ended.update(status=ReviewStatus.FAILED, finished_at=Now())
    Job.objects.filter(pk__in=ended.values("job_id")).update(state=State.FAILED, finished_at=Now())

    told = tick(client_with(VIEW, RETRY), "retry_selected", *waiting, confirmed="yes")

    assert "2 reviews retried; 1 not: review" in told
    assert "only a failed one is retried" in told
    assert statuses() == ["pending"] * 3


@pytest.mark.parametrize(("action", "permission"), [("cancel_selected", RETRY), ("retry_selected", CANCEL)])
def test_nothing_is_done_without_the_permission_for_it(
    waiting: list[PullRequestReview], action: str, permission: str
) -> None:
    tick(client_with(VIEW, permission), action, *waiting, confirmed="yes")

    assert statuses() == ["pending"] * 3
    assert not AuditEntry.objects.filter(action__startswith="review.").exists()
