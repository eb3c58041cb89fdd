"""The whole way by an App: deliveries in, reviews by a language model and the embedded reviewer out, and answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from jobs.models import Job, State
from jobs.tests.in_process import run_all
from reviews.llm import anthropic_client
from reviews.models import GitHubAccess, LlmCall, LlmProvider, PullRequestReview, Repository, ReviewStatus, Trigger
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.apps import StandinApp, installation_json
from reviews.standin.repositories import Repo
from reviews.standin.server import Standin, serving
from reviews.tests import llm_standin
from reviews.tests.llm_helpers import found, provider_at, review_of
from reviews.tests.llm_standin import Fault, LlmStandin
from reviews.tests.payloads import SECRET, deliver, pull_request_payload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

BEFORE = "def total(items):\n    return 0\n"
LINE = "    return sum(items) / len(items)"
AFTER = f"import os\n\n\ndef total(items):\n{LINE}\n"


@pytest.fixture
def llm() -> Iterator[LlmStandin]:
    anthropic_client._forms.forget()
    with llm_standin.serving() as standin:
        standin.script = [review_of(found("shop.py", 5, LINE, message="An empty list raises ZeroDivisionError."))]
        yield standin


@pytest.fixture
def standin(repo: Repo, settings: Any) -> Iterator[Standin]:
    with serving(repo) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": "", "API_URL": standin.url}
        standin.open_pull(7, repo.commit({"shop.py": BEFORE}), repo.commit({"shop.py": AFTER}))
        standin.people = {"grace": "write"}
        yield standin


@pytest.fixture
def app(standin: Standin, client: Client, llm: LlmStandin) -> StandinApp:
    """An App that was entered, and installed on the repository; a language model reviews."""
    app = standin.add_app()
    installation = app.install(77, standin.full_name)
    GitHubAccess.objects.create(
        name="ours",
        api_url=standin.url,
        client_id=app.client_id,
        app_id=app.app_id,
        private_key=app.private_key,
        webhook_secret=SECRET,
    )
    told = [{"id": standin.repository_id, "full_name": standin.full_name, "private": False}]
    shown = installation_json(app, installation)
    send(client, "installation", {"action": "created", "installation": shown, "repositories": told})
    Repository.objects.update(provider=provider_at(llm).name, index_enabled=False)
    Job.objects.all().delete()  # the index is another test's
    return app


def send(client: Client, event: str, payload: dict[str, Any]) -> None:
    answer = deliver(client, {"installation": {"id": 77}, **payload}, event)
    assert answer.status_code in (200, 202), answer.content


def pull_event(client: Client, standin: Standin, action: str) -> None:
    pull = standin.pulls[7]
    changes = {"base": {"sha": pull["base"]}, "head": {"sha": pull["head"]}, "user": {"login": "ada"}}
    send(client, "pull_request", pull_request_payload(action=action, **changes))
    work()


def work() -> None:
    run_all()
    assert not Job.objects.exclude(state=State.SUCCEEDED).exists(), list(Job.objects.values("task", "state", "error"))


def check_runs(standin: Standin) -> list[tuple[str, str]]:
    return [(run["status"], run["conclusion"]) for run in standin.check_runs]


def test_the_whole_way_by_an_app_with_a_language_model(client: Client, standin: Standin, app: StandinApp) -> None:
    pull_event(client, standin, "opened")

    (posted,) = standin.posted(7)
    comments = [(one["path"], one["line"]) for one in standin.comments]
    assert sorted(comments) == [("shop.py", 1), ("shop.py", 5)]  # what the embedded reviewer found, and the model
    cost = LlmCall.objects.get(purpose="review").cost_usd
    assert cost > 0
    assert "anthropic" in posted["body"]
    assert f"${cost:.4f}" in posted["body"] or f"${cost:.2f}" in posted["body"], posted["body"]
    assert posted["commit_id"][:12] in posted["body"]
    assert check_runs(standin) == [("completed", "neutral")]
    assert len(standin.asked("POST /app/installations/77/access_tokens")) == 1
    assert {one["login"] for one in standin.comments} == {"switchyard[bot]"}

    # A push with nothing new: only its check run says so.
    standin.pulls[7]["head"] = standin.repo.commit({"shop.py": f"{AFTER}# The end\n"})
    pull_event(client, standin, "synchronize")
    assert len(standin.posted(7)) == 1
    assert len(standin.check_runs) == 2
    assert standin.check_runs[-1]["status"] == "completed"

    # The Re-run button: a new round of the same head, which is posted.
    run = standin.check_runs[-1]
    shown = {key: run[key] for key in ("id", "head_sha", "external_id")} | {"app": {"id": app.app_id}}
    here = {"id": standin.repository_id, "full_name": standin.full_name}
    sender = {"sender": {"login": "ada"}, "repository": here}
    send(client, "check_run", {"action": "rerequested", "check_run": shown, **sender})
    work()
    newest = PullRequestReview.objects.order_by("-pk")[0]
    assert (newest.trigger, newest.round, newest.status) == (Trigger.RERUN, 2, ReviewStatus.DONE)
    assert (len(standin.posted(7)), len(standin.comments)) == (2, 2)

    # A command in a comment is answered, and done.
    comment = standin.add_issue_comment(7, "grace", "/switchyard full review")
    said = {"id": comment["id"], "body": comment["body"], "user": {"login": "grace", "type": "User"}}
    issue = {"number": 7, "pull_request": {"url": standin.url}}
    send(client, "issue_comment", {"action": "created", "issue": issue, "comment": said, **sender})
    work()
    newest = PullRequestReview.objects.order_by("-pk")[0]
    assert (newest.trigger, newest.full, newest.round, newest.status) == (Trigger.COMMAND, True, 3, ReviewStatus.DONE)
    assert "I review the whole change" in standin.issue_comments[-1]["body"]
    assert (len(standin.posted(7)), len(standin.comments)) == (3, 2)  # what was told is not told again


def test_a_model_that_is_down_leaves_the_embedded_review_which_says_so(
    client: Client, standin: Standin, app: StandinApp, llm: LlmStandin
) -> None:
    llm.script = [Fault(401, "invalid x-api-key")] * 8
    assert LlmProvider.objects.get().enabled

    pull_event(client, standin, "opened")

    (posted,) = standin.posted(7)
    assert [(one["path"], one["line"]) for one in standin.comments] == [("shop.py", 1)]
    review = PullRequestReview.objects.get()
    assert review.fallback
    assert "anthropic" in posted["body"]
    assert "told here is by the embedded reviewer" in posted["body"]
