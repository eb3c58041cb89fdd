"""Reviews one pull request at one head: its settings, the change, the findings, the review at GitHub.

Each step's time is kept. What was written down to be posted is posted as it is by a later attempt.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from jobs import Snooze, effects, job
from jobs.ledger.errors import JobCancelled, JobMovedOn
from reviews.changes import Change
from reviews.github import access
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.github.shapes import PullRequest as PullRequestAtGitHub
from reviews.github_source import pull_request_change
from reviews.models import Finding, FindingState, PullRequest, PullRequestReview, Repository, ReviewStatus, Trigger
from reviews.policy import ReviewSettings
from reviews.services import (
    briefing,
    check_runs,
    notices,
    posting,
    publishing,
    pull_requests,
    repo_config,
    requesting,
    review_states,
    review_text,
    storing,
)
from reviews.services.masking import masker_of
from reviews.services.review_states import Clock, Excluded, HeadMoved, ReviewMissing, Superseded
from reviews.services.review_text import Outline
from reviews.services.selecting import Selection, select
from reviews.services.since import Since, pushed_since

__all__ = ["ReviewMissing", "run", "settle"]

logger = logging.getLogger(__name__)

#: How soon GitHub is asked again, where it does not show yet what it delivered.
LATE_SECONDS = 5


@dataclass
class _Attempt:
    """One attempt at a review, as far as it has come."""

    review: PullRequestReview
    client: GitHubClient
    last: bool
    clock: Clock = field(default_factory=Clock)
    since: Since = field(default_factory=Since)
    settings: ReviewSettings | None = None

    @property
    def row(self) -> PullRequest:
        assert self.review.pull_request is not None
        return self.review.pull_request

    @property
    def repository(self) -> Repository:
        return self.review.repository


def run(review_id: int, *, last_attempt: bool) -> dict[str, Any]:
    """Review and post; a summary for the job's result.

    last_attempt: whether an error is the end of it; GitHubRefused always is. Raises ReviewMissing, GitHubError,
    ProviderFailed, what effects raise, and Snooze while an older review of the pull request goes on.
    """
    review, begun = review_states.begin(review_id)
    if not begun:
        return _summary(review, "posted before" if review.status == ReviewStatus.DONE else f"{review.error}")
    attempt: _Attempt | None = None
    try:
        attempt = _Attempt(review, access.client_for(review.repository), last_attempt)
        return _run(attempt)
    except Superseded as exc:
        return _superseded(attempt, review, exc)
    except JobMovedOn:
        raise
    except JobCancelled:
        review_states.end(review, ReviewStatus.FAILED, error="its job was cancelled")
        _clean_up(attempt, "cancelled", "The review was cancelled")
        raise
    except Snooze as exc:
        review_states.postpone(review, str(exc))
        raise
    except Exception as exc:
        _failed(attempt, review, exc, last_attempt=last_attempt)
        raise


def _run(attempt: _Attempt) -> dict[str, Any]:
    posted = posting.submitted(attempt.client, attempt.review)
    if posted is not None:  # whatever was pushed since, people have read it
        attempt.since = _since(attempt)
        return _posted(attempt, posted)
    with attempt.clock.step("settings"):
        job.progress(0.02, "reading the settings")
        pull = _wanted_pull(attempt, at_its_start=True)
        _settle_earlier(attempt)
        begun = posting.is_begun(attempt.review)
        settings = None if begun else _settings(attempt, pull)
        check_runs.begin(attempt.client, attempt.review)
    if settings is None:
        return _post(attempt, None)
    with attempt.clock.step("fetch"):
        job.progress(0.05, "fetching the change")
        change = pull_request_change(attempt.client, attempt.repository.full_name, pull)
        attempt.since = _since(attempt)
    outline, request = _review(attempt, pull, change, settings)
    if request is None:
        return _silent(attempt, outline)
    return _post(attempt, request)


def _settle_earlier(attempt: _Attempt) -> None:
    """Reviews that stand at GitHub, though a push or an error cut them off: what they told is known from now on."""
    for earlier in posting.cut_off(attempt.review):
        if settle(attempt.client, earlier, last_attempt=attempt.last):
            attempt.row.refresh_from_db(fields=["reviewed_sha"])


def settle(client: GitHubClient, review: PullRequestReview, *, last_attempt: bool = True) -> bool:
    """Finish a review that stands at GitHub, though it was cut off before it could note that; whether it stands.

    Raises GitHubError, Throttled.
    """
    posted = posting.submitted(client, review)
    if posted is not None:
        _posted(_Attempt(review, client, last_attempt), posted)
    return posted is not None


def _stands(attempt: _Attempt) -> bool:
    """As `settle`, for a review that is about to be told of as failed: people have read it."""
    try:
        return settle(attempt.client, attempt.review)
    except (GitHubError, Snooze) as problem:
        logger.warning("Whether review %s stands at GitHub is not known: %s", attempt.review.pk, problem)
        return False


def _wanted_pull(attempt: _Attempt, *, at_its_start: bool = False) -> PullRequestAtGitHub:
    """The pull request, if its head is still the one to review. Raises Superseded, Snooze, GitHubError."""
    review = attempt.review
    pull = attempt.client.pull(attempt.repository.full_name, review.number)
    _follow_name(attempt, pull)
    pull_requests.refresh(attempt.row, pull)
    head = attempt.row.head_sha
    # Who asks means the head of the moment, also where no push was delivered that told of it.
    asked = at_its_start and review.trigger not in requesting.AUTOMATIC and not posting.is_begun(review)
    if not review.head_sha or (asked and head != review.head_sha):
        check_runs.end(attempt.client, review, "cancelled", f"Superseded: the head is {head[:12]} by now", "")
        review_states.adopt_head(review, head)
    if head != review.head_sha:
        raise HeadMoved(f"the head moved on from {review.head_sha[:12]} to {head[:12]}")
    if attempt.row.state != "open":
        raise Superseded(f"the pull request is {attempt.row.state[:20]}")
    if pull.head_sha != head:
        raise Snooze(LATE_SECONDS, f"GitHub does not show the head {head[:12]} yet")
    _check_excluded(attempt)
    return pull


def _follow_name(attempt: _Attempt, pull: PullRequestAtGitHub) -> None:
    """Use the repository's present name: under a former one GitHub takes no writes, and lists are cut."""
    repository = attempt.repository
    if not pull.full_name or pull.full_name == repository.full_name or pull.repository_id != repository.github_id:
        return
    Repository.objects.filter(pk=repository.pk).update(full_name=pull.full_name)
    for known in (repository, attempt.row.repository):
        known.full_name = pull.full_name


