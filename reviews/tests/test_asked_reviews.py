"""Reviews that somebody asks for where a delivery was missed, and what else the first event of a repository starts."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from jobs.models import Job
from jobs.operators.actors import Actor
from reviews.github.errors import GitHubError
from reviews.models import (
    CodeIndex,
    Finding,
    FindingState,
    GitHubAccess,
    LlmProvider,
    PullRequest,
    PullRequestReview,
    ReviewStatus,
    Trigger,
)
from reviews.operators import reviews as operators
from reviews.services import events, pending_sweep, requesting, reviewing
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.apps import StandinApp, installation_json
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Fault, Standin, serving
from reviews.tests import canned
from reviews.tests.canned import ask, open_pull, push
from reviews.tests.payloads import pull_request_payload

pytestmark = pytest.mark.django_db(transaction=True)

OPERATOR = Actor("ada", "command")


@pytest.fixture
def standin(repo: Repo, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    canned.install(monkeypatch)
    with serving(repo) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": TOKEN, "API_URL": standin.url}
        yield standin


@pytest.fixture
def first(standin: Standin) -> PullRequestReview:
    review = open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"})
    reviewing.run(review.pk, last_attempt=True)
    return review


def push_unheard(standin: Standin) -> str:
    """A push whose delivery never came."""
    head: str = standin.repo.commit({"a.py": "BAD 1\nBAD 2\n"})
    standin.pulls[7]["head"] = head
    return head


@pytest.mark.parametrize("trigger", [Trigger.OPERATOR, Trigger.RERUN])
def test_who_asks_gets_the_present_head_also_where_no_push_told_of_it(
    standin: Standin, first: PullRequestReview, trigger: Trigger
) -> None:
    head = push_unheard(standin)
    review = ask(PullRequest.objects.get(), trigger)
    assert review.head_sha == first.head_sha

    reviewing.run(review.pk, last_attempt=True)

    review.refresh_from_db()
    assert (review.status, review.head_sha, review.round) == (ReviewStatus.DONE, head, 1)
    assert standin.posted(7)[-1]["commit_id"] == head


def test_an_automatic_review_of_an_old_head_is_superseded(standin: Standin) -> None:
    review = open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"})
    push_unheard(standin)

    assert "the head moved on" in reviewing.run(review.pk, last_attempt=True)["outcome"]


def test_a_failed_review_that_is_retried_takes_the_present_head(standin: Standin) -> None:
    review = open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"})
    PullRequestReview.objects.update(status=ReviewStatus.FAILED, finished_at="2026-01-01T00:00:00Z")
    head = push_unheard(standin)

    asked = operators.retry_review(OPERATOR, review.pk)
    reviewing.run(asked.review.pk, last_attempt=True)

    review.refresh_from_db()
    assert (review.status, review.head_sha, review.trigger) == (ReviewStatus.DONE, head, Trigger.OPERATOR)


def entered(standin: Standin) -> GitHubAccess:
    app = standin.add_app()
    app.install(77, standin.full_name)
    return GitHubAccess.objects.create(
        name="ours", api_url=standin.url, client_id=app.client_id, app_id=app.app_id, private_key=app.private_key
    )


def test_a_push_that_leaves_a_finding_as_it_is_does_not_turn_the_check_green(standin: Standin) -> None:
    review = open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"}, access=entered(standin))
    reviewing.run(review.pk, last_attempt=True)
    reviewing.run(push(standin, {"a.py": "BAD 1\nfine\n"}).pk, last_attempt=True)
    Finding.objects.filter(state=FindingState.POSTED).update(state=FindingState.RESOLVED)
    reviewing.run(push(standin, {"a.py": "BAD 1\nfine\nfiner\n"}).pk, last_attempt=True)

    assert [(run["conclusion"], run["output"]["title"]) for run in standin.check_runs] == [
        ("neutral", "1 finding"),
        ("neutral", "Nothing new; 1 finding of earlier reviews not resolved"),
        ("success", "Nothing found"),
    ]


def test_a_check_run_of_the_head_before_ends_when_a_retry_takes_the_present_one(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"}, access=entered(standin))
    standin.faults.append(Fault("GET .*/files", 500))
    with pytest.raises(GitHubError):
        reviewing.run(review.pk, last_attempt=False)
    PullRequestReview.objects.update(trigger=Trigger.OPERATOR)
    head = push_unheard(standin)

    reviewing.run(review.pk, last_attempt=True)

    shown = [(run["head_sha"], run["conclusion"]) for run in standin.check_runs]
    assert shown == [(review.head_sha, "cancelled"), (head, "neutral")]


def test_a_push_under_review_that_somebody_asks_for_as_well_is_posted(
    standin: Standin, first: PullRequestReview
) -> None:
    head = standin.repo.commit({"a.py": "BAD 1\nfine\n"})
    standin.pulls[7]["head"] = head
    PullRequest.objects.update(head_sha=head)
    pushed = ask(PullRequest.objects.get(), Trigger.PUSHED)
    same = ask(PullRequest.objects.get(), Trigger.COMMAND)

    reviewing.run(pushed.pk, last_attempt=True)

    assert (same.pk, len(standin.posted(7))) == (pushed.pk, 2)


def test_a_pull_request_that_was_reopened_unheard_is_reviewed_for_an_operator(
    standin: Standin, first: PullRequestReview
) -> None:
    PullRequest.objects.update(state="closed")
    asked = operators.request_review(OPERATOR, standin.full_name, 7)
    assert asked.review.status == ReviewStatus.PENDING

    PullRequest.objects.update(state="closed")
    standin.faults.append(Fault("GET .*/pulls/7$", 503))
    with pytest.raises(operators.ReviewRefused, match="is closed"):
        operators.request_review(OPERATOR, standin.full_name, 7)


def test_a_large_review_may_take_longer(standin: Standin) -> None:
    open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"}, large_files=1)
    PullRequest.objects.update(changed_files=5)
    requesting.supersede(PullRequest.objects.get(), "a test")
    ask(PullRequest.objects.get(), Trigger.OPERATOR)

    small, large = Job.objects.filter(task="run_pr_review").order_by("created_at")
    assert (large.queue, large.headers["timelimit"]) == ("slow_lane", [720, 600])
    assert small.headers["timelimit"] == [300, 180]


# --- The index, at first sight --------------------------------------------------------------------------------------


@transaction.atomic
def happens(event: str, payload: dict[str, Any], access: GitHubAccess | None = None) -> None:
    events.start(event, payload["action"], payload, access)


def index_jobs() -> int:
    return Job.objects.filter(task="index_repository").count()


def test_the_first_pull_request_has_the_code_indexed_once() -> None:
    for action in ("opened", "synchronize"):
        happens("pull_request", pull_request_payload(action=action))
        assert index_jobs() == 1
    assert CodeIndex.objects.get().state == "queued"


def test_a_pull_request_that_is_not_reviewed_has_no_code_indexed() -> None:
    happens("pull_request", pull_request_payload(draft=True))

    assert index_jobs() == 0


def test_an_installation_has_some_of_its_repositories_indexed() -> None:
    access = GitHubAccess.objects.create(name="ours", client_id="Iv1.first", app_id=42)
    app = StandinApp(42, "Iv1.first", "switchyard", "")
    told = [{"id": number, "full_name": f"acme/r{number}", "private": True} for number in range(1, 31)]
    payload = {"action": "created", "installation": installation_json(app, app.install(77)), "repositories": told}

    for _ in range(2):
        happens("installation", payload, access)

    assert index_jobs() == 20


# --- A language model that only the environment knows ---------------------------------------------------------------


def test_a_model_of_the_environment_is_known_everywhere_before_its_first_use(settings: Any) -> None:
    from reviews.admin.filters import ProviderFilter
    from reviews.llm import accounts
    from reviews.operators.repositories import provider_names
    from reviews.providers import UnknownProvider, provider_named

    settings.REVIEWS = {**settings.REVIEWS, "ANTHROPIC_MODEL": "a-model", "ANTHROPIC_API_KEY": "a key"}

    assert "anthropic" in provider_names()
    assert ("anthropic", "anthropic") in ProviderFilter.lookups(None, None, None)  # type: ignore[arg-type]
    with pytest.raises(UnknownProvider, match="embedded, anthropic"):
        provider_named("odd")
    assert not LlmProvider.objects.exists()
    found = accounts.find("anthropic")
    assert found is not None
    assert found.model == "a-model"


def test_a_check_run_ends_also_where_github_takes_no_review(standin: Standin) -> None:
    review = open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"}, access=entered(standin))
    standin.faults.append(Fault("POST .*/pulls/7/reviews$", 403, message="Resource not accessible by integration"))

    with pytest.raises(GitHubError):
        reviewing.run(review.pk, last_attempt=False)

    (run,) = standin.check_runs
    assert (run["status"], run["conclusion"]) == ("completed", "failure")
    assert "not accessible" in run["output"]["title"]


@pytest.mark.parametrize(
    ("ended", "conclusion"),
    [
        (lambda review: requesting.supersede(review.pull_request, "it was closed"), "cancelled"),
        (lambda review: operators.cancel_review(OPERATOR, review.pk), "failure"),
    ],
)
def test_the_check_run_of_a_review_that_ends_while_it_waits_is_ended_by_the_sweep(
    standin: Standin, ended: Any, conclusion: str
) -> None:
    review = open_pull(standin, {"a.py": "1\n"}, {"a.py": "BAD 1\n"}, access=entered(standin))
    standin.faults.append(Fault("GET .*/files", 500))
    with pytest.raises(GitHubError):
        reviewing.run(review.pk, last_attempt=False)
    assert standin.check_runs[0]["status"] == "in_progress"

    review.refresh_from_db()
    ended(review)
    pending_sweep.sweep()

    assert [(run["status"], run["conclusion"]) for run in standin.check_runs] == [("completed", conclusion)]
    asked = len(standin.requests)
    pending_sweep.sweep()
    assert len(standin.requests) == asked
