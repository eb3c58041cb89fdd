"""Reviews of pull requests at a stand-in for GitHub, service by service, without a worker."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reviews import github_source
from reviews.changes import ContentUnavailable
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError
from reviews.models import FindingState, PullRequestReview, Repository, ReviewStatus
from reviews.services import rendering, review_text, reviewing
from reviews.services.throttle import Throttled
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Fault, Standin, serving

pytestmark = pytest.mark.django_db(transaction=True)  # effects are written on a connection of their own

PADDING = "".join(f"V{number} = {number}\n" for number in range(40))


@pytest.fixture
def standin(repo: Repo, settings: Any) -> Iterator[Standin]:
    with serving(repo) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": TOKEN, "API_URL": standin.url}
        yield standin


def pull_request(standin: Standin, before: Any, after: Any, number: int = 7) -> PullRequestReview:
    """Open a pull request that makes `after` of `before`, and store the review that a delivery would ask for."""
    base = standin.repo.commit(before)
    head = standin.repo.commit(after)
    standin.open_pull(number, base, head)
    repository, _ = Repository.objects.get_or_create(github_id=1, full_name="acme/shop", index_enabled=False)
    return PullRequestReview.objects.create(repository=repository, number=number, base_sha=base, head_sha=head)


def test_one_review_with_a_comment_on_the_changed_line_is_posted(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": PADDING, "b.md": ""}, {"a.py": PADDING + "eval(input())\n", "b.md": "x\n"})

    reviewing.run(review.pk, last_attempt=True)

    (posted,) = standin.posted(7)
    (comment,) = posted["comments"]
    assert (comment["path"], comment["line"], comment["side"]) == ("a.py", 41, "RIGHT")
    assert "S307" in comment["body"]
    assert rendering.marker(review) in posted["body"]
    assert "Read 1 of 2 files" in posted["body"]
    assert "`b.md`" in posted["body"]
    assert posted["commit_id"] == review.head_sha
    review.refresh_from_db()
    assert (review.status, review.finding_count, review.github_review_id) == (ReviewStatus.DONE, 1, posted["id"])
    assert review.findings.get().anchored


def test_a_finding_over_several_lines_is_anchored_to_all_of_them(standin: Standin) -> None:
    added = "eval(\n    input(),\n)\n"
    review = pull_request(standin, {"a.py": PADDING}, {"a.py": PADDING + added})

    reviewing.run(review.pk, last_attempt=True)

    (comment,) = standin.posted(7)[0]["comments"]
    assert (comment["start_line"], comment["start_side"], comment["line"]) == (41, "RIGHT", 43)


def test_the_ten_most_severe_are_posted_and_the_others_counted(standin: Standin) -> None:
    added = "".join(f"import module{number}\n" for number in range(12)) + "eval(input())\n"
    review = pull_request(standin, {"a.py": PADDING}, {"a.py": PADDING + added})

    reviewing.run(review.pk, last_attempt=True)

    (posted,) = standin.posted(7)
    assert len(posted["comments"]) == 10
    assert "S307" in posted["comments"][0]["body"]
    assert "; 3 left out beyond the budget of 10." in posted["body"]
    review.refresh_from_db()
    assert (review.finding_count, review.findings.filter(state=FindingState.POSTED).count()) == (13, 10)
    assert review.findings.filter(state=FindingState.LEFT_OUT).count() == 3


def test_a_clean_change_gets_one_short_review(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n"})

    reviewing.run(review.pk, last_attempt=True)

    assert standin.posted(7)[0]["body"].startswith("Nothing found")
    assert standin.posted(7)[0]["comments"] == []


def test_deleted_renamed_odd_and_huge_files_are_followed(standin: Standin) -> None:
    loads = "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"
    large, huge = PADDING * (1_000_000 // len(PADDING)), PADDING * 10_000
    before = {
        "gone.py": loads,
        "old.py": loads + PADDING,
        "ünï code.py": b"# coding: latin-1\nX = '\xe9'\n",
        "huge.py": huge,
    }
    after = {
        "gone.py": None,
        "old.py": None,
        "new.py": loads + PADDING + "eval(input())\n",
        "ünï code.py": b"# coding: latin-1\nX = '\xe9'\nY = eval('\xe8')\n",
        "huge.py": huge.replace("V7 = 7", "V7 = 8"),
        "added_large.py": large + "exec(input())\n",
        "added_huge.py": huge + "exec(input())\n",
    }
    review = pull_request(standin, before, after)

    reviewing.run(review.pk, last_attempt=True)

    (posted,) = standin.posted(7)
    assert sorted((c["path"], c["line"]) for c in posted["comments"]) == [("new.py", 46), ("ünï code.py", 3)]
    assert (
        f"added_large.py:{large.count(chr(10)) + 1}" in posted["body"]
    )  # GitHub shows no diff of it, so its finding is in the text
    assert re.search(r"Not read, [^\n]*bytes[^\n]*`added_huge.py`", posted["body"])


def test_a_head_that_moved_on_is_not_reviewed(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "eval(input())\n"})
    standin.pulls[7]["head"] = standin.repo.commit({"a.py": "A = 2\n"})

    reviewing.run(review.pk, last_attempt=True)

    review.refresh_from_db()
    assert review.status == ReviewStatus.SUPERSEDED
    assert "the head moved on" in review.error
    assert standin.reviews == []


def test_a_head_that_moves_on_during_the_review_is_not_posted(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "eval(input())\n"})
    keep = reviewing._keep

    def push_meanwhile(*arguments: Any) -> None:
        keep(*arguments)
        standin.pulls[7]["head"] = standin.repo.commit({"a.py": "A = 2\n"})

    monkeypatch.setattr(reviewing, "_keep", push_meanwhile)
    reviewing.run(review.pk, last_attempt=True)

    review.refresh_from_db()
    assert review.status == ReviewStatus.SUPERSEDED
    assert standin.reviews == []


@pytest.mark.parametrize("request_", [r"POST .*/reviews$", r"POST .*/events$"])
def test_a_review_whose_answer_was_lost_is_found_and_not_posted_again(standin: Standin, request_: str) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "eval(input())\n"})
    standin.faults.append(Fault(request_, cut="after"))

    reviewing.run(review.pk, last_attempt=False)

    review.refresh_from_db()
    assert len(standin.posted(7)) == len(standin.reviews) == 1
    assert (review.status, review.github_review_id) == (ReviewStatus.DONE, standin.posted(7)[0]["id"])


def test_a_review_left_pending_is_submitted(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "eval(input())\n"})
    body = f"left\n{rendering.marker(review)}"
    GitHubClient(standin.url, TOKEN).create_pending_review(
        "acme/shop", 7, head_sha=review.head_sha, body=body, comments=[]
    )

    reviewing.run(review.pk, last_attempt=True)

    assert [posted["body"] for posted in standin.posted(7)] == [body]


def test_a_review_that_was_posted_is_not_run_again(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n"})
    reviewing.run(review.pk, last_attempt=True)
    before = len(standin.requests)

    assert reviewing.run(review.pk, last_attempt=True)["outcome"] == "posted before"
    assert len(standin.requests) == before


def test_a_marker_that_somebody_else_wrote_does_not_silence_the_review(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n"})
    forged = f"<!-- switchyard:review:{review.head_sha[:12]}:{'0' * 32} -->"
    GitHubClient(standin.url, TOKEN).create_review("acme/shop", 7, head_sha=review.head_sha, body=forged, comments=[])

    reviewing.run(review.pk, last_attempt=True)

    assert len(standin.posted(7)) == 2


def test_comments_that_github_does_not_take_are_told_in_the_text(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = pull_request(standin, {"a.py": PADDING}, {"a.py": PADDING + "eval(input())\n"})
    wrong = {"path": "a.py", "line": 1, "side": "RIGHT", "body": "x"}
    monkeypatch.setattr(review_text, "comment", lambda finding, file, mask: wrong)

    reviewing.run(review.pk, last_attempt=True)

    (posted,) = standin.posted(7)
    assert posted["comments"] == []
    assert "a.py:41" in posted["body"]


@pytest.mark.parametrize(
    ("fault", "said", "wait"),
    [
        (Fault("GET", 500), "GitHub answered 500", None),
        (Fault("GET", 502, message="<html>"), "GitHub answered 502", None),
        (Fault("GET", 401, message="Bad credentials"), "set GITHUB_TOKEN", None),
        (Fault("GET", 404, message="Not Found"), "may not see it", None),
        (Fault("GET", 403, message="Resource not accessible"), "write access to pull requests", None),
        (Fault("GET", 429, {"Retry-After": "7"}), "GitHub answered 429", 7),
        (Fault("GET", 403, {"Retry-After": "90"}, "You have exceeded a secondary rate limit"), "403", 90),
        (Fault("GET", 403, {}, "You have exceeded a secondary rate limit"), "403", 60),
        (Fault("GET", 403, {"X-RateLimit-Remaining": "0"}, "Quota exhausted"), "403", 60),
        (Fault("GET", 503, {"Retry-After": "999999"}), "503", 3600),
        (Fault("GET", cut="before"), "cannot be reached (RemoteDisconnected)", None),
    ],
)
def test_what_github_refuses_is_told_with_what_to_do(
    standin: Standin, fault: Fault, said: str, wait: int | None
) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n"})
    standin.faults.append(replace(fault))

    with pytest.raises((GitHubError, Throttled), match=re.escape(said)) as raised:
        reviewing.run(review.pk, last_attempt=True)

    review.refresh_from_db()
    assert getattr(raised.value, "seconds", None) == wait
    assert review.status == (ReviewStatus.FAILED if wait is None else ReviewStatus.PENDING)
    assert said in review.error
    assert TOKEN not in review.error
    assert len(standin.asked("GET")) == 1  # the ledger retries, not the client


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault("GET", 404, message="Not Found"), ReviewStatus.FAILED),
        (Fault("GET", 403, message="Resource not accessible"), ReviewStatus.FAILED),
        (Fault("GET", 403, {"Retry-After": "9"}), ReviewStatus.PENDING),
        (Fault("GET", 429), ReviewStatus.PENDING),
        (Fault("GET", 500), ReviewStatus.PENDING),
        (Fault("GET", cut="before"), ReviewStatus.PENDING),
    ],
)
def test_a_review_waits_for_its_next_attempt_only_where_that_may_help(
    standin: Standin, fault: Fault, status: ReviewStatus
) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n"})
    standin.faults.append(replace(fault))

    with pytest.raises((GitHubError, Throttled)):
        reviewing.run(review.pk, last_attempt=False)

    review.refresh_from_db()
    assert review.status == status


def test_without_a_token_the_review_says_so(standin: Standin, settings: Any) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n"})
    settings.GITHUB = {**settings.GITHUB, "TOKEN": ""}

    with pytest.raises(GitHubError, match="set GITHUB_TOKEN"):
        reviewing.run(review.pk, last_attempt=True)


def test_several_pages_of_files_are_read(standin: Standin) -> None:
    review = pull_request(
        standin, {"a.py": ""}, {f"d/f{number}.txt": "x" for number in range(230)} | {"a.py": "A = 1\n"}
    )

    reviewing.run(review.pk, last_attempt=True)

    assert "Read 1 of 231 files" in standin.posted(7)[0]["body"]


@pytest.mark.parametrize("name", ["../../user", "acme", "acme/shop/pulls", "acme/sh op", "acme/..", ""])
def test_a_name_that_is_no_repository_leads_nowhere(standin: Standin, name: str) -> None:
    with pytest.raises(GitHubError, match="owner/name"):
        GitHubClient(standin.url, TOKEN).pull(name, 7)
    assert standin.requests == []


def test_a_blob_that_is_gone_is_unavailable(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.faults.append(Fault("blobs", 404, message="Not Found"))

    with pytest.raises(ContentUnavailable, match="404"):
        GitHubClient(standin.url, TOKEN).blob("acme/shop", "a" * 40)


@pytest.mark.parametrize(("status", "is_missing"), [(404, True), (403, False)])
def test_a_file_that_is_not_shown_is_not_taken_for_a_missing_one(
    standin: Standin, status: int, is_missing: bool
) -> None:
    standin.faults.append(Fault("contents", status, message="Resource not accessible by integration"))

    with pytest.raises(ContentUnavailable, match=str(status)) as raised:
        GitHubClient(standin.url, TOKEN).file_at("acme/shop", ".switchyard.yml", "a" * 40)
    assert raised.value.is_missing is is_missing


def test_what_a_file_cannot_be_read_for_is_in_the_review(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n", "b.py": "B = 1\n"})
    standin.faults.append(Fault("blobs", 403, message="This blob is too large"))

    reviewing.run(review.pk, last_attempt=True)

    assert "does not give its content" in standin.posted(7)[0]["body"]
    assert "Read 1 of 2 files" in standin.posted(7)[0]["body"]


def test_what_there_was_no_time_to_fetch_is_named(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_source, "HEAD_SECONDS", -1)
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": "A = 2\n"})

    reviewing.run(review.pk, last_attempt=True)

    assert "were used up: `a.py`" in standin.posted(7)[0]["body"]


@pytest.mark.parametrize(
    "text", ["@everyone", "fixes #1", "<img src=x>", "[a](https://evil.example)", "`", "a `b", "| x |", "acme/shop#3"]
)
def test_text_from_outside_is_inert_in_markdown(text: str) -> None:
    shown = rendering.plain(text)

    for dangerous in ("@e", "#1", "#3", "<img", "](", "https://"):
        assert dangerous not in shown


def test_our_own_secrets_are_masked(standin: Standin) -> None:
    review = pull_request(standin, {"a.py": "A = 1\n"}, {"a.py": f"password = '{TOKEN}'\n"})

    reviewing.run(review.pk, last_attempt=True)

    posted = standin.posted(7)[0]
    assert posted["comments"]
    assert TOKEN not in str(posted)
    assert base64.b64encode(TOKEN.encode()).decode() not in str(posted)