def _check_excluded(attempt: _Attempt) -> None:
    """Raises Excluded where the settings, as far as they were read, exclude the pull request, and nobody asked."""
    reason = pull_requests.why_excluded(attempt.row, attempt.settings) if attempt.settings is not None else ""
    if reason and attempt.review.trigger in requesting.AUTOMATIC:
        raise Excluded(reason)


def _settings(attempt: _Attempt, pull: PullRequestAtGitHub) -> ReviewSettings:
    """The admin's, and over them those of the base branch. Raises Superseded where they exclude the pull request."""
    read = repo_config.read(attempt.client, attempt.repository, pull.base_sha)
    if read.errors:
        notices.tell_file_errors(attempt.client, attempt.row, read.blob, read.errors)
    elif pull.base_ref == attempt.repository.default_branch and attempt.repository.file_settings != read.said:
        # Not to what was read: the base may be older than what is known.
        repo_config.renew_known(attempt.client, attempt.repository)
    attempt.settings = read.settings
    _check_excluded(attempt)
    return read.settings


def _since(attempt: _Attempt) -> Since:
    """What is new, from where the review before it ended; all of it where that was asked for, or nothing was pushed."""
    review, reviewed = attempt.review, attempt.row.reviewed_sha
    if review.full:
        # Nobody who does not ask in person has all of it reviewed, but where the base is another.
        automatic = review.trigger in requesting.AUTOMATIC
        return Since(why_all="its base was changed" if automatic else "a review of all of it was asked for")
    if reviewed == review.head_sha:
        return Since(why_all="the head was reviewed before")
    since = pushed_since(attempt.client, attempt.repository.full_name, reviewed, review.head_sha)
    review.since_sha = "" if since.why_all else reviewed
    return since


