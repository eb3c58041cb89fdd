"""The rest of the API: who gets in, tasks, queues, workers, schedules, the OpenAPI document, and errors."""

import json
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.models import ApiToken, Job, State, Worker
from jobs.tests.api_client import VIEW, caller, person, post, problem, root
from jobs.tests.test_api_jobs import make

pytestmark = pytest.mark.django_db
V1 = "/api/v1/"
EVERY_PATH = [
    *("jobs/", "jobs/x/", "jobs/x/retry/", "jobs/x/cancel/", "jobs/x/discard/", "tasks/", "queues/", "workers/"),
    *("schedules/", "schedules/1/", "schedules/1/run/", "schedules/1/upcoming/", "schema/"),
    *("tokens/", "tokens/1/", "effects/", "effects/1/", "effects/1/decide/"),
]


@pytest.fixture
def schedule() -> PeriodicTask:
    row = CrontabSchedule.objects.create(minute="30", hour="3", timezone="Europe/Lisbon")
    return PeriodicTask.objects.create(name="nightly", task="selftest.echo", args="[1]", crontab=row)


# --- who gets in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY_PATH)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_nobody_gets_in_without_a_token_or_a_session(path: str, method: str) -> None:
    response = Client().generic(method, V1 + path, b"{}", content_type="application/json")

    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    if method != "HEAD":
        problem(response, 401)


@pytest.mark.parametrize("path", EVERY_PATH)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_user_without_permissions_sees_and_changes_nothing(path: str, method: str) -> None:
    response = caller(person("anna")).generic(method, V1 + path, b"{}", content_type="application/json")

    if path != "schema/":
        assert response.status_code in (403, 405)


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer swy_x",
        "Bearer a b",
        "Bearer swy_" + "a" * 43,
        "Bearer \xff\xfe",
        "bearer " + "x" * 9999,
    ],
)
def test_a_bad_token_is_refused(header: str) -> None:
    problem(Client(HTTP_AUTHORIZATION=header).get(V1 + "jobs/"), 401)


def test_revoked_and_expired_tokens_are_refused() -> None:
    api = root()
    assert api.get(V1 + "jobs/").status_code == 200

    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    problem(api.get(V1 + "jobs/"), 401)
    ApiToken.objects.update(expires_at=None, revoked_at=timezone.now())
    problem(api.get(V1 + "jobs/"), 401)


def test_guessing_tokens_is_slowed_down_and_a_good_token_does_not_wait() -> None:
    api = root()
    guesses = [
        Client(HTTP_AUTHORIZATION=f"Bearer swy_{number:043}", HTTP_X_FORWARDED_FOR=f"10.0.0.{number}").get(V1 + "jobs/")
        for number in range(25)
    ]

    assert [guess.status_code for guess in guesses] == [401] * 20 + [429] * 5
    assert int(problem_headers(guesses[-1])["Retry-After"]) > 0
    assert api.get(V1 + "jobs/").status_code == 200


def problem_headers(response: Any) -> Any:
    problem(response, 429)
    return response.headers


def test_guessing_passwords_is_slowed_down_for_that_name_from_there() -> None:
    get_user_model().objects.create_user("anna", password="right-password", is_staff=True)
    login = "/admin/login/"
    wrong, right = ({"username": "anna", "password": word} for word in ("wrong", "right-password"))

    guesses = [Client().post(login, wrong).status_code for _ in range(11)]

    assert guesses == [200] * 10 + [429]
    assert Client().post(login, right).status_code == 429
    assert Client(REMOTE_ADDR="10.1.1.1").post(login, right).status_code == 302


def test_a_name_is_one_however_it_is_written() -> None:
    get_user_model().objects.create_user("anna", password="right-password", is_staff=True)
    login = "/admin/login/"

    guesses = [Client().post(login, {"username": name, "password": "wrong"}).status_code for name in [" anna"] * 11]

    assert guesses == [200] * 10 + [429]
    for name in ("anna", "\uff41nna", "anna\u3000", "\n\uff41\uff4ena "):
        assert Client().post(login, {"username": name, "password": "right-password"}).status_code == 429, name
    # Longer than any name: the form says so, having looked at no password.
    assert Client().post(login, {"username": "\ufdfa" * 200, "password": "x"}).status_code == 200


