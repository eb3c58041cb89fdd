"""When an issue is enriched: at once when it is new, after its minutes of grace when it is edited at GitHub."""

import hashlib
from typing import Any

from django.conf import settings
from django.db.models import F

from reviews.models import EnrichmentState, Issue


def content_hash(title: str, body: str) -> str:
    return hashlib.sha256(f"{title}\0{body}".encode("utf-8", "surrogatepass")).hexdigest()


def at_once(issue: Issue) -> str:
    """Queue it; the id of its job. One that waits already takes this one in."""
    return _send(issue, EnrichmentState.QUEUED, "now", {})


def after_grace(issue: Issue) -> str:
    """Queue it for when nobody has edited it for a while; the id of its job.

    One whose job has not begun is left in the queue: that reads the newest text, too.
    """
    grace = settings.REVIEWS["ISSUE_GRACE_SECONDS"]
    if issue.enrichment_state == EnrichmentState.QUEUED or not grace:
        return at_once(issue)
    return _send(issue, EnrichmentState.WAITING, "edited", {"debounce_seconds": grace})


def _send(issue: Issue, state: EnrichmentState, key: str, options: dict[str, Any]) -> str:
    """In the caller's transaction, which holds the issue's row. The round is a new one: older results come too late."""
    from reviews.tasks import enrich_issue  # tasks call services

    headers = {
        "unique_key": f"issue:{issue.pk}:{key}",
        # Held until it begins: while one reads the former text, another may wait for the present one.
        "unique_options": options or {"unique_while": "queued"},
    }
    sent = enrich_issue.apply_async(kwargs={"issue_id": issue.pk}, headers=headers)
    Issue.objects.filter(pk=issue.pk).update(
        enrichment_state=state, enrichment_round=F("enrichment_round") + 1, job_id=sent.id
    )
    issue.refresh_from_db(fields=["enrichment_state", "enrichment_round", "job_id"])
    return str(sent.id)
