"""Pauses and limits by REST, by command and in the admin: the same services, permissions and audit entries."""

import json
from typing import Any

import pytest

from jobs.models import AuditEntry, Job, Limit
from jobs.operators.actors import command_actor
from jobs.operators.limits import limit_states, parse_duration, parse_rate, pause, set_limits
from jobs.tests.admin_helpers import client_with, job_page_url, opened, said
from jobs.tests.api_client import VIEW, caller, person, post, problem, root
from jobs.tests.factories import make_job
from jobs.tests.test_commands import refusal, run

pytestmark = pytest.mark.django_db
V1 = "/api/v1/"


@pytest.fixture(autouse=True)
def _fresh(db: None) -> None:
    Limit.objects.all().delete()


def patch(client: Any, path: str, body: Any) -> Any:
    return client.patch(V1 + path, body, content_type="application/json")


def audit() -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("via", "action", "target"))


# --- REST -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "title"),
    [("queues/default/", "queue default"), ("tasks/selftest.echo/", "task selftest.echo"), ("limits/", "everything")],
)
def test_each_scope_is_paused_resumed_and_limited_by_rest(prefix: str, title: str) -> None:
    api = root()
    limits = prefix if prefix == "limits/" else f"{prefix}limits/"

    paused = post(api, f"{V1}{prefix}pause/", {"reason": "far side down", "for_seconds": 600}).json()
    assert (paused["paused"], paused["pause_reason"], paused["paused_by"]) == (True, "far side down", "root")
    assert paused["resume_at"]
    assert post(api, f"{V1}{prefix}resume/").json()["paused"] is False
    changed = patch(api, limits, {"concurrency": 3, "rate": 10, "rate_seconds": 60}).json()
    assert changed["text"] == "3 running at once, 10 started a minute"
    assert patch(api, limits, {"rate": None}).json()["text"] == "3 running at once"
    assert [entry for entry in audit() if entry[0] == "api"] == [
        ("api", "limit.pause", title),
        ("api", "limit.resume", title),
        ("api", "limit.change", title),
        ("api", "limit.change", title),
    ]
    assert title in [f"{row['scope']} {row['name']}".strip() for row in api.get(f"{V1}limits/").json()["results"]]


def test_who_may_not_is_refused_and_nothing_changes() -> None:
    looker = caller(person("looker", VIEW))
    pauser = caller(person("pauser", "jobs.pause_queue"))
    limiter = caller(person("limiter", "jobs.manage_limits"))

    for client in (looker, limiter):
        problem(post(client, f"{V1}queues/default/pause/"), 403)
        problem(post(client, f"{V1}limits/resume/"), 403)
    for client in (looker, pauser):
        problem(patch(client, "queues/default/limits/", {"concurrency": 1}), 403)
        problem(patch(client, "limits/", {"concurrency": 1}), 403)
    problem(pauser.get(f"{V1}limits/"), 403)

    assert not Limit.objects.exists()
    assert post(pauser, f"{V1}queues/default/pause/").status_code == 200
    assert patch(limiter, "tasks/selftest.echo/limits/", {"concurrency": 1}).status_code == 200
    assert looker.get(f"{V1}queues/default/limits/").json()["paused"] is True


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("queues/express/limits/", {"concurrency": 1}, 404, "unknown queue 'express'; choose from: fast_lane"),
        ("tasks/os.system/limits/", {"concurrency": 1}, 404, "unknown task 'os.system'"),
        ("queues/default/limits/", {"concurrency": 0}, 400, "to let nothing start, pause it"),
        ("queues/default/limits/", {"concurrency": "2"}, 400, "must be a whole number"),
        ("queues/default/limits/", {"concurrency": 10**30}, 400, "concurrency"),
        ("queues/default/limits/", {"speed": 1}, 400, "unknown field"),
        ("queues/default/limits/", [1], 400, ""),
    ],
)
def test_wrong_limits_are_problems(path: str, body: Any, status: int, said: str) -> None:
    assert said in problem(patch(root(), path, body), status)["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"for_seconds": 0}, "for_seconds 0"),
        ({"for_seconds": 1e12}, "for_seconds"),
        ({"resume_at": "2020-01-01T00:00Z"}, "resume_at 2020"),
        ({"resume_at": "2100-01-01T00:00Z"}, "resume_at 2100"),
        ({"for_seconds": 5, "resume_at": "2100-01-01T00:00Z"}, "give one of them"),
        ({"reason": "x" * 1001}, "1000"),
    ],
)
def test_wrong_pauses_are_problems(body: dict[str, Any], said: str) -> None:
    assert said in problem(post(root(), f"{V1}queues/default/pause/", body), 400)["detail"]
    assert not Limit.objects.exists()


