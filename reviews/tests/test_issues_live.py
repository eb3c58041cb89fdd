"""Issues with real workers."""

import time
from typing import Any

import pytest
from django.test import Client

from jobs.models import Job
from jobs.tests.api_client import post
from jobs.tests.live import LiveWorkers
from reviews.models import EnrichmentState, Issue, Repository

pytestmark = pytest.mark.django_db(transaction=True)

V1 = "/api/v1/issues/"
BODY = """### What happened
Uploading a large file fails with an error after thirty seconds. It worked in version {number}.
Since the upgrade the server closes the connection, and nothing is told in the log of part {number}.

```
Traceback (most recent call last):
```
I expected the upload to finish, or at least a message that says why it does not.
"""


def until_done(count: int, seconds: float = 180) -> list[Issue]:
    deadline = time.monotonic() + seconds
    while Issue.objects.filter(enrichment_state=EnrichmentState.DONE).count() < count:
        left = list(Issue.objects.exclude(enrichment_state="done").values("enrichment_state", "enrichment_error")[:3])
        assert time.monotonic() < deadline, (left, list(Job.objects.values("state", "error")[:3]))
        time.sleep(0.02)
    return list(Issue.objects.order_by("pk"))


def posted(api: Client, number: int) -> dict[str, Any]:
    text = {"title": f"[Bug] Upload {number} fails", "body": BODY.format(number=number)}
    answer = post(api, V1, {"repository": "acme/shop", **text})
    assert answer.status_code == 201
    return dict(answer.json())


@pytest.fixture
def api_of_shop(api: Client) -> Client:
    Repository.objects.create(full_name="acme/shop", issue_labels=["bug", "docs"])
    return api


def test_an_issue_that_is_posted_while_workers_are_down_is_enriched_when_they_return(
    api_of_shop: Client, live_worker: LiveWorkers
) -> None:
    shown = posted(api_of_shop, 1)
    assert shown["enrichment_state"] == "queued"

    live_worker("fast_lane", concurrency=1)

    (issue,) = until_done(1)
    assert (issue.tags, issue.ai_summary.count(".") >= 2) == (["bug"], True)
    assert "Traceback" not in issue.ai_summary
