"""Labels that issues got here, added to them at GitHub where the repository allows it. None is ever taken off there."""

import hashlib
import json
from typing import Any

from jobs.effects import once
from reviews.models import Issue, IssueTag
from reviews.services import issue_labels

TIMEOUT_SECONDS = 60.0


def request(issue: Issue) -> str:
    """Send the job that adds an issue's labels at GitHub, where there is any to add; its id, or nothing."""
    from reviews.tasks import apply_issue_labels  # tasks call services

    if not _allowed(issue) or not _to_add(issue):
        return ""
    return str(apply_issue_labels.apply_async(kwargs={"issue_id": issue.pk}).id)


def apply(issue_id: int) -> dict[str, Any]:
    """Add at GitHub what an issue has here and not there. Raises GitHubError."""
    issue = Issue.objects.filter(pk=issue_id).select_related("repository").first()
    if issue is None or not _allowed(issue):
        return {"added": [], "note": "the repository does not allow it" if issue else "the issue is gone"}
    names = _to_add(issue)
    if names:
        _add(issue, names)
        IssueTag.objects.filter(issue=issue, name__in=names).update(at_github=True)
    return {"added": names}


def _allowed(issue: Issue) -> bool:
    repository = issue.repository
    return (
        repository is not None
        and issue.number is not None
        and repository.apply_labels
        and repository.issues_enabled
        and repository.removed_at is None
    )


def _to_add(issue: Issue) -> list[str]:
    """The names, in order. GitHub makes a label that it does not have, so one that was deleted there is left out."""
    there = {name.lower() for name in issue_labels.known_labels(issue.repository)}
    names = IssueTag.objects.filter(issue=issue, removed=False, at_github=False).values_list("name", flat=True)
    return sorted(name for name in names if not there or name.lower() in there)


def _add(issue: Issue, names: list[str]) -> None:
    from reviews.github.access import client_for

    repository, number = issue.repository, issue.number
    if repository is None or number is None:
        return
    client = client_for(repository)

    def call(attempt: Any) -> dict[str, Any]:
        attempt.check()
        client.add_labels(repository.full_name, number, names)
        return {"labels": names}

    def look_up(identity: str) -> dict[str, Any] | None:
        there = set(client.issue(repository.full_name, number).labels)
        return {"labels": names} if there >= set(names) else None

    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    # A label that a person took off, and that is wanted again later, is another effect; GitHub bears a repetition.
    once(
        f"issue-labels:{issue.pk}:{issue.updated_at.timestamp():.6f}:{digest}",
        call,
        kind="labels",
        target=f"{repository.full_name}#{number}",
        look_up=look_up,
        timeout_seconds=TIMEOUT_SECONDS,
    )
