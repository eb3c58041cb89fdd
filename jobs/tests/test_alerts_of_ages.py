"""Alerts on how long ago a task succeeded: what apps tell of it, and what becomes of that which cannot be asked."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from psycopg import Connection

from jobs.models import Alert, State
from jobs.tests.admin_helpers import client_with, page_of
from jobs.tests.alerting import age, kinds, make_alert
from jobs.tests.api_client import post, problem
from jobs.tests.factories import make_job
from jobs.watch import of_apps

TASK = "selftest.echo"
SPEC = {"name": "Echoes", "kind": "age", "task": TASK, "threshold": 300}


@pytest.fixture
def since(monkeypatch: pytest.MonkeyPatch) -> dict[str, timedelta | None]:
    """When the echo last succeeded, as an app would tell it; changed by tests."""
    told: dict[str, timedelta | None] = {TASK: None}
    monkeypatch.setattr(of_apps, "_ages", {TASK: lambda connection: told[TASK]})
    return told


@pytest.mark.django_db(transaction=True)
def test_it_fires_when_the_last_success_is_too_long_ago_and_recovers(
    look: Callable[[], None], since: dict[str, timedelta | None]
) -> None:
    alert = make_alert(**SPEC)
    since[TASK] = timedelta(seconds=299)
    look()
    assert kinds(alert) == []

    since[TASK] = timedelta(minutes=12)
    look()
    assert alert.events.get().text == "selftest.echo has not succeeded for 12 min; the threshold is 5 min."

    since[TASK] = timedelta(seconds=3)
    look()
    assert kinds(alert) == ["fired", "recovered"]
    assert alert.events.last().text == "selftest.echo succeeded within 3 s; the threshold is 5 min."


@pytest.mark.django_db(transaction=True)
def test_what_never_succeeded_is_counted_from_when_it_is_watched(look: Callable[[], None], since: Any) -> None:
    alert = make_alert(**SPEC)
    look()
    assert kinds(alert) == []

    age(Alert, created_at=timedelta(minutes=6))
    look()
    assert kinds(alert) == ["fired"]


@pytest.mark.django_db(transaction=True)
def test_an_app_that_cannot_tell_changes_nothing_and_stops_no_other_alert(
    look: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: Connection[Any]) -> timedelta:
        connection.execute("SELECT nothing FROM nowhere")
        raise AssertionError

    monkeypatch.setattr(of_apps, "_ages", {TASK: broken})
    alert, other = make_alert(**SPEC, value=7.0), make_alert(name="Other", threshold=1)
    unknown = make_alert(**SPEC | {"name": "Gone", "task": "task.of.another.version"})
    make_job(State.FAILED)
    look()

    alert.refresh_from_db()
    assert (alert.value, kinds(alert), kinds(unknown), kinds(other)) == (7.0, [], [], ["fired"])


@pytest.mark.django_db
def test_only_tasks_that_tell_of_their_success_can_be_watched(api: Client, since: Any) -> None:
    for change in ({"task": ""}, {"task": "selftest.fail"}, {"queue": "default"}):
        answer = problem(post(api, "/api/v1/alerts/", {**SPEC, **change}), 400)
        named = "queue" if "queue" in change else "choose from: selftest.echo"
        assert named in str(answer)
    with pytest.raises(CommandError, match="keeps no time of its last success") as refused:
        call_command("alerts", "create", "Echoes", "age", "--task", "selftest.fail", "--threshold", "300")
    assert refused.value.returncode == 2

    made = post(api, "/api/v1/alerts/", SPEC)
    assert (made.status_code, made.json()["kind"], made.json()["task"]) == (201, "age", TASK)
    Alert.objects.filter(name="Echoes").update(value=720)
    page = client_with("jobs.view_alert").get(page_of("jobs_alert", "change", made.json()["id"])).content.decode()
    assert "12 min of 5 min" in page
    assert "all queues" not in page
