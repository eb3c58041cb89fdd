"""What is known of a pull request between its reviews: kept up to date by events, paused and resumed by people."""

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now

from reviews.models import PullRequest, Repository
from reviews.policy import ReviewSettings
from reviews.services.event_fields import PullRequestFields

if TYPE_CHECKING:
    from reviews.github.shapes import PullRequest as PullRequestAtGitHub

#: What GitHub tells of a pull request.
_TOLD = (
    "title", "author", "author_is_bot", "state", "draft", "labels", "base_ref", "base_sha", "head_sha",
    "changed_files", "changed_lines",
)  # fmt: skip
#: How long GitHub may answer with what was so before the event that it delivered.
LATE_FOR = timedelta(minutes=2)


def known(repository: Repository, number: int) -> PullRequest:
    """The row of a pull request; one that was never heard of is made, without a head."""
    return PullRequest.objects.get_or_create(repository=repository, number=number)[0]


def remember(repository: Repository, told: PullRequestFields) -> PullRequest:
    """Note what an event told, unless a later one has told otherwise; the row as it is then, locked."""
    known(repository, told.number)
    row = PullRequest.objects.select_for_update().get(repository=repository, number=told.number)
    if row.changed_at is not None and told.changed_at is not None and told.changed_at < row.changed_at:
        return row
    row.title, row.author, row.author_is_bot = told.title, told.author, told.author_is_bot
    row.state, row.draft, row.labels = told.state, told.draft, list(told.labels)
    row.base_ref, row.base_sha, row.head_sha = told.base_ref, told.base_sha, told.head_sha
    # Not every event tells of the size.
    row.changed_files = told.changed_files or row.changed_files
    row.changed_lines = told.changed_lines or row.changed_lines
    row.changed_at = told.changed_at or row.changed_at
    row.save()
    return row


@transaction.atomic
def refresh(row: PullRequest, pull: "PullRequestAtGitHub") -> None:
    """Note what GitHub answered when it was asked, unless an event told of something later meanwhile.

    What GitHub answers may be some seconds old. row: has the latest of both afterwards.
    """
    known = PullRequest.objects.select_for_update(of=("self",)).filter(pk=row.pk)
    if pull.changed_at is not None:
        later = known.filter(changed_at__gt=pull.changed_at, updated_at__gt=Now() - LATE_FOR)
        if later.exists():
            row.refresh_from_db(fields=[*_TOLD, "changed_at"])
            return
        row.changed_at = pull.changed_at
    known.get()
    row.title, row.author, row.author_is_bot = pull.title[:500], pull.author[:100], pull.author_is_bot
    row.state, row.draft, row.labels = pull.state[:16], pull.draft, list(pull.labels)
    row.base_ref, row.base_sha, row.head_sha = pull.base_ref[:255], pull.base_sha, pull.head_sha
    row.changed_files, row.changed_lines = pull.changed_files, pull.changed_lines
    row.save(update_fields=[*_TOLD, "changed_at", "updated_at"])


def pause(pull_request: PullRequest, by: str) -> bool:
    """Have pushes start no review until `resume`. Returns False if it is paused already."""
    running = PullRequest.objects.filter(pk=pull_request.pk, paused_at=None)
    return running.update(paused_at=Now(), paused_by=by[:100]) == 1


def resume(pull_request: PullRequest) -> bool:
    """Returns False if it is not paused."""
    paused = PullRequest.objects.filter(pk=pull_request.pk, paused_at__isnull=False)
    return paused.update(paused_at=None, paused_by="") == 1


def why_excluded(row: PullRequest, settings: ReviewSettings) -> str:
    """In words, why nobody who did not ask for it is told of this pull request; empty if it is to be reviewed."""
    if row.draft and not settings.review_drafts:
        return "the pull request is a draft"
    if row.author_is_bot and not settings.review_bots:
        return f"it was opened by a bot, {row.author}"
    authors = {author.lower() for author in settings.excluded_authors}
    if row.author and row.author.lower() in authors:
        return f"pull requests by {row.author} are excluded"
    labels = {label.lower() for label in settings.excluded_labels}
    found = next((label for label in row.labels if label.lower() in labels), None)
    if found is not None:
        return f"it has the label {found!r}"
    title = row.title.lower()
    part = next((part for part in settings.excluded_titles if part and part.lower() in title), None)
    return f"its title contains {part!r}" if part is not None else ""
