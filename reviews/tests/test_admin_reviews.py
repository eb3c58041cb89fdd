"""Pages of reviews, deliveries and replies: what they show, and what can be done there."""

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.models import AuditEntry, Job, State
from jobs.tests.admin_helpers import client_with, page_of, said
from reviews.admin.finding_view import hunk_lines, suggestion_lines
from reviews.models import Delivery, Finding, LlmCall, PullRequest, PullRequestReview, Reply, ReviewStatus
from reviews.tests.payloads import SECRET, deliver, pull_request_payload

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"
TURNED = "safe\u202egnp.exe"
VIEW = "reviews.view_pullrequestreview"
REQUEST = "reviews.request_review"
HUNK = "@@ +11,3 @@\n def f():\n-    old\n+    eval(text)\n     return"


@pytest.fixture
def review(client: Client, settings: Any) -> PullRequestReview:
    settings.GITHUB = {**settings.GITHUB, "WEBHOOK_SECRET": SECRET}
    deliver(client, pull_request_payload(title=HOSTILE, body=HOSTILE))
    return PullRequestReview.objects.get()


def add_finding(review: PullRequestReview | None = None, **values: Any) -> Finding:
    shown = {"path": "shop.py", "line": 12, "end_line": 12, "rule": "S307", "message": "eval runs any text"}
    kept = {"severity": "high", "state": "posted", "hunk": HUNK, "anchored": True}
    row = Finding(review=review, **{**shown, **kept, **values})
    if review is not None:
        row.save()
    return row


def finish(review: PullRequestReview, status: str = "done", **values: Any) -> None:
    now = timezone.now()
    done = {"status": status, "started_at": now, "finished_at": now, **values}
    PullRequestReview.objects.filter(pk=review.pk).update(**done)
    Job.objects.update(state=State.SUCCEEDED, started_at=now, finished_at=now)


def shown(client: Client, model: str, *args: Any, query: str = "") -> str:
    answer = client.get(page_of(f"reviews_{model}", "change" if args else "changelist", *args) + query)
    assert answer.status_code == 200
    page = answer.content.decode()
    assert HOSTILE not in page
    assert "\u202e" not in page
    return page


def page(review: PullRequestReview, name: str) -> str:
    return page_of("reviews_pullrequestreview", name, review.pk)


# --- lines ---


def test_lines_of_a_hunk_are_numbered_as_in_the_new_file_and_the_meant_ones_marked() -> None:
    lines = hunk_lines(add_finding())

    assert [(line.number, line.sign, line.meant) for line in lines] == [
        (11, " ", False),
        (None, "-", False),
        (12, "+", True),
        (13, " ", False),
    ]


def test_lines_that_do_not_tell_where_they_begin_are_numbered_by_the_finding() -> None:
    bare = HUNK.partition("\n")[2]

    assert [line.number for line in hunk_lines(add_finding(hunk=bare, source_line="    eval(text)"))] == [
        *(11, None, 12, 13)
    ]
    assert {line.number for line in hunk_lines(add_finding(hunk=bare, source_line="elsewhere"))} == {None}


def test_a_suggestion_is_shown_as_what_it_changes() -> None:
    lines = suggestion_lines(add_finding(suggestion="    literal_eval(text)\n"))

    assert [(line.number, line.sign, line.text) for line in lines] == [
        (None, "-", "    eval(text)"),
        (12, "+", "    literal_eval(text)"),
    ]


# --- a review's page ---


def test_a_review_is_shown_with_findings_coverage_time_and_cost(review: PullRequestReview) -> None:
    add_finding(review, path=HOSTILE, message=f"{HOSTILE} {TURNED}", rule=HOSTILE[:60], comment_id=5, suggestion="x()")
    add_finding(review, state="known", message="told in March")
    unread = [{"path": HOSTILE, "reason": "not Python"}]
    finish(
        review,
        title=f"{HOSTILE} {TURNED}",
        coverage={"files": 2, "read": 1, "not_read": unread, "notes": [HOSTILE], "known": 1},
        step_seconds={"fetch": 1.5, "settings": 0.1},
        config={"language": HOSTILE},
        fallback=f"over its cap {TURNED}",
        finding_count=2,
        github_review_id=77,
    )
    LlmCall.objects.create(provider="claude", model="m", purpose="review", review=review, error=HOSTILE)

    assert "acme/shop#7" in shown(client_with(VIEW), "pullrequestreview")
    text = shown(client_with(VIEW, "reviews.view_llmcall", name="bob"), "pullrequestreview", review.pk)
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    for words in ("1 of 2 files read; 1 finding told before", "not Python", "1.50 s", "over its cap", "told in March"):
        assert words in plain
    assert plain.index("settings 0.10 s") < plain.index("fetch 1.50 s")
    for address in ("pull/7#discussion_r5", "pull/7#pullrequestreview-77", f"/admin/jobs/job/{review.job_id}"):
        assert address in text
    assert "claude" in text
    assert "Resolve" not in text
    assert "Language model calls" not in shown(client_with(VIEW, name="eve"), "pullrequestreview", review.pk)


