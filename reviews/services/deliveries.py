"""What a delivery of GitHub starts: a job, or a reason why not. Delivery, review and job commit together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from reviews.models import Delivery, PullRequestReview, Repository, ReviewStatus
from reviews.services.payloads import (
    KEPT_BYTES,
    FieldMissing,
    PullRequestEvent,
    clean_text,
    outline,
    pull_request_event,
)

REVIEWED_ACTIONS = ("opened", "reopened", "ready_for_review", "synchronize")


@dataclass(frozen=True)
class Received:
    """The stored delivery; repeated: it was stored before, and nothing was started now."""

    delivery: Delivery
    repeated: bool


@dataclass(frozen=True)
class _Outcome:
    text: str
    job_id: str = ""
    repository: Repository | None = None


def receive(guid: str, event: str, payload: Mapping[str, Any], size: int) -> Received:
    """Store one delivery and send what it starts, in one transaction.

    guid, event: at most 64 characters. size: of the body, in bytes. A guid that is stored already changes nothing.
    """
    stored = Delivery.objects.filter(guid=guid).first()
    if stored is not None:
        return Received(stored, repeated=True)
    with transaction.atomic():
        delivery, created = Delivery.objects.get_or_create(
            guid=guid,
            defaults={
                "event": event,
                "action": _action(payload),
                "payload": payload if size <= KEPT_BYTES else outline(payload, size),
                "outcome": "",
            },
        )
        if not created:  # the same delivery came twice at once
            return Received(delivery, repeated=True)
        outcome = _start(event, delivery.action, payload)
        delivery.outcome, delivery.job_id = clean_text(outcome.text), outcome.job_id
        delivery.repository = outcome.repository
        delivery.save(update_fields=["outcome", "job_id", "repository"])
    return Received(delivery, repeated=False)


def _action(payload: Mapping[str, Any]) -> str:
    action = payload.get("action")
    return clean_text(action)[:64] if isinstance(action, str) else ""


def _start(event: str, action: str, payload: Mapping[str, Any]) -> _Outcome:
    handler = _HANDLERS.get(event)
    if handler is None:
        return _Outcome(f"ignored, because nothing is started by the event {event!r}")
    return handler(action, payload)


def _ping(action: str, payload: Mapping[str, Any]) -> _Outcome:
    return _Outcome("ignored, because a ping only asks whether anybody is there")


def _pull_request(action: str, payload: Mapping[str, Any]) -> _Outcome:
    if action not in REVIEWED_ACTIONS:
        return _Outcome(f"ignored, because the action {action!r} of a pull request starts nothing")
    try:
        event = pull_request_event(payload)
    except FieldMissing as exc:
        return _Outcome(f"ignored, because {exc}")
    repository = remember_repository(event.repository_id, event.full_name)
    reason = _why_not(event, repository)
    if reason:
        return _Outcome(f"ignored, because {reason}", repository=repository)
    return _request_review(event, repository)


def _why_not(event: PullRequestEvent, repository: Repository) -> str:
    if not repository.enabled:
        return f"reviews are switched off for {repository.full_name}"
    if event.state != "open":
        return f"the pull request is {event.state[:20]}"
    return "the pull request is a draft" if event.draft else ""


def remember_repository(github_id: int, full_name: str) -> Repository:
    """The repository of that id, under its present name; one that was entered by name alone is taken over."""
    known = Repository.objects.filter(github_id=github_id).first()
    if known is None:
        known = Repository.objects.filter(github_id=None, full_name__iexact=full_name).order_by("pk").first()
    if known is None:
        return Repository.objects.get_or_create(github_id=github_id, defaults={"full_name": full_name})[0]
    if (known.github_id, known.full_name) != (github_id, full_name):
        known.github_id, known.full_name = github_id, full_name
        known.save(update_fields=["github_id", "full_name"])
    return known


def _request_review(event: PullRequestEvent, repository: Repository) -> _Outcome:
    review, created = PullRequestReview.objects.get_or_create(
        repository=repository,
        number=event.number,
        head_sha=event.head_sha,
        defaults={"base_sha": event.base_sha, "title": event.title, "provider": repository.provider},
    )
    if not created and review.status == ReviewStatus.DONE:
        why = f"head {event.head_sha[:12]} has been reviewed (review {review.pk})"
        return _Outcome(f"ignored, because {why}", review.job_id, repository)
    if not created and review.status in (ReviewStatus.FAILED, ReviewStatus.SUPERSEDED):
        PullRequestReview.objects.filter(pk=review.pk, status=review.status).update(
            status=ReviewStatus.PENDING, finished_at=None, error=""
        )
    lane = "slow_lane" if repository.is_large(event.changed_files, event.changed_lines) else "fast_lane"
    return _Outcome(*send_review(review, lane), repository=repository)


def send_review(review: PullRequestReview, lane: str) -> tuple[str, str]:
    """Send the job of a review: (outcome in words, job id). A review that has an unfinished job keeps that one."""
    from reviews.tasks import run_pr_review  # tasks call services

    sent = run_pr_review.apply_async(kwargs={"review_id": review.pk}, queue=lane)
    PullRequestReview.objects.filter(pk=review.pk).update(job_id=sent.id)
    folded = " (already waiting)" if getattr(sent, "folded", False) else ""
    return f"job {sent.id}{folded}: review {review.pk} on {lane}", sent.id


_HANDLERS: dict[str, Callable[[str, Mapping[str, Any]], _Outcome]] = {"ping": _ping, "pull_request": _pull_request}
