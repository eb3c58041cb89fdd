"""One pull request over several pushes: what is told, what is not told again, and when nothing is said."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from jobs import Snooze
from jobs.models import Job, State
from reviews.github.errors import GitHubError
from reviews.models import FindingState, GitHubAccess, PullRequest, PullRequestReview, Repository, ReviewStatus, Trigger
from reviews.services import posting, requesting, reviewing
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Fault, Standin, serving
from reviews.tests import canned
from reviews.tests.canned import ask, open_pull, push

pytestmark = pytest.mark.django_db(transaction=True)

PADDING = "".join(f"v{number}\n" for number in range(40))


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


def app_of(standin: Standin) -> GitHubAccess:
    app = standin.add_app()
    app.install(77, standin.full_name)
    keys = {"client_id": app.client_id, "app_id": app.app_id, "private_key": app.private_key}
    return GitHubAccess.objects.create(name="ours", api_url=standin.url, **keys)


def told(standin: Standin, index: int = -1) -> list[tuple[str, int]]:
    """Lines of the comments of a posted review."""
    posted = standin.posted(7)[index]["id"]
    return [(found["path"], found["line"]) for found in standin.comments if found["review"]["id"] == posted]


def test_after_a_push_only_what_is_new_is_told(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "BAD 1\n" + PADDING}))
    second = push(standin, {"a.py": "above\nBAD 1\n" + PADDING + "BAD 2\n"})

    run(second)

    assert (told(standin, 0), told(standin, 1)) == ([("a.py", 1)], [("a.py", 43)])
    assert "what was pushed since" in standin.posted(7)[1]["body"]
    assert "1 finding told or reviewed before" in standin.posted(7)[1]["body"]
    assert second.since_sha == standin.posted(7)[0]["commit_id"]
    assert second.findings.get(state=FindingState.KNOWN).message == "bad: BAD 1"


def test_a_push_with_nothing_new_is_silent_and_the_next_one_counts_from_it(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "BAD 1\n" + PADDING}))

    assert run(push(standin, {"a.py": "BAD 1\nfine\n" + PADDING})) == "nothing new, so nothing was posted"
    assert len(standin.posted(7)) == 1
    assert PullRequest.objects.get().reviewed_sha == standin.pulls[7]["head"]

    run(push(standin, {"a.py": "BAD 1\nfine\nBAD 3\n" + PADDING}))
    assert told(standin) == [("a.py", 3)]


def test_the_first_review_and_one_that_is_asked_for_are_posted_also_without_findings(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "fine\n" + PADDING}))
    run(ask(PullRequest.objects.get(), Trigger.COMMAND))

    assert [posted["body"].startswith("Nothing found") for posted in standin.posted(7)] == [True, True]


def test_a_finding_that_was_told_never_returns_also_in_a_full_review_of_a_rewritten_branch(standin: Standin) -> None:
    first = open_pull(standin, {"a.py": PADDING}, {"a.py": "BAD 1\n" + PADDING})
    run(first)
    standin.repo.git("reset", "-q", "--hard", first.base_sha)
    rewritten = push(standin, {"a.py": PADDING + "BAD 1\nBAD 2\n"})
    run(rewritten)

    assert told(standin) == [("a.py", 42)]
    assert "the branch was rewritten" in standin.posted(7)[1]["body"]

    run(ask(PullRequest.objects.get(), Trigger.COMMAND, full=True))
    assert told(standin) == []


def test_a_renamed_file_takes_what_was_told_of_it_along(standin: Standin) -> None:
    run(open_pull(standin, {"x": ""}, {"new.py": "BAD 1\n" + PADDING}))
    run(push(standin, {"new.py": None, "moved.py": "BAD 1\n" + PADDING}))
    run(push(standin, {"moved.py": None, "again.py": "BAD 1\nBAD 2\n" + PADDING}))

    assert [comment["path"] for comment in standin.comments] == ["new.py", "again.py"]
    assert told(standin) == [("again.py", 2)]


def test_what_the_budget_and_the_floor_leave_out_is_kept_and_counted(standin: Standin) -> None:
    bad = "".join(f"BAD {number}\n" for number in range(3)) + "BAD WORSE\n"
    review = open_pull(standin, {"a.py": PADDING}, {"a.py": PADDING + bad}, finding_budget=2)

    run(review)

    assert [line for _, line in told(standin)] == [44, 41]
    assert "; 2 left out beyond the budget of 2." in standin.posted(7)[0]["body"]
    assert (review.finding_count, review.findings.filter(state=FindingState.LEFT_OUT).count()) == (4, 2)
    shown = review.findings.get(line=44).hunk
    assert shown == "@@ +41,4 @@\n+BAD 0\n+BAD 1\n+BAD 2\n+BAD WORSE"


def test_what_is_left_out_by_the_floor_is_told_apart_from_what_the_budget_leaves_out(standin: Standin) -> None:
    bad = "BAD WORSE 1\nBAD WORSE 2\nBAD 3\n"
    fields: dict[str, Any] = {"finding_budget": 1, "severity_floor": "high"}

    run(open_pull(standin, {"a.py": PADDING}, {"a.py": PADDING + bad}, **fields))

    said = "; 1 left out beyond the budget of 1; 1 left out below the severity floor, high."
    assert said in standin.posted(7)[0]["body"]


@pytest.mark.parametrize(
    ("trigger", "full", "reason"),
    [
        (Trigger.COMMAND, False, "the head was reviewed before"),
        (Trigger.COMMAND, True, "a review of all of it was asked for"),
        (Trigger.PUSHED, True, "its base was changed"),
    ],
)
def test_a_head_that_was_reviewed_is_looked_at_whole_for_the_reason_that_is_told(
    standin: Standin, trigger: Trigger, *, full: bool, reason: str
) -> None:
    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "BAD 1\n" + PADDING}))

    asked = requesting.request(PullRequest.objects.get(), trigger, full=full, again=True)
    assert asked.review is not None
    run(asked.review)

    assert f"all of the change was looked at: {reason}." in standin.posted(7)[1]["body"]


def test_the_file_on_the_base_branch_is_heeded_and_the_one_in_the_change_is_not(standin: Standin) -> None:
    before = {"a.py": PADDING, ".switchyard.yml": "excluded_paths: [gen/]\nseverity_floor: high\n"}
    after = {
        "a.py": "BAD\nBAD WORSE\n" + PADDING,
        "gen/b.py": "BAD WORSE\n",
        ".switchyard.yml": "severity_floor: low\n",
    }
    review = open_pull(standin, before, after)

    run(review)

    assert told(standin) == [("a.py", 2)]
    assert "excluded by the settings: `gen/b.py`" in standin.posted(7)[0]["body"]
    assert review.config["source"].startswith(".switchyard.yml at ")


def test_errors_in_the_file_are_told_once_for_each_content(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": PADDING, ".switchyard.yml": "sevrity: low\n"}, {"a.py": "x\n" + PADDING}))
    run(push(standin, {"a.py": "y\n" + PADDING}))

    (comment,) = standin.issue_comments
    assert "unknown key 'sevrity'" in comment["body"]
    assert len(standin.posted(7)) == 1


def test_a_title_that_the_file_excludes_ends_the_review_unless_somebody_asked(standin: Standin) -> None:
    review = open_pull(standin, {"a.py": "", ".switchyard.yml": "excluded_titles: [change]\n"}, {"a.py": "x\n"})

    run(review)

    assert (review.status, "its title contains 'change'" in review.error) == (ReviewStatus.SUPERSEDED, True)
    assert standin.reviews == []
    run(ask(PullRequest.objects.get(), Trigger.OPERATOR))
    assert len(standin.posted(7)) == 1


def test_an_author_whom_the_file_excludes_no_more_is_reviewed(standin: Standin) -> None:
    excluding = {"a.py": "", ".switchyard.yml": "excluded_authors: [ada]\n"}
    review = open_pull(standin, excluding, {"a.py": "BAD 1\n"}, default_branch="main", access=app_of(standin))
    assert run(review) == "superseded: pull requests by ada are excluded"
    assert (standin.reviews, standin.check_runs) == ([], [])

    standin.pulls[7]["base"] = standin.repo.commit({".switchyard.yml": "severity_floor: low\n"})

    assert run(push(standin, {"a.py": "BAD 1\nBAD 2\n"})) == "posted"
    assert Repository.objects.get().file_settings == {"severity_floor": "low"}


def test_a_review_of_an_older_base_leaves_what_is_known_of_the_file_as_new_as_it_is(standin: Standin) -> None:
    old = standin.repo.commit({"a.py": "", ".switchyard.yml": "finding_budget: 1\n"})
    standin.repo.git("checkout", "-q", "-b", "topic")
    head = standin.repo.commit({"a.py": "BAD 1\nBAD 2\n"})
    standin.repo.git("checkout", "-q", "main")
    standin.repo.commit({".switchyard.yml": "finding_budget: 3\n"})
    standin.open_pull(7, old, head)
    fields = {"full_name": standin.full_name, "default_branch": "main", "file_settings": {"finding_budget": 3}}
    repository = Repository.objects.create(github_id=1, **fields)

    review = ask(PullRequest.objects.create(repository=repository, number=7, base_sha=old, head_sha=head))
    run(review)

    repository.refresh_from_db()
    assert (review.config["finding_budget"], repository.file_settings) == (1, {"finding_budget": 3})


def test_a_label_that_the_file_excludes_ends_the_review_also_when_it_is_given_meanwhile(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def labelled_meanwhile(*args: Any) -> Any:
        standin.pulls[7]["labels"] = ["wip"]
        return canned.find_bad(*args)

    canned.install(monkeypatch, labelled_meanwhile)
    review = open_pull(standin, {"a.py": "", ".switchyard.yml": "excluded_labels: [wip]\n"}, {"a.py": "BAD\n"})

    assert run(review) == "superseded: it has the label 'wip'"
    assert standin.reviews == []


def test_reviews_of_one_pull_request_run_one_after_the_other(standin: Standin) -> None:
    first = open_pull(standin, {"a.py": ""}, {"a.py": "x\n"})
    PullRequestReview.objects.update(status=ReviewStatus.RUNNING)
    running = {"state": State.RUNNING, "claim_id": uuid4(), "started_at": Now(), "worker": "w", "pid": 1}
    Job.objects.filter(pk=first.job_id).update(**running)
    second = push(standin, {"a.py": "y\n"})

    with pytest.raises(Snooze, match="has not come to its end"):
        reviewing.run(second.pk, last_attempt=False)

    Job.objects.filter(pk=first.job_id).update(state=State.SUCCEEDED, claim_id=None, finished_at=Now())
    assert run(second) == "posted"
    assert Job.objects.get(pk=first.job_id).cancel_requested_at is not None


def test_a_review_asked_for_without_knowing_the_head_takes_that_of_the_moment(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": ""}, {"a.py": "x\n"}))
    PullRequest.objects.update(head_sha="")

    review = ask(PullRequest.objects.get(), Trigger.OPERATOR)
    run(review)

    assert (review.head_sha, review.round) == (standin.pulls[7]["head"], 2)
    assert len(standin.posted(7)) == 2


def test_one_that_is_superseded_while_it_is_posted_leaves_nothing_at_github(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = open_pull(standin, {"a.py": ""}, {"a.py": "BAD\n"})
    create = posting.create

    def superseded_meanwhile(*args: Any) -> Any:
        made = create(*args)
        requesting.supersede(PullRequest.objects.get(), "it was closed")
        return made

    monkeypatch.setattr(posting, "create", superseded_meanwhile)

    assert run(review) == "superseded: it was closed"
    assert standin.reviews == []
    assert review.status == ReviewStatus.SUPERSEDED


def test_what_a_review_posted_before_it_was_cut_off_is_told_by_no_later_one(standin: Standin) -> None:
    first = open_pull(standin, {"a.py": PADDING}, {"a.py": "BAD 1\n" + PADDING})
    standin.faults.append(Fault("GET .*/reviews/[0-9]+/comments", 502))
    with pytest.raises(GitHubError):
        reviewing.run(first.pk, last_attempt=False)
    assert told(standin) == [("a.py", 1)]

    # The push comes before the next attempt, and ends the review.
    second = push(standin, {"a.py": "BAD 1\n" + PADDING + "BAD 2\n"})
    run(second)

    assert told(standin) == [("a.py", 42)]
    assert second.since_sha == first.head_sha
    first.refresh_from_db()
    finding = first.findings.get()
    assert (first.status, finding.state) == (ReviewStatus.DONE, FindingState.POSTED)
    assert finding.comment_id == standin.comments[0]["id"]


def test_a_review_that_stands_at_github_is_done_though_the_head_moved_on_since(standin: Standin) -> None:
    review = open_pull(standin, {"a.py": PADDING}, {"a.py": "BAD 1\n" + PADDING})
    standin.faults.append(Fault("GET .*/reviews/[0-9]+/comments", 502))
    with pytest.raises(GitHubError):
        reviewing.run(review.pk, last_attempt=False)
    standin.pulls[7]["head"] = standin.repo.commit({"a.py": "fine\n" + PADDING})

    assert run(review) == "posted"

    assert (review.status, len(standin.posted(7))) == (ReviewStatus.DONE, 1)
    assert PullRequest.objects.get().reviewed_sha == review.head_sha


def heard_of(head: str) -> PullRequestReview:
    """The review that the event of a push asks for."""
    PullRequest.objects.update(head_sha=head)
    return ask(PullRequest.objects.get(), Trigger.PUSHED)


def test_pushes_that_are_told_of_in_the_wrong_order_end_with_the_review_of_the_last(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "fine\n" + PADDING}))
    older, newer = (standin.repo.commit({"a.py": f"BAD {number}\n" + PADDING}) for number in (1, 2))
    standin.pulls[7]["head"] = newer
    heard_of(newer)
    late = heard_of(older)

    assert "the head moved on" in run(late)

    again = PullRequestReview.objects.get(status=ReviewStatus.PENDING)
    run(again)
    assert (again.head_sha, told(standin)) == (newer, [("a.py", 1)])


def test_what_was_asked_for_before_a_push_is_given_at_the_new_head(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "fine\n" + PADDING}))
    requesting.request(PullRequest.objects.get(), Trigger.COMMAND, asked_by="grace", full=True)

    review = push(standin, {"a.py": "fine\nfiner\n" + PADDING})

    assert (review.trigger, review.asked_by, review.full) == (Trigger.COMMAND, "grace", True)
    run(review)
    assert len(standin.posted(7)) == 2


def test_a_review_that_is_asked_for_while_others_are_paused_follows_a_push(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pushed_meanwhile(*args: Any) -> Any:
        standin.pulls[7]["head"] = standin.repo.commit({"a.py": "BAD 1\n" + PADDING})
        canned.install(monkeypatch)
        return canned.find_bad(*args)

    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "fine\n" + PADDING}))
    PullRequest.objects.update(paused_at=Now(), paused_by="ada")
    canned.install(monkeypatch, pushed_meanwhile)

    assert "the head moved on" in run(ask(PullRequest.objects.get(), Trigger.COMMAND))

    review = PullRequestReview.objects.get(status=ReviewStatus.PENDING)
    assert review.trigger == Trigger.COMMAND
    run(review)
    assert told(standin) == [("a.py", 1)]


EARLIER, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z"


def test_a_head_that_github_does_not_show_yet_is_waited_for(standin: Standin) -> None:
    run(open_pull(standin, {"a.py": PADDING}, {"a.py": "fine\n" + PADDING}))
    before = standin.pulls[7]["head"]
    review = push(standin, {"a.py": "BAD 1\n" + PADDING})
    after = standin.pulls[7]["head"]
    row = PullRequest.objects.get()
    row.changed_at = LATER
    row.save()
    standin.pulls[7] |= {"head": before, "updated_at": EARLIER}

    with pytest.raises(Snooze, match="does not show the head"):
        run(review)

    standin.pulls[7] |= {"head": after, "updated_at": LATER}
    run(review)
    assert (review.status, told(standin)) == (ReviewStatus.DONE, [("a.py", 1)])


def test_an_answer_of_github_does_not_undo_what_an_event_told_meanwhile(standin: Standin) -> None:
    review = open_pull(standin, {"a.py": PADDING}, {"a.py": "fine\n" + PADDING})
    standin.pulls[7]["updated_at"] = EARLIER
    row = PullRequest.objects.get()
    row.changed_at, row.state = LATER, "closed"
    row.save()

    assert run(review) == "superseded: the pull request is closed"
    row.refresh_from_db()
    assert row.state == "closed"


def test_pushes_to_what_the_file_excludes_leave_one_review_that_tells_why(standin: Standin) -> None:
    excluding = {"a.py": "", ".switchyard.yml": "excluded_titles: [change]\n"}
    run(open_pull(standin, excluding, {"a.py": "1\n"}))
    for number in range(2):
        run(push(standin, {"a.py": f"{number}\n\n"}))

    (review,) = PullRequestReview.objects.all()
    assert (review.head_sha, review.status) == (standin.pulls[7]["head"], ReviewStatus.SUPERSEDED)
    assert "its title contains 'change'" in review.error