def test_a_job_and_its_queue_tell_what_holds_them_back() -> None:
    job = make_job(held=True, limit_key="repository:1")
    pause(command_actor(), "queue", "default", reason="far side down")
    api = root()

    shown = api.get(f"{V1}jobs/{job.pk}/").json()
    assert shown["limit_key"] == "repository:1"
    assert "far side down" in shown["waits_for"][0]
    queue = next(row for row in api.get(f"{V1}queues/").json()["results"] if row["name"] == "default")
    assert (queue["paused"], queue["held"], queue["waiting"]) == (True, 1, 1)
    assert "far side down" in queue["limits"]


# --- commands -------------------------------------------------------------------------------------------------------


def test_queues_tasks_and_everything_are_paused_resumed_and_limited_by_command() -> None:
    shown = json.loads(run("queues", "pause", "default", "--reason", "deploy", "--for", "10m", "--json"))
    assert (shown["paused"], shown["pause_reason"], bool(shown["resume_at"])) == (True, "deploy", True)
    assert json.loads(run("queues", "resume", "default", "--json"))["paused"] is False
    run("queues", "pause", "--everything")
    run("queues", "limit", "--task", "selftest.echo", "--concurrency", "2", "--rate", "100/30s")
    assert "2 running at once, 100 started in 30 s" in run("queues", "limits")
    run("queues", "limit", "--task", "selftest.echo", "--concurrency", "none", "--rate", "none")
    assert "neither" not in run("queues", "list")
    assert [action for _, action, _ in audit()] == [
        *("limit.pause", "limit.resume", "limit.pause", "limit.change", "limit.change"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pause", "express"), "unknown queue 'express'"),
        (("pause", "--task", "nope"), "unknown task 'nope'"),
        (("pause", "default", "--for", "soon"), "duration 'soon' is not a time"),
        (("limit", "default"), "give at least one"),
        (("limit", "default", "--concurrency", "-1"), "'-1' is not a whole number"),
        (("limit", "default", "--concurrency", "0"), "pause it"),
        (("limit", "default", "--rate", "fast"), "rate 'fast' is not a number in a period"),
    ],
)
def test_a_wrong_command_exits_with_2_and_one_line(words: tuple[str, ...], said: str) -> None:
    code, text = refusal("queues", *words)
    assert code == 2
    assert said in text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2 hours", 7200), ("1d", 86_400), ("1 minute", 60)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "rate"), [("10/minute", (10, 60)), ("5/h", (5, 3600)), ("100/30s", (100, 30)), ("1 / day", (1, 86_400))]
)
def test_rates_are_read_as_people_write_them(text: str, rate: tuple[int, int]) -> None:
    assert parse_rate(text) == rate


def test_a_task_whose_code_is_gone_can_still_be_let_go_of() -> None:
    Limit.objects.create(scope="task", name="gone", concurrency=1)

    assert set_limits(command_actor(), "task", "gone", {"concurrency": None}).concurrency is None
    assert "gone" in [state.name for state in limit_states("task")]
    assert not Job.objects.exists()


# --- the admin ------------------------------------------------------------------------------------------------------

SCOPE = "/admin/jobs/limit/scope/"


