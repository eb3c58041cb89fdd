"""/api/v1/jobs/: enqueue, list, show, retry, cancel, discard."""

import base64
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from jobs.models import Attempt, AuditEntry, IdempotencyKey, Job, State
from jobs.tests.api_client import VIEW, caller, person, post, problem, root

JOBS = "/api/v1/jobs/"
FIXED_KEYS = {
    "id",
    "task",
    "args",
    "kwargs",
    "queue",
    "priority",
    "state",
    "attempt",
    "max_attempts",
    "unique_key",
    "run_at",
    "created_at",
    "started_at",
    "finished_at",
    "worker",
    "progress",
    "error",
    "result",
    "origin",
}


def make(job_id: str = "job-1", state: str = State.QUEUED, **fields: Any) -> Job:
    now = timezone.now()
    finished = state not in (State.SCHEDULED, State.QUEUED, State.RUNNING)
    running = {
        "claim_id": "6f7e9f6c-9b57-4e5c-8f5b-0f5a1c1b2d3e",
        "started_at": now,
        "worker": "w@h",
        "pid": 7,
        "attempt": 1,
    }
    values: dict[str, Any] = {
        "task": "selftest.echo",
        "args": [1],
        "queue": "default",
        "run_at": now,
        "created_at": now,
        "finished_at": now if finished else None,
        **(running if state == State.RUNNING else {}),
    }
    return Job.objects.create(id=job_id, state=state, **{**values, **fields})


# --- enqueue --------------------------------------------------------------------------------------------------------


def test_a_job_is_enqueued_and_found_again(api: Client) -> None:
    response = post(api, JOBS, {"task": "selftest.echo", "args": ["hé"], "queue": "fast_lane", "priority": 9})

    job = response.json()
    assert response.status_code == 201
    assert job["folded"] is False
    assert set(job) >= FIXED_KEYS
    assert (job["state"], job["args"], job["queue"], job["priority"]) == ("queued", ["hé"], "fast_lane", 9)
    assert (job["origin"], job["origin_detail"]) == ("api", "root")
    assert (job["worker"], job["error"], job["result"], job["progress"]) == (None, None, None, None)
    assert response["Location"] == f"http://testserver/api/v1/jobs/{job['id']}/"
    assert api.get(response["Location"]).json()["id"] == job["id"]
    assert AuditEntry.objects.get(action="job.enqueue").via == "api"


def test_a_time_to_come_schedules(api: Client) -> None:
    run_at = (timezone.now() + timedelta(hours=1)).isoformat()

    job = post(api, JOBS, {"task": "selftest.echo", "kwargs": {"value": None}, "run_at": run_at}).json()

    assert job["state"] == "scheduled"
    assert job["run_at"][:19] == run_at[:19]


def test_a_second_job_of_a_key_is_folded_into_the_first(api: Client) -> None:
    body = {"task": "selftest.echo", "args": [1], "unique_key": "one"}
    first, second = post(api, JOBS, body), post(api, JOBS, {**body, "args": [2]})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["folded"] is True
    assert second.json()["id"] == first.json()["id"]
    assert Job.objects.count() == 1


