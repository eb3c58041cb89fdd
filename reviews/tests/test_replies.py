"""Comments that speak to us: from GitHub's delivery to the one answer, and what the commands do."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from jobs.models import Effect, Job, State
from jobs.tests.in_process import run_all
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.models import (
    Delivery,
    Finding,
    FindingState,
    OutsideLimit,
    PullRequest,
    PullRequestReview,
    Reply,
    ReplyStatus,
    Repository,
    Told,
)
from reviews.services.markers import PREFIX
from reviews.services.throttle import Throttled
from reviews.standin.repositories import Repo
from reviews.standin.server import LOGIN, TOKEN, Fault, Standin, serving
from reviews.tasks import MAX_ATTEMPTS
from reviews.tests.payloads import SECRET, deliver

pytestmark = pytest.mark.django_db(transaction=True)

WRITER, READER, AUTHOR = "grace", "mallory", "ada"


@pytest.fixture
def standin(repo: Repo, settings: Any) -> Iterator[Standin]:
    with serving(repo) as standin:
        base = repo.commit({"cart.py": "V = 1\n"})
        head = repo.commit({"cart.py": "V = eval(input())\n"})
        standin.open_pull(7, base, head)
        standin.people = {WRITER: "write", READER: "read", AUTHOR: "read"}
        settings.GITHUB = {"WEBHOOK_SECRET": SECRET, "TOKEN": TOKEN, "API_URL": standin.url}
        yield standin


@pytest.fixture
def row(standin: Standin) -> PullRequest:
    repository = Repository.objects.create(full_name=standin.full_name, github_id=standin.repository_id)
    return PullRequest.objects.create(
        repository=repository, number=7, author=AUTHOR, head_sha=standin.pulls[7]["head"], state="open"
    )


@pytest.fixture
def finding(standin: Standin, row: PullRequest) -> Finding:
    """One that was posted as a comment on its line."""
    review = PullRequestReview.objects.create(
        repository=row.repository, pull_request=row, number=7, head_sha=row.head_sha, base_sha="b" * 40
    )
    thread = {"id": standin.new_id(), "state": "COMMENTED"}
    comment: dict[str, Any] = {
        "id": standin.new_id(),
        "number": 7,
        "review": thread,
        "path": "cart.py",
        "line": 1,
        "side": "RIGHT",
        "body": "**high** `S307`",
        "login": LOGIN,
        "app": None,
        "in_reply_to_id": None,
        "commit_id": row.head_sha,
        "hunk": "@@ -1 +1 @@\n-V = 1\n+V = eval(input())",
    }
    standin.comments.append(comment)
    return Finding.objects.create(
        review=review,
        path="cart.py",
        line=1,
        end_line=1,
        rule="S307",
        severity="high",
        message="Use of possibly insecure function",
        source_line="V = eval(input())",
        anchored=True,
        fingerprint="f" * 32,
        comment_id=comment["id"],
        state=FindingState.POSTED,
    )


def say(client: Client, standin: Standin, said: str, author: str = WRITER, **fields: Any) -> Any:
    """Comment on the pull request, and deliver it. fields: of the comment, as GitHub tells of it."""
    comment = standin.add_issue_comment(7, author, said)
    payload = {
        "action": "created",
        "issue": {"number": 7, "pull_request": {"url": standin.url}},
        "comment": {"id": comment["id"], "body": said, "user": {"login": author, "type": "User"}, **fields},
        "repository": {"id": standin.repository_id, "full_name": standin.full_name},
        "sender": {"login": author},
    }
    return deliver(client, payload, "issue_comment")


def say_in_thread(client: Client, standin: Standin, finding: Finding, body: str, author: str = WRITER) -> Any:
    assert finding.comment_id is not None
    comment = standin.add_reply(finding.comment_id, author, body)
    pull = standin.pulls[7]
    user = {"login": author, "type": "User"}
    payload = {
        "action": "created",
        "comment": {"id": comment["id"], "body": body, "user": user, "in_reply_to_id": finding.comment_id},
        "pull_request": {
            "number": 7,
            "title": "A change",
            "state": "open",
            "user": {"login": AUTHOR},
            "base": {"sha": pull["base"]},
            "head": {"sha": pull["head"]},
        },
        "repository": {"id": standin.repository_id, "full_name": standin.full_name},
        "sender": {"login": author},
    }
    return deliver(client, payload, "pull_request_review_comment")


def answers(standin: Standin) -> list[str]:
    return [one["body"] for one in (*standin.issue_comments, *standin.comments) if PREFIX in one["body"]]


def test_help_is_told_once_also_if_the_answer_was_lost(client: Client, standin: Standin, row: PullRequest) -> None:
    standin.faults = [Fault(r"POST .*issues/7/comments", cut="after")]

    say(client, standin, "@switchyard help", READER)
    run_all()
    Job.objects.exclude(state=State.SUCCEEDED).update(run_at="2020-01-01T00:00:00Z")
    run_all()

    (said,) = answers(standin)
    assert "full review" in said
    reply = Reply.objects.get()
    assert (reply.status, reply.command) == (ReplyStatus.DONE, "help")
    assert reply.answer_id == standin.issue_comments[-1]["id"]


def test_a_comment_delivered_twice_is_answered_once(client: Client, standin: Standin, row: PullRequest) -> None:
    say(client, standin, "/switchyard help")
    again = Delivery.objects.get()
    deliver(client, {**again.payload, "extra": 1}, "issue_comment")
    run_all()

    assert len(answers(standin)) == Reply.objects.count() == 1
    assert "taken in before" in Delivery.objects.order_by("-pk")[0].outcome


@pytest.mark.parametrize(
    "fields",
    [
        {"user": {"login": "dependabot[bot]", "type": "Bot"}},
        {"performed_via_github_app": {"id": 99}},
        {"body": f"@switchyard help {PREFIX}reply:0 -->"},
    ],
)
def test_bots_and_what_we_wrote_ourselves_are_never_answered(
    client: Client, standin: Standin, row: PullRequest, fields: dict[str, Any]
) -> None:
    answer = say(client, standin, "@switchyard help", **fields)

    assert answer.status_code == 202
    assert answer.json()["outcome"].startswith("ignored, because")
    assert not Reply.objects.exists()


def test_our_own_comment_by_a_plain_token_is_known_when_the_job_asks_who_we_are(
    client: Client, standin: Standin, row: PullRequest
) -> None:
    say(client, standin, "@switchyard help", LOGIN)
    run_all()

    assert (Reply.objects.get().status, answers(standin)) == (ReplyStatus.IGNORED, [])


def test_review_starts_one_at_the_present_head(client: Client, standin: Standin, row: PullRequest) -> None:
    PullRequest.objects.update(head_sha="0" * 40, paused_at="2026-01-01T00:00:00Z")

    say(client, standin, "@switchyard review")
    run_all()

    review = PullRequestReview.objects.get()
    assert (review.head_sha, review.trigger, review.asked_by) == (standin.pulls[7]["head"], "command", WRITER)
    assert len(answers(standin)) >= 1
    assert len(standin.posted(7)) == 1


def test_pause_keeps_pushes_unreviewed_until_resume(client: Client, standin: Standin, row: PullRequest) -> None:
    say(client, standin, "@switchyard pause")
    run_all()
    row.refresh_from_db()
    assert (row.paused_by, row.paused_at is not None) == (WRITER, True)

    say(client, standin, "@switchyard resume")
    run_all()
    row.refresh_from_db()
    assert row.paused_at is None
    assert len(answers(standin)) == 2


@pytest.mark.parametrize("command", ["full review", "pause"])
def test_who_may_not_write_may_not_command(client: Client, standin: Standin, row: PullRequest, command: str) -> None:
    say(client, standin, f"@switchyard {command}", READER)
    run_all()
    assert (Reply.objects.get().status, answers(standin)) == (ReplyStatus.IGNORED, [])

    say(client, standin, f"@switchyard {command}", AUTHOR)
    run_all()
    (said,) = answers(standin)
    assert "needs write access" in said
    row.refresh_from_db()
    assert (row.paused_at, PullRequestReview.objects.count()) == (None, 0)


def test_a_dismissed_finding_is_known_for_ever(client: Client, standin: Standin, finding: Finding) -> None:
    say_in_thread(client, standin, finding, "dismiss")
    run_all()

    finding.refresh_from_db()
    told = Told.objects.get()
    assert (finding.state, finding.closed_by) == (FindingState.DISMISSED, WRITER)
    assert (told.path, told.fingerprint, told.dismissed_by) == ("cart.py", finding.fingerprint, WRITER)
    assert told.dismissed_at is not None
    assert standin.state["resolved"] == [finding.comment_id]
    (said,) = answers(standin)
    assert "Dismissed" in said


def test_resolve_closes_all_that_is_open_and_tells_how_many(client: Client, standin: Standin, finding: Finding) -> None:
    say(client, standin, "@switchyard resolve")
    run_all()

    finding.refresh_from_db()
    assert (finding.state, finding.closed_by) == (FindingState.RESOLVED, WRITER)
    assert "1 finding marked" in answers(standin)[0]
    assert not Told.objects.filter(dismissed_at__isnull=False).exists()


def test_a_thread_that_github_does_not_fold_is_resolved_here_all_the_same(
    client: Client, standin: Standin, finding: Finding
) -> None:
    standin.faults = [Fault(r"POST /graphql", status=403, message="Resource not accessible")]

    say_in_thread(client, standin, finding, "resolve")
    run_all()

    finding.refresh_from_db()
    assert (finding.state, len(answers(standin))) == (FindingState.RESOLVED, 1)


@pytest.mark.parametrize("fault", [Fault(r"POST /graphql", status=502), Fault(r"POST /graphql", cut="before")])
def test_a_thread_whose_folding_failed_in_passing_is_folded_later(
    client: Client, standin: Standin, finding: Finding, fault: Fault
) -> None:
    standin.faults = [replace(fault)]

    say(client, standin, "@switchyard resolve")
    run_all()
    assert (answers(standin), standin.state.get("resolved", [])) == ([], [])
    run_again()

    assert (len(answers(standin)), standin.state["resolved"]) == (1, [finding.comment_id])


def test_a_thread_that_is_never_folded_costs_no_answer(client: Client, standin: Standin, finding: Finding) -> None:
    standin.faults = [Fault(r"POST /graphql", status=502, times=99)]

    say(client, standin, "@switchyard resolve")
    for _ in range(MAX_ATTEMPTS):
        run_again()

    assert "1 finding marked as resolved." in answers(standin)[0]
    assert Reply.objects.get().status == ReplyStatus.DONE


@pytest.mark.parametrize(
    ("kind", "raised"), [("RATE_LIMITED", Throttled), ("FORBIDDEN", GitHubRefused), ("", GitHubError)]
)
def test_what_github_answers_to_graphql_is_told_apart(
    standin: Standin, monkeypatch: pytest.MonkeyPatch, kind: str, raised: type[Exception]
) -> None:
    client = GitHubClient(standin.url, TOKEN)
    error = {"message": "no", **({"type": kind} if kind else {})}
    monkeypatch.setattr(client._transport, "post", lambda *args: {"data": None, "errors": [error]})

    with pytest.raises(raised, match="GitHub answered: no") as info:
        client.resolve_threads(standin.full_name, 7, {1})

    assert info.type is raised


def run_again() -> None:
    """Run what waits for a later attempt, and what that leads to."""
    OutsideLimit.objects.all().delete()
    Effect.objects.filter(done_at=None).update(deadline_at=Now())
    Job.objects.exclude(state=State.SUCCEEDED).update(run_at="2020-01-01T00:00:00Z")
    run_all()


def test_a_command_whose_answer_failed_is_answered_later_and_not_done_again(
    client: Client, standin: Standin, row: PullRequest
) -> None:
    standin.faults = [Fault(r"POST .*issues/7/comments", status=503)]

    say(client, standin, "@switchyard review")
    run_all()
    assert (PullRequestReview.objects.get().status, standin.issue_comments[1:]) == ("done", [])
    standin.people[WRITER] = "read"
    run_again()

    assert (PullRequestReview.objects.count(), len(standin.posted(7))) == (1, 1)
    (said,) = standin.issue_comments[1:]
    assert "I review what is new" in said["body"]
    assert Reply.objects.get().outcome.endswith(f"review {PullRequestReview.objects.get().pk} on fast_lane")


def test_what_a_command_did_is_told_as_it_was_after_its_answer_failed(
    client: Client, standin: Standin, finding: Finding
) -> None:
    standin.faults = [Fault(r"POST .*comments", status=502, times=2)]

    say_in_thread(client, standin, finding, "dismiss")
    say(client, standin, "@switchyard pause")
    run_all()
    assert answers(standin) == []
    run_again()

    paused, dismissed = answers(standin)
    assert ("start no review until" in paused, "Dismissed:" in dismissed) == (True, True)
    assert [*Reply.objects.order_by("pk").values_list("outcome", flat=True)] == [
        f"finding {finding.pk} dismissed",
        "paused",
    ]


def test_threads_are_folded_and_counted_also_where_github_asks_to_wait(
    client: Client, standin: Standin, finding: Finding
) -> None:
    standin.faults = [Fault(r"POST /graphql", status=403, headers={"Retry-After": "30"})]

    say(client, standin, "@switchyard resolve")
    run_all()
    finding.refresh_from_db()
    assert (finding.state, answers(standin), standin.state.get("resolved", [])) == (FindingState.RESOLVED, [], [])
    run_again()

    assert standin.state["resolved"] == [finding.comment_id]
    (said,) = answers(standin)
    assert "1 finding marked as resolved." in said


def test_a_thread_opened_again_before_the_answer_stays_open(client: Client, standin: Standin, finding: Finding) -> None:
    standin.faults = [Fault(r"POST .*comments", status=503)]

    say(client, standin, "@switchyard resolve")
    run_all()
    standin.state["resolved"].clear()
    run_again()

    assert (len(answers(standin)), standin.state["resolved"]) == (1, [])


def test_questions_are_answered_for_writers_and_the_author_alone_as_help_says(
    client: Client, standin: Standin, row: PullRequest
) -> None:
    say(client, standin, "@switchyard what is this about?", READER)
    run_all()
    assert (Reply.objects.get().status, answers(standin)) == (ReplyStatus.IGNORED, [])

    for author in (AUTHOR, WRITER):
        say(client, standin, "@switchyard what is this about?", author)
    say(client, standin, "@switchyard help", READER)
    run_all()
    *told, said = answers(standin)
    assert len(told) == 2
    assert "of people with write access\nand of this pull request's author" in said


def test_who_may_not_write_has_ten_answers_an_hour_also_when_several_are_answered_at_once(
    client: Client, standin: Standin, row: PullRequest
) -> None:
    made = [Reply(pull_request=row, kind="issue", comment_id=at, author=READER, body="help") for at in range(1, 11)]
    Reply.objects.bulk_create(made)
    Reply.objects.filter(comment_id__lt=9).update(status=ReplyStatus.DONE, finished_at=Now())
    Reply.objects.filter(comment_id=9).update(status=ReplyStatus.RUNNING)

    say(client, standin, "@switchyard help", READER)
    run_all()
    assert "had 10 answers within an hour" in Reply.objects.latest("pk").outcome

    Reply.objects.filter(comment_id__gt=8).update(created_at="2020-01-01T00:00:00Z")
    say(client, standin, "@switchyard help", READER)
    run_all()
    assert len(answers(standin)) == 1


def test_a_question_without_a_model_is_answered_by_what_is_known_and_in_its_thread(
    client: Client, standin: Standin, finding: Finding
) -> None:
    say_in_thread(client, standin, finding, "Why?")
    run_all()

    (said,) = answers(standin)
    assert "`S307`" in said
    assert "`V = eval(input())`" in said
    assert standin.comments[-1]["in_reply_to_id"] == finding.comment_id


def test_a_refused_answer_fails_visibly_and_one_that_github_postpones_costs_no_attempt(
    client: Client, standin: Standin, row: PullRequest
) -> None:
    standin.faults = [Fault(r"GET .*permission", status=429, headers={"Retry-After": "30"})]
    say(client, standin, "@switchyard pause")
    run_all()
    job = Job.objects.get(task="handle_pr_reply")
    assert (job.state, job.attempt) in ((State.SCHEDULED, 0), (State.SCHEDULED, 1))

    standin.tokens.clear()
    OutsideLimit.objects.all().delete()
    Job.objects.filter(pk=job.pk).update(run_at="2020-01-01T00:00:00Z")
    run_all()
    reply = Reply.objects.get()
    assert (reply.status, Job.objects.get(pk=job.pk).state) == (ReplyStatus.FAILED, State.FAILED)
    assert "token" in reply.outcome
