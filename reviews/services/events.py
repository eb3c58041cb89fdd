"""What each event of GitHub starts: a job, or a recorded reason why not.

Everything here happens in the delivery's transaction, without any call of GitHub: what needs one is left to the job.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reviews.models import GitHubAccess
from reviews.services import (
    event_fields,
    events_comments,
    events_pulls,
    events_repositories,
    issues,
)
from reviews.services.event_fields import FieldMissing
from reviews.services.events_outcome import Context, Outcome, ignored

__all__ = ["Outcome", "start"]


@dataclass(frozen=True)
class _Kind:
    """repository: whether the payload names the one that it is about, which is then known under its present name."""

    handle: Callable[[Context], Outcome]
    repository: bool = True


def start(event: str, action: str, payload: Mapping[str, Any], access: GitHubAccess | None = None) -> Outcome:
    """Do what an event asks for, in the caller's transaction and without any call of GitHub.

    access: by whose secret the delivery was signed; None: by that of the environment.
    """
    kind = _KINDS.get(event)
    if kind is None:
        return ignored(f"nothing is started by the event {event!r}")
    context = Context(event, action, payload, access)
    try:
        if kind.repository:
            told = event_fields.repository_fields(payload)
            context.repository = events_repositories.remember(told, payload, access)
        outcome = kind.handle(context)
    except FieldMissing as exc:
        outcome = ignored(str(exc))
    return Outcome(outcome.text, outcome.job_id, outcome.repository or context.repository)


def _ping(context: Context) -> Outcome:
    return ignored("a ping only asks whether anybody is there")


def _issues(context: Context) -> Outcome:
    found = issues.from_event(context.payload, context.repository)
    return Outcome(found.text, found.job_id, found.repository)


_KINDS: dict[str, _Kind] = {
    "ping": _Kind(_ping, repository=False),
    "pull_request": _Kind(events_pulls.pull_request),
    "pull_request_review_comment": _Kind(events_comments.review_comment),
    "pull_request_review_thread": _Kind(events_comments.review_thread),
    "issue_comment": _Kind(events_comments.issue_comment),
    "issues": _Kind(_issues),
    "label": _Kind(_issues),
    "check_run": _Kind(events_pulls.check_run),
    "check_suite": _Kind(events_pulls.check_suite),
    "push": _Kind(events_repositories.push),
    "repository": _Kind(events_repositories.repository),
    "installation": _Kind(events_repositories.installation, repository=False),
    "installation_repositories": _Kind(events_repositories.installation, repository=False),
    "installation_target": _Kind(events_repositories.installation, repository=False),
}
