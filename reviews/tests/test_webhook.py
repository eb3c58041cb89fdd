"""GitHub's webhook: signatures, outcomes, damaged bodies, and that delivery, review and job are one."""

import contextlib
import hashlib
import hmac
import json
import random
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import pytest
from django.db import OperationalError, transaction
from django.test import Client

from jobs.models import Job
from reviews.models import Delivery, PullRequestReview, Repository, ReviewStatus
from reviews.services import deliveries, requesting
from reviews.tests.payloads import SECRET, deliver, pull_request_payload, sign

pytestmark = pytest.mark.django_db

EXAMPLES = Path(__file__).resolve().parents[2] / ".cache/npm/webhooks-examples/api.github.com/index.json"


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    settings.GITHUB = {**settings.GITHUB, "WEBHOOK_SECRET": SECRET}


def test_an_opened_pull_request_becomes_a_job_on_the_fast_lane(client: Client) -> None:
    answer = deliver(client, pull_request_payload())

    review = PullRequestReview.objects.get()
    job = Job.objects.get(task="run_pr_review")
    assert answer.status_code == 202
    assert answer.json()["job"] == job.pk == review.job_id
    assert (job.task, job.queue, job.kwargs) == ("run_pr_review", "fast_lane", {"review_id": review.pk})
    assert (review.number, review.head_sha, review.status) == (7, "a" * 40, ReviewStatus.PENDING)
    assert Delivery.objects.get().outcome.startswith(f"job {job.pk}")


@pytest.mark.parametrize("size", [{"changed_files": 51}, {"additions": 1999, "deletions": 2}])
def test_a_large_pull_request_goes_to_the_slow_lane(client: Client, size: dict[str, int]) -> None:
    deliver(client, pull_request_payload(**size))

    assert Job.objects.get(task="run_pr_review").queue == "slow_lane"


def test_what_is_large_is_decided_by_the_repository(client: Client) -> None:
    Repository.objects.create(full_name="acme/shop", github_id=1234, large_files=1)

    deliver(client, pull_request_payload(changed_files=2))

    assert Job.objects.get(task="run_pr_review").queue == "slow_lane"


@pytest.mark.parametrize("action", ["opened", "reopened", "ready_for_review", "synchronize"])
def test_each_of_these_actions_starts_a_review(client: Client, action: str) -> None:
    assert deliver(client, pull_request_payload(action=action)).json()["job"]


@pytest.mark.parametrize(
    ("payload", "event", "reason"),
    [
        (pull_request_payload(draft=True), "pull_request", "the pull request is a draft"),
        (pull_request_payload(state="closed"), "pull_request", "the pull request is closed"),
        (pull_request_payload(action="labeled"), "pull_request", "the action 'labeled'"),
        (pull_request_payload(head={}), "pull_request", "no pull_request.head.sha"),
        (pull_request_payload(number="7"), "pull_request", "pull_request.number"),
        (pull_request_payload(changed_files=-1), "pull_request", "pull_request.changed_files"),
        ({"zen": "Keep it simple."}, "star", "nothing is started by the event 'star'"),
        ({}, "pull_request", "the payload has no repository.id"),
    ],
)
def test_what_starts_nothing_is_stored_with_the_reason(client: Client, payload: Any, event: str, reason: str) -> None:
    answer = deliver(client, payload, event)

    assert answer.status_code == 202
    assert Delivery.objects.get().outcome.startswith("ignored, because ")
    assert reason in Delivery.objects.get().outcome
    assert not Job.objects.exists()


def test_a_repository_that_is_switched_off_gets_no_review(client: Client) -> None:
    Repository.objects.create(full_name="Acme/Shop", enabled=False)  # entered by hand, before its first delivery

    deliver(client, pull_request_payload())

    assert "switched off" in Delivery.objects.get().outcome
    assert Repository.objects.get().github_id == 1234


def test_a_renamed_repository_stays_the_same(client: Client) -> None:
    deliver(client, pull_request_payload())
    deliver(client, pull_request_payload(number=8) | {"repository": {"id": 1234, "full_name": "acme/store"}})

    assert Repository.objects.get().full_name == "acme/store"


def test_a_ping_is_answered(client: Client) -> None:
    assert deliver(client, {"zen": "…"}, "ping").status_code == 200


def test_a_redelivery_starts_nothing(client: Client) -> None:
    first = deliver(client, pull_request_payload(), guid="the-same")
    again = deliver(client, pull_request_payload(), guid="the-same")

    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["job"] == first.json()["job"]
    assert (Job.objects.filter(task="run_pr_review").count(), Delivery.objects.count()) == (1, 1)


def test_two_deliveries_of_one_head_share_its_review_and_job(client: Client) -> None:
    deliver(client, pull_request_payload(action="opened"))
    deliver(client, pull_request_payload(action="reopened"))

    assert (Job.objects.filter(task="run_pr_review").count(), PullRequestReview.objects.count()) == (1, 1)
    assert "already waiting" in Delivery.objects.latest("pk").outcome


def test_a_head_that_has_been_reviewed_is_not_reviewed_again(client: Client) -> None:
    deliver(client, pull_request_payload())
    PullRequestReview.objects.update(status=ReviewStatus.DONE, finished_at="2026-01-01T00:00:00Z")

    deliver(client, pull_request_payload(action="reopened"))

    assert "has been reviewed" in Delivery.objects.latest("pk").outcome


