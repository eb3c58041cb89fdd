"""Events of pull requests, and of the Re-run button beside their checks."""

from reviews.models import PullRequest, PullRequestReview, Trigger
from reviews.services import code_index, event_fields, pull_requests, requesting
from reviews.services.event_fields import FieldMissing
from reviews.services.events_outcome import Context, Outcome, ignored, noted
from reviews.services.repo_config import known_settings, starting_settings

#: What a review is asked for by, and how that is told.
STARTS = {
    "opened": Trigger.OPENED,
    "reopened": Trigger.OPENED,
    "ready_for_review": Trigger.OPENED,
    "synchronize": Trigger.PUSHED,
}
#: What changes whether a pull request is to be reviewed.
CHANGES = ("edited", "labeled", "unlabeled", "converted_to_draft", "closed")


def pull_request(context: Context) -> Outcome:
    if context.action not in STARTS and context.action not in CHANGES:
        return ignored(f"the action {context.action!r} of a pull request starts nothing")
    told = event_fields.pull_request_fields(context.payload)
    before = PullRequest.objects.filter(repository=context.known_repository, number=told.number).first()
    row = pull_requests.remember(context.known_repository, told)
    if context.action in STARTS:
        requested = requesting.request(row, STARTS[context.action])
        if requested.review is not None:
            code_index.request_if_missing(row.repository)  # it serves the reviews after this one
        return _requested(requested)
    if context.action == "edited" and event_fields.field(context.payload, "changes.base", None) is not None:
        return _base_changed(row)
    return _changed(row, before, context.action)


def _base_changed(row: PullRequest) -> Outcome:
    """Another base makes another change of the same head: all of it is reviewed, in a round of its own."""
    reason = requesting.why_not(row, Trigger.PUSHED)
    if reason:
        return ignored(reason)
    requesting.supersede(row, "its base was changed")
    return _requested(requesting.request(row, Trigger.PUSHED, full=True, again=True))


def _changed(row: PullRequest, before: PullRequest | None, action: str) -> Outcome:
    """Closed, made a draft, or given another title or label: this may end a review, or start the first one."""
    # What the file alone excludes, an unfinished review finds itself, since it reads the file anew.
    starting, known = starting_settings(row.repository), known_settings(row.repository)
    reason = "it was closed" if row.state != "open" else pull_requests.why_excluded(row, starting)
    if reason:
        ended = requesting.supersede(row, reason)
        return noted(f"{reason}; {ended} unfinished review{'' if ended == 1 else 's'} ended")
    was_excluded = before is not None and bool(pull_requests.why_excluded(before, known))
    if was_excluded and not pull_requests.why_excluded(row, known):
        return _requested(requesting.request(row, Trigger.OPENED))
    return ignored(f"the action {action!r} changes nothing about whether the pull request is reviewed")


def _requested(requested: requesting.Requested) -> Outcome:
    if requested.review is None:
        return ignored(requested.reason)
    return Outcome(requested.reason, requested.job_id)


# --- The Re-run button ---------------------------------------------------------------------------------------------


def check_run(context: Context) -> Outcome:
    if context.action != "rerequested":
        return ignored(f"the action {context.action!r} of a check run starts nothing")
    outcome = _not_ours(context, "check_run.app.id")
    if outcome is not None:
        return outcome
    review = _review_of(context, event_fields.short(context.payload, "check_run.external_id", 40))
    if review is not None and review.pull_request is not None:
        return _rerun(context, review.pull_request)
    return _rerun_head(context, "check_run")


def check_suite(context: Context) -> Outcome:
    if context.action != "rerequested":
        return ignored(f"the action {context.action!r} of a check suite starts nothing")
    return _not_ours(context, "check_suite.app.id") or _rerun_head(context, "check_suite")


def _not_ours(context: Context, path: str) -> Outcome | None:
    """Whether a check belongs to another App; GitHub delivers to each App its own, and to others' webhooks all."""
    if context.access is None or context.access.app_id is None:
        return ignored("it was not delivered to an App of ours, and only Apps have checks")
    if event_fields.number(context.payload, path, 0) != context.access.app_id:
        return ignored("the check is not ours")
    return None


def _review_of(context: Context, external_id: str) -> PullRequestReview | None:
    if not external_id.isdecimal() or len(external_id) > 18:
        return None
    found = PullRequestReview.objects.select_related("pull_request", "pull_request__repository")
    return found.filter(pk=int(external_id), repository=context.known_repository).first()


def _rerun_head(context: Context, what: str) -> Outcome:
    """By the commit: GitHub names no pull request of a fork."""
    head = event_fields.text(context.payload, f"{what}.head_sha", 64)
    rows = PullRequest.objects.select_related("repository").filter(repository=context.known_repository, head_sha=head)
    outcomes = [_rerun(context, row) for row in rows.order_by("number")[:5]]
    if not outcomes:
        raise FieldMissing(f"no pull request that is known has the head {head[:12]}")
    return next((outcome for outcome in outcomes if outcome.job_id), outcomes[0])


def _rerun(context: Context, row: PullRequest) -> Outcome:
    return _requested(requesting.request(row, Trigger.RERUN, asked_by=context.sender))
