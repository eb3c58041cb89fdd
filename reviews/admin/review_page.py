"""What one review's page shows."""

from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import show
from jobs.admin.service_pages import counted, line, spelled
from reviews.admin.common import at_github, dollars, page_url, repository_link, review_pill, review_url, took
from reviews.admin.finding_view import shown_finding
from reviews.models import FINISHED, FindingState, LlmCall, PullRequestReview
from reviews.operators.reviews import is_stuck

MOST_FINDINGS = 60
MOST_QUIET = 100
MOST_FILES = 100
#: In the order in which they are gone through.
STEPS = ("settings", "fetch", "context", "review", "verify", "post")
_QUIET = (FindingState.KNOWN, FindingState.LEFT_OUT)
_CLOSED = (FindingState.RESOLVED, FindingState.DISMISSED)
_RANKS = {"high": 0, "medium": 1, "low": 2}


def context_of(request: HttpRequest, review: PullRequestReview) -> dict[str, Any]:
    """For templates/reviews/review.html. review: with its findings and calls."""
    user = request.user
    findings = sorted(review.findings.all(), key=lambda one: (one.state in _CLOSED, _RANKS.get(one.severity, 3)))
    may_close = user.has_perm("reviews.dismiss_finding")
    told = [one for one in findings if one.state not in _QUIET]
    quiet = [one for one in findings if one.state in _QUIET]
    return {
        "heading": line(review.title, 300),
        "error": spelled(review.error),
        "title": f"Review of {review.repository.full_name}#{review.number}",
        "review": review,
        "pill": review_pill(review),
        "status": status_of(review),
        "status_url": review_url(review, "status"),
        "facts": _facts(request, review),
        "notes": _notes(review),
        "buttons": buttons(request, review),
        "findings": [shown_finding(review, one, may_close=may_close) for one in told[:MOST_FINDINGS]],
        "more_findings": max(0, len(told) - MOST_FINDINGS),
        "quiet": [shown_finding(review, one, may_close=False) for one in quiet[:MOST_QUIET]],
        "more_quiet": max(0, len(quiet) - MOST_QUIET),
        "coverage": _coverage(review),
        "steps": _steps(review),
        "calls": _calls(review) if user.has_perm("reviews.view_llmcall") else [],
        "cost": dollars(review.cost_usd),
        "config": show.pretty_json(review.config) if review.config else "",
    }


def status_of(review: PullRequestReview) -> dict[str, Any]:
    """What the page's script asks for while the review is unfinished."""
    state = f"{review.status} {getattr(review, 'job_state', None) or ''}".strip()
    finished = review.status in FINISHED or is_stuck(review)
    return {"state": state, "attempt": "", "progress": None, "note": "", "finished": finished}


def buttons(request: HttpRequest, review: PullRequestReview) -> list[dict[str, str]]:
    """What the review's state and the user's permissions allow."""
    names: list[tuple[str, str]] = []
    if request.user.has_perm("reviews.request_review"):
        if review.status == "failed" or is_stuck(review):
            names.append(("retry", "Retry"))
        if review.status in FINISHED:
            names += [] if names else [("again", "Review again")]
            names.append(("full", "Full review"))
    if review.status not in FINISHED and request.user.has_perm("jobs.cancel_job"):
        names.append(("cancel", "Cancel"))
    return [{"label": label, "url": review_url(review, name)} for name, label in names]