def test_a_review_whose_job_ended_without_saying_so_is_shown_as_that(review: PullRequestReview) -> None:
    Job.objects.update(state=State.CANCELLED, finished_at=timezone.now())

    client = client_with(VIEW, REQUEST)

    assert "job cancelled" in shown(client, "pullrequestreview")
    assert page(review, "retry") in shown(client, "pullrequestreview", review.pk)
    assert client.get(page(review, "status")).json()["finished"] is True


def test_reviews_are_found_by_name_number_and_filters(review: PullRequestReview) -> None:
    client = client_with(VIEW)
    found = f"{review.head_sha[:12]}"

    for query in ("q=acme/shop%237", "q=Acme/Shop", "q=%237", "q=7", "status=pending", "repository=acme/shop"):
        assert found in shown(client, "pullrequestreview", query=f"?{query}"), query
    for query in ("trigger=opened", "provider=embedded"):
        assert found in shown(client, "pullrequestreview", query=f"?{query}"), query
    for query in ("q=acme/shop%238", "q=9999999999", "status=done", "trigger=command", "provider=x"):
        assert found not in shown(client, "pullrequestreview", query=f"?{query}"), query


def test_pages_take_few_statements_however_much_there_is(
    review: PullRequestReview, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        add_finding(review, line=12 + number, end_line=12 + number)
        PullRequestReview.objects.create(
            repository=review.repository, number=20 + number, head_sha=f"{number:040}", base_sha=""
        )
    finish(review)
    client = client_with(VIEW, REQUEST, "reviews.dismiss_finding", "reviews.view_delivery", "reviews.view_repository")
    pages = [page_of(f"reviews_{model}") for model in ("pullrequestreview", "delivery", "repository")]

    for address in (*pages, page(review, "change")):
        with django_assert_max_num_queries(10):
            assert client.get(address).status_code == 200


# --- what can be done ---


def test_a_review_is_asked_for_by_the_name_of_its_pull_request(review: PullRequestReview) -> None:
    finish(review)
    client = client_with(VIEW, REQUEST)
    ask = page_of("reviews_pullrequestreview", "request")

    for wrong, words in (("acme/shop", "write it as owner/name#7"), ("a/b#1", "unknown repository"), ("x#0\x00", "")):
        answer = client.post(ask, {"pr": wrong})
        assert answer.status_code == 200
        assert words in answer.content.decode().replace("Unknown", "unknown")
    answer = client.post(ask, {"pr": " acme/shop#7 ", "full": "on"})

    asked = PullRequestReview.objects.latest("pk")
    assert answer["Location"] == page(asked, "change")
    assert (asked.round, asked.full, asked.asked_by) == (2, True, "ann")


@pytest.mark.parametrize(("name", "full"), [("again", False), ("full", True)])
def test_a_review_is_repeated_after_a_question(review: PullRequestReview, name: str, full: bool) -> None:
    finish(review)
    client = client_with(VIEW, REQUEST)

    assert "Back, change nothing" in client.get(page(review, name)).content.decode()
    assert PullRequestReview.objects.count() == 1
    client.post(page(review, name))

    asked = PullRequestReview.objects.latest("pk")
    assert (asked.round, asked.full, asked.status) == (2, full, ReviewStatus.PENDING)
    assert AuditEntry.objects.filter(action="review.request", via="admin").count() == 1


def test_a_failed_review_is_retried_and_a_done_one_is_not(review: PullRequestReview) -> None:
    client = client_with(VIEW, REQUEST)
    finish(review, "failed", error=TURNED)
    assert "Retry" in shown(client, "pullrequestreview", review.pk)

    client.post(page(review, "retry"))
    assert PullRequestReview.objects.get().status == ReviewStatus.PENDING

    finish(review)
    assert "only a failed one is retried" in said(client.post(page(review, "retry")))


def test_a_waiting_review_is_cancelled(review: PullRequestReview) -> None:
    client = client_with(VIEW, "jobs.cancel_job")
    assert "Kill its process" in client.get(page(review, "cancel")).content.decode()

    assert "is cancelled" in said(client.post(page(review, "cancel")))
    assert PullRequestReview.objects.get().error == "cancelled by ann"
    assert "only an unfinished one" in said(client.post(page(review, "cancel")))


def test_findings_are_dismissed_and_resolved_on_post_alone(review: PullRequestReview) -> None:
    finish(review)
    finding = add_finding(review)
    client = client_with(VIEW, "reviews.dismiss_finding")
    close = page_of("reviews_pullrequestreview", "close", finding.pk)
    assert "Dismiss" in shown(client, "pullrequestreview", review.pk)

    for answer in (client.get(close, {"do": "dismiss"}), client.post(close, {"do": "delete"})):
        assert answer.status_code == 302
        assert Finding.objects.get().state == "posted"
    client.post(close, {"do": "resolve"})
    assert Finding.objects.get().state == "resolved"
    assert "cannot be resolved" in said(client.post(close, {"do": "resolve"}))
    client.post(close, {"do": "dismiss"})

    assert (Finding.objects.get().state, Finding.objects.get().closed_by) == ("dismissed", "ann")


def test_acting_needs_its_permission_and_a_token_of_the_form(review: PullRequestReview) -> None:
    finding = add_finding(review)
    close = page_of("reviews_pullrequestreview", "close", finding.pk)
    client = client_with(VIEW, "reviews.view_delivery")
    delivery = Delivery.objects.get()
    acts = [page(review, name) for name in ("retry", "again", "full", "cancel")]
    acts += [close, page_of("reviews_pullrequestreview", "request")]
    acts += [page_of("reviews_delivery", name, delivery.pk) for name in ("handle", "redeliver")]

    assert {client.post(address).status_code for address in acts} == {403}
    careful = Client(enforce_csrf_checks=True)
    boss = client_with(REQUEST, "jobs.cancel_job", "reviews.redeliver_delivery", "reviews.dismiss_finding", name="bob")
    careful.cookies = boss.cookies
    assert {careful.post(address).status_code for address in acts} == {403}


# --- deliveries and replies ---


def test_a_delivery_is_shown_escaped_and_handled_again(review: PullRequestReview) -> None:
    delivery = Delivery.objects.get()
    client = client_with("reviews.view_delivery", "reviews.redeliver_delivery")
    handle = page_of("reviews_delivery", "handle", delivery.pk)

    assert "on fast_lane" in shown(client, "delivery", delivery.pk)
    for query, there in (
        (f"q={delivery.guid}", True),
        ("event=pull_request&action=opened&outcome=job", True),
        ("q=another", False),
        ("event=push", False),
        ("action=closed", False),
        ("outcome=ignored", False),
    ):
        assert (delivery.guid in shown(client, "delivery", query=f"?{query}").split("result_list")[-1]) is there, query
    assert "Handle again" in client.get(handle).content.decode()
    assert "Handled again" in said(client.post(handle))

    Delivery.objects.update(payload={"not_kept_bytes": 10**7})
    assert page_of("reviews_delivery", "redeliver", delivery.pk) in shown(client, "delivery", delivery.pk)
    assert "only an outline was kept" in said(client.post(handle))


def test_a_reply_is_shown_with_its_thread_and_finding(review: PullRequestReview) -> None:
    pull_request = PullRequest.objects.get()
    said_before = {"pull_request": pull_request, "kind": "review", "thread_id": 9, "finding": add_finding(review)}
    first = Reply.objects.create(comment_id=10, author="bob", body=f"why? {HOSTILE}", answer="because", **said_before)
    Reply.objects.create(comment_id=11, author="eve", body=f"and this? {TURNED}", status="failed", **said_before)
    client = client_with("reviews.view_reply", VIEW)

    text = shown(client, "reply", first.pk)

    for words in ("and this?", "because", "eval runs any text", "pull/7#discussion_r10"):
        assert words in text
    assert "why?" in shown(client, "reply", query="?q=@bob&command=question&status=pending&repository=acme/shop")
    assert "why?" not in shown(client, "reply", query="?q=carol")


@pytest.mark.parametrize("model", ["pullrequestreview", "delivery", "reply"])
def test_without_the_permission_nothing_is_shown_and_nobody_edits(review: PullRequestReview, model: str) -> None:
    assert client_with().get(page_of(f"reviews_{model}")).status_code == 403
    client = client_with(f"reviews.view_{model}", name="bob")
    assert client.get(page_of(f"reviews_{model}", "add")).status_code == 403
    assert client.get(page_of(f"reviews_{model}", "change", 10**18)).status_code == 302
    assert client.get(page_of(f"reviews_{model}", "change", "a\x00")).status_code == 302
