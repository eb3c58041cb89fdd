"""Deletes what is no longer needed, a batch at a time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs import job
from reviews.models import Delivery, GoneIssue, PullRequest

BATCH = 500
PULL_REQUESTS_A_BATCH = 25


def clean_up() -> dict[str, Any]:
    """Delete old deliveries, marks of issues that are gone, and pull requests closed long ago, with all that
    is kept of them.

    Returns how many of each.
    """
    return {
        "deliveries": _in_batches(
            "deliveries", lambda: _old(Delivery.objects.all(), "received_at", "KEEP_DELIVERIES_DAYS"), BATCH
        ),
        "gone_issues": _in_batches(
            "marks of issues that are gone",
            lambda: _old(GoneIssue.objects.all(), "gone_at", "KEEP_DELIVERIES_DAYS"),
            BATCH,
        ),
        "pull_requests": _in_batches(
            "pull requests",
            lambda: _old(PullRequest.objects.exclude(state="open"), "updated_at", "KEEP_CLOSED_DAYS"),
            PULL_REQUESTS_A_BATCH,
        ),
    }


def _old(rows: "QuerySet[Any]", field: str, setting: str) -> "QuerySet[Any]":
    return rows.filter(**{f"{field}__lt": Now() - timedelta(days=settings.REVIEWS[setting])}).order_by(field)


def _in_batches(name: str, rows: Callable[[], "QuerySet[Any]"], size: int) -> int:
    """Each batch in a transaction of its own, so that none holds locks for long."""
    deleted = 0
    while True:
        ids = list(rows().values_list("pk", flat=True)[:size])
        if not ids:
            return deleted
        rows().model.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
        job.progress(0.5, f"{deleted:,} {name} deleted")
