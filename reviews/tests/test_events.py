"""What each event of GitHub starts, ends or changes."""

from typing import Any

import pytest
from django.test import Client

from jobs.models import Job, State
from reviews.models import (
    AccessKind,
    Delivery,
    Finding,
    FindingState,
    GitHubAccess,
    PullRequest,
    PullRequestReview,
    Repository,
    ReviewStatus,
    Trigger,
)
from reviews.services import deliveries, events, pull_requests, requesting
from reviews.tests.payloads import SECRET, deliver, pull_request_payload

pytestmark = pytest.mark.django_db

HEADS = ["a" * 40, "c" * 40, "d" * 40]


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    settings.GITHUB = {**settings.GITHUB, "WEBHOOK_SECRET": SECRET}


def happens(event: str = "pull_request", access: GitHubAccess | None = None, **payload: Any) -> str:
    return events.start(event, str(payload.get("action", "")), payload, access).text


def pull_event(action: str, head: str = HEADS[0], **changes: Any) -> str:
    return happens(**pull_request_payload(action=action, head={"sha": head}, **changes))


def reviews() -> list[tuple[str, int, str]]:
    rows = PullRequestReview.objects.order_by("pk")
    return [(row.head_sha, row.round, row.status) for row in rows]


def test_a_push_supersedes_the_older_review_and_discards_its_waiting_job() -> None:
    pull_event("opened")
    pull_event("synchronize", HEADS[1])

    assert reviews() == [(HEADS[0], 1, ReviewStatus.SUPERSEDED), (HEADS[1], 1, ReviewStatus.PENDING)]
    jobs = Job.objects.filter(task="run_pr_review")
    assert sorted(jobs.values_list("state", flat=True)) == [State.DISCARDED, State.QUEUED]
    assert PullRequest.objects.get().head_sha == HEADS[1]


def test_events_out_of_order_start_the_review_of_the_newest_head() -> None:
    pull_event("opened", updated_at="2026-01-01T00:00:00Z")
    pull_event("labeled", HEADS[1], updated_at="2026-01-01T00:00:09Z")
    pull_event("synchronize", HEADS[2], updated_at="2026-01-01T00:00:05Z")  # of a push before that one

    assert PullRequest.objects.get().head_sha == HEADS[1]
    assert reviews()[-1] == (HEADS[1], 1, ReviewStatus.PENDING)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"state": "closed"}, "it was closed"), ({"draft": True}, "is a draft"), ({"title": "[WIP] x"}, "'[wip]'")],
)
def test_what_is_not_to_be_reviewed_any_more_ends_its_unfinished_review(change: dict[str, Any], why: str) -> None:
    pull_event("opened")
    Repository.objects.update(excluded_titles=["[wip]"])

    said = pull_event("closed" if "state" in change else "edited", **change)

    assert said.startswith("ignored, because there is nothing to run")
    assert why in said
    assert reviews() == [(HEADS[0], 1, ReviewStatus.SUPERSEDED)]


def test_a_label_that_is_taken_off_starts_the_review_that_it_kept_off() -> None:
    pull_event("opened", labels=[{"name": "no-review"}])
    Repository.objects.update(excluded_labels=["No-Review"])
    PullRequestReview.objects.all().delete()

    assert "'no-review'" in pull_event("synchronize", labels=[{"name": "no-review"}])
    assert "changes nothing" in pull_event("labeled", labels=[]) or reviews()
    assert reviews() == [(HEADS[0], 1, ReviewStatus.PENDING)]


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ({"review_bots": False}, {"user": {"login": "dependabot[bot]", "type": "Bot"}}),
        ({"excluded_authors": ["Ada"]}, {"user": {"login": "ada", "type": "User"}}),
    ],
)
def test_pull_requests_of_some_are_not_reviewed(setting: dict[str, Any], change: dict[str, Any]) -> None:
    Repository.objects.create(full_name="acme/shop", github_id=1234, **setting)

    assert pull_event("opened", **change).startswith("ignored, because ")


def test_what_the_repository_s_file_said_last_counts_for_its_next_pull_request() -> None:
    Repository.objects.create(full_name="acme/shop", github_id=1234, file_settings={"review_drafts": True})

    assert pull_event("opened", draft=True).startswith("job ")


@pytest.mark.parametrize(
    "excluded", [{"excluded_authors": ["ada"]}, {"excluded_labels": ["wip"]}, {"excluded_titles": ["discount"]}]
)
def test_what_the_file_excluded_when_it_was_last_read_keeps_no_review_off(excluded: dict[str, Any]) -> None:
    Repository.objects.create(full_name="acme/shop", github_id=1234, file_settings=excluded)
    told: dict[str, Any] = {
        "user": {"login": "ada", "type": "User"},
        "labels": [{"name": "wip"}],
        "title": "Add a discount",
    }

    assert pull_event("opened", **told).startswith("job ")
    assert "changes nothing" in pull_event("labeled", **told)
    assert reviews() == [(HEADS[0], 1, ReviewStatus.PENDING)]


def test_a_label_that_the_file_excludes_starts_the_review_when_it_is_taken_off() -> None:
    Repository.objects.create(full_name="acme/shop", github_id=1234, file_settings={"excluded_labels": ["wip"]})
    pull_event("opened", labels=[{"name": "wip"}])
    PullRequestReview.objects.update(status=ReviewStatus.SUPERSEDED, finished_at="2026-01-01T00:00:00Z")

    assert "changes nothing" in pull_event("edited", labels=[{"name": "wip"}], title="Add it")
    assert pull_event("unlabeled", labels=[]).startswith("job ")


