"""What ends or postpones a job is not taken for a failure of what the job does."""

from typing import Any

import pytest
from celery.exceptions import Reject, SoftTimeLimitExceeded

from jobs import Snooze
from jobs.ledger.errors import JobMovedOn
from reviews import tasks
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.models import CommentKind, Issue, PullRequest, Reply, ReplyStatus, Repository
from reviews.services import issue_corpus, issue_importing, label_posting, replying

pytestmark = pytest.mark.django_db


def raising(exc: Exception) -> Any:
    def raise_it(*args: Any, **kwargs: Any) -> Any:
        raise exc

    return raise_it


@pytest.mark.parametrize("exc", [SoftTimeLimitExceeded(), JobMovedOn("elsewhere"), Snooze(5)])
def test_an_interruption_passes_through_what_does_without_the_search(
    exc: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = Issue.objects.create(title="Login fails")
    monkeypatch.setattr(issue_corpus, "_corpus", raising(exc))

    with pytest.raises(type(exc)):
        issue_corpus.keep(issue, "Login fails")

    monkeypatch.setattr(issue_corpus, "_corpus", raising(RuntimeError("no disk")))
    issue_corpus.keep(issue, "Login fails")


def test_a_reply_that_another_run_has_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository.objects.create(full_name="acme/shop")
    row = PullRequest.objects.create(repository=repository, number=7)
    reply = Reply.objects.create(pull_request=row, kind=CommentKind.ISSUE, comment_id=1, author="ada", body="help")
    monkeypatch.setattr(replying, "_handle", raising(JobMovedOn("elsewhere")))

    with pytest.raises(JobMovedOn):
        replying.handle(reply.pk)

    reply.refresh_from_db()
    assert (reply.status, reply.finished_at) == (ReplyStatus.RUNNING, None)


@pytest.mark.parametrize(
    ("module", "name", "task"),
    [
        (label_posting, "apply", tasks.apply_issue_labels),
        (issue_importing, "run", tasks.import_issues),
        (replying, "handle", tasks.handle_pr_reply),
    ],
)
def test_a_wait_that_github_asks_for_postpones_and_a_refusal_fails_at_once(
    module: Any, name: str, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, raising(GitHubError("slow down", 429, retry_after_seconds=30)))
    with pytest.raises(Snooze) as postponed:
        task.run(1)
    assert postponed.value.seconds == 30

    monkeypatch.setattr(module, name, raising(GitHubRefused("no such token", 401)))
    with pytest.raises(Reject):
        task.run(1)

    monkeypatch.setattr(module, name, raising(GitHubError("away", 502)))
    with pytest.raises(GitHubError, match="away"):
        task.run(1)
