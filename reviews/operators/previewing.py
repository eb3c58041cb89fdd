"""What the review of a pull request would be: made as a review is, with nothing written here or at GitHub.

Calls of language models are made, and cost what they cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.operators.actors import Actor
from reviews.github import access
from reviews.github.client import GitHubClient
from reviews.github_source import pull_request_change
from reviews.models import PullRequest, PullRequestReview, Repository
from reviews.operators.reviews import REQUEST
from reviews.services import briefing, repo_config, review_text, storing
from reviews.services.markers import PREFIX
from reviews.services.masking import masker_of
from reviews.services.repository_names import by_name
from reviews.services.review_text import Outline
from reviews.services.selecting import select
from reviews.services.since import Since, pushed_since

#: In place of a pull request that nothing is known of.
_UNKNOWN = -1


@dataclass(frozen=True)
class Preview:
    """body, comments: what would be posted. known, left_out: findings that would not be told, how many.

    since: the head that was reviewed before; empty where all of the change counts. notes: on what would keep it from
    being posted, and what is wrong with `.switchyard.yml`.
    """

    repository: str
    number: int
    title: str
    base: str
    head: str
    since: str
    provider: str
    fallback: str
    body: str
    comments: tuple[dict[str, Any], ...]
    known: int
    left_out: int
    cost_usd: Decimal
    requests: int
    notes: tuple[str, ...]


def preview(
    actor: Actor, full_name: str, number: int, *, full: bool = False, report: Callable[[float, str], None]
) -> Preview:
    """Review a pull request at its present head without posting. One of a repository that is not entered is reviewed
    by the environment's token.

    full: all of the change, not only what is new since its last review. Raises PermissionDenied
    (reviews.request_review), GitHubError, Throttled, ProviderFailed.
    """
    actor.require(REQUEST)
    repository = by_name(full_name).filter(removed_at=None).first()
    repository = repository or Repository(full_name=full_name, index_enabled=False)
    client = access.client_for(repository)
    return _Preview(repository, client, number, full, report).make()


class _Preview:
    """The review, as if it had been asked for now: of rows that are not stored."""

    def __init__(
        self,
        repository: Repository,
        client: GitHubClient,
        number: int,
        full: bool,
        report: Callable[[float, str], None],
    ) -> None:
        self._client, self._report = client, report
        self._pull = client.pull(repository.full_name, number)
        known = PullRequest.objects.filter(repository=repository, number=number).first() if repository.pk else None
        self._row = known or PullRequest(pk=_UNKNOWN, repository=repository, number=number)
        self._review = PullRequestReview(
            repository=repository,
            number=number,
            base_sha=self._pull.base_sha,
            head_sha=self._pull.head_sha,
            full=full,
        )

    def make(self) -> Preview:
        from reviews.providers import combined

        name = self._review.repository.full_name
        read = repo_config.read(self._client, self._review.repository, self._pull.base_sha)
        self._report(0.05, "fetching the change")
        change = pull_request_change(self._client, name, self._pull)
        since = self._since()
        change, skipped = storing.without_excluded(change, read.settings.excluded_paths)
        brief, notes = briefing.brief_of(self._client, self._review, self._pull, change, read.settings)
        result = combined.review(change, self._report, brief, last_attempt=True)
        selection = briefing.verified(change, select(result.findings, change, self._row, since, read.settings))
        said = [text for found in selection.told for text in (found.message, found.suggestion or "")]
        outline = Outline(
            review=self._review,
            change=change,
            result=result,
            selection=selection,
            settings=read.settings,
            mask=masker_of(change, [*said, result.summary]).mask,
            title=self._pull.title,
            since=self._review.since_sha,
            notes=notes,
            skipped=skipped,
        )
        comments, elsewhere = review_text.sort_findings(change, selection.told, outline.mask)
        return self._told(outline, comments, review_text.body(outline, elsewhere), read.errors)

    def _since(self) -> Since:
        reviewed = self._row.reviewed_sha
        if self._review.full or not reviewed or reviewed == self._pull.head_sha:
            return Since(why_all="all of it is looked at")
        since = pushed_since(self._client, self._review.repository.full_name, reviewed, self._pull.head_sha)
        self._review.since_sha = "" if since.why_all else reviewed
        return since

    def _told(self, outline: Outline, comments: list[dict[str, Any]], body: str, errors: tuple[str, ...]) -> Preview:
        return Preview(
            repository=self._review.repository.full_name,
            number=self._review.number,
            title=self._pull.title,
            base=self._pull.base_sha,
            head=self._pull.head_sha,
            since=self._review.since_sha,
            provider=outline.result.provider,
            fallback=outline.result.fallback,
            body=_without_marks(body),
            comments=tuple({**comment, "body": _without_marks(comment["body"])} for comment in comments),
            known=len(outline.selection.known),
            left_out=len(outline.selection.left_out) + outline.result.left_out,
            cost_usd=outline.result.cost_usd,
            requests=outline.result.requests,
            notes=(*self._why_not(), *(f"{repo_config.FILE}: {error}" for error in errors)),
        )

    def _why_not(self) -> tuple[str, ...]:
        repository = self._review.repository
        if repository._state.adding:
            return (f"{repository.full_name} is not entered here; enter it to have it reviewed",)
        if not repository.enabled:
            return (f"reviews are switched off for {repository.full_name}",)
        return () if self._pull.state == "open" else (f"the pull request is {self._pull.state[:20]}",)


def _without_marks(text: str) -> str:
    """Without the hidden lines by which our own texts are found again."""
    return "\n".join(line for line in text.split("\n") if not line.startswith(PREFIX)).rstrip()