def test_another_base_has_the_same_head_reviewed_in_full() -> None:
    pull_event("opened")
    PullRequestReview.objects.update(status=ReviewStatus.DONE, finished_at="2026-01-01T00:00:00Z")

    payload = pull_request_payload(action="edited", base={"sha": "e" * 40, "ref": "other"})
    happens(**payload, changes={"base": {"ref": {"from": "main"}}})

    assert reviews()[-1] == (HEADS[0], 2, ReviewStatus.PENDING)
    assert PullRequestReview.objects.latest("pk").full


def test_a_paused_pull_request_is_reviewed_only_when_somebody_asks() -> None:
    pull_event("opened")
    row = PullRequest.objects.get()
    assert pull_requests.pause(row, "ada")

    assert "paused by ada" in pull_event("synchronize", HEADS[1])
    assert requesting.request(row, Trigger.COMMAND, asked_by="ada").review is not None
    assert pull_requests.resume(row)
    assert pull_event("synchronize", HEADS[2]).startswith("job ")


def test_who_asks_again_gets_a_new_round_and_a_failed_review_is_tried_once_more() -> None:
    pull_event("opened")
    row = PullRequest.objects.get()
    ended = {"finished_at": "2026-01-01T00:00:00Z"}
    PullRequestReview.objects.update(status=ReviewStatus.DONE, **ended)
    requesting.request(row, Trigger.OPERATOR)
    PullRequestReview.objects.filter(round=2).update(status=ReviewStatus.FAILED, **ended)
    Job.objects.update(state=State.FAILED, finished_at="2026-01-01T00:00:00Z")

    requesting.request(row, Trigger.OPERATOR)

    assert reviews() == [(HEADS[0], 1, ReviewStatus.DONE), (HEADS[0], 2, ReviewStatus.PENDING)]


def app() -> GitHubAccess:
    return GitHubAccess.objects.create(name="ours", kind=AccessKind.APP, client_id="Iv1", app_id=42)


@pytest.mark.parametrize("event", ["check_run", "check_suite"])
def test_the_re_run_button_reviews_the_head_again(event: str) -> None:
    pull_event("opened")
    PullRequestReview.objects.update(status=ReviewStatus.DONE, finished_at="2026-01-01T00:00:00Z")
    ours = app()
    check = {"app": {"id": 42}, "head_sha": HEADS[0], "external_id": str(PullRequestReview.objects.get().pk)}
    payload = {**pull_request_payload(action="rerequested"), event: check}
    payload.pop("pull_request")

    assert happens(event, ours, **payload).startswith("job ")
    assert reviews()[-1] == (HEADS[0], 2, ReviewStatus.PENDING)
    assert PullRequestReview.objects.latest("pk").asked_by == "ada"
    assert "not ours" in happens(event, ours, **{**payload, event: {**check, "app": {"id": 7}}})


def test_a_thread_that_people_resolve_resolves_its_finding() -> None:
    pull_event("opened")
    review = PullRequestReview.objects.get()
    finding = Finding.objects.create(
        review=review, path="a.py", line=1, end_line=1, rule="R", message="m", severity="high", fingerprint="f",
        anchored=True, comment_id=99, state=FindingState.POSTED,
    )  # fmt: skip
    payload = {**pull_request_payload(action="resolved"), "thread": {"comments": [{"id": 99}, {"id": "x"}, None]}}

    happens("pull_request_review_thread", **payload)
    finding.refresh_from_db()
    assert (finding.state, finding.closed_by) == (FindingState.RESOLVED, "ada")

    happens("pull_request_review_thread", **{**payload, "action": "unresolved"})
    finding.refresh_from_db()
    assert (finding.state, finding.closed_by) == (FindingState.POSTED, "")


@pytest.mark.parametrize(("ref", "said"), [("refs/heads/main", "job "), ("refs/heads/x", "ignored, because ")])
def test_a_push_to_the_default_branch_has_its_code_indexed(ref: str, said: str) -> None:
    repository = {"id": 1234, "full_name": "acme/shop", "default_branch": "main"}

    assert happens("push", ref=ref, after="f" * 40, repository=repository).startswith(said)


def test_a_deleted_repository_is_forgotten_and_its_reviews_end() -> None:
    pull_event("opened")

    said = happens("repository", action="deleted", repository={"id": 1234, "full_name": "acme/shop"})

    assert said.startswith("job ")
    assert Repository.objects.get().removed_at is not None
    assert reviews() == [(HEADS[0], 1, ReviewStatus.SUPERSEDED)]
    assert "gone from GitHub" in pull_event("synchronize", HEADS[1])


def test_repeated_deliveries_are_counted(client: Client) -> None:
    for _ in range(3):
        deliver(client, pull_request_payload(), guid="the-same")

    assert Delivery.objects.get().repeats == 2


def test_a_stored_delivery_can_be_handled_again(client: Client) -> None:
    Repository.objects.create(full_name="acme/shop", github_id=1234, enabled=False)
    deliver(client, pull_request_payload())
    Repository.objects.update(enabled=True)

    assert deliveries.handle_again(Delivery.objects.get()).outcome.startswith("job ")

    Delivery.objects.update(payload={"not_kept_bytes": 9})
    with pytest.raises(deliveries.OutlineOnly, match="have GitHub send it again"):
        deliveries.handle_again(Delivery.objects.get())