def _sha1(body: bytes) -> str:
    return "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        sign(b"another body"),
        sign(b"{}", "another secret"),
        sign(b"{}")[:-1],
        sign(b"{}").upper(),
        sign(b"{}").removeprefix("sha256="),
        _sha1(b"{}"),
        "sha256=" + "é" * 64,
    ],
)
def test_a_signature_that_does_not_fit_is_refused(client: Client, signature: str | None) -> None:
    answer = deliver(client, b"{}", headers={"X-Hub-Signature-256": signature, "X-Hub-Signature": _sha1(b"{}")})

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not Delivery.objects.exists()


def test_the_body_is_not_read_before_its_signature_fits(client: Client) -> None:
    with mock.patch("reviews.api.webhook.parse_payload") as parse:
        deliver(client, b"[" * 100_000, headers={"X-Hub-Signature-256": sign(b"")})

    parse.assert_not_called()


def test_without_a_secret_nothing_is_taken(client: Client, settings: Any) -> None:
    settings.GITHUB = {**settings.GITHUB, "WEBHOOK_SECRET": ""}

    answer = deliver(client, {})

    assert answer.status_code == 503
    assert "GITHUB_WEBHOOK_SECRET" in answer.json()["detail"]


def test_only_post_is_taken(client: Client) -> None:
    answer = client.get("/webhooks/github/")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"17",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"\xff\xfe\xfd",
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_payload_is_refused(client: Client, body: bytes) -> None:
    answer = deliver(client, body)

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:switchyard:problem:payload-refused"


@pytest.mark.parametrize("name", ["X-GitHub-Delivery", "X-GitHub-Event"])
@pytest.mark.parametrize("value", [None, "", "x" * 65, "two words"])
def test_a_delivery_without_a_usable_header_is_refused(client: Client, name: str, value: str | None) -> None:
    assert deliver(client, {}, headers={name: value}).status_code == 400


def test_text_that_postgres_cannot_hold_is_replaced(client: Client) -> None:
    payload = pull_request_payload(title="a\0b\ud800c", body={"\0": ["\udfff", {"deep": "\0"}]}, state="open")

    answer = deliver(client, payload)

    assert answer.status_code == 202
    assert PullRequestReview.objects.get().title == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("field", ["state", "action", "title"])
def test_odd_text_in_any_field_is_no_error_of_ours(client: Client, field: str) -> None:
    for text in ("\0", "\ud800", "x" * 100_000, "🚂" * 600):
        assert deliver(client, pull_request_payload(**{field: text})).status_code == 202


def test_a_form_with_the_payload_in_it_is_taken(client: Client) -> None:
    body = urlencode({"payload": json.dumps(pull_request_payload())}).encode()

    assert deliver(client, body, content_type="application/x-www-form-urlencoded").json()["job"]


def test_another_content_type_is_refused(client: Client) -> None:
    assert deliver(client, b"{}", content_type="text/plain").status_code == 415


def test_a_payload_of_25_megabytes_is_taken_and_its_outline_kept(client: Client) -> None:
    payload = pull_request_payload(body="x" * (24 * 1024 * 1024))

    assert deliver(client, payload).status_code == 202

    kept = Delivery.objects.get().payload
    assert kept["number"] == 7
    assert kept["repository"] == {"id": 1234, "full_name": "acme/shop"}
    assert kept["not_kept_bytes"] > 24 * 1024 * 1024


def test_a_larger_payload_is_refused(client: Client) -> None:
    assert deliver(client, b'"' + b"x" * (25 * 1024 * 1024) + b'"').status_code == 413


def test_a_delivery_that_rolls_back_leaves_no_job() -> None:
    with contextlib.suppress(RuntimeError), transaction.atomic():
        deliveries.receive("a-guid", "pull_request", pull_request_payload(), 1000)
        assert Job.objects.exists()
        raise RuntimeError

    assert not Job.objects.exists()
    assert not Delivery.objects.exists()
    assert not PullRequestReview.objects.exists()


def test_a_delivery_that_could_not_be_stored_runs_when_it_comes_again(client: Client) -> None:
    with mock.patch.object(requesting, "_send", side_effect=OperationalError("the server went away")):
        answer = deliver(client, pull_request_payload(), guid="lost")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert not Delivery.objects.exists()

    assert deliver(client, pull_request_payload(), guid="lost").json()["job"]


def test_damaged_bodies_are_no_error_of_ours(client: Client) -> None:
    whole = json.dumps(pull_request_payload()).encode()
    random_ = random.Random(2026)
    for _ in range(500):
        body = bytearray(whole)
        for _ in range(random_.randint(1, 12)):
            at = random_.randrange(len(body))
            if random_.random() < 0.5:
                body[at] = random_.randrange(256)
            else:
                del body[at : at + random_.randint(1, 20)]
        assert deliver(client, bytes(body)).status_code in (202, 400)


@pytest.mark.skipif(not EXAMPLES.is_file(), reason="GitHub's example payloads are not in .cache/npm (see .ci/run)")
def test_every_official_payload_is_accepted_or_ignored_with_a_reason(client: Client) -> None:
    jobs = 0
    examples = [(event["name"], payload) for event in json.loads(EXAMPLES.read_text()) for payload in event["examples"]]
    for event, payload in examples:
        answer = deliver(client, payload, event)
        assert answer.status_code == (200 if event == "ping" else 202), (event, answer.content)
        outcome = answer.json()["outcome"]
        assert outcome.startswith(("job ", "ignored, because ")), outcome
        jobs += outcome.startswith("job ")
    assert len(examples) == 329
    assert jobs