def test_after_wrong_passwords_one_is_told_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    login, wrong = "/admin/login/", {"username": "anna", "password": "wrong"}
    begun = time.time() // 45 * 45
    ticking = SimpleNamespace(time=lambda: begun, monotonic=time.monotonic)
    monkeypatch.setattr("jobs.rates.time", ticking)
    for _ in range(10):
        Client().post(login, wrong)

    def told(seconds: float) -> tuple[str, str]:
        ticking.time = lambda: begun + seconds
        answer = Client().post(login, wrong)
        return answer["Retry-After"], answer.content.decode().removeprefix("Too many failed logins. Try again in ")

    assert told(0) == ("945", "16 minutes.")
    assert told(600.5) == ("345", "6 minutes.")
    assert told(900) == ("45", "1 minute.")
    ticking.time = lambda: begun + 945
    assert Client().post(login, wrong).status_code == 200


def test_the_admins_session_gets_in_and_needs_a_csrf_token_to_change() -> None:
    browser = Client(enforce_csrf_checks=True, raise_request_exception=False)
    browser.force_login(person("anna", VIEW, "jobs.enqueue_job"))
    body = {"task": "selftest.echo", "args": [1]}

    assert browser.get(V1 + "jobs/").status_code == 200
    assert "CSRF" in problem(post(browser, V1 + "jobs/", body), 403)["detail"]

    browser.cookies["csrftoken"] = "a" * 32
    assert post(browser, V1 + "jobs/", body, **{"X-CSRFToken": "a" * 32}).status_code == 201


SYSTEM_PERMISSIONS = [
    ("GET", "tasks/", "jobs.view_job"),
    ("GET", "queues/", "jobs.view_job"),
    ("GET", "workers/", "jobs.view_worker"),
    ("GET", "schedules/", "django_celery_beat.view_periodictask"),
    ("GET", "schedules/{id}/", "django_celery_beat.view_periodictask"),
    ("GET", "schedules/{id}/upcoming/", "django_celery_beat.view_periodictask"),
    ("PATCH", "schedules/{id}/", "django_celery_beat.change_periodictask"),
    ("POST", "schedules/{id}/run/", "jobs.enqueue_job"),
    ("DELETE", "schedules/{id}/", "django_celery_beat.delete_periodictask"),
    ("GET", "tokens/", "jobs.view_apitoken"),
]


@pytest.mark.parametrize(("method", "path", "needed"), SYSTEM_PERMISSIONS)
@pytest.mark.parametrize("held", sorted({needed for _, _, needed in SYSTEM_PERMISSIONS}))
def test_each_permission_opens_what_it_names(
    schedule: PeriodicTask, method: str, path: str, needed: str, held: str
) -> None:
    body = json.dumps({"enabled": False} if method == "PATCH" else {})

    response = caller(person("anna", held)).generic(
        method, V1 + path.replace("{id}", str(schedule.pk)), body, content_type="application/json"
    )

    if held == needed:
        assert response.status_code in (200, 201, 204), response.content
    else:
        problem(response, 403)
        assert PeriodicTask.objects.get(name="nightly").enabled
        assert not Job.objects.exists()


# --- tasks, queues, workers -----------------------------------------------------------------------------------------


def test_tasks_tell_their_parameters(api: Client) -> None:
    tasks = {task["name"]: task for task in api.get(V1 + "tasks/").json()["results"]}

    assert tasks["selftest.sleep"]["parameters"] == [
        {"name": "seconds", "type": "float", "required": True, "default": None},
        {"name": "steps", "type": "int", "required": False, "default": 1},
    ]
    assert tasks["jobs.clean_up"]["queue"] == "maintenance"
    assert not any(name.startswith("celery.") for name in tasks)


def test_queues_tell_how_full_they_are_and_who_serves_them(api: Client) -> None:
    now = timezone.now()
    make("a", run_at=now - timedelta(minutes=10))
    make("b")
    make("c", State.SCHEDULED)
    make("d", State.RUNNING, queue="fast_lane")
    make("e", State.SUCCEEDED)
    beats = {"host": "h", "pid": 1, "children": 2, "started_at": now}
    Worker.objects.create(name="w1", queues=["default", "fast_lane"], heartbeat_at=now, **beats)
    Worker.objects.create(name="w2", queues=["default"], heartbeat_at=now - timedelta(minutes=1), **beats)
    Worker.objects.create(name="w3", queues=["default"], heartbeat_at=now, stopped_at=now, **beats)

    queues = {queue["name"]: queue for queue in api.get(V1 + "queues/").json()["results"]}

    assert list(queues)[:2] == ["fast_lane", "slow_lane"]
    default = queues["default"]
    assert (default["waiting"], default["scheduled"], default["running"], default["workers"]) == (2, 1, 0, 1)
    assert 590 < default["oldest_waiting_seconds"] < 700
    assert (queues["fast_lane"]["running"], queues["fast_lane"]["oldest_waiting_seconds"]) == (1, None)
    states = {worker["name"]: worker["state"] for worker in api.get(V1 + "workers/").json()["results"]}
    assert states == {"w1": "alive", "w2": "silent", "w3": "stopped"}


