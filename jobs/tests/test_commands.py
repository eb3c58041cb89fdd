"""The operators' commands: what they print, where, and how they exit."""

import argparse
import io
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.lanes import QUEUES
from jobs.models import ApiToken, Attempt, AuditEntry, Job, State, Worker
from jobs.operators import tokens
from jobs.tests.live import database_url
from jobs.tests.test_api_jobs import FIXED_KEYS, make

ROOT = Path(__file__).resolve().parents[2]


def run(*words: Any) -> str:
    """What the command prints on stdout."""
    out = io.StringIO()
    call_command(*(str(word) for word in words), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def refusal(*words: Any) -> tuple[int, str]:
    """How the command refuses: its exit code and its one line."""
    with pytest.raises(CommandError) as refused:
        run(*words)
    assert "\n" not in str(refused.value)
    return refused.value.returncode, str(refused.value)


def program(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """The command as a process of its own, on the tests' database."""
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url(), "SECRET_KEY": "x" * 60, **env},
        capture_output=True,
        text=True,
        timeout=180,
    )


# --- jobs -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_jobs_are_listed_as_lines_or_json() -> None:
    make("old", created_at=timezone.now() - timedelta(days=1))
    make("bad", State.FAILED, error="line one\nline two\x1b[31m")

    lines = run("jobs", "list").splitlines()
    listed = json.loads(run("jobs", "list", "--json"))

    assert lines[0].split("\t")[:3] == ["ID", "STATE", "TASK"]
    assert [line.split("\t")[0] for line in lines[1:]] == ["bad", "old"]
    assert lines[1].endswith("line one line two\ufffd[31m")
    assert [job["id"] for job in listed] == ["bad", "old"]
    assert set(listed[0]) >= FIXED_KEYS


@pytest.mark.django_db
def test_jobs_are_filtered_as_in_the_api() -> None:
    make("old", created_at=timezone.now() - timedelta(days=2))
    make("failed", State.FAILED, task="selftest.fail", args=[], kwargs={"message": "zebra"})
    make("slow", State.RUNNING, queue="slow_lane", worker="w2@h")

    def ids(*options: str) -> list[str]:
        return [job["id"] for job in json.loads(run("jobs", "list", "--json", *options))]

    assert ids("--state", "failed", "--state", "running") == ["slow", "failed"]
    assert ids("--task", "selftest.fail") == ["failed"]
    assert ids("--queue", "slow_lane") == ids("--worker", "w2@h") == ["slow"]
    assert ids("--search", "message:zebra") == ["failed"]
    assert ids("--created-before", (timezone.now() - timedelta(days=1)).isoformat()) == ["old"]
    assert ids("--limit", "1") == ["slow"]


@pytest.mark.django_db
def test_a_job_is_shown_with_its_attempts() -> None:
    job = make(state=State.FAILED, error="ValueError: bad")
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
        traceback="Traceback\n  here",
    )

    shown = run("jobs", "show", "job-1")

    assert "state               failed" in shown
    assert "attempt 1: failed on w@h" in shown
    assert "Traceback\n  here" in shown
    assert json.loads(run("jobs", "show", "job-1", "--json"))["attempts"][0]["number"] == 1


@pytest.mark.django_db
def test_a_job_is_enqueued_from_pairs_and_json() -> None:
    job_id = run(
        "jobs", "enqueue", "selftest.sleep", "seconds=0.5", "--kwargs", '{"steps": 2}', "--queue", "fast_lane"
    ).strip()

    job = Job.objects.get(pk=job_id)
    assert (job.kwargs, job.queue, job.origin) == ({"seconds": 0.5, "steps": 2}, "fast_lane", "command")
    text = json.loads(run("jobs", "enqueue", "selftest.echo", "value=it is text", "--priority", 9, "--json"))
    assert (text["kwargs"], text["priority"], text["folded"]) == ({"value": "it is text"}, 9, False)
    later = run("jobs", "enqueue", "selftest.echo", "--args", "[1]", "--run-at", "2035-01-01T00:00Z").strip()
    assert refusal("jobs", "enqueue", "selftest.echo", "--args", "[1]", "--run-at", "2135-01-01T00:00Z")[0] == 2
    assert Job.objects.get(pk=later).state == State.SCHEDULED


@pytest.mark.django_db
def test_a_folded_job_prints_the_id_of_its_holder() -> None:
    ids = {run("jobs", "enqueue", "selftest.echo", "value=1", "--unique-key", "k") for _ in range(2)}

    assert len(ids) == 1


@pytest.mark.django_db
def test_jobs_are_retried_cancelled_and_discarded() -> None:
    for name in ("a", "b"):
        make(name, State.FAILED)

    assert run("jobs", "retry", "a", "b", "--args", "[5]").split() == ["a", "b"]
    assert set(Job.objects.values_list("state", flat=True)) == {"queued"}
    assert Job.objects.get(pk="a").args == [5]
    assert run("jobs", "cancel", "a").split() == ["a"]
    assert json.loads(run("jobs", "discard", "b", "--reason", "old", "--json")) == {"changed": ["b"], "skipped": {}}
    assert Job.objects.get(pk="b").reason == "old"
    assert set(AuditEntry.objects.values_list("via", flat=True)) == {"command"}


