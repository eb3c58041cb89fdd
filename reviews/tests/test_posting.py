"""What stands in a review's way at GitHub, how failures are told, and what is swept and masked."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db.models.functions import Now

from jobs.ledger.errors import JobMovedOn
from jobs.models import Job, State
from reviews.changes import Change
from reviews.github.errors import GitHubError
from reviews.models import (
    AccessKind,
    Delivery,
    GitHubAccess,
    GoneIssue,
    OutsideLimit,
    PullRequest,
    PullRequestReview,
    Repository,
    ReviewStatus,
)
from reviews.providers.base import Brief, Finding, ProviderFailed, ReviewResult, Severity
from reviews.services import check_runs, cleaning, masking, pending_sweep, posting, rendering, reviewing
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.repositories import Repo
from reviews.standin.server import LOGIN, TOKEN, Fault, Standin, serving
from reviews.tests import canned
from reviews.tests.canned import find_bad, open_pull, push

pytestmark = pytest.mark.django_db(transaction=True)

BAD = ({"a.py": "fine\n"}, {"a.py": "fine\nBAD\n"})


@pytest.fixture
def standin(repo: Repo, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    canned.install(monkeypatch)
    with serving(repo) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": TOKEN, "API_URL": standin.url}
        yield standin


def run(review: PullRequestReview, *, last_attempt: bool = True) -> PullRequestReview:
    reviewing.run(review.pk, last_attempt=last_attempt)
    review.refresh_from_db()
    return review


def left_pending(standin: Standin, body: str) -> None:
    """A review that its author began, and nobody else sees."""
    review = {"id": standin.new_id(), "number": 7, "state": "PENDING", "body": body, "login": LOGIN, "app": None}
    standin.reviews.append({**review, "commit_id": standin.pulls[7]["head"], "comments": []})


def test_a_review_that_an_older_one_left_pending_is_thrown_away(standin: Standin) -> None:
    older = open_pull(standin, *BAD)
    left_pending(standin, f"stale\n{rendering.marker(older)}")

    run(push(standin, {"a.py": "fine\nBAD\nBAD 2\n"}))

    assert [(found["state"], "stale" in found["body"]) for found in standin.reviews] == [("COMMENTED", False)]


def test_a_review_that_a_person_began_with_our_account_is_left_alone(standin: Standin) -> None:
    review = open_pull(standin, *BAD)
    left_pending(standin, "my own thoughts")

    with pytest.raises(GitHubError, match="begun a review of acme/shop#7 by hand"):
        run(review)

    assert [found["body"] for found in standin.reviews] == ["my own thoughts"]
    assert "submit or delete it there" in standin.issue_comments[0]["body"]


def test_a_pending_review_that_somebody_deletes_is_posted_anew(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = open_pull(standin, *BAD)
    standin.faults.append(Fault(r"POST .*/events$", 404, message="Not Found"))
    find = posting.find

    def deleted(*args: Any) -> Any:
        standin.reviews.clear()
        return find(*args)

    monkeypatch.setattr(posting, "find", deleted)
    run(review)

    assert len(standin.posted(7)) == 1
    assert (review.postings, review.status) == (1, ReviewStatus.DONE)


def failing(change: Change, brief: Brief, *_: Any) -> ReviewResult:
    raise ProviderFailed("the model is away")


def test_the_last_failure_is_told_once_and_a_retry_reviews(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    review = open_pull(standin, *BAD)
    canned.install(monkeypatch, failing)
    for last_attempt in (False, True, True):
        with pytest.raises(ProviderFailed):
            run(review, last_attempt=last_attempt)

    review.refresh_from_db()
    (comment,) = standin.issue_comments
    assert "could not be reviewed: the model is away" in comment["body"]
    assert (review.status, review.error_comment_id) == (ReviewStatus.FAILED, comment["id"])

    canned.install(monkeypatch, find_bad)
    assert run(review).status == ReviewStatus.DONE
    assert len(standin.posted(7)) == 1


def test_an_app_shows_a_check_run_and_goes_on_without_the_permission(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    class Checks:
        def identity(self) -> Any:
            return type("I", (), {"app_id": 42})

        def check_runs(self, *args: Any) -> Any:
            return iter(())

        def create_check_run(self, full_name: str, **given: Any) -> int:
            calls.append(("create", given["external_id"]))
            return 5

        def update_check_run(self, full_name: str, run: int, *, conclusion: str, output: Any) -> None:
            calls.append(("update", conclusion))
            raise GitHubError("no permission", 403)

    review = open_pull(standin, *BAD)
    client: Any = Checks()
    check_runs.begin(client, review)
    check_runs.end(client, review, "neutral", "1 finding", "")

    assert calls == [("create", str(review.pk)), ("update", "neutral")]
    assert review.check_run_id == 5


def test_the_footer_tells_of_cost_fallback_and_who_reviewed(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    def expensive(change: Change, brief: Brief, *_: Any) -> ReviewResult:
        from dataclasses import replace

        found = find_bad(change, brief)
        return replace(found, cost_usd=Decimal("0.01234"), requests=2, fallback="its daily cap is used up")

    canned.install(monkeypatch, expensive)
    review = run(open_pull(standin, *BAD))

    body = standin.posted(7)[0]["body"].replace("\\", "")
    assert "by the embedded reviewer; $0.0123 for 2 requests" in body
    assert "its daily cap is used up" in body
    assert (review.cost_usd, review.fallback) == (Decimal("0.01234"), "its daily cap is used up")
    assert set(review.step_seconds) >= {"settings", "fetch", "context", "verify", "post"}


def test_secrets_of_ours_and_of_the_change_are_masked_and_break_no_suggestion(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    GitHubAccess.objects.create(name="x", kind=AccessKind.TOKEN, token="stored_secret_of_ours")
    key = "AKIA" + "Q3EXAMPL7Z2WV5TB"

    def quoting(change: Change, brief: Brief, *_: Any) -> ReviewResult:
        said = f"{key} and stored_secret_of_ours and {TOKEN}"
        found = Finding("a.py", 2, 2, "R", said, Severity.HIGH, "", "", "f", suggestion=f"k = '{key}'\n")
        return ReviewResult("embedded", (found,), 0, (), summary=said)

    canned.install(monkeypatch, quoting)
    run(open_pull(standin, {"a.py": "fine\n"}, {"a.py": f"fine\nkey = '{key}'\n"}))

    posted = str(standin.posted(7)) + str(standin.comments[0]["body"])
    for secret in (key, "stored_secret_of_ours", TOKEN):
        assert secret not in posted.replace("\\", "")
    assert "suggestion" not in standin.comments[0]["body"]
    assert masking.MASK in standin.comments[0]["body"]


def test_a_verified_suggestion_is_offered_in_a_fence_that_it_does_not_close(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suggesting(change: Change, brief: Brief, *_: Any) -> ReviewResult:
        found = Finding("a.py", 2, 2, "R", "m", Severity.HIGH, "", "", "f", suggestion="```\nfine\n")
        return ReviewResult("embedded", (found,), 0, ())

    canned.install(monkeypatch, suggesting)
    run(open_pull(standin, *BAD))

    assert "````suggestion\n```\nfine\n````" in standin.comments[0]["body"]


def test_the_sweep_removes_what_was_left_pending_and_ends_what_nobody_ends(standin: Standin) -> None:
    review = open_pull(standin, *BAD)
    left_pending(standin, f"left\n{rendering.marker(review)}")
    PullRequestReview.objects.update(may_be_pending=True, status=ReviewStatus.FAILED, finished_at=Now())
    unheard = open_pull(standin, {"b.py": "1\n"}, {"b.py": "2\n"}, number=8)
    Job.objects.filter(pk=unheard.job_id).update(state=State.FAILED, finished_at=Now(), error="killed three times")

    assert pending_sweep.sweep() == {"ended": 1, "told": 1, "deleted": 1, "put_off": 0}

    unheard.refresh_from_db()
    assert standin.reviews == []
    assert (unheard.status, "killed three times" in unheard.error) == (ReviewStatus.FAILED, True)
    assert [comment["number"] for comment in standin.issue_comments] == [8]
    assert pending_sweep.sweep() == {"ended": 0, "told": 0, "deleted": 0, "put_off": 0}


def test_a_review_whose_time_ran_out_after_its_submit_is_done_and_not_told_of_as_failed(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, times = reviewing._posted, []

    def late(*args: Any) -> Any:
        times.append(1)
        if len(times) == 1:
            raise SoftTimeLimitExceeded
        return finish(*args)

    monkeypatch.setattr(reviewing, "_posted", late)
    review = open_pull(standin, *BAD)
    with pytest.raises(SoftTimeLimitExceeded):
        run(review)

    review.refresh_from_db()
    assert (review.status, review.github_review_id) == (ReviewStatus.DONE, standin.posted(7)[0]["id"])
    assert standin.issue_comments == []


def test_a_review_whose_process_died_for_good_after_its_submit_is_done_and_not_told_of_as_failed(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise JobMovedOn("as after a death, nothing is written any more")

    review = open_pull(standin, *BAD)
    with monkeypatch.context() as patch:
        patch.setattr(reviewing, "_posted", killed)
        with pytest.raises(JobMovedOn):
            run(review)
    Job.objects.filter(pk=review.job_id).update(state=State.FAILED, finished_at=Now(), error="killed three times")

    assert pending_sweep.sweep() == {"ended": 1, "told": 0, "deleted": 0, "put_off": 0}

    review.refresh_from_db()
    assert (review.status, review.untold, review.error) == (ReviewStatus.DONE, "", "")
    assert standin.issue_comments == []


def untold(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> PullRequestReview:
    """A review that failed while GitHub asked to be left alone."""
    review = open_pull(standin, *BAD)
    canned.install(monkeypatch, failing)
    standin.faults.append(Fault("POST .*/comments$", 429, {"retry-after": "60"}))
    with pytest.raises(ProviderFailed):
        run(review)
    review.refresh_from_db()
    assert (review.status, review.untold, standin.issue_comments) == ("failed", "the model is away", [])
    return review


def test_a_failure_that_could_not_be_told_is_told_by_the_sweep(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = untold(standin, monkeypatch)
    assert pending_sweep.sweep()["told"] == 0
    OutsideLimit.objects.all().delete()  # the minute is over

    assert [pending_sweep.sweep()["told"] for _ in range(2)] == [1, 0]

    review.refresh_from_db()
    (comment,) = standin.issue_comments
    assert "could not be reviewed: the model is away" in comment["body"]
    assert (review.error_comment_id, review.untold) == (comment["id"], "")


def test_of_a_failure_that_a_newer_review_followed_nobody_is_told_late(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    untold(standin, monkeypatch)
    push(standin, {"a.py": "fine\n"})

    assert pending_sweep.sweep()["told"] == 0
    assert standin.issue_comments == []


def test_old_deliveries_and_pull_requests_closed_long_ago_are_deleted() -> None:
    repository = Repository.objects.create(full_name="acme/shop")
    for number, state in ((1, "closed"), (2, "open"), (3, "closed")):
        PullRequest.objects.create(repository=repository, number=number, state=state)
        Delivery.objects.create(guid=str(number), event="x", payload={}, outcome="")
    PullRequest.objects.filter(number__lt=3).update(updated_at=Now() - timedelta(days=181))
    Delivery.objects.filter(guid="1").update(received_at=Now() - timedelta(days=31))

    GoneIssue.objects.bulk_create(GoneIssue(repository=repository, number=number) for number in (1, 2))
    GoneIssue.objects.filter(number=1).update(gone_at=Now() - timedelta(days=31))

    assert cleaning.clean_up() == {"deliveries": 1, "gone_issues": 1, "pull_requests": 1}
    assert GoneIssue.objects.get().number == 2
    assert set(PullRequest.objects.values_list("number", flat=True)) == {2, 3}
