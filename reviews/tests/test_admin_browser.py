"""Pages of reviews in a real Chromium: nothing from outside runs, nothing is wider than the window."""

from typing import Any

from django.utils import timezone

from jobs.tests.admin_helpers import page_of
from jobs.tests.chromium import HOSTILE, IN_CHROMIUM, Watched, browser, watched
from reviews.models import (
    CodeIndex,
    Delivery,
    Finding,
    GitHubAccess,
    Installation,
    LlmCall,
    LlmProvider,
    PullRequest,
    PullRequestReview,
    Reply,
    Repository,
)

__all__ = ["browser", "watched"]

pytestmark = IN_CHROMIUM
HUNK = "\n".join(["@@ +1,60 @@", *(f"+{number} {HOSTILE} {'long ' * 50}" for number in range(60))])


def _rows() -> list[Any]:
    now = timezone.now()
    access = GitHubAccess.objects.create(name=HOSTILE[:100], client_id="Iv1", error=HOSTILE)
    Installation.objects.create(access=access, github_id=1, account_login=HOSTILE[:100], permissions={HOSTILE: "read"})
    instructions = [{"path": HOSTILE, "instructions": HOSTILE}]
    repository = Repository.objects.create(
        full_name="acme/" + "shop-" * 15,
        instructions=HOSTILE,
        path_instructions=instructions,
        file_settings={"a": HOSTILE},
    )
    provider = LlmProvider.objects.create(name="own", kind="openai", model=HOSTILE, error=HOSTILE, checked_at=now)
    index = CodeIndex.objects.create(repository=repository, state="failed", error=HOSTILE, skipped={HOSTILE: 3})
    pull_request = PullRequest.objects.create(repository=repository, number=7)
    review = PullRequestReview.objects.create(
        repository=repository,
        pull_request=pull_request,
        number=7,
        head_sha="a" * 40,
        base_sha="b" * 40,
        title=HOSTILE,
        status="failed",
        error=HOSTILE,
        fallback=HOSTILE,
        started_at=now,
        finished_at=now,
        asked_by=HOSTILE,
        coverage={"files": 2, "read": 0, "not_read": [{"path": "a/" * 99, "reason": HOSTILE}], "notes": [HOSTILE]},
        step_seconds={"fetch": 2, HOSTILE: 1},
        config={"language": HOSTILE},
    )
    place = {"path": HOSTILE + "/long" * 40, "line": 3, "end_line": 4, "rule": HOSTILE[:64], "message": HOSTILE * 9}
    finding = Finding.objects.create(
        review=review, severity="high", hunk=HUNK, suggestion=HOSTILE, anchored=False, comment_id=4, **place
    )
    call = LlmCall.objects.create(provider="own", model=HOSTILE, purpose="review", review=review, error=HOSTILE)
    reply = Reply.objects.create(
        pull_request=pull_request, kind="review", comment_id=1, thread_id=1, finding=finding, author=HOSTILE[:100],
        body=HOSTILE, answer=HOSTILE, outcome=HOSTILE,
    )  # fmt: skip
    delivery = Delivery.objects.create(guid="1", event=HOSTILE[:64], outcome=HOSTILE, payload={HOSTILE: HOSTILE})
    return [access, repository, provider, index, review, call, reply, delivery]


def test_no_page_of_reviews_runs_what_came_from_outside_or_is_wider_than_its_window(
    watched: Watched, settings: Any
) -> None:
    settings.GITHUB = {**settings.GITHUB, "TOKEN": "t"}  # else no button offers to check it
    rows = _rows()
    review = next(row for row in rows if isinstance(row, PullRequestReview))
    pages = [page_of(f"reviews_{row._meta.model_name}") for row in rows]
    pages += [page_of(f"reviews_{row._meta.model_name}", "change", row.pk) for row in rows]
    pages += [page_of(f"reviews_{row._meta.model_name}", "edit", row.pk) for row in rows[:3]]
    pages += [page_of("reviews_pullrequestreview", name, review.pk) for name in ("retry", "full")]
    pages += [page_of("reviews_pullrequestreview", "request"), page_of("reviews_githubaccess", "add")]

    for width in (1400, 360):
        watched.page.set_viewport_size({"width": width, "height": 800})
        for address in pages:
            watched.open(address)
            assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (address, width)

    assert watched.problems == []


def test_a_finding_is_dismissed_on_its_reviews_page(watched: Watched) -> None:
    review = next(row for row in _rows() if isinstance(row, PullRequestReview))
    page = watched.page

    watched.open(page_of("reviews_pullrequestreview", "change", review.pk))
    assert page.locator(".sy-meant .sy-line-number").all_inner_texts() == ["3", "4"]
    page.click("button:text-is('Dismiss')")

    page.wait_for_selector(".sy-finding .sy-pill:text-is('dismissed')")
    assert page.locator("button:text-is('Dismiss')").count() == 0
    assert watched.problems == []