def _facts(request: HttpRequest, review: PullRequestReview) -> list[tuple[str, Any]]:
    pull = f"pull/{review.number}"
    posted = f"{pull}#pullrequestreview-{review.github_review_id}"
    told_error = f"{pull}#issuecomment-{review.error_comment_id}"
    facts: list[tuple[str, Any]] = [
        ("Repository", repository_link(request, review.repository)),
        ("Pull request", at_github(review.repository, pull, f"#{review.number} at GitHub")),
        ("Posted", at_github(review.repository, posted, "the review at GitHub") if review.github_review_id else ""),
        ("Check run", _check_run(review)),
        (
            "Told of its failure",
            at_github(review.repository, told_error, "a comment") if review.error_comment_id else "",
        ),
        ("Head", format_html('<code class="sy-break">{}</code>', review.head_sha)),
        ("Base", format_html('<code class="sy-break">{}</code>', review.base_sha) if review.base_sha else ""),
        ("Since", format_html("<code>{}</code>", review.since_sha[:12]) if review.since_sha else "all of the change"),
        ("Reviewer", review.provider),
        ("Asked for by", _asked(review)),
        ("Round", str(review.round) if review.round > 1 else ""),
        ("Cost", dollars(review.cost_usd) if review.cost_usd else ""),
        ("Job", show.job_link(review.job_id, review.job_id) if review.job_id else ""),
        ("Lane", review.lane),
        ("Created", show.exact(review.created_at)),
        ("Began", show.exact(review.started_at) if review.started_at else ""),
        ("Finished", show.exact(review.finished_at) if review.finished_at else ""),
        ("Took", took(review) if review.finished_at else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _check_run(review: PullRequestReview) -> Any:
    path = f"pull/{review.number}/checks?check_run_id={review.check_run_id}"
    return at_github(review.repository, path, str(review.check_run_id)) if review.check_run_id else ""


def _asked(review: PullRequestReview) -> str:
    what = str(review.get_trigger_display()).lower()
    return f"{what}, {review.asked_by}" if review.asked_by else what


def _notes(review: PullRequestReview) -> list[str]:
    notes = [f"The language model did not review: {spelled(review.fallback)}"] if review.fallback else []
    if review.may_be_pending:
        notes.append("It may stand at GitHub unsubmitted; a schedule looks after that.")
    return notes


def _coverage(review: PullRequestReview) -> dict[str, Any] | None:
    kept = review.coverage
    if not kept:
        return None
    unread, remarks = kept.get("not_read", []), kept.get("remarks", [])
    hidden = [(kept.get("known", 0), "told before"), (kept.get("left_out", 0), "left out")]
    return {
        "text": f"{kept.get('read', 0)} of {counted(kept.get('files', 0), 'file')} read",
        "hidden": ", ".join(f"{counted(number, 'finding')} {what}" for number, what in hidden if number),
        "unread": unread[:MOST_FILES],
        "more": max(0, kept.get("files", 0) - kept.get("read", 0) - len(unread[:MOST_FILES])),
        "remarks": remarks[:MOST_FILES],
        "notes": kept.get("notes", []),
    }


def _steps(review: PullRequestReview) -> list[dict[str, Any]]:
    """Each step's seconds, and its share of the whole in percent."""
    kept = {name: float(value) for name, value in review.step_seconds.items()}
    names = [*(name for name in STEPS if name in kept), *sorted(set(kept) - set(STEPS))]
    most = max(kept.values(), default=0) or 1
    return [{"name": name, "seconds": f"{kept[name]:,.2f} s", "share": 100 * kept[name] / most} for name in names]


def _calls(review: PullRequestReview) -> list[dict[str, Any]]:
    return [shown_call(call) for call in review.llm_calls.all()]


def call_pill(call: LlmCall) -> SafeString:
    if call.finished_at is None:
        return show.pill("under way", "running")
    return show.pill("failed", "bad") if call.error else show.pill("answered", "good")


def shown_call(call: LlmCall) -> dict[str, Any]:
    return {
        "call": call,
        "pill": call_pill(call),
        "url": page_url("llmcall", call.pk),
        "cost": dollars(call.cost_usd, 6),
        "tokens": tokens_text(call),
        "seconds": f"{call.seconds:,.1f} s" if call.seconds is not None else show.DASH,
        "error": line(call.error, 300),
        "at": show.ago(call.created_at),
    }


def tokens_text(call: LlmCall) -> str:
    """ "12,000 (9,000 cached) in, 800 out"."""
    if call.input_tokens is None:
        return f"about {call.estimated_tokens:,} in" if call.estimated_tokens else show.DASH
    cached = f" ({call.cached_tokens:,} cached)" if call.cached_tokens else ""
    return f"{call.input_tokens:,}{cached} in, {call.output_tokens or 0:,} out"
