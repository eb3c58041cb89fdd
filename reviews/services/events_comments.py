"""Events of comments: who speaks to us is answered; a thread that people resolved counts as resolved."""

from collections.abc import Mapping
from typing import Any

from reviews.models import CommentKind, Finding, FindingState
from reviews.services import event_fields, pull_requests, replying
from reviews.services.events_outcome import Context, Outcome, ignored, noted


def review_comment(context: Context) -> Outcome:
    if context.action != "created":
        return ignored(f"the action {context.action!r} of a comment starts nothing")
    row = pull_requests.remember(context.known_repository, event_fields.pull_request_fields(context.payload))
    return replying.receive(row, CommentKind.REVIEW, context.payload)


def issue_comment(context: Context) -> Outcome:
    if context.action != "created":
        return ignored(f"the action {context.action!r} of a comment starts nothing")
    if event_fields.field(context.payload, "issue.pull_request", None) is None:
        return ignored("it is a comment on an issue, not on a pull request")
    number = event_fields.number(context.payload, "issue.number", most=2**31 - 1)
    row = pull_requests.known(context.known_repository, number)
    return replying.receive(row, CommentKind.ISSUE, context.payload)


def review_thread(context: Context) -> Outcome:
    """A thread of ours was resolved, or opened again, by a person."""
    states = {
        "resolved": (FindingState.POSTED, FindingState.RESOLVED),
        "unresolved": (FindingState.RESOLVED, FindingState.POSTED),
    }
    if context.action not in states:
        return ignored(f"the action {context.action!r} of a thread starts nothing")
    before, after = states[context.action]
    ids = _comment_ids(event_fields.field(context.payload, "thread.comments", []))
    ours = Finding.objects.filter(review__repository=context.known_repository, comment_id__in=ids)
    if not ours.exists():
        return ignored("the thread is not one of ours")
    by = context.sender if after == FindingState.RESOLVED else ""
    changed = ours.filter(state=before).update(state=after, closed_by=by)
    return noted(f"the thread was {context.action}; {changed} findings follow")


def _comment_ids(comments: Any) -> list[int]:
    found = [entry.get("id") for entry in comments if isinstance(entry, Mapping)] if isinstance(comments, list) else []
    return [number for number in found if type(number) is int and 0 < number < 2**63]
