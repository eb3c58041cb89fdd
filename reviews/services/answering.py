"""What we answer to a comment that speaks to us, and what we do when it asks for something; posted once."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from jobs import effects
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.models import CommentKind, Finding, Reply, ReplyStatus, Trigger
from reviews.services import dismissing, posting, pull_requests, rendering, requesting
from reviews.services.addressing import NAME, Addressed, Command
from reviews.services.markers import marker

MAX_ANSWER = 8_000
#: To somebody who may not write to the repository: each costs one of our writes at GitHub, which are few, or a model's.
MAX_ANSWERS_AN_HOUR = 10
SERVER_ERROR = 500

HELP = f"""I review this pull request. Write one of these in a comment that begins with `/{NAME}` or names me:

| command | |
| --- | --- |
| `review` | review what is new since the last review |
| `full review` | review the whole change again |
| `pause`, `resume` | no reviews of new pushes, and reviews again |
| `resolve` | mark my open findings, or in a thread the one there, as resolved |
| `dismiss` | in the thread of a finding: it is none, and I do not tell it again |
| `help` | this |

Commands need write access to the repository. Anything else is a question; I answer those of people with write access
and of this pull request's author, where a language model is set.
"""

#: (what became of it, in words)
Ended = tuple[ReplyStatus, str]


@dataclass(frozen=True)
class Result:
    """What a command did. text: to answer with; outcome: in words; threads: first comments of those yet to fold."""

    text: str
    outcome: str
    threads: tuple[int, ...] = ()


def answer(client: GitHubClient, reply: Reply, asked: Addressed, *, last_attempt: bool = True) -> Ended:
    """Do what a comment asks for, once, and tell its author. last_attempt: whether no other follows an error.

    Raises GitHubError.
    """
    if reply.result is not None:
        return _tell(client, reply, Result(**reply.result), last_attempt=last_attempt)
    may_write = client.may_write(reply.pull_request.repository.full_name, reply.author)
    if not may_write and _answered_lately(reply) >= MAX_ANSWERS_AN_HOUR:
        return ReplyStatus.IGNORED, f"ignored, because {reply.author} had {MAX_ANSWERS_AN_HOUR} answers within an hour"
    if asked.command == Command.HELP:
        return _say(client, reply, HELP, "told what can be asked for")
    if not may_write:
        # A question may cost money, so not everybody who can see the repository is answered.
        if reply.author.lower() != reply.pull_request.author.lower():
            return ReplyStatus.IGNORED, f"ignored, because {reply.author} may not write to the repository"
        if asked.command is not None:
            text = f"{rendering.code(str(asked.command))} needs write access to this repository."
            return _say(client, reply, text, f"refused, because {reply.author} may not write to the repository")
    if asked.command is None:
        return _question(client, reply, asked.text)
    if asked.command in _OF_PRESENT_HEAD:
        row = reply.pull_request
        pull_requests.refresh(row, client.pull(row.repository.full_name, row.number))
    return _tell(client, reply, _do(reply, asked.command), last_attempt=last_attempt)


def _do(reply: Reply, command: Command) -> Result:
    """Do it and store what it did in one transaction; where an earlier attempt did it, only say what that was."""
    with transaction.atomic():
        row = Reply.objects.select_for_update().get(pk=reply.pk)
        if row.result is None:
            row.result = asdict(_COMMANDS[command](reply))
            row.save(update_fields=["result"])
    return Result(**row.result)


def _tell(client: GitHubClient, reply: Reply, result: Result, *, last_attempt: bool) -> Ended:
    """Do at GitHub what a command left to do there, and answer."""
    if result.threads:
        _fold(client, reply, set(result.threads), last_attempt=last_attempt)
        # Should the answer fail now, a later attempt does not fold what somebody has opened again meanwhile.
        Reply.objects.filter(pk=reply.pk).update(result=asdict(replace(result, threads=())))
    return _say(client, reply, result.text, result.outcome)


def _answered_lately(reply: Reply) -> int:
    """How many comments of the same author we answered in the repository within an hour, or may be about to."""
    same = Reply.objects.filter(pull_request__repository=reply.pull_request.repository, author__iexact=reply.author)
    since = Now() - timedelta(hours=1)
    answered = Q(status=ReplyStatus.DONE, finished_at__gt=since)
    # Several workers answer at once: of the comments that are not done with, those that came before this one count.
    unfinished = (ReplyStatus.PENDING, ReplyStatus.RUNNING)
    before = Q(status__in=unfinished, pk__lt=reply.pk, created_at__gt=since)
    return same.exclude(pk=reply.pk).filter(answered | before).count()


def _review(reply: Reply, *, full: bool = False) -> Result:
    requested = requesting.request(reply.pull_request, Trigger.COMMAND, asked_by=reply.author, full=full)
    if requested.review is None:
        return Result(f"No review was started, because {rendering.plain(requested.reason)}.", requested.reason)
    what = "the whole change" if full else "what is new"
    return Result(f"I review {what} at {rendering.code(requested.review.head_sha[:12])}.", requested.reason)


def _full_review(reply: Reply) -> Result:
    return _review(reply, full=True)


def _pause(reply: Reply) -> Result:
    if pull_requests.pause(reply.pull_request, reply.author):
        return Result("Pushes to this pull request start no review until somebody says `resume`.", "paused")
    return Result("Reviews of this pull request are paused already.", "paused before")


def _resume(reply: Reply) -> Result:
    if pull_requests.resume(reply.pull_request):
        return Result("Pushes to this pull request are reviewed again; `review` reviews it now.", "resumed")
    return Result("Reviews of this pull request are not paused.", "not paused")


def _resolve(reply: Reply) -> Result:
    if reply.finding is not None:
        try:
            found = [dismissing.resolve(reply.finding.pk, by=reply.author)]
        except dismissing.FindingNotChanged as exc:
            return Result(rendering.plain(str(exc)) + ".", str(exc))
    else:
        found = dismissing.resolve_all(reply.pull_request, reply.author)
    count = len(found)
    text = f"{count} finding{'' if count == 1 else 's'} marked as resolved."
    return Result(text, f"{count} resolved", _threads_of(found))


def _dismiss(reply: Reply) -> Result:
    if reply.finding is None:
        return Result("Write `dismiss` in the thread of the finding that is none.", "no finding was meant")
    try:
        finding = dismissing.dismiss(reply.finding.pk, by=reply.author)
    except dismissing.FindingNotChanged as exc:
        return Result(rendering.plain(str(exc)) + ".", str(exc))
    text = "Dismissed: I do not tell this again on this pull request."
    return Result(text, f"finding {finding.pk} dismissed", _threads_of([finding]))


def _threads_of(findings: Iterable[Finding]) -> tuple[int, ...]:
    return tuple({finding.comment_id for finding in findings if finding.comment_id is not None})


#: Each runs in a transaction, so none of them asks GitHub.
_COMMANDS: dict[Command, Callable[[Reply], Result]] = {
    Command.REVIEW: _review,
    Command.FULL_REVIEW: _full_review,
    Command.PAUSE: _pause,
    Command.RESUME: _resume,
    Command.RESOLVE: _resolve,
    Command.DISMISS: _dismiss,
}
_OF_PRESENT_HEAD = (Command.REVIEW, Command.FULL_REVIEW)


def _fold(client: GitHubClient, reply: Reply, threads: set[int], *, last_attempt: bool) -> None:
    """What is noted here counts; that GitHub folds the thread as well is a courtesy, which some tokens may not."""
    row = reply.pull_request
    try:
        client.resolve_threads(row.repository.full_name, row.number, threads)
    except GitHubError as exc:
        passes = not last_attempt and (not exc.status or exc.status >= SERVER_ERROR)
        if exc.retry_after_seconds is not None or (passes and not isinstance(exc, GitHubRefused)):
            raise


def _question(client: GitHubClient, reply: Reply, text: str) -> Ended:
    from reviews.services import conversing

    said, outcome = conversing.answer_to(client, reply, text)
    return _say(client, reply, said, outcome)


def _say(client: GitHubClient, reply: Reply, text: str, outcome: str) -> Ended:
    """Post the answer, once: in its thread, or on the pull request."""
    body = f"{rendering.mask(text[:MAX_ANSWER])}\n\n{_marker(reply)}"
    receipt = posting.refusals(
        lambda: effects.once(
            f"reply:{reply.pk}:answer",
            lambda attempt: _post(client, reply, body, attempt),
            kind="reply",
            target=f"repository {reply.pull_request.repository_id}, pull request {reply.pull_request.number}",
            look_up=lambda identity: _posted_before(client, reply),
        )
    )
    Reply.objects.filter(pk=reply.pk).update(answer=text, answer_id=receipt["id"])
    return ReplyStatus.DONE, outcome


def _marker(reply: Reply) -> str:
    return marker("reply", f"{reply.pull_request.repository_id}:{reply.kind}:{reply.comment_id}")


def _post(client: GitHubClient, reply: Reply, body: str, attempt: effects.Try) -> dict[str, Any]:
    row, thread_id = reply.pull_request, reply.thread_id
    attempt.check()
    if reply.kind == CommentKind.REVIEW and thread_id is not None:
        return {"id": posting.told(lambda: client.reply(row.repository.full_name, row.number, thread_id, body))}
    return {"id": posting.told(lambda: client.create_issue_comment(row.repository.full_name, row.number, body))}


def _posted_before(client: GitHubClient, reply: Reply) -> dict[str, Any] | None:
    row, mark = reply.pull_request, _marker(reply)
    if reply.kind == CommentKind.REVIEW and reply.thread_id is not None:
        bodies = ((one.id, one.body) for one in client.thread(row.repository.full_name, row.number, reply.thread_id))
    else:
        bodies = ((one.id, one.body) for one in client.issue_comments(row.repository.full_name, row.number))
    return next(({"id": number} for number, body in bodies if mark in body), None)