BAD_JOBS: list[tuple[Any, str, str]] = [
    ({}, "#/task", "required"),
    ({"task": "nope"}, "#/task", "unknown task 'nope'; choose from"),
    ({"task": "os.system", "args": ["id"]}, "#/task", "unknown task"),
    ({"task": "celery.backend_cleanup"}, "#/task", "unknown task"),
    ({"task": 5}, "#/task", "unknown task '5'"),
    ({"task": None}, "#/task", "null"),
    ({"task": "selftest.echo\x00"}, "#/task", "unknown task"),
    ({"task": "selftest.echo"}, "#/args", "value"),
    ({"task": "selftest.echo", "args": [1, 2, 3]}, "#/args", "too many"),
    ({"task": "selftest.sleep", "args": ["soon"]}, "#/args", "seconds must be float or int, not str"),
    ({"task": "selftest.echo", "args": {"value": 1}}, "#/args", "must be a list"),
    ({"task": "selftest.echo", "kwargs": [1]}, "#/kwargs", "must be an object"),
    ({"task": "selftest.echo", "args": [1], "queue": "nowhere"}, "#/queue", "unknown queue 'nowhere'; choose from"),
    ({"task": "selftest.echo", "args": [1], "priority": 10}, "#/priority", "9"),
    ({"task": "selftest.echo", "args": [1], "priority": "high"}, "#/priority", "integer"),
    ({"task": "selftest.echo", "args": [1], "run_at": "tomorrow"}, "#/run_at", "format"),
    ({"task": "selftest.echo", "args": [1], "run_at": "9999-12-31T23:59:59-14:00"}, "#/run_at", "out of range"),
    ({"task": "selftest.echo", "args": [1], "run_at": "0001-01-01T00:00:00+14:00"}, "#/run_at", "out of range"),
    ({"task": "selftest.echo", "args": [1], "run_at": "2126-01-01T00:00:00Z"}, "#/run_at", "ahead"),
    ({"task": "selftest.echo", "args": [1], "run_at": "2020-01-01T00:00:00Z"}, "#/run_at", "in the past"),
    ({"task": "selftest.echo", "args": [1], "unique_key": "x" * 256}, "#/unique_key", "255"),
    ({"task": "selftest.echo", "args": [1], "unique_key": ""}, "#/unique_key", "blank"),
    ({"task": "selftest.echo", "args": [1], "state": "succeeded"}, "#/state", "unknown field; choose from: task"),
    ({"task": "selftest.echo", "args": [1], "a/b~c": 1}, "#/a~1b~0c", "unknown field"),
    ([], "#", "dictionary"),
    ("text", "#", "dictionary"),
]


@pytest.mark.parametrize(("body", "pointer", "detail"), BAD_JOBS)
def test_a_job_that_cannot_be_is_refused_with_what_is_wrong(api: Client, body: Any, pointer: str, detail: str) -> None:
    answer = problem(api.post(JOBS, json.dumps(body), content_type="application/json"), 400)

    if pointer:
        assert pointer in [error["pointer"] for error in answer["errors"]]
    assert detail.lower() in answer["detail"].lower()
    assert not Job.objects.exists()