def test_a_worker_tells_what_it_runs_and_lists_are_paged(api: Client) -> None:
    now = timezone.now()
    for name in ("w1", "w2", "w3"):
        Worker.objects.create(name=name, host="h", pid=1, children=2, started_at=now, heartbeat_at=now)
    make("d", State.RUNNING, worker="w2")

    first = api.get(V1 + "workers/?page_size=2").json()
    second = api.get(first["next"]).json()

    assert [(w["name"], w["running"]) for w in first["results"]] == [("w1", []), ("w2", ["d"])]
    assert [w["name"] for w in second["results"]] == ["w3"]
    assert [w["name"] for w in api.get(second["previous"]).json()["results"]] == ["w1", "w2"]


# --- schedules ------------------------------------------------------------------------------------------------------


def test_a_schedule_is_shown_by_its_id_alone(api: Client, schedule: PeriodicTask) -> None:
    by_id = api.get(f"{V1}schedules/{schedule.pk}/").json()

    problem(api.get(f"{V1}schedules/nightly/"), 404)
    assert by_id["schedule"] == "at 03:30 daily, Europe/Lisbon"
    assert (by_id["args"], by_id["kwargs"], by_id["time_zone"]) == ([1], {}, "Europe/Lisbon")
    assert "nightly" in [row["name"] for row in api.get(V1 + "schedules/").json()["results"]]


def test_a_schedule_is_switched_run_and_asked_for_its_next_runs(api: Client, schedule: PeriodicTask) -> None:
    path = f"{V1}schedules/{schedule.pk}/"

    runs = api.get(path + "upcoming/?count=3").json()["results"]
    ran = post(api, path + "run/")
    off = api.patch(path, {"enabled": False}, content_type="application/json").json()

    assert [run["run_at"][11:16] for run in runs] == ["03:30"] * 3
    assert (ran.status_code, ran.json()["origin"], ran.json()["origin_detail"]) == (201, "schedule", "nightly")
    assert (off["enabled"], off["next_run_at"]) == (False, None)
    assert api.get(path + "upcoming/").json()["results"] == []


@pytest.mark.parametrize("body", [{}, {"enabled": "yes"}, {"enabled": None}, {"enabled": 1}, {"task": "x"}, [], 5])
def test_a_change_of_a_schedule_that_cannot_be_is_refused(api: Client, schedule: PeriodicTask, body: Any) -> None:
    problem(api.patch(f"{V1}schedules/{schedule.pk}/", json.dumps(body), content_type="application/json"), 400)


@pytest.mark.parametrize("count", ["0", "101", "-1", "five", "9" * 50, ""])
def test_a_wrong_count_is_refused(api: Client, schedule: PeriodicTask, count: str) -> None:
    problem(api.get(f"{V1}schedules/{schedule.pk}/upcoming/?count={count}"), 400)


@pytest.mark.parametrize("key", ["0", "9" * 30, "nope", "%00", "%F0%9F%9A%82", "x" * 3000, "a%2Fb", "-1"])
def test_an_unknown_schedule_is_not_found(api: Client, key: str) -> None:
    problem(api.get(f"{V1}schedules/{key}/"), 404)
    problem(post(api, f"{V1}schedules/{key}/run/"), 404)


def test_a_schedule_that_cannot_run_is_a_conflict(api: Client) -> None:
    row = IntervalSchedule.objects.create(every=1, period="hours")
    foreign = PeriodicTask.objects.create(name="foreign", task="os.system", interval=row).pk
    broken = PeriodicTask.objects.create(name="broken", task="selftest.echo", args="{", interval=row).pk

    assert "unknown task" in problem(post(api, f"{V1}schedules/{foreign}/run/"), 409)["detail"]
    assert "not JSON" in problem(post(api, f"{V1}schedules/{broken}/run/"), 409)["detail"]
    assert api.get(f"{V1}schedules/{broken}/").json()["args"] == "{"


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/", "/api/v1/", "/api/v1/nope/", "/api/v2/jobs/", "/api/v1/%00", "/api/v1/%ff/"])
def test_an_unknown_path_is_a_problem(path: str) -> None:
    problem(Client(raise_request_exception=False).get(path), 404)


