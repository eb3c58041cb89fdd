"""Processes that are killed at every step of a review: nothing is lost, and nothing is posted twice."""

import random
from collections.abc import Iterator

import pytest

from jobs.tests.live import database_url
from reviews.models import FindingState, PullRequestReview, ReviewStatus, Told
from reviews.standin import openapi, victims
from reviews.standin.repositories import Repo
from reviews.standin.victims import Posted, Victims

pytestmark = pytest.mark.django_db(transaction=True)

MOST_KILLS = 3


def kill_and_check(victims: Victims, number: int, *kills: int) -> int:
    review = victims.review(number)
    killed = victims.kill_and_finish(review, *kills)
    check(victims, review)
    return killed


def check(victims: Victims, review: PullRequestReview) -> None:
    """One review, submitted, with each finding once, and known as such."""
    (posted,) = (found for found in victims.standin.reviews if found["number"] == review.number)
    comments = [found for found in victims.standin.comments if found["number"] == review.number]
    findings = list(review.findings.filter(state=FindingState.POSTED).order_by("line"))
    assert (review.status, posted["state"]) == (ReviewStatus.DONE, "COMMENTED"), review.error
    assert (review.github_review_id, review.may_be_pending) == (posted["id"], False)
    assert [found.line for found in findings] == [3, 30]
    assert [(found["id"], findings[0].message in found["body"]) for found in comments] == [
        (findings[0].comment_id, True)
    ]
    assert f"{findings[1].path}:30" in posted["body"]
    assert findings[1].message in posted["body"]
    told = Told.objects.filter(pull_request=review.pull_request).values_list("fingerprint", flat=True)
    assert sorted(told) == sorted(found.fingerprint for found in findings)
    assert review.pull_request is not None
    assert review.pull_request.reviewed_sha == victims.head
    assert victims.posted(review) == Posted(lost=0, doubled=0)


@pytest.fixture(name="victims")
def _victims(repo: Repo) -> Iterator[Victims]:
    with victims.victims(repo, {"DATABASE_URL": database_url()}) as found:
        yield found


def test_a_review_killed_at_any_step_is_posted_once(victims: Victims, monkeypatch: pytest.MonkeyPatch) -> None:
    first = victims.review(1)
    code, steps = victims.run(first)
    assert code == 0
    # What is sent is always the same; to check it against GitHub's description takes most of the time.
    monkeypatch.setattr(openapi, "violations", lambda *args: [])

    killed = sum(kill_and_check(victims, 2 + index, 5 + index * steps // 6) for index in range(6))

    assert killed == 6
    # What is lost or there twice would be seen.
    first.refresh_from_db()
    victims.standin.comments.append(next(found for found in victims.standin.comments if found["number"] == 1))
    assert victims.posted(first) == Posted(lost=0, doubled=1)
    victims.standin.reviews[:] = [found for found in victims.standin.reviews if found["number"] != 1]
    assert victims.posted(first) == Posted(lost=1, doubled=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_reviews_killed_at_every_step_and_more_than_once_are_posted_once_each(
    victims: Victims, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, steps = victims.run(victims.review(1))
    monkeypatch.setattr(openapi, "violations", lambda *args: [])
    random_ = random.Random(2026)
    killed = 0
    for index in range(steps):
        more = [random_.randint(1, steps) for _ in range(random_.choice((0, 0, 1, MOST_KILLS - 1)))]
        killed += kill_and_check(victims, 2 + index, 1 + index % steps, *more)

    assert killed >= steps
