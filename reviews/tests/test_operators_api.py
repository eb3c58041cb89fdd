"""Repositories, reviews, findings and deliveries over REST: permissions, audit, errors and pages."""

import json
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from jobs.models import AuditEntry, Job, State
from jobs.tests.api_client import caller, person, post, problem
from reviews.models import (
    Delivery,
    Finding,
    FindingState,
    GitHubAccess,
    LlmCall,
    LlmProvider,
    PullRequest,
    PullRequestReview,
    Repository,
    ReviewStatus,
    Told,
)
from reviews.services import deliveries
from reviews.tests.payloads import pull_request_payload

pytestmark = pytest.mark.django_db
V1 = "/api/v1/"
HEAD = "a" * 40


def patch(client: Client, path: str, body: Any) -> Any:
    return client.patch(V1 + path, json.dumps(body), content_type="application/json")


def repository(**fields: Any) -> Repository:
    return Repository.objects.create(**{"full_name": "acme/shop", "github_id": 1, **fields})


def a_review(number: int = 7, **fields: Any) -> PullRequestReview:
    row = Repository.objects.filter(full_name="acme/shop").first() or repository()
    pull, _ = PullRequest.objects.get_or_create(repository=row, number=number, defaults={"head_sha": HEAD})
    fields = {"base_sha": "b" * 40, "head_sha": HEAD, "number": number, **fields}
    if fields.get("status") in ("done", "failed", "superseded"):
        fields["finished_at"] = Now()
    return PullRequestReview.objects.create(repository=row, pull_request=pull, **fields)


def a_finding(review: PullRequestReview, **fields: Any) -> Finding:
    made = {"path": "a.py", "line": 3, "end_line": 3, "rule": "S307", "message": "eval", "severity": "high"}
    made |= {"fingerprint": "f" * 64, "anchored": True, "hunk": "+eval(input())", "state": FindingState.POSTED}
    return Finding.objects.create(review=review, **{**made, **fields})


def a_delivery(guid: str, **changes: Any) -> Delivery:
    payload = pull_request_payload(**changes)
    return deliveries.receive(guid, "pull_request", payload, size=len(json.dumps(payload))).delivery


def ids(api: Client, path: str) -> list[int]:
    answer = api.get(V1 + path)
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


# --- Repositories ---------------------------------------------------------------------------------------------------


