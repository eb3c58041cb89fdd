"""From GitHub's delivery to the posted review, with a real worker process."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from jobs.models import Job, State
from jobs.tests.live import LiveWorker
from reviews.models import PullRequestReview, Repository, ReviewStatus
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Fault, Standin, serving
from reviews.tests.payloads import SECRET, deliver, pull_request_payload

pytestmark = pytest.mark.django_db(transaction=True)

SAFE = "".join(f"V{number} = {number}\n" for number in range(20))


@pytest.fixture(scope="module")
def port(shared_workers: Callable[..., LiveWorker]) -> Iterator[int]:
    """Where GitHub is, for a worker that all tests of this module share.

    Bound all the while, and not listened on: so no other process is given the number between two tests.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        number = int(held.getsockname()[1])
        shared_workers("fast_lane", "slow_lane", GITHUB_TOKEN=TOKEN, GITHUB_API_URL=f"http://127.0.0.1:{number}")
        yield number


@pytest.fixture
def standin(repo: Repo, settings: Any, port: int) -> Iterator[Standin]:
    """The stand-in, with a pull request of one bad line."""
    with serving(repo, port) as standin:
        base = repo.commit({"shop/cart.py": SAFE})
        head = repo.commit({"shop/cart.py": SAFE.replace("V9 = 9\n", "V9 = eval(input())\n")})
        standin.open_pull(7, base, head)
        settings.GITHUB = {"WEBHOOK_SECRET": SECRET, "TOKEN": TOKEN, "API_URL": standin.url}
        # Its id is one of the server that is set by now.
        Repository.objects.create(github_id=1234, full_name="acme/shop", index_enabled=False)
        yield standin


def until(condition: Callable[[], Any], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, [(job.state, job.error) for job in Job.objects.all()]
        time.sleep(0.05)
    return value


def in_state(state: State) -> Callable[[], Job | None]:
    return lambda: Job.objects.filter(task="run_pr_review", state=state).first()


def failed_by_now() -> Job | None:
    """The job, if it has failed for good; else no further attempt of it has to wait for its time."""
    Job.objects.filter(state=State.SCHEDULED).update(run_at=Now())
    return in_state(State.FAILED)()


def delivery_of(standin: Standin, **changes: Any) -> dict[str, Any]:
    pull = standin.pulls[7]
    return pull_request_payload(base={"sha": pull["base"]}, head={"sha": pull["head"]}, **changes)


def test_a_delivery_becomes_one_review_and_a_redelivery_none(client: Client, standin: Standin) -> None:
    deliver(client, delivery_of(standin), guid="first")
    job = until(in_state(State.SUCCEEDED))
    deliver(client, delivery_of(standin), guid="first")
    deliver(client, delivery_of(standin, action="reopened"), guid="second")

    (posted,) = standin.posted(7)
    assert [(c["path"], c["line"], c["side"]) for c in posted["comments"]] == [("shop/cart.py", 10, "RIGHT")]
    assert (job.queue, job.progress) == ("fast_lane", 1.0)
    review = PullRequestReview.objects.get()
    assert (review.status, review.job_id, review.github_review_id) == (ReviewStatus.DONE, job.pk, posted["id"])
    assert Job.objects.count() == 1
    assert len(standin.asked("POST")) == 2  # pending, then submitted


def test_a_large_pull_request_is_reviewed_on_the_slow_lane(client: Client, standin: Standin) -> None:
    deliver(client, delivery_of(standin, changed_files=1000))

    assert until(in_state(State.SUCCEEDED)).queue == "slow_lane"
    assert len(standin.posted(7)) == 1


@pytest.mark.parametrize("request_", ["POST .*/reviews$", "POST .*/events$"])
def test_a_review_whose_answer_was_lost_is_not_posted_twice(client: Client, standin: Standin, request_: str) -> None:
    standin.faults.append(Fault(request_, cut="after"))
    deliver(client, delivery_of(standin))

    assert until(in_state(State.SUCCEEDED)).attempt == 1  # it was looked up at once
    assert len(standin.posted(7)) == len(standin.reviews) == 1
    assert PullRequestReview.objects.get().status == ReviewStatus.DONE


def test_a_wait_that_github_asks_for_is_kept_and_uses_no_attempt(client: Client, standin: Standin) -> None:
    standin.faults.append(Fault("POST", 429, {"Retry-After": "2"}, "slow down"))
    deliver(client, delivery_of(standin))

    job = until(in_state(State.SUCCEEDED))

    assert (job.attempt, job.uncounted) == (2, 1)
    first = job.attempts.get(number=1)
    assert (job.started_at - first.finished_at).total_seconds() >= 2
    assert len(standin.posted(7)) == 1


@pytest.mark.parametrize(
    ("status", "advice"), [(404, "may not see it"), (401, "set GITHUB_TOKEN"), (403, "write access")]
)
def test_what_github_refuses_for_good_is_asked_once(client: Client, standin: Standin, status: int, advice: str) -> None:
    standin.faults.append(Fault("GET", status, message="Not for you"))
    deliver(client, delivery_of(standin))

    job = until(lambda: Job.objects.filter(task="run_pr_review", attempts__isnull=False).first())

    assert (job.state, job.attempt, len(standin.requests)) == (State.FAILED, 1, 1)
    assert f"GitHub answered {status}" in job.error
    assert advice in job.error
    review = PullRequestReview.objects.get()
    assert (review.status, advice in review.error) == (ReviewStatus.FAILED, True)


def test_a_review_that_failed_for_good_can_be_retried_by_an_operator(client: Client, standin: Standin) -> None:
    from jobs.operators.actors import command_actor
    from jobs.operators.jobs import retry_job

    standin.faults.append(Fault("GET", 503, message="Unavailable", times=4))
    deliver(client, delivery_of(standin))
    job = until(failed_by_now)
    assert job.attempt == 4
    review = PullRequestReview.objects.get()
    assert (review.status, "answered 503" in review.error) == (ReviewStatus.FAILED, True)

    retry_job(command_actor(), job.pk)

    until(in_state(State.SUCCEEDED))
    assert len(standin.posted(7)) == 1
    review.refresh_from_db()
    assert review.status == ReviewStatus.DONE
