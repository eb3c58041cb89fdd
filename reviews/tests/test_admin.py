"""Repositories, reviews and deliveries in the admin."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.models import AuditEntry, Job, State
from jobs.tests.admin_helpers import client_with, page_of
from reviews.models import Delivery, Finding, PullRequestReview, Repository, ReviewStatus
from reviews.tests.payloads import SECRET, deliver, pull_request_payload

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def review(client: Client, settings: Any) -> PullRequestReview:
    settings.GITHUB = {**settings.GITHUB, "WEBHOOK_SECRET": SECRET}
    deliver(client, pull_request_payload(title=HOSTILE, body=HOSTILE))
    return PullRequestReview.objects.get()


def shown(client: Client, model: str, *args: Any) -> str:
    answer = client.get(page_of(f"reviews_{model}", "change" if args else "changelist", *args))
    assert answer.status_code == 200
    page = answer.content.decode()
    assert HOSTILE not in page
    return page


def test_a_review_is_shown_with_its_findings_coverage_and_job(review: PullRequestReview) -> None:
    Finding.objects.create(
        review=review, path=HOSTILE, line=3, end_line=3, rule="S307", message=HOSTILE, severity="high", anchored=True
    )
    unread = [{"path": HOSTILE, "reason": "not Python"}]
    PullRequestReview.objects.update(coverage={"files": 2, "read": 1, "not_read": unread, "notes": []})
    client = client_with("reviews.view_pullrequestreview")

    assert "acme/shop#7" in shown(client, "pullrequestreview")
    page = shown(client, "pullrequestreview", review.pk)
    for text in ("S307", "1 of 2 files", "not Python", f"/admin/jobs/job/{review.job_id}"):
        assert text in page


def test_a_review_whose_job_ended_without_saying_so_is_shown_as_that(review: PullRequestReview) -> None:
    Job.objects.update(state=State.CANCELLED, finished_at=timezone.now())

    assert "job cancelled" in shown(client_with("reviews.view_pullrequestreview"), "pullrequestreview")
    assert PullRequestReview.objects.get().status == ReviewStatus.PENDING


def test_a_delivery_is_shown_with_payload_and_outcome(review: PullRequestReview) -> None:
    delivery = Delivery.objects.get()
    client = client_with("reviews.view_delivery")

    assert delivery.guid in shown(client, "delivery")
    assert "on fast_lane" in shown(client, "delivery", delivery.pk)
    assert delivery.guid in client.get(page_of("reviews_delivery"), {"q": delivery.guid}).content.decode()
    assert delivery.guid not in client.get(page_of("reviews_delivery"), {"q": "another"}).content.decode()


def test_the_limits_of_a_repository_can_be_edited_and_that_is_audited(review: PullRequestReview) -> None:
    repository = Repository.objects.get()
    client = client_with("reviews.view_repository", "reviews.change_repository")
    form = {"full_name": "acme/shop", "enabled": "on", "provider": "embedded", "large_files": 5, "large_lines": 100}

    answer = client.post(page_of("reviews_repository", "change", repository.pk), form)

    assert answer.status_code == 302
    assert Repository.objects.get().large_files == 5
    assert AuditEntry.objects.get(action="repository.change").detail["fields"] == ["large_files", "large_lines"]


def test_an_unknown_provider_cannot_be_chosen(review: PullRequestReview) -> None:
    repository = Repository.objects.get()
    client = client_with("reviews.view_repository", "reviews.change_repository")
    form = {"full_name": "acme/shop", "provider": "nobody", "large_files": 5, "large_lines": 100}

    assert client.post(page_of("reviews_repository", "change", repository.pk), form).status_code == 200
    assert Repository.objects.get().provider == "embedded"


@pytest.mark.parametrize("model", ["repository", "pullrequestreview", "delivery"])
def test_without_the_permission_nothing_is_shown(review: PullRequestReview, model: str) -> None:
    assert client_with().get(page_of(f"reviews_{model}")).status_code == 403


@pytest.mark.parametrize("model", ["pullrequestreview", "delivery"])
def test_what_happened_cannot_be_edited(review: PullRequestReview, model: str) -> None:
    client = client_with(f"reviews.view_{model}")

    assert client.get(page_of(f"reviews_{model}", "add")).status_code == 403