def test_a_repository_is_entered_by_name_changed_and_forgotten(api: Client) -> None:
    GitHubAccess.objects.create(name="ours")
    made = post(api, f"{V1}repositories/", {"full_name": "acme/shop", "finding_budget": 5})
    assert made.status_code == 201, made.content
    path = f"repositories/{made.json()['id']}/"
    assert made.headers["Location"].endswith(path)

    changes = {
        "enabled": False, "access": "ours", "excluded_paths": ["vendor/", "!vendor/ours/"], "daily_cap_usd": "2.50",
        "path_instructions": [{"path": "api/**", "instructions": "Look at permissions."}], "severity_floor": "medium",
    }  # fmt: skip
    after = patch(api, path, changes).json()
    assert {name: after[name] for name in changes} == changes
    assert after["finding_budget"] == 5
    audit = AuditEntry.objects.get(action="repository.change")
    assert audit.detail["access"] == [None, "ours"]
    assert audit.detail["enabled"] == [True, False]

    assert patch(api, path, {"access": None, "daily_cap_usd": None}).json()["access"] is None
    assert api.delete(V1 + path).status_code == 204
    assert not Repository.objects.exists()
    assert Job.objects.filter(task="reviews.forget_repository").count() == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("provider", "gpt", "'gpt' is unknown; choose from: embedded, claude"),
        ("providers_allowed", ["claude", "x"], "'x' is unknown; choose from"),
        ("issue_provider", "embedded", "choose from: offline, claude"),
        ("enabled", "yes", "takes true or false"),
        ("finding_budget", 0, "takes 1 to 50"),
        ("finding_budget", True, "takes a whole number"),
        ("large_files", -1, "greater than or equal to 0"),
        ("severity_floor", "lowest", "'lowest'; choose from: high, medium, low"),
        ("excluded_paths", ["ok/", "[z-a]"], "no pattern as in .gitignore"),
        ("excluded_labels", "wip", "takes a list of texts"),
        ("excluded_titles", ["a", " "], "empty entry"),
        ("excluded_authors", ["x" * 256], "255"),
        ("path_instructions", [{"path": "a"}], "entry 1 is {'path': 'a'}"),
        ("path_instructions", {"path": "a"}, "takes a list"),
        ("daily_cap_usd", -1, "number of dollars, 0 or more"),
        ("change_cap_usd", "NaN", "number of dollars"),
        ("change_cap_usd", "1.005", "2 decimal places"),
        ("access", "theirs", "'theirs' is unknown; choose from: ours"),
        ("language", None, "leave it out"),
        ("colour", "red", "unknown setting; choose from: enabled, access"),
        ("full_name", "a/b", "unknown setting"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name_and_nothing_is_changed(
    api: Client, name: str, value: Any, said: str
) -> None:
    GitHubAccess.objects.create(name="ours")
    LlmProvider.objects.create(name="claude", kind="anthropic", model="m")
    row = repository()

    answer = problem(patch(api, f"repositories/{row.pk}/", {name: value, "large_lines": 7}), 400)

    (error,) = answer["errors"]
    assert (error["pointer"], said in error["detail"]) == (f"#/{name}", True), error
    row.refresh_from_db()
    assert row.large_lines == 2000


def test_a_name_that_is_none_or_is_known_is_refused(api: Client) -> None:
    repository()
    assert "owner/name" in problem(post(api, f"{V1}repositories/", {"full_name": "shop"}), 400)["detail"]
    assert "entered already" in problem(post(api, f"{V1}repositories/", {"full_name": "Acme/Shop"}), 400)["detail"]
    assert "owner/name" in problem(post(api, f"{V1}repositories/", {}), 400)["detail"]
    problem(api.post(f"{V1}repositories/", "[1]", content_type="application/json"), 400)


def test_issues_are_fetched_and_learned_from_by_jobs(api: Client) -> None:
    row, unheard = repository(), repository(full_name="acme/unheard", github_id=None)

    for what, task in (("import-issues", "reviews.import_issues"), ("learn-labels", "reviews.train_issue_labels")):
        answer = post(api, f"{V1}repositories/{row.pk}/{what}/")
        assert answer.status_code == 202, answer.content
        assert Job.objects.get(pk=answer.json()["job"]).task == task
        reader = caller(person(what, "reviews.view_repository"))
        assert "enrich_issue" in problem(post(reader, f"{V1}repositories/{row.pk}/{what}/"), 403)["detail"]
    problem(post(api, f"{V1}repositories/{unheard.pk}/import-issues/"), 409)


def test_repositories_are_found_by_part_of_their_name_and_paged(api: Client) -> None:
    rows = [repository(full_name=f"acme/{name}", github_id=None, enabled=name != "b") for name in ("b", "a", "a")]
    assert ids(api, "repositories/") == [rows[1].pk, rows[2].pk, rows[0].pk]
    assert ids(api, "repositories/?enabled=false") == [rows[0].pk]
    assert ids(api, "repositories/?search=E/A&removed=false&provider=embedded") == [rows[1].pk, rows[2].pk]
    first = api.get(f"{V1}repositories/?page_size=2").json()
    last = api.get(first["next"]).json()
    assert [row["id"] for row in last["results"]] == [rows[0].pk]
    assert [row["id"] for row in api.get(last["previous"]).json()["results"]] == [rows[1].pk, rows[2].pk]
    problem(api.get(f"{V1}repositories/?colour=red"), 400)
    problem(api.get(f"{V1}repositories/?cursor=WyJuZXh0IiwiYSIsIngiXQ"), 400)  # of a number that is none
    problem(api.get(f"{V1}repositories/{10**20}/"), 404)


# --- Reviews --------------------------------------------------------------------------------------------------------


def test_a_review_is_asked_for_with_its_job(api: Client) -> None:
    repository()
    answer = post(api, f"{V1}reviews/", {"repository": "Acme/shop", "number": 7, "full": True})
    made = answer.json()

    assert answer.status_code == 201, answer.content
    assert (made["status"], made["trigger"], made["full"], made["asked_by"]) == ("pending", "operator", True, "root")
    job = Job.objects.get(pk=made["job"])
    assert (job.task, job.queue, job.kwargs) == ("run_pr_review", "fast_lane", {"review_id": made["id"]})
    assert job.pk in made["said"]
    assert answer.headers["Location"].endswith(f"{V1}reviews/{made['id']}/")
    assert AuditEntry.objects.get(action="review.request").target == "acme/shop#7"


def test_the_same_idempotency_key_asks_once(api: Client) -> None:
    repository()
    wish = {"repository": "acme/shop", "number": 7}
    first = post(api, f"{V1}reviews/", wish, **{"Idempotency-Key": "a"}).json()
    PullRequestReview.objects.update(status=ReviewStatus.DONE, finished_at=Now())
    again = post(api, f"{V1}reviews/", wish, **{"Idempotency-Key": "a"})

    assert (again.status_code, again.json()["id"]) == (201, first["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    problem(post(api, f"{V1}reviews/", {**wish, "number": 8}, **{"Idempotency-Key": "a"}), 422)
    problem(post(api, f"{V1}reviews/", wish, **{"Idempotency-Key": "ä"}), 400)
    assert PullRequestReview.objects.count() == 1


def test_what_is_not_reviewed_is_refused_with_the_reason(api: Client) -> None:
    row = repository(enabled=False)

    refused = problem(post(api, f"{V1}reviews/", {"repository": "acme/shop", "number": 7}), 409)
    assert "switched off for acme/shop" in refused["detail"]
    unknown = problem(post(api, f"{V1}reviews/", {"repository": "acme/other", "number": 7}), 404)
    assert "unknown repository 'acme/other'; choose from: acme/shop" in unknown["detail"]
    for body in ({"repository": "acme/shop"}, {"repository": row.full_name, "number": 0}, {"number": "x", "a": 1}):
        problem(post(api, f"{V1}reviews/", body), 400)
    assert not PullRequestReview.objects.exists()


def test_a_review_is_shown_with_findings_cost_coverage_settings_and_calls(api: Client) -> None:
    review = a_review(status="done", cost_usd="0.25", coverage={"files": 2, "read": 1}, config={"provider": "claude"})
    finding = a_finding(review)
    a_finding(review, state=FindingState.LEFT_OUT, line=9, end_line=9)
    LlmCall.objects.create(provider="claude", model="m", purpose="review", review=review, cost_usd="0.25")

    shown = api.get(f"{V1}reviews/{review.pk}/").json()

    assert [one["hunk"] for one in shown["findings"]] == ["+eval(input())"] * 2
    assert (shown["told"], shown["cost_usd"], shown["coverage"]["read"]) == (1, "0.250000", 1)
    assert shown["config"] == {"provider": "claude"}
    assert [(call["provider"], call["purpose"]) for call in shown["llm_calls"]] == [("claude", "review")]
    assert ids(api, f"reviews/{review.pk}/findings/?page_size=1") == [finding.pk + 1]
    assert ids(api, f"findings/?review={review.pk}&state=posted&severity=high&repository=ACME/shop&number=7") == [
        finding.pk
    ]
    problem(api.get(f"{V1}reviews/{review.pk + 1}/findings/"), 404)
    for permissions, calls in (((), 0), (("reviews.view_llmcall",), 1)):
        reader = caller(person(f"reader{calls}", "reviews.view_pullrequestreview", *permissions))
        assert len(reader.get(f"{V1}reviews/{review.pk}/").json()["llm_calls"]) == calls


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59"])
def test_times_at_the_ends_of_the_calendar_are_refused(api: Client, moment: str) -> None:
    for path in ("reviews/?created_after", "llm-calls/?created_before", "llm-calls/sums/?created_after"):
        (error,) = problem(api.get(f"{V1}{path}={moment}"), 400)["errors"]
        assert "not a time in ISO 8601" in error["detail"]


def test_reviews_are_filtered_and_paged(api: Client) -> None:
    one, two = a_review(7, status="done"), a_review(8, provider="claude")
    assert ids(api, "reviews/") == [two.pk, one.pk]
    assert ids(api, "reviews/?status=done&status=failed&repository=acme/Shop") == [one.pk]
    assert ids(api, "reviews/?number=8&provider=claude&created_after=2020-01-01T00:00:00Z") == [two.pk]
    assert ids(api, "reviews/?created_before=2020-01-01T00:00:00Z") == []
    first = api.get(f"{V1}reviews/?page_size=1").json()
    assert [row["id"] for row in api.get(first["next"]).json()["results"]] == [one.pk]
    assert "choose from: pending" in problem(api.get(f"{V1}reviews/?status=odd"), 400)["detail"]
    for query in ("number=x", "number=0", "created_after=then", "colour=red"):
        problem(api.get(f"{V1}reviews/?{query}"), 400)


def test_a_failed_review_is_reviewed_again_and_no_other(api: Client) -> None:
    review = a_review(status="failed", error="GitHub was away")

    again = post(api, f"{V1}reviews/{review.pk}/retry/")
    assert again.status_code == 201, again.content
    assert (again.json()["id"], again.json()["status"]) == (review.pk, "pending")
    refused = problem(post(api, f"{V1}reviews/{review.pk}/retry/"), 409)
    assert "only a failed one is retried: it is under way" in refused["detail"]

    Job.objects.update(state=State.CANCELLED, finished_at=Now())
    assert post(api, f"{V1}reviews/{review.pk}/retry/").status_code == 201  # its job will not end it
    assert Job.objects.filter(task="run_pr_review").count() == 2


def test_a_waiting_review_is_cancelled_with_its_job(api: Client) -> None:
    repository()
    made = post(api, f"{V1}reviews/", {"repository": "acme/shop", "number": 7}).json()

    after = post(api, f"{V1}reviews/{made['id']}/cancel/").json()

    assert (after["status"], after["error"], after["job_state"]) == ("failed", "cancelled by root", "cancelled")
    assert AuditEntry.objects.filter(action__in=("review.cancel", "job.cancel")).count() == 2
    problem(post(api, f"{V1}reviews/{made['id']}/cancel/"), 409)


def test_a_dismissed_finding_is_known_from_then_on(api: Client) -> None:
    finding = a_finding(a_review(status="done"))

    assert post(api, f"{V1}findings/{finding.pk}/dismiss/").json()["state"] == "dismissed"
    assert Told.objects.get().dismissed_by == "root"
    problem(post(api, f"{V1}findings/{finding.pk}/dismiss/"), 409)
    problem(post(api, f"{V1}findings/{finding.pk}/resolve/"), 409)
    other = a_finding(finding.review, fingerprint="e" * 64)
    assert post(api, f"{V1}findings/{other.pk}/resolve/").json()["closed_by"] == "root"
    problem(post(api, f"{V1}findings/{other.pk + 1}/resolve/"), 404)
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"finding.dismiss", "finding.resolve"}


# --- Deliveries -----------------------------------------------------------------------------------------------------


def test_deliveries_are_found_and_shown_with_their_payloads(api: Client) -> None:
    first, second = a_delivery("first"), a_delivery("second", action="labeled")

    assert ids(api, "deliveries/") == [second.pk, first.pk]
    assert ids(api, "deliveries/?outcome=job&event=pull_request&repository=acme/shop") == [first.pk]
    assert ids(api, "deliveries/?outcome=ignored&action=labeled&guid=second") == [second.pk]
    assert "payload" not in api.get(f"{V1}deliveries/").json()["results"][0]
    shown = api.get(f"{V1}deliveries/{first.pk}/").json()
    assert (shown["payload"]["number"], shown["job"]) == (7, first.job_id)
    assert "choose from: job, ignored" in problem(api.get(f"{V1}deliveries/?outcome=odd"), 400)["detail"]


def test_a_delivery_is_handled_again(api: Client) -> None:
    Repository.objects.create(full_name="acme/shop", github_id=1234, enabled=False)
    delivery = a_delivery("first")
    assert delivery.outcome.startswith("ignored")
    Repository.objects.update(enabled=True)

    assert post(api, f"{V1}deliveries/{delivery.pk}/handle/").json()["outcome"].startswith("job ")
    assert "said" in post(api, f"{V1}deliveries/{delivery.pk}/redeliver/").json()
    assert AuditEntry.objects.filter(action__startswith="delivery.").count() == 2


def test_an_outline_is_not_handled_and_says_what_to_do(api: Client) -> None:
    delivery = a_delivery("large")
    Delivery.objects.update(payload={"not_kept_bytes": 300_000})

    refused = problem(post(api, f"{V1}deliveries/{delivery.pk}/handle/"), 409)
    assert "have GitHub send it again" in refused["detail"]
    assert "press Redeliver" in problem(post(api, f"{V1}deliveries/{delivery.pk}/redeliver/"), 409)["detail"]


# --- Permissions ----------------------------------------------------------------------------------------------------


def test_everybody_needs_the_permission_of_what_they_do(db: None) -> None:
    views = ("repository", "pullrequestreview", "finding", "delivery")
    reader = caller(person("reader", *(f"reviews.view_{name}" for name in views)))
    nobody = caller(person("nobody"))
    review = a_review(status="failed")
    finding, delivery = a_finding(review), a_delivery("first")
    row = review.repository
    for path in (
        f"repositories/{row.pk}/", f"reviews/{review.pk}/", f"reviews/{review.pk}/findings/",
        f"findings/{finding.pk}/", f"deliveries/{delivery.pk}/",
    ):  # fmt: skip
        assert reader.get(V1 + path).status_code == 200, path
        problem(nobody.get(V1 + path), 403)
    for path, permission in (
        ("repositories/", "add_repository"),
        ("reviews/", "request_review"),
        (f"reviews/{review.pk}/retry/", "request_review"),
        (f"findings/{finding.pk}/dismiss/", "dismiss_finding"),
        (f"findings/{finding.pk}/resolve/", "dismiss_finding"),
        (f"deliveries/{delivery.pk}/handle/", "redeliver_delivery"),
        (f"deliveries/{delivery.pk}/redeliver/", "redeliver_delivery"),
    ):
        assert f"reviews.{permission}" in problem(post(reader, V1 + path), 403)["detail"]
    assert "jobs.cancel_job" in problem(post(reader, f"{V1}reviews/{review.pk}/cancel/"), 403)["detail"]
    assert "reviews.change_repository" in problem(patch(reader, f"repositories/{row.pk}/", {}), 403)["detail"]
    problem(reader.delete(f"{V1}repositories/{row.pk}/"), 403)
    assert not AuditEntry.objects.exclude(action__startswith="token").exists()
