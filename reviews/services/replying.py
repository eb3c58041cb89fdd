"""Comments that speak to us: taken in by the webhook, answered or obeyed by a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now

from jobs.ledger.errors import JobCancelled, JobMovedOn, Snooze
from reviews.github.errors import GitHubRefused
from reviews.models import CommentKind, Finding, PullRequest, Reply, ReplyStatus
from reviews.services import event_fields
from reviews.services.addressing import NAME, Addressed, addressed
from reviews.services.events_outcome import Outcome, ignored
from reviews.services.markers import is_marked
from reviews.services.payloads import clean_text

MAX_BODY = 65_536
LARGEST_ID = 2**63 - 1


class ReplyMissing(LookupError):
    """No comment of that id is stored."""


@dataclass(frozen=True)
class CommentFields:
    """What a payload tells of a comment. thread_id: the first comment of its thread, where it is an answer."""

    comment_id: int
    thread_id: int | None
    author: str
    author_is_bot: bool
    app_id: int | None
    body: str


def comment_fields(payload: Mapping[str, Any]) -> CommentFields:
    """Raises FieldMissing."""
    thread, app = (event_fields.field(payload, f"comment.{name}", None) for name in _IDS)
    return CommentFields(
        comment_id=event_fields.number(payload, "comment.id"),
        thread_id=thread if type(thread) is int and 0 < thread <= LARGEST_ID else None,
        author=event_fields.short(payload, "comment.user.login", 100),
        author_is_bot=event_fields.field(payload, "comment.user.type", "") == "Bot",
        app_id=app if type(app) is int else None,
        body=event_fields.short(payload, "comment.body", MAX_BODY),
    )


_IDS = ("in_reply_to_id", "performed_via_github_app.id")


def receive(row: PullRequest, kind: CommentKind, payload: Mapping[str, Any]) -> Outcome:
    """Store a comment that speaks to us, and send its job; in the webhook's transaction. Raises FieldMissing."""
    told = comment_fields(payload)
    reason = _why_not_ours(row, told)
    if reason:
        return ignored(reason)
    finding = _finding_of(row, told.thread_id)
    asked = addressed(told.body, names_of(row), in_our_thread=finding is not None)
    if asked is None:
        return ignored("the comment does not speak to us")
    reply, created = Reply.objects.get_or_create(
        pull_request=row,
        kind=kind,
        comment_id=told.comment_id,
        defaults={
            "thread_id": told.thread_id or (told.comment_id if kind == CommentKind.REVIEW else None),
            "finding": finding,
            "author": told.author,
            "body": clean_text(told.body),
            "command": asked.command or "",
        },
    )
    if not created:
        return ignored(f"comment {told.comment_id} was taken in before (reply {reply.pk})")
    return Outcome(*_send(reply))


def _send(reply: Reply) -> tuple[str, str]:
    from reviews.tasks import handle_pr_reply  # tasks call services

    sent = handle_pr_reply.delay(reply_id=reply.pk)
    Reply.objects.filter(pk=reply.pk).update(job_id=sent.id)
    return f"job {sent.id}: {reply.command or 'an answer'} to {reply.author}'s comment", sent.id


def names_of(row: PullRequest) -> frozenset[str]:
    """By which we are called in a repository, in lower case."""
    access = row.repository.access
    names = {NAME} if access is None else {NAME, access.app_slug, access.account_login.removesuffix("[bot]")}
    return frozenset(name.lower() for name in names if name)


def _why_not_ours(row: PullRequest, told: CommentFields) -> str:
    """In words, why a comment is not answered whatever it says: our own, or another bot's, which would not end."""
    access = row.repository.access
    if access is not None and told.app_id is not None and told.app_id == access.app_id:
        return "the comment is our own"
    if access is not None and access.account_login and told.author.lower() == access.account_login.lower():
        return "the comment is our own"
    if is_marked(told.body):
        return "the comment holds our marker"
    if told.author_is_bot or told.app_id is not None:
        return f"the comment is of a bot, {told.author}"
    return "" if told.author else "the comment has no author"


def _finding_of(row: PullRequest, thread_id: int | None) -> Finding | None:
    if thread_id is None:
        return None
    ours = Finding.objects.filter(review__repository=row.repository, review__number=row.number)
    return ours.filter(comment_id=thread_id).order_by("-pk").first()


def handle(reply_id: int, *, last_attempt: bool = True) -> dict[str, Any]:
    """Answer a stored comment, or do what it asks for; a summary for the job's result.

    last_attempt: whether an error is the end of it; GitHubRefused always is. Raises ReplyMissing, GitHubError.
    """
    rows = Reply.objects.select_related("pull_request__repository__access", "finding__review")
    reply = rows.filter(pk=reply_id).first()
    if reply is None:
        raise ReplyMissing(f"reply {reply_id} is not stored; it may have been deleted with its repository")
    began = Reply.objects.filter(pk=reply_id).exclude(status__in=(ReplyStatus.DONE, ReplyStatus.IGNORED))
    if not began.update(status=ReplyStatus.RUNNING, finished_at=None):
        return {"reply": reply_id, "outcome": reply.outcome}
    try:
        status, outcome = _handle(reply, last_attempt=last_attempt)
    except Snooze as exc:
        Reply.objects.filter(pk=reply.pk).update(status=ReplyStatus.PENDING, outcome=clean_text(str(exc))[:2000])
        raise
    except JobMovedOn:
        # Another run has the job; what it does with the comment stands.
        raise
    except JobCancelled:
        _end(reply, ReplyStatus.FAILED, "its job was cancelled")
        raise
    except Exception as exc:
        error = clean_text(f"{type(exc).__name__}: {exc}")[:2000]
        over = last_attempt or isinstance(exc, GitHubRefused)
        if over:
            _end(reply, ReplyStatus.FAILED, error)
        else:
            Reply.objects.filter(pk=reply.pk).update(status=ReplyStatus.PENDING, outcome=error)
        raise
    _end(reply, status, outcome)
    return {"reply": reply_id, "outcome": outcome}


def _handle(reply: Reply, *, last_attempt: bool) -> tuple[ReplyStatus, str]:
    """(what became of it, in words)."""
    from reviews.github.access import client_for
    from reviews.services import answering

    client = client_for(reply.pull_request.repository)
    identity = client.identity()
    if reply.author.lower() == identity.login.lower():
        return ReplyStatus.IGNORED, "ignored, because the comment is our own"
    names = names_of(reply.pull_request) | {identity.login.removesuffix("[bot]").lower()}
    asked = addressed(reply.body, names, in_our_thread=reply.finding is not None)
    return answering.answer(client, reply, asked or Addressed(None, reply.body), last_attempt=last_attempt)


def _end(reply: Reply, status: ReplyStatus, outcome: str) -> None:
    Reply.objects.filter(pk=reply.pk).update(status=status, outcome=outcome, finished_at=Now())