@pytest.mark.django_db
def test_a_job_whose_state_does_not_allow_it_fails_the_command_but_not_the_others() -> None:
    make("done", State.SUCCEEDED)
    make("bad", State.FAILED)

    with pytest.raises(SystemExit) as ended:
        run("jobs", "retry", "done", "bad")

    assert ended.value.code == 1
    assert Job.objects.get(pk="bad").state == State.QUEUED


@pytest.mark.django_db
def test_an_unknown_id_is_wrong_use_and_nothing_is_done() -> None:
    make("bad", State.FAILED)

    assert refusal("jobs", "retry", "bad", "nope") == (2, "no job 'nope'")
    assert Job.objects.get().state == State.FAILED


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("show nope", 2, "no job 'nope'"),
        ("show \udcff", 2, "no job"),
        ("show nul\x00", 2, "no job"),
        ("list --state lost", 2, "unknown state 'lost'; choose from: scheduled"),
        ("list --queue lost", 2, "unknown queue 'lost'; choose from: fast_lane"),
        ("list --created-after soon", 2, "--created-after 'soon'"),
        ("list --limit 0", 2, "1 to 1000"),
        ("enqueue nope", 2, "unknown task 'nope'; choose from: "),
        ("enqueue selftest.echo", 2, "missing a required argument: 'value'"),
        ("enqueue selftest.echo 5", 2, "'5' is not key=value"),
        ("enqueue selftest.echo =5", 2, "is not key=value"),
        ("enqueue selftest.sleep seconds=soon", 2, "seconds must be float"),
        ("enqueue selftest.echo --args [", 2, "--args '[' is not JSON"),
        ("enqueue selftest.echo --args {}", 2, "must be a list"),
        ("enqueue selftest.echo --kwargs [1]", 2, "must be an object"),
        ("enqueue selftest.echo --args [NaN]", 2, "NaN is not JSON"),
        ("enqueue selftest.echo value=1 --queue x", 2, "unknown queue 'x'"),
        ("enqueue selftest.echo value=1 --priority 12", 2, "0 to 9"),
        ("enqueue selftest.echo value=1 --run-at soon", 2, "not an ISO 8601 time"),
        ("enqueue selftest.echo value=1 --run-at 2020-01-01T00:00Z", 2, "in the past"),
        ("enqueue selftest.echo value=1 --wait -1", 2, "--wait is -1"),
        ("enqueue selftest.echo value=1 --wait 0", 1, "is still queued after 0 s"),
        ("enqueue selftest.echo value=1 --wait nan", 2, "--wait is nan; it must be a number of seconds"),
        ("enqueue selftest.echo value=1 --wait inf", 2, "--wait is inf"),
        ("enqueue selftest.echo value=1 --wait=-1", 2, "--wait is -1.0"),
        ("retry a --args 5", 2, "must be a list"),
    ],
)
def test_wrong_use_is_told_in_one_line(words: str, code: int, text: str) -> None:
    returned, message = refusal("jobs", *words.split())

    assert (returned, text in message) == (code, True), message


# --- queues, workers, schedules, tokens -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_queues_and_workers_are_listed() -> None:
    make("a")
    make("r", State.RUNNING, worker="w1")
    now = timezone.now()
    Worker.objects.create(name="w1", host="h", pid=1, queues=["default"], children=2, started_at=now, heartbeat_at=now)

    queues = {queue["name"]: queue for queue in json.loads(run("queues", "list", "--json"))}
    (worker,) = json.loads(run("workers", "--json"))

    assert (queues["default"]["waiting"], queues["default"]["workers"]) == (1, 1)
    assert (worker["name"], worker["state"], worker["running"]) == ("w1", "alive", ["r"])
    assert run("workers").splitlines()[1].split("\t")[:2] == ["w1", "alive"]
    assert len(run("queues", "list").splitlines()) == len(QUEUES) + 1


@pytest.mark.django_db
def test_schedules_are_listed_switched_and_run() -> None:
    row = IntervalSchedule.objects.create(every=15, period="minutes")
    task = PeriodicTask.objects.create(name="quarterly check", task="selftest.echo", args="[1]", interval=row)

    listed = {row["name"]: row for row in json.loads(run("schedules", "list", "--json"))}
    assert listed["quarterly check"]["schedule"] == "every 15 minutes"
    run("schedules", "disable", "quarterly check")
    assert not PeriodicTask.objects.get(pk=task.pk).enabled
    assert json.loads(run("schedules", "enable", task.pk, "--json"))["enabled"] is True
    assert Job.objects.get(pk=run("schedules", "run", "quarterly check").strip()).origin == "schedule"
    assert refusal("schedules", "run", "nope")[0] == 2
    PeriodicTask.objects.filter(pk=task.pk).update(args="{")
    assert refusal("schedules", "run", task.pk)[0] == 1