def _review(
    attempt: _Attempt, pull: PullRequestAtGitHub, change: Change, settings: ReviewSettings
) -> tuple[Outline, dict[str, Any] | None]:
    """Find, choose, verify and keep; and what is to be posted, None for silence."""
    change, skipped = storing.without_excluded(change, settings.excluded_paths)
    with attempt.clock.step("context"):
        brief, notes = briefing.brief_of(attempt.client, attempt.review, pull, change, settings)
    result = briefing.review_change(
        change, brief, lambda fraction, note: job.progress(0.1 + 0.7 * fraction, note), attempt.clock
    )
    with attempt.clock.step("verify"):
        job.progress(0.85, "verifying suggestions")
        selection = select(result.findings, change, attempt.row, attempt.since, settings)
        selection = briefing.verified(change, selection)
        said = [text for found in selection.told for text in (found.message, found.suggestion or "")]
        masker = masker_of(change, [*said, result.summary])
    if attempt.since.why_all and attempt.row.reviewed_sha:
        notes = (*notes, f"all of the change was looked at: {attempt.since.why_all}")
    outline = Outline(
        review=attempt.review,
        change=change,
        result=result,
        selection=selection,
        settings=settings,
        mask=masker.mask,
        title=pull.title,
        since=attempt.review.since_sha,
        notes=notes,
        skipped=skipped,
    )
    comments, elsewhere = review_text.sort_findings(change, selection.told, masker.mask)
    request = None
    if not _may_be_silent(attempt, selection):
        request = {
            "body": review_text.body(outline, elsewhere),
            "comments": comments,
            "text": review_text.body(outline, selection.told),
        }
    _keep(attempt, outline, elsewhere)
    return outline, request


def _may_be_silent(attempt: _Attempt, selection: Selection) -> bool:
    """A push with nothing new; the first review is always posted, and so is one that somebody asked for."""
    attempt.review.refresh_from_db(fields=["trigger"])  # somebody may have asked for it meanwhile
    automatic = attempt.review.trigger in requesting.AUTOMATIC and not attempt.review.full
    return not selection.told and bool(attempt.row.reviewed_sha) and automatic


@transaction.atomic
def _keep(attempt: _Attempt, outline: Outline, elsewhere: Any) -> None:
    storing.store_findings(outline, elsewhere)
    PullRequestReview.objects.filter(pk=attempt.review.pk).update(
        **storing.review_fields(outline), since_sha=attempt.review.since_sha, step_seconds=attempt.clock.seconds
    )
    attempt.review.refresh_from_db()


def _post(attempt: _Attempt, request: dict[str, Any] | None) -> dict[str, Any]:
    """Publish, and conclude. request: None: what was written down before."""
    review, client = attempt.review, attempt.client
    with attempt.clock.step("post"):
        job.progress(0.9, "posting")
        if request is None:
            attempt.since = _since(attempt)
        else:
            _wanted_pull(attempt)
        posted = publishing.publish(client, review, request, _check(attempt))
    return _posted(attempt, posted)


def _posted(attempt: _Attempt, posted: int) -> dict[str, Any]:
    """Read back what stands at GitHub, and note what people know of now. posted: its id there."""
    review = attempt.review
    with attempt.clock.step("post"):
        review.refresh_from_db()
        comments = publishing.comment_ids(attempt.client, review, posted, last_attempt=attempt.last)
    _conclude(attempt)
    PullRequestReview.objects.filter(pk=review.pk).update(github_review_id=posted, may_be_pending=False)
    review_states.finish(review, attempt.since, {**review.step_seconds, **attempt.clock.seconds}, comments)
    return _summary(review, "posted")


def _check(attempt: _Attempt) -> Callable[[], None]:
    return lambda: review_states.check_running(attempt.review)


