"""Events of repositories: under which name, by which App, and where their code moved to."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from reviews.models import GitHubAccess, Installation, PullRequest, Repository
from reviews.models.access import server_of
from reviews.services import code_index, event_fields, installations, requesting
from reviews.services.event_fields import RepositoryFields
from reviews.services.events_outcome import Context, Outcome, ignored, noted


def remember(told: RepositoryFields, payload: Mapping[str, Any], access: GitHubAccess | None) -> Repository:
    """The repository of that id at its server, under its present name; one entered by name alone is taken over."""
    server = server_of(access)
    row = _known(told, access, server)
    changed: dict[str, Any] = {"github_id": told.github_id, "api_url": server, "full_name": told.full_name}
    if told.private is not None:
        changed["private"] = told.private
    if told.default_branch:
        changed["default_branch"] = told.default_branch
    if access is not None:
        changed |= _access(payload, access)
    different = [name for name, value in changed.items() if getattr(row, name) != value]
    for name in different:
        setattr(row, name, changed[name])
    if different:
        row.save(update_fields=different)
    return row


def remember_repository(github_id: int, full_name: str) -> Repository:
    """The same by id and name alone."""
    return remember(RepositoryFields(github_id, full_name, None, None, archived=False), {}, None)


def _known(told: RepositoryFields, access: GitHubAccess | None, server: str) -> Repository:
    known = Repository.objects.filter(github_id=told.github_id, api_url=server).first()
    if known is None:
        named = Repository.objects.select_related("access").filter(github_id=None, full_name__iexact=told.full_name)
        fitting = (row for row in named.order_by("pk") if row.access is None or server_of(row.access) == server)
        known = next(fitting, None)
    if known is None:
        defaults = {"full_name": told.full_name, "access": access}
        known, _ = Repository.objects.get_or_create(github_id=told.github_id, api_url=server, defaults=defaults)
    return known


def _access(payload: Mapping[str, Any], access: GitHubAccess) -> dict[str, Any]:
    """Who delivers an event may read the repository; an App, through the installation that is named."""
    found: dict[str, Any] = {"access_id": access.pk}
    github_id = event_fields.number(payload, "installation.id", 0)
    installation = Installation.objects.filter(access=access, github_id=github_id).first() if github_id else None
    if installation is not None:
        found["installation_id"] = installation.pk
    return found


def push(context: Context) -> Outcome:
    """The default branch moved: its index follows."""
    repository = context.known_repository
    ref = event_fields.short(context.payload, "ref", 500)
    if not repository.default_branch or ref != f"refs/heads/{repository.default_branch}":
        return ignored(f"a push to {ref or 'nothing'} is not one to the default branch")
    if event_fields.field(context.payload, "deleted", False) is True:
        return ignored("the branch was deleted")
    if not repository.enabled or repository.removed_at is not None or not repository.index_enabled:
        return ignored(f"the code of {repository.full_name} is not indexed")
    sha = event_fields.text(context.payload, "after", 64)
    job_id = code_index.request_for_push(repository, sha)
    if not job_id:
        return ignored(f"the index of {repository.full_name} need not follow to {sha[:12]}")
    return Outcome(f"job {job_id}: the index of {repository.full_name} follows to {sha[:12]}", job_id)


def repository(context: Context) -> Outcome:
    row = context.known_repository
    if context.action == "deleted":
        return _deleted(row)
    if context.action == "archived":
        ended = _end_reviews(row, "the repository was archived")
        return noted(f"{row.full_name} was archived; {ended} unfinished reviews ended")
    if context.action in ("renamed", "transferred", "privatized", "publicized", "edited", "created", "unarchived"):
        Repository.objects.filter(pk=row.pk).exclude(removed_at=None).update(removed_at=None)
        return noted(f"{row.full_name} was {context.action}")
    return ignored(f"the action {context.action!r} of a repository starts nothing")


def _deleted(row: Repository) -> Outcome:
    from reviews.tasks import forget_repository  # tasks call services

    _end_reviews(row, "the repository was deleted")
    Repository.objects.filter(pk=row.pk, removed_at=None).update(removed_at=Now())
    sent = forget_repository.apply_async(kwargs={"repository_id": row.pk, "if_gone": True})
    return Outcome(f"job {sent.id}: the index of {row.full_name} is removed", sent.id)


def _end_reviews(row: Repository, why: str) -> int:
    unfinished = Q(reviews__status__in=("pending", "running"))
    rows = PullRequest.objects.filter(unfinished, repository=row).select_related("repository").distinct()
    return sum(requesting.supersede(pull_request, why) for pull_request in rows)


def installation(context: Context) -> Outcome:
    return installations.from_event(context.event, context.action, context.payload, context.access)