BAD_BODIES = [
    (b"", 400),
    (b"{", 400),
    (b"{'task': 1}", 400),
    (b'{"task": "selftest.echo", "args": [NaN]}', 400),
    (b'{"task": "selftest.echo", "args": [-Infinity]}', 400),
    (b'{"task": "selftest.echo", "args": [1e999]}', 400),
    (b'{"task": "selftest.echo", "args": [' + b"9" * 5000 + b"]}", 400),
    (b'{"task": "selftest.echo", "args": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    (b'{"task": "selftest.echo", "args": ' + b"[" * 400 + b"]" * 400 + b"}", 400),
    (b'{"task": "selftest.echo", "kwargs": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", 400),
    (b"[" * 100_000, 400),
    (b'{"task": "selftest.echo", "args": ["\xff\xfe"]}', 400),
    (b'\xef\xbb\xbf{"task": "selftest.echo", "args": [1]}', 400),
    ('{"task": "selftest.echo", "args": [1]}'.encode("utf-16"), 400),
    (b'{"task": "selftest.echo", "args": [1]} trailing', 400),
    (b'{"task": "\\ud800"}', 400),
    (b'{"\\udfff": 1}', 400),
    (b'{"task": "selftest.echo", "args": ["' + b"x" * 1_000_000 + b'"]}', 413),
    (b'{"task": "selftest.echo", "args": ["\\u0000 \\ud800 end"]}', 201),
    (b'{"task": "selftest.echo", "kwargs": {"value": {"\\u0000": "\\ud83d\\ude00"}}}', 201),
    (b'{"task": "nope", "task": "selftest.echo", "args": [1]}', 201),
    (b'{"task": "selftest.echo", "args": [' + b"9" * 400 + b"]}", 201),
    (b'{"task": "selftest.echo", "args": ' + b"[" * 90 + b"1" + b"]" * 90 + b"}", 201),
    (b'{"task": "selftest.echo", "args": ["' + b"x" * 900_000 + b'"]}', 201),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES, ids=[body[:60].decode("latin-1") for body, _ in BAD_BODIES])
def test_no_body_whatever_is_an_error_of_ours(api: Client, body: bytes, status: int) -> None:
    response = api.post(JOBS, body, content_type="application/json")

    assert response.status_code == status, response.content[:300]
    if status >= 400:
        problem(response, status)


def test_what_postgres_cannot_hold_is_replaced(api: Client) -> None:
    job = api.post(JOBS, b'{"task": "selftest.echo", "args": ["a\\u0000b\\ud800c"]}', content_type="application/json")

    assert job.json()["args"] == ["a\ufffdb\ufffdc"] or job.json()["args"] == ["a\ufffdb\ufffd\ufffd\ufffdc"]


def test_another_content_type_or_method_is_refused(api: Client) -> None:
    problem(api.post(JOBS, {"task": "selftest.echo"}), 415)
    problem(api.put(JOBS, b"{}", content_type="application/json"), 405)
    problem(api.delete(JOBS), 405)
    problem(api.get(JOBS, headers={"accept": "text/html"}), 406)


# --- Idempotency-Key ------------------------------------------------------------------------------------------------


def test_a_repeated_key_gives_the_same_job(api: Client) -> None:
    body = {"task": "selftest.echo", "args": [1]}
    first = post(api, JOBS, body, **{"idempotency-key": "k 1"})
    again = post(api, JOBS, dict(reversed(body.items())), **{"idempotency-key": "k 1"})
    other = post(api, JOBS, body, **{"idempotency-key": "k 2"})

    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 201)
    assert again.json() == first.json()
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert other.json()["id"] != first.json()["id"]
    assert Job.objects.count() == 2


def test_a_repeated_key_of_a_folded_job_says_folded_again(api: Client) -> None:
    body = {"task": "selftest.echo", "args": [1], "unique_key": "one"}
    post(api, JOBS, body)

    answers = [post(api, JOBS, body, **{"idempotency-key": "k"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["folded"] for answer in answers] == [True, True]


def test_a_key_with_another_body_is_refused(api: Client) -> None:
    post(api, JOBS, {"task": "selftest.echo", "args": [1]}, **{"idempotency-key": "k"})

    answer = problem(post(api, JOBS, {"task": "selftest.echo", "args": [2]}, **{"idempotency-key": "k"}), 422)

    assert "another body" in answer["detail"]
    assert Job.objects.count() == 1


def test_a_key_is_free_after_a_refused_request_after_a_day_and_for_others(api: Client) -> None:
    key = {"idempotency-key": "k"}
    problem(post(api, JOBS, {"task": "selftest.echo"}, **key), 400)
    first = post(api, JOBS, {"task": "selftest.echo", "args": [1]}, **key).json()
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    later = post(api, JOBS, {"task": "selftest.echo", "args": [2]}, **key).json()
    anna = caller(person("anna", "jobs.enqueue_job"))

    assert later["id"] != first["id"]
    assert post(anna, JOBS, {"task": "selftest.echo", "args": [3]}, **key).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "tab\there"])
def test_a_key_must_be_short_and_printable(api: Client, key: str) -> None:
    problem(post(api, JOBS, {"task": "selftest.echo", "args": [1]}, **{"idempotency-key": key}), 400)


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_once_with_one_key_make_one_job() -> None:
    token = root().defaults["HTTP_AUTHORIZATION"]
    barrier = threading.Barrier(6)
    answers: list[Any] = []

    def send() -> None:
        client = Client(raise_request_exception=False, HTTP_AUTHORIZATION=token)
        barrier.wait()
        answers.append(post(client, JOBS, {"task": "selftest.echo", "args": [1]}, **{"idempotency-key": "race"}))
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert all("Retry-After" in answer for answer in answers if answer.status_code == 409)
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_key_whose_first_request_is_being_answered_is_told_so() -> None:
    from jobs.operators import idempotency

    api = root()
    user_id = person("other").pk - 1
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        from django.db import transaction

        with transaction.atomic():
            assert idempotency._lock(f"user:{user_id}", "slow")
            taken.set()
            release.wait(120)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(120)
    body = {"task": "selftest.echo", "args": [1]}
    during = post(api, JOBS, body, **{"idempotency-key": "slow"})
    release.set()
    thread.join()

    problem(during, 409)
    assert post(api, JOBS, body, **{"idempotency-key": "slow"}).status_code == 201


def cursor_of(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


# --- list -----------------------------------------------------------------------------------------------------------


def test_jobs_are_paged_newest_first_without_counting(api: Client, django_assert_max_num_queries: Any) -> None:
    start = timezone.now() - timedelta(hours=1)
    for number in range(7):
        make(f"job-{number}", created_at=start + timedelta(seconds=number // 2))

    seen, url = [], f"{JOBS}?page_size=3"
    while url:
        with django_assert_max_num_queries(6) as queries:
            page = api.get(url).json()
        assert not any("count(" in query["sql"].lower() for query in queries)
        seen += [job["id"] for job in page["results"]]
        url, before = page["next"], page["previous"]

    assert seen == [f"job-{number}" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert [job["id"] for job in api.get(before).json()["results"]] == ["job-3", "job-2", "job-1"]


def test_jobs_are_filtered(api: Client) -> None:
    make("old", created_at=timezone.now() - timedelta(days=2))
    make("failed", State.FAILED, worker="w2@h", task="selftest.fail", args=[], kwargs={"message": "zebra"})
    make("slow", State.RUNNING, queue="slow_lane")

    def ids(query: str) -> set[str]:
        response = api.get(f"{JOBS}?{query}")
        assert response.status_code == 200, response.content
        return {job["id"] for job in response.json()["results"]}

    day = (timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert ids("state=failed") == {"failed"}
    assert ids("state=failed&state=running") == {"failed", "slow"}
    assert ids("task=selftest.echo") == {"old", "slow"}
    assert ids("queue=slow_lane") == {"slow"}
    assert ids("worker=w2@h") == {"failed"}
    assert ids(f"created_before={day}") == {"old"}
    assert ids(f"created_after={day}&state=failed") == {"failed"}
    assert ids("search=fai") == {"failed"}
    assert ids("search=message:zebra") == {"failed"}
    assert ids("search=echo") == {"old", "slow"}
    assert ids("search=zebra") == {"failed"}
    assert ids("search=1") == {"old", "slow"}
    assert ids("search=value:1") == {"old", "slow"}
    assert ids("search=nowhere") == set()


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("state=lost", "state"),
        ("queue=nowhere", "queue"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2026-13-01", "created_before"),
        ("task=a%00b", "task"),
        ("worker=%00", "worker"),
        ("search=%00", "search"),
        ("search=" + "x" * 501, "search"),
        ("task__contains=e", "task__contains"),
        ("_connector=OR", "_connector"),
        ("ordering=args", "ordering"),
        ("page_size=all", "page_size"),
        ("page_size=0", "page_size"),
        ("page_size=-1", "page_size"),
        ("cursor=x", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=" + cursor_of("next"), "cursor"),
        ("cursor=" + cursor_of("next", "yesterday", "a"), "cursor"),
        ("cursor=" + cursor_of("next", "2026-01-01T00:00:00", "a"), "cursor"),
        ("cursor=" + cursor_of("next", "2026-01-01T00:00:00Z", "a\x00"), "cursor"),
        ("cursor=" + cursor_of("next", "2026-01-01T00:00:00Z", "a\ud800"), "cursor"),
        ("cursor=" + cursor_of("next", 1, 2), "cursor"),
        ("cursor=" + cursor_of("next", {}, []), "cursor"),
        ("cursor=" + cursor_of("up", "2026-01-01T00:00:00Z", "a"), "cursor"),
        ("cursor=" + "W1tb" * 5000, "cursor"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(api: Client, query: str, name: str) -> None:
    answer = problem(api.get(f"{JOBS}?{query}"), 400)

    assert [error["pointer"] for error in answer["errors"]] == [f"#/{name}"]


@pytest.mark.parametrize("created", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00", "2026-01-01", "1e9"])
def test_an_extreme_time_is_no_error_of_ours(api: Client, created: str) -> None:
    assert api.get(f"{JOBS}?created_after={created}").status_code in (200, 400)


@pytest.mark.parametrize("size", ["201", str(10**9), "9" * 5000])
def test_a_page_holds_at_most_200(api: Client, size: str) -> None:
    for number in range(203):
        make(f"job-{number:03}")

    assert len(api.get(f"{JOBS}?page_size={size}").json()["results"]) == 200


# --- show -----------------------------------------------------------------------------------------------------------


def test_a_running_job_is_shown_with_its_ended_and_its_present_attempt(api: Client) -> None:
    job = make(state=State.RUNNING, attempt=2, progress=0.5, progress_note="half")
    Attempt.objects.create(
        job=job,
        number=1,
        worker="w@h",
        pid=5,
        claim_id="11111111-1111-4111-8111-111111111111",
        started_at=timezone.now(),
        finished_at=timezone.now(),
        outcome="failed",
        error_class="ValueError",
        message="bad",
        traceback="Traceback …",
    )

    shown = api.get(f"{JOBS}job-1/").json()

    assert set(shown) >= FIXED_KEYS | {"attempts"}
    assert (shown["progress"], shown["progress_note"]) == (0.5, "half")
    assert [(a["number"], a["outcome"], a["error_class"]) for a in shown["attempts"]] == [
        (1, "failed", "ValueError"),
        (2, "running", ""),
    ]
    assert shown["attempts"][1]["finished_at"] is None


@pytest.mark.parametrize(
    ("stored", "shown"),
    [('{"a": [1]}', {"a": [1]}), ("NaN", "NaN"), ("not json", "not json"), ("[" * 5000, "[" * 5000), (None, None)],
)
def test_a_result_is_shown_whatever_it_is(api: Client, stored: str | None, shown: Any) -> None:
    from django_celery_results.models import TaskResult

    make(state=State.SUCCEEDED)
    TaskResult.objects.create(task_id="job-1", status="SUCCESS", result=stored)

    assert api.get(f"{JOBS}job-1/").json()["result"] == shown
    assert api.get(JOBS).json()["results"][0]["result"] == shown


@pytest.mark.parametrize(
    "path",
    ["nope", "%00", "%2e%2e", "a%2Fb", "%25", "x" * 300, "%F0%9F%9A%82", "%ff", "%ED%A0%80", "' OR 1=1 --", "a b"],
)
def test_an_unknown_id_is_not_found(api: Client, path: str) -> None:
    problem(api.get(f"{JOBS}{path}/"), 404)
    for action in ("retry", "cancel", "discard"):
        problem(post(api, f"{JOBS}{path}/{action}/"), 404)


def test_an_id_with_a_slash_is_found(api: Client) -> None:
    make("a/b c%")

    shown = api.get(f"{JOBS}a%2Fb%20c%25/").json()

    assert shown["id"] == "a/b c%"


# --- retry, cancel, discard -----------------------------------------------------------------------------------------


def test_a_failed_job_is_retried_with_other_arguments(api: Client) -> None:
    make(state=State.FAILED, error="boom")

    response = post(api, f"{JOBS}job-1/retry/", {"args": [2]})

    assert response.status_code == 200
    assert (response.json()["state"], response.json()["args"]) == ("queued", [2])
    assert "attempts" in response.json()


def test_an_empty_body_will_do(api: Client) -> None:
    make(state=State.FAILED)

    assert api.generic("POST", f"{JOBS}job-1/retry/").status_code == 200
    assert api.generic("POST", f"{JOBS}job-1/cancel/").json()["reason"] == "cancelled by root"


def test_a_failed_job_is_discarded_with_a_reason(api: Client) -> None:
    make(state=State.FAILED)

    discarded = post(api, f"{JOBS}job-1/discard/", {"reason": "known bug"}).json()

    assert (discarded["state"], discarded["reason"]) == ("discarded", "known bug")


def test_a_state_that_does_not_allow_it_is_a_conflict(api: Client) -> None:
    make("done", State.SUCCEEDED)
    make("runs", State.RUNNING)

    for path in ("done/retry", "done/cancel", "done/discard", "runs/retry", "runs/discard"):
        answer = problem(post(api, f"{JOBS}{path}/"), 409)
        assert "only" in answer["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("retry", {"args": [1, 2, 3]}),
        ("retry", {"args": "x"}),
        ("retry", {"state": "succeeded"}),
        ("cancel", {"force": "yes"}),
        ("cancel", {"kill": True}),
        ("discard", {"reason": ["x"]}),
        ("discard", {"reason": "x" * 1001}),
    ],
)
def test_a_wrong_body_of_an_action_is_refused(api: Client, path: str, body: Any) -> None:
    make(state=State.FAILED)

    problem(post(api, f"{JOBS}job-1/{path}/", body), 400)

    assert Job.objects.get().state == State.FAILED


# --- who may --------------------------------------------------------------------------------------------------------

ACTIONS = [
    ("get", JOBS, VIEW),
    ("get", f"{JOBS}job-1/", VIEW),
    ("post", JOBS, "jobs.enqueue_job"),
    ("post", f"{JOBS}job-1/retry/", "jobs.retry_job"),
    ("post", f"{JOBS}job-1/cancel/", "jobs.cancel_job"),
    ("post", f"{JOBS}job-1/discard/", "jobs.discard_job"),
]
PERMISSIONS = sorted({permission for _, _, permission in ACTIONS})


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path", "needed"), ACTIONS)
@pytest.mark.parametrize("held", PERMISSIONS)
def test_each_permission_opens_what_it_names_and_nothing_else(method: str, path: str, needed: str, held: str) -> None:
    make(state=State.FAILED if "cancel" not in path else State.QUEUED)
    api = caller(person("anna", held))

    response = (
        api.get(path)
        if method == "get"
        else post(api, path, {"task": "selftest.echo", "args": [1]} if path == JOBS else {})
    )

    if held == needed:
        assert response.status_code in (200, 201), response.content
    else:
        assert needed in problem(response, 403)["detail"]
        assert Job.objects.count() == 1


@pytest.mark.django_db
def test_other_arguments_need_a_permission_of_their_own() -> None:
    make(state=State.FAILED)

    answer = problem(post(caller(person("anna", "jobs.retry_job")), f"{JOBS}job-1/retry/", {"args": [2]}), 403)

    assert "edit_job_arguments" in answer["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize("action", ["retry", "cancel", "discard"])
def test_who_may_not_see_jobs_is_told_no_more_than_what_became_of_one(action: str) -> None:
    make(state=State.QUEUED if action == "cancel" else State.FAILED, args=["secret"], error="secret")
    blind, seeing = (f"jobs.{action}_job",), (f"jobs.{action}_job", VIEW)

    told = post(caller(person("anna", *blind)), f"{JOBS}job-1/{action}/").json()

    assert told == {"id": "job-1", "state": Job.objects.get().state}
    Job.objects.all().delete()
    make(state=State.QUEUED if action == "cancel" else State.FAILED, args=["secret"])
    whole = post(caller(person("ben", *seeing)), f"{JOBS}job-1/{action}/").json()
    assert (whole["args"], "attempts" in whole) == (["secret"], True)


@pytest.mark.django_db
def test_a_job_that_another_enqueued_does_not_show_its_arguments_to_who_may_only_enqueue(api: Client) -> None:
    body = {"task": "selftest.echo", "args": ["secret"], "unique_key": "k"}
    held = post(api, JOBS, body).json()
    anna = caller(person("anna", "jobs.enqueue_job"))

    folded = post(anna, JOBS, body | {"args": ["mine"]})
    own = post(anna, JOBS, body | {"unique_key": "other"}, **{"idempotency-key": "i"})
    again = post(anna, JOBS, body | {"unique_key": "other"}, **{"idempotency-key": "i"})

    assert (folded.status_code, folded.json()) == (200, {"id": held["id"], "state": held["state"], "folded": True})
    assert (own.status_code, set(own.json())) == (201, {"id", "state", "folded"})
    assert (again.json(), again["Idempotent-Replayed"]) == (own.json(), "true")
    assert held["args"] == ["secret"]