def test_a_post_without_the_last_slash_stays_a_post(api: Client) -> None:
    body = {"task": "selftest.echo", "args": [1]}

    assert post(api, "/api/v1/jobs", body).status_code == 308
    answer = api.post("/api/v1/jobs", body, content_type="application/json", follow=True)

    assert answer.status_code == 201


def test_another_page_that_does_not_exist_is_a_page() -> None:
    response = Client().get("/nope/")

    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_while_postgres_is_away_the_answer_says_when_to_try_again(api: Client) -> None:
    away = OperationalError("connection to server at 10.1.2.3 failed")

    with mock.patch("jobs.api.job_views.find_job", side_effect=away):
        in_view = api.get(V1 + "jobs/x/")
    with mock.patch("jobs.operators.tokens.ApiToken.objects.select_related", side_effect=away):
        in_login = api.get(V1 + "jobs/x/")
    with mock.patch("django.contrib.sessions.backends.db.SessionStore.load", side_effect=away):
        browser = Client(raise_request_exception=False)
        browser.cookies["sessionid"] = "x" * 32
        in_session, page = browser.get(V1 + "jobs/x/"), browser.get("/admin/")

    for response in (in_view, in_login, in_session):
        assert "10.1.2.3" not in json.dumps(problem(response, 503))
        assert response["Retry-After"] == "5"
    assert (page.status_code, page["Retry-After"]) == (503, "5")


def test_a_body_in_chunks_is_refused_rather_than_taken_for_empty(api: Client) -> None:
    make("bad", State.FAILED)

    response = api.generic("POST", V1 + "jobs/bad/retry/", headers={"transfer-encoding": "chunked"})

    problem(response, 411)
    assert Job.objects.get().state == State.FAILED


def test_what_nobody_foresaw_tells_nothing(api: Client) -> None:
    with mock.patch("jobs.api.job_views.find_job", side_effect=RuntimeError("secret")):
        response = api.get(V1 + "jobs/x/")

    assert "secret" not in json.dumps(problem(response, 500))


# --- OpenAPI --------------------------------------------------------------------------------------------------------


def test_the_openapi_document_is_valid_and_complete(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"

    call_command("spectacular", fail_on_warn=True, validate=True, format="openapi-json", file=str(file))

    document = json.loads(file.read_text())
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert ("/api/v1/jobs/", "post") in described
    assert ("/api/v1/schedules/{schedule_id}/upcoming/", "get") in described
    assert all(
        "default" in operation["responses"] for path in document["paths"].values() for operation in path.values()
    )
    assert set(document["components"]["securitySchemes"]) == {"token", "cookieAuth"}
    queries = {
        row["name"]: row["schema"]
        for path in ("/api/v1/todos/", "/api/v1/reminder-deliveries/")
        for row in document["paths"][path]["get"]["parameters"]
    }
    assert queries["mine"] == {"type": "boolean"}
    assert queries["todo"] == {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    assert queries["due_after"] == {"type": "string", "format": "date-time"}
    assert queries["priority"] == {"type": "string", "enum": ["high", "low", "medium", "none", "urgent"]}


def test_the_document_is_served_as_json_to_those_who_are_logged_in(api: Client) -> None:
    response = api.get(V1 + "schema/")

    assert response["Content-Type"].startswith("application/json")
    assert response.json()["openapi"].startswith("3.")


def test_the_docs_send_a_browser_to_the_login() -> None:
    response = Client().get(V1 + "docs/")

    assert response.status_code == 302
    assert response["Location"] == "/admin/login/?next=/api/v1/docs/"


def test_the_docs_name_no_other_host_and_no_inline_script() -> None:
    browser = Client()
    browser.force_login(person("anna"))

    response = browser.get(V1 + "docs/")

    page = response.content.decode()
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page
    policy = response["Content-Security-Policy"]
    assert "script-src 'self';" in policy + ";"
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert browser.get(V1 + "docs/?script=").status_code == 200