@pytest.mark.django_db
def test_a_token_is_printed_once_and_lets_in() -> None:
    get_user_model().objects.create_user("anna")

    text = run("create_token", "anna", "--name", "ci", "--days", 7).strip()
    other = json.loads(run("create_token", "anna", "--name", "ci 2", "--json"))

    assert tokens.authenticate(text)
    assert tokens.authenticate(other["token"])
    assert other["expires_at"] is None
    assert ApiToken.objects.get(name="ci").expires_at > timezone.now() + timedelta(days=6)
    assert refusal("create_token", "nobody", "--name", "x")[0] == 2
    assert refusal("create_token", "anna", "--name", " ")[0] == 2
    assert refusal("create_token", "anna", "--name", "x", "--days", 0)[0] == 2


# --- doctor ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_doctor_names_what_is_wrong_and_what_to_do() -> None:
    row = IntervalSchedule.objects.create(every=1, period="hours")
    task = PeriodicTask.objects.create(name="late", task="selftest.echo", interval=row)
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now() - timedelta(hours=3))
    # It ends before it begins: else it would run at the full hour, if that comes before its end.
    end = timezone.now() + timedelta(days=1)
    times = {"start_time": end + timedelta(days=1), "expires": end}
    PeriodicTask.objects.create(name="never", task="selftest.echo", interval=row, **times)
    PeriodicTask.objects.create(name="done", task="selftest.echo", interval=row, one_off=True, total_run_count=1)
    PeriodicTask.objects.create(name="off", task="selftest.echo", interval=row, expires=end, enabled=False)
    now = timezone.now()
    Worker.objects.create(name="w1", host="h", pid=1, queues=["default"], children=2, started_at=now, heartbeat_at=now)

    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json", stdout=out, stderr=io.StringIO())

    assert ended.value.code == 1
    found = json.loads(out.getvalue())
    wrong = {finding["detail"]: finding["remedy"] for finding in found if finding["state"] == "wrong"}
    assert wrong["no worker serves fast_lane"] == "start one: manage.py worker fast_lane"
    assert not any("default" in detail for detail in wrong)
    assert any(detail.startswith("overdue: late") for detail in wrong)
    assert "schedules disable" in wrong["enabled, but without a next run: never"]
    assert any("beat" in remedy for remedy in wrong.values())
    assert all(wrong.values())
    assert {finding["part"] for finding in found} >= {"settings", "postgres", "migrations", "broker"}


# --- as processes ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_data_goes_to_stdout_and_messages_to_stderr() -> None:
    make("done", State.SUCCEEDED)

    listed = program("jobs", "list", "--json")
    refused = program("jobs", "retry", "done")
    wrong = program("jobs", "enqueue", "nope")
    misspelt = program("jobs", "lst")

    assert (listed.returncode, listed.stderr) == (0, "")
    assert json.loads(listed.stdout)[0]["id"] == "done"
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "1 because it is succeeded; only a failed or cancelled job can be retried" in refused.stderr
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert misspelt.returncode == 2
    assert "choose from" in misspelt.stderr


@pytest.mark.parametrize(
    "words", ["jobs list", "jobs enqueue selftest.echo value=1", "queues list", "workers", "schedules list"]
)
def test_without_postgres_there_is_one_clear_line(words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", *words.split()],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": "postgres://x:secret@127.0.0.1:1/none", "SECRET_KEY": "x" * 60},
        capture_output=True,
        text=True,
        timeout=180,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("CommandError: Postgres does not answer: ")
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr


@pytest.mark.django_db(transaction=True)
def test_waiting_tells_how_the_job_ended(live_worker: Any) -> None:
    live_worker("default")

    good = program("jobs", "enqueue", "selftest.echo", "value=done", "--wait", "120", "--json")
    bad = program("jobs", "enqueue", "selftest.fail", "message=broken", "times=9", "--wait", "120")

    assert (good.returncode, json.loads(good.stdout)["result"]) == (0, "done")
    assert bad.returncode == 1
    assert "failed: RuntimeError: broken" in bad.stderr


def test_no_command_takes_an_argument_of_djangos_own_name() -> None:
    """Called as a program, Django would take what is given for its own --settings or --pythonpath, and end."""
    taken = []
    for name, app in get_commands().items():
        if app in ("jobs", "embeddings", "reviews", "reminders"):
            parsers = [load_command_class(app, name).create_parser("manage.py", name)]
            while parsers:
                actions = parsers.pop()._actions
                below = [action.choices for action in actions if isinstance(action, argparse._SubParsersAction)]
                parsers += [parser for choices in below for parser in choices.values()]
                own = [action for action in actions if action.dest in ("settings", "pythonpath")]
                taken += [f"{name} {action.dest}" for action in own if not action.option_strings]
    assert taken == []
