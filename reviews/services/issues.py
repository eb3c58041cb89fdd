"""Issues that come by the API or a command, and finding those that are stored."""

import re
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from jobs.operators.actors import Actor
from jobs.operators.search import is_storable
from reviews.models import EnrichmentState, Issue, IssueTag, Repository
from reviews.services import issue_requests
from reviews.services.issue_events import FromEvent, from_event
from reviews.services.repository_names import by_name

__all__ = ["FromEvent", "IssueRefused", "Put", "UnknownIssue", "edit", "find_issue", "from_event", "issues", "put"]

#: As GitHub has them.
STATES = ("open", "closed")
MAX_TITLE = 1000
MAX_BODY = 200_000
LARGEST_ID = 2**63 - 1
_FULL_NAME = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)


class IssueRefused(ValueError):
    """An issue that cannot be stored. field: which part; the message begins with it and says what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownIssue(LookupError):
    """There is no issue of that number here."""


@dataclass(frozen=True)
class Put:
    """The stored issue, and the job that enriches it."""

    issue: Issue
    job_id: str


def put(actor: Actor, *, title: str, body: str = "", repository: str = "") -> Put:
    """Store an issue and send the job that enriches it, in one transaction.

    repository: owner/name; one that is not known yet is noted by its name. Without it, the issue belongs to none.
    Raises PermissionDenied (reviews.add_issue), or IssueRefused.
    """
    actor.require("reviews.add_issue")
    title, body = _checked(title, body)
    with transaction.atomic():
        issue = Issue.objects.create(
            repository=_repository_named(repository) if repository else None,
            title=title,
            body=body,
            author=actor.name[:100],
            content_hash=issue_requests.content_hash(title, body),
        )
        job_id = issue_requests.at_once(issue)
        actor.record("issue.create", issue.pk, repository=repository, job=job_id)
    return Put(find_issue(issue.pk), job_id)


def edit(actor: Actor, issue: Issue, *, title: str | None = None, body: str | None = None) -> Issue:
    """Change an issue's text and have it enriched anew at once; the same text changes nothing.

    Raises PermissionDenied (reviews.change_issue), or IssueRefused, also for one of GitHub's, which is edited there.
    """
    actor.require("reviews.change_issue")
    with transaction.atomic():
        row = Issue.objects.select_for_update(of=("self",)).get(pk=issue.pk)
        title, body = _checked(row.title if title is None else title, row.body if body is None else body)
        digest = issue_requests.content_hash(title, body)
        if digest != row.content_hash:
            if row.number is not None:
                raise IssueRefused("title", f"{issue} is GitHub's, and its text is changed there: {row.url}")
            Issue.objects.filter(pk=row.pk).update(title=title, body=body, content_hash=digest, updated_at=Now())
            job_id = issue_requests.at_once(row)
            actor.record("issue.edit", row.pk, job=job_id)
    return find_issue(issue.pk)


def find_issue(issue_id: int) -> Issue:
    """Raises UnknownIssue."""
    rows = Issue.objects.select_related("repository").prefetch_related("tag_rows").defer("terms")
    found = rows.filter(pk=issue_id).first() if 0 < issue_id <= LARGEST_ID else None
    if found is None:
        raise UnknownIssue(f"there is no issue {issue_id}")
    return found


def issues(
    *, repository: str = "", state: str = "", enrichment_state: str = "", tag: str = "", search: str = ""
) -> QuerySet[Issue]:
    """Those that fit all that is given. search: words of title or body, or a number. Bodies are left out."""
    found = Issue.objects.select_related("repository").prefetch_related("tag_rows").defer("body", "terms")
    if not all(is_storable(text) for text in (repository, state, enrichment_state, tag, search)):
        return found.none()
    if repository:
        found = found.filter(repository__full_name__iexact=repository)
    if state:
        found = found.filter(state=state)
    if enrichment_state:
        found = found.filter(enrichment_state=enrichment_state)
    if tag:
        has_it = IssueTag.objects.filter(issue=OuterRef("pk"), name__iexact=tag, removed=False)
        found = found.filter(Exists(has_it))
    number = search.strip().lstrip("#")
    if number.isascii() and number.isdigit() and len(number) <= 9:
        return found.filter(Q(number=int(number)) | Q(pk=int(number)))
    for word in search.split()[:8]:
        found = found.filter(Q(title__icontains=word) | Q(body__icontains=word))
    return found


def similar_to(issue: Issue) -> list[dict[str, Any]]:
    """The similar issues as they are now, with score and reason; those that were deleted are left out."""
    rows = [row for row in issue.similar if isinstance(row, dict) and isinstance(row.get("issue"), int)]
    known = Issue.objects.select_related("repository").defer("body", "terms").in_bulk([row["issue"] for row in rows])
    return [{**row, "of": known[row["issue"]]} for row in rows if row["issue"] in known]


def enrichment_counts() -> dict[str, int]:
    """How many issues are in each unfinished state."""
    states = [state for state in EnrichmentState if state != EnrichmentState.DONE]
    return {state.value: Issue.objects.filter(enrichment_state=state).count() for state in states}


def _checked(title: str, body: str) -> tuple[str, str]:
    title = " ".join(title.split())
    if not 0 < len(title) <= MAX_TITLE:
        raise IssueRefused("title", f"title has {len(title)} characters; it takes 1 to {MAX_TITLE}")
    if len(body) > MAX_BODY:
        raise IssueRefused("body", f"body has {len(body):,} characters; it takes up to {MAX_BODY:,}; attach logs")
    for name, text in (("title", title), ("body", body)):
        if not is_storable(text):
            raise IssueRefused(name, f"{name} has characters that cannot be stored, such as NUL; leave them out")
    return title, body


def _repository_named(full_name: str) -> Repository:
    """The repository of a name, made if there is none yet. In the caller's transaction. Raises IssueRefused."""
    if not _FULL_NAME.fullmatch(full_name):
        raise IssueRefused("repository", f"repository {full_name[:100]!r} is not of the form owner/name")
    with connection.cursor() as cursor:  # no constraint keeps two from making it at once
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))", [full_name.lower()])
    return by_name(full_name).first() or Repository.objects.create(full_name=full_name)
