"""A repository's issues as GitHub has them: what labels are learned from, and what new issues are compared with."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from jobs import Discard, job
from jobs.operators.actors import Actor
from reviews.enrichment import cleaning, redaction, words
from reviews.models import EnrichmentState, Issue, IssueTag, Repository, TagSource
from reviews.services import issue_labels, issue_requests, label_training
from reviews.services.issue_events import read_time

MOST_ISSUES = 5_000
MAX_TITLE = 1000
EVERY = 100


class UnknownRepository(LookupError):
    """GitHub never told of this repository, or it is gone from there."""


def request(actor: Actor, repository: Repository) -> str:
    """Send the job that fetches a repository's issues; its id.

    Raises PermissionDenied (reviews.enrich_issue), UnknownRepository.
    """
    from reviews.tasks import import_issues  # tasks call services

    actor.require("reviews.enrich_issue")
    if why := _why_not(repository):
        raise UnknownRepository(why)
    with transaction.atomic():
        sent = import_issues.apply_async(kwargs={"repository_id": repository.pk})
        actor.record("issue.import", repository.full_name, job=str(sent.id))
    return str(sent.id)


def run(repository_id: int) -> dict[str, Any]:
    """Store the newest issues that are not known here, with their labels, then learn from them.

    They are not enriched: nobody waits for it. Raises Discard, GitHubError; what was stored is passed over next time.
    """
    from reviews.github.access import client_for

    repository = Repository.objects.get(pk=repository_id)
    if why := _why_not(repository):
        raise Discard(why)
    note = issue_labels.refresh(repository)
    known = set(Issue.objects.filter(repository=repository).values_list("number", flat=True))
    stored = seen = 0
    for issue in client_for(repository).issues(repository.full_name):
        seen += 1
        if seen > MOST_ISSUES:
            break
        if issue.number not in known:
            stored += _store(repository, issue)
        if seen % EVERY == 0:
            job.progress(min(seen / MOST_ISSUES, 0.95), f"{seen:,} issues")
    job_id = label_training.request_if_due(repository)
    return {"seen": min(seen, MOST_ISSUES), "stored": stored, "training": job_id or None, "note": note}


def _why_not(repository: Repository) -> str:
    if repository.removed_at is not None:
        # GitHub is asked by name, which another repository may have by now.
        return f"{repository} is gone from GitHub, or we were removed from it"
    if repository.github_id is None:
        return f"GitHub has not told of {repository} yet; its first delivery does"
    return ""


def _store(repository: Repository, told: Any) -> bool:
    """One issue with its labels, which are taken for people's; whether it was new."""
    title, body = _storable(told.title)[:MAX_TITLE], _storable(told.body)
    cleaned = cleaning.clean(title, redaction.redact(body[: cleaning.MAX_READ]))
    digest = issue_requests.content_hash(title, body)
    created = read_time(told.created_at)
    with transaction.atomic():
        issue, made = Issue.objects.get_or_create(
            repository=repository,
            number=told.number,
            defaults={
                "github_id": told.github_id,
                "title": title,
                "body": body,
                "author": told.author[:100],
                "state": told.state[:16],
                "url": told.url[:500],
                "content_hash": digest,
                "terms": words.terms(cleaned.title, cleaned.body),
                "enrichment_state": EnrichmentState.WAITING,
                "enrichment_error": "it was fetched from GitHub, and is enriched when it is edited or somebody asks",
                "github_updated_at": read_time(told.updated_at),
                "enriched_at": Now(),
                **({"created_at": created} if created else {}),
            },
        )
        if made:
            names = dict.fromkeys(_storable(name)[: issue_labels.MAX_LABEL] for name in told.labels)
            IssueTag.objects.bulk_create(
                IssueTag(issue=issue, name=name, source=TagSource.HUMAN, at_github=True) for name in names if name
            )
    return made


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