@pytest.mark.parametrize(("scope", "name"), [("queue", "default"), ("task", "selftest.echo"), ("everything", "")])
def test_each_scope_has_a_page_that_pauses_resumes_and_limits(scope: str, name: str) -> None:
    client = client_with("jobs.view_job", "jobs.pause_queue", "jobs.manage_limits")
    url = f"{SCOPE}?scope={scope}&name={name}"

    assert "is paused" in said(client.post(url, {"action": "pause", "reason": "<b>deploy</b>", "length": "5m"}))
    page = client.get(url).content.decode()
    assert "&lt;b&gt;deploy&lt;/b&gt;" in page
    assert "&lt;b&gt;deploy&lt;/b&gt;" in client.get("/admin/").content.decode()
    client.post(url, {"action": "resume"})
    client.post(url, {"action": "limits", "concurrency": "2", "rate": "10", "rate_seconds": "60"})
    assert "2 running at once, 10 started a minute" in client.get("/admin/jobs/limit/").content.decode()
    limit = Limit.objects.get(scope=scope)
    assert (limit.concurrency, limit.key_concurrency, limit.rate, limit.paused_at) == (2, None, 10, None)
    assert [entry[:2] for entry in audit()] == [
        *(("admin", "limit.pause"), ("admin", "limit.resume"), ("admin", "limit.change")),
    ]


def test_the_pages_ask_for_permissions() -> None:
    url = f"{SCOPE}?scope=queue&name=default"
    assert client_with().get("/admin/jobs/limit/").status_code == 403
    assert client_with(name="bob").get(url).status_code == 403
    looker = client_with("jobs.view_job", name="eve")
    assert looker.get("/admin/jobs/limit/").status_code == 200
    assert '<form method="post" class="sy-form"' not in looker.get(url).content.decode()
    for action in ("pause", "resume"):
        assert looker.post(url, {"action": action}).status_code == 403
    assert looker.post(url, {"action": "limits", "concurrency": "1", "rate_seconds": "1"}).status_code == 403
    assert not Limit.objects.exists()


def test_what_cannot_be_is_said_beside_its_field() -> None:
    client = client_with("jobs.view_job", "jobs.pause_queue", "jobs.manage_limits")
    url = f"{SCOPE}?scope=queue&name=default"

    assert (
        "to let nothing start, pause it"
        in client.post(url, {"action": "limits", "concurrency": "0", "rate_seconds": "60"}).content.decode()
    )
    assert client.post(url, {"action": "pause", "length": "for ever"}).status_code == 200
    assert "unknown queue" in said(client.get(f"{SCOPE}?scope=queue&name=%00express"))
    assert "is none of" in said(client.get(f"{SCOPE}?scope=planet"))
    assert not Limit.objects.filter(concurrency__isnull=False).exists()


def test_a_jobs_page_says_what_it_waits_for() -> None:
    job = make_job(held=True)
    set_limits(command_actor(), "queue", "default", {"concurrency": 1})

    html = client_with("jobs.view_job").get(job_page_url(job)).content.decode()

    assert "queue default: 1 running at once" in html


def test_an_open_form_of_limits_puts_nothing_back_that_others_changed() -> None:
    url = f"{SCOPE}?scope=queue&name=default"
    set_limits(command_actor(), "queue", "default", {"concurrency": 4})
    client = client_with("jobs.view_job", "jobs.manage_limits")
    form = opened(client, url)
    set_limits(command_actor(), "queue", "default", {"concurrency": 2, "rate": 5, "rate_seconds": 3600})

    assert client.post(url, {**form, "action": "limits", "key_concurrency": "1"}).status_code == 302

    limit = Limit.objects.get(scope="queue", name="default")
    assert (limit.concurrency, limit.key_concurrency, limit.rate, limit.rate_seconds) == (2, 1, 5, 3600)
    client.post(url, {**opened(client, url), "action": "limits", "rate": "7"})
    limit.refresh_from_db()
    assert (limit.rate, limit.rate_seconds) == (7, 3600)
