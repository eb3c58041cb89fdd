"""`manage.py review --pr`: has a pull request at GitHub reviewed, or prints what its review would be."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import OperatorCommand, plain
from jobs.models import Job, State
from jobs.operators.actors import command_actor
from reviews.models import PullRequestReview, ReviewStatus
from reviews.operators import reviews
from reviews.operators.lookups import pull_request_named
from reviews.operators.previewing import Preview, preview
from reviews.providers.base import ProviderFailed


def run(command: OperatorCommand, options: Mapping[str, Any]) -> None:
    """Raises CommandError, SystemExit, and what the services raise."""
    full_name, number = pull_request_named(options["pr"])
    if options["dry_run"]:
        _print_preview(command, _preview(command, full_name, number, options), options["json"])
        return
    asked = reviews.request_review(command_actor(), full_name, number, full=options["full"])
    if not options["wait"]:
        _print_review(command, asked.review, asked.said, options["json"])
        return
    command.say(plain(asked.said))
    review, job = _wait(command, asked, options["timeout"])
    _print_review(command, review, _ended(review, job), options["json"])
    if review.status != ReviewStatus.DONE:
        sys.exit(1)


def _preview(command: OperatorCommand, full_name: str, number: int, options: Mapping[str, Any]) -> Preview:
    said: list[str] = []

    def report(fraction: float, note: str) -> None:
        if note and said[-1:] != [note]:
            said.append(note)
            command.say(plain(f"{fraction:.0%} {note}"))

    try:
        return preview(command_actor(), full_name, number, full=options["full"], report=report)
    except ProviderFailed as exc:
        raise CommandError(str(exc), returncode=1) from None


def _print_preview(command: OperatorCommand, found: Preview, as_json: bool) -> None:
    if as_json:
        command.print_json(asdict(found))
        return
    lines = [f"{found.repository}#{found.number} at {found.head[:12]}: {found.title}", "", found.body]
    for comment in found.comments:
        first = comment.get("start_line", comment["line"])
        where = f"{first}-{comment['line']}" if first != comment["line"] else str(first)
        lines += ["", f"--- {comment['path']}:{where}", comment["body"]]
    lines += ["", *(f"note: {note}" for note in found.notes)]
    lines.append(f"{found.known} known before and {found.left_out} left out; nothing was posted")
    for line in lines:
        command.stdout.write(plain(line))


def _wait(command: OperatorCommand, asked: reviews.Asked, seconds: float) -> tuple[PullRequestReview, Job]:
    from embeddings.management.waiting import check_timeout, wait_for_job

    check_timeout(seconds)
    job = wait_for_job(command, asked.job_id, seconds)
    return reviews.find_review(asked.review.pk), job


def _ended(review: PullRequestReview, job: Job) -> str:
    if review.status == ReviewStatus.DONE:
        count = getattr(review, "told", None) or 0
        posted = f", review {review.github_review_id} at GitHub" if review.github_review_id else ", nothing was posted"
        return f"review {review.pk} is done: {count} finding{'' if count == 1 else 's'}{posted}"
    why = review.error or (job.error if job.state == State.FAILED else f"its job is {job.state}")
    return f"review {review.pk} is {review.status}: {why}"


def _print_review(command: OperatorCommand, review: PullRequestReview, said: str, as_json: bool) -> None:
    from reviews.api.review_serializers import ReviewDetailSerializer

    if as_json:
        command.print_json({**ReviewDetailSerializer(review).data, "said": said})
    else:
        command.stdout.write(plain(said))
