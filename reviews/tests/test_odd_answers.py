"""What GitHub answers beside the expected: moved repositories, limits in other words, other Apps' check runs."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db.models.functions import Now

from jobs import Snooze
from reviews.github.access import client_for
from reviews.github.app_client import AppClient
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.models import (
    GitHubAccess,
    Installation,
    OutsideLimit,
    PullRequest,
    PullRequestReview,
    Repository,
    ReviewStatus,
    Trigger,
)
from reviews.services import access_checks, check_runs, pending_sweep, posting, rendering, requesting, reviewing
from reviews.services.throttle import Throttled
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Fault, Standin, serving
from reviews.tests import canned
from reviews.tests.canned import open_pull, push

pytestmark = pytest.mark.django_db(transaction=True)

BAD = ({"a.py": "fine\n"}, {"a.py": "fine\nBAD\n"})


@pytest.fixture
def standin(repo: Repo, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    canned.install(monkeypatch)
    with serving(repo) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": TOKEN, "API_URL": standin.url}
        yield standin


def run(review: PullRequestReview) -> str:
    outcome = str(reviewing.run(review.pk, last_attempt=True)["outcome"])
    review.refresh_from_db()
    return outcome


def rename(standin: Standin, name: str) -> None:
    """GitHub answers under the former name with where to look; PyGithub follows it without the page that is asked."""
    moved = {"Location": f"{standin.url}/repos/{name}/pulls/7"}
    standin.faults.append(Fault(f"GET /repos/{standin.full_name}/pulls/7$", 301, moved, "Moved Permanently"))
    standin.full_name = name
    standin.pulls[7]["base_more"] = {"repo": {"id": 1, "full_name": name}}


def test_a_repository_that_was_renamed_is_reviewed_under_its_new_name(standin: Standin) -> None:
    review = open_pull(standin, *BAD)
    rename(standin, "acme/store")

    assert run(review) == "posted"

    assert Repository.objects.get().full_name == "acme/store"
    assert [one for one in standin.requests if "acme/shop" in one] == ["GET /repos/acme/shop/pulls/7"]


def test_a_review_is_found_again_after_its_repository_was_renamed(standin: Standin) -> None:
    review = open_pull(standin, *BAD)
    before = rendering.marker(review)

    Repository.objects.update(full_name="acme/store")

    assert rendering.marker(PullRequestReview.objects.get()) == before


def test_a_write_that_has_moved_was_not_done(standin: Standin) -> None:
    standin.faults.append(Fault("POST .*", 307, {"Location": standin.url}, "Moved Permanently"))

    with pytest.raises(GitHubError, match="has moved") as raised:
        GitHubClient(standin.url, TOKEN).create_issue_comment(standin.full_name, 7, "text")

    with pytest.raises(posting._Refused):
        posting.told(lambda: (_ for _ in ()).throw(raised.value))


def test_a_redirect_to_another_host_says_what_to_correct(standin: Standin) -> None:
    standin.faults.append(Fault("GET .*", 301, {"Location": "http://elsewhere.example/user"}, "Moved Permanently"))

    with pytest.raises(GitHubRefused, match=r"to elsewhere\.example; correct the address of the API"):
        GitHubClient(standin.url, TOKEN).account()


def test_comments_that_come_too_quickly_wait_and_are_not_given_up(standin: Standin) -> None:
    review = open_pull(standin, *BAD)
    standin.faults.append(Fault("POST .*/reviews$", 422, message="Validation Failed: was submitted too quickly"))

    with pytest.raises(Throttled):
        run(review)
    OutsideLimit.objects.all().delete()  # the minute is over

    assert run(review) == "posted"
    assert len(standin.posted(7)[0]["comments"]) == 1


def test_a_review_that_is_asked_for_while_it_ends_in_silence_is_posted(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(open_pull(standin, *BAD))
    conclude = reviewing._conclude

    def asked_meanwhile(*args: Any) -> None:
        conclude(*args)
        requesting.request(PullRequest.objects.get(), Trigger.COMMAND, asked_by="grace")

    monkeypatch.setattr(reviewing, "_conclude", asked_meanwhile)
    review = push(standin, {"a.py": "fine\nBAD\nfine\n"})
    with pytest.raises(Snooze, match="somebody asked for it meanwhile"):
        run(review)
    monkeypatch.setattr(reviewing, "_conclude", conclude)

    assert run(review) == "posted"
    assert len(standin.posted(7)) == 2


def entered(standin: Standin) -> GitHubAccess:
    app = standin.add_app()
    app.install(77, standin.full_name)
    return GitHubAccess.objects.create(
        name="ours", api_url=standin.url, client_id=app.client_id, app_id=app.app_id, private_key=app.private_key
    )


def test_the_check_run_of_another_app_is_left_to_it(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    review = open_pull(standin, *BAD, access=entered(standin))
    client = client_for(review.repository)
    made = client.create_check_run(
        standin.full_name, name=check_runs.NAME, head_sha=review.head_sha, external_id=str(review.pk)
    )
    (theirs,) = client.check_runs(standin.full_name, review.head_sha, check_runs.NAME)
    monkeypatch.setattr(client, "check_runs", lambda *args: iter([replace(theirs, app_id=43)]))

    check_runs.begin(client, review)

    assert review.check_run_id not in (None, made)


def test_an_installation_that_comes_while_the_list_is_read_is_not_gone(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = entered(standin)
    listed = AppClient.installations

    def one_more(client: Any) -> Any:
        yield from listed(client)
        Installation.objects.create(access=access, github_id=99, account_login="late")

    monkeypatch.setattr(AppClient, "installations", one_more)
    access_checks._check(access)

    assert set(Installation.objects.filter(removed_at=None).values_list("github_id", flat=True)) == {77, 99}


def test_a_review_whose_job_was_retried_is_not_ended_by_the_sweep(standin: Standin) -> None:
    review = open_pull(standin, *BAD)

    assert pending_sweep._end(review) == 0
    review.refresh_from_db()
    assert review.status == ReviewStatus.PENDING


def test_a_repository_that_is_given_to_another_app_is_known_by_that_one(standin: Standin) -> None:
    first = Installation.objects.create(access=entered(standin), github_id=77, account_login="acme")
    app = standin.add_app("Iv1.second", slug="second", app_id=43)
    app.install(78, standin.full_name)
    access = GitHubAccess.objects.create(
        name="second", api_url=standin.url, client_id=app.client_id, private_key=app.private_key
    )
    repository = Repository.objects.create(full_name=standin.full_name, github_id=1, access=access, installation=first)

    assert client_for(repository).identity().login == "second[bot]"


def test_an_installation_that_github_names_is_there_again(standin: Standin) -> None:
    access = entered(standin)
    Installation.objects.create(access=access, github_id=77, account_login="acme", removed_at=Now())
    repository = Repository.objects.create(full_name=standin.full_name, github_id=1, access=access)

    assert client_for(repository).identity().login == "switchyard[bot]"