def _silent(attempt: _Attempt, outline: Outline) -> dict[str, Any]:
    """Nothing new was pushed that is worth a word: only the check run says so. Raises Superseded, Snooze."""
    _wanted_pull(attempt)
    review_states.check_running(attempt.review)
    _conclude(attempt, "\n\n".join(review_text.footer(outline)))
    review_states.finish(attempt.review, attempt.since, attempt.clock.seconds, {}, silent=True)
    return _summary(attempt.review, "nothing new, so nothing was posted")


def _conclude(attempt: _Attempt, more: str = "") -> None:
    told = attempt.review.findings.filter(state__in=(FindingState.NEW, FindingState.POSTED)).count()
    before = 0 if told else _open_before(attempt.review)
    title = f"{told} finding{'' if told == 1 else 's'}" if told else "Nothing found"
    if before:
        title = f"Nothing new; {before} finding{'' if before == 1 else 's'} of earlier reviews not resolved"
    summary = f"{title} at {attempt.review.head_sha[:12]}.\n\n{more}".strip()
    check_runs.end(attempt.client, attempt.review, "neutral" if told or before else "success", title, summary)


def _open_before(review: PullRequestReview) -> int:
    """How many of the findings that were met again were told before, and neither resolved nor dismissed since."""
    again = review.findings.filter(state=FindingState.KNOWN).values("fingerprint")
    earlier = Finding.objects.filter(review__pull_request=review.pull_request, state=FindingState.POSTED)
    return earlier.filter(fingerprint__in=again).values("fingerprint").distinct().count()


def _superseded(attempt: _Attempt | None, review: PullRequestReview, exc: Superseded) -> dict[str, Any]:
    with transaction.atomic():
        # Locked first, as by everybody who asks for reviews.
        row = PullRequest.objects.select_for_update(of=("self",)).filter(reviews=review.pk).first()
        review_states.end(review, ReviewStatus.SUPERSEDED, error=f"superseded: {exc}")
        if row is not None and isinstance(exc, HeadMoved):
            # The push may have been told of before an older one, not at all, or while reviews were paused.
            requesting.request(row, Trigger(review.trigger), asked_by=review.asked_by, full=review.full)
        if isinstance(exc, Excluded):
            review_states.keep_newest(review)
    _clean_up(attempt, "cancelled", f"Superseded: {exc}")
    return _summary(review, f"superseded: {exc}")


def _failed(attempt: _Attempt | None, review: PullRequestReview, exc: Exception, *, last_attempt: bool) -> None:
    """failed after the last attempt, with one comment that says so; else pending."""
    error = f"{type(exc).__name__}: {exc}"
    waits = isinstance(exc, GitHubError) and exc.retry_after_seconds is not None
    final = last_attempt or isinstance(exc, GitHubRefused | effects.EffectUncertain)
    if waits or not final:
        return review_states.postpone(review, error)
    if attempt is not None and _stands(attempt):
        return None
    untold = "" if isinstance(exc, GitHubRefused) else notices.in_words(exc)
    review_states.end(review, ReviewStatus.FAILED, error=error, untold=untold)
    if attempt is None:
        return None
    if untold:
        try:
            notices.tell_failure(attempt.client, review)
        except (GitHubError, Snooze, effects.EffectUnknown, effects.EffectUncertain) as problem:
            logger.warning("The failure of review %s is told later: %s", review.pk, problem)
    return _clean_up(attempt, "failure", f"The review failed: {notices.in_words(exc)}")


def _clean_up(attempt: _Attempt | None, conclusion: str, title: str) -> None:
    """Leave nothing pending at GitHub; what cannot be removed now is swept later."""
    if attempt is None:
        return
    attempt.review.refresh_from_db()
    try:
        if attempt.review.may_be_pending:
            posting.remove_pending(attempt.client, attempt.review)
    except (GitHubError, Snooze) as exc:
        logger.info("Review %s may still be pending at GitHub: %s", attempt.review.pk, exc)
    check_runs.end(attempt.client, attempt.review, conclusion, title, "")


def _summary(review: PullRequestReview, outcome: str) -> dict[str, Any]:
    return {
        "review": review.pk,
        "outcome": outcome,
        "findings": review.finding_count,
        "github_review_id": review.github_review_id,
    }
