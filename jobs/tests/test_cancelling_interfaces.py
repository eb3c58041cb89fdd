"""How far a cancel has come is told alike by the admin, the API and the commands; each can force it."""

import json

import pytest
from celery.worker import state
from django.core.management import call_command
from django.db import connection
from django.test import Client

from jobs.ledger import cancel
from jobs.ledger.events import note
from jobs.models import AuditEntry, Job, JobEvent, State
from jobs.operators.actors import command_actor
from jobs.operators.cancelling import cancelling_of
from jobs.operators.jobs import cancel_job
from jobs.tests.admin_helpers import client_with, job_page_url
from jobs.tests.factories import make_job
from jobs.worker import cancelling

pytestmark = pytest.mark.django_db


def asked_by(how, job, client):
    if how == "admin":
        client.post(job_page_url(job, "cancel"), {"force": "yes"})
    elif how == "api":
        client.post(f"/api/v1/jobs/{job.pk}/cancel/", {"force": True}, content_type="application/json")
    else:
        call_command("jobs", "cancel", job.pk, "--force")


@pytest.fixture
def client() -> Client:
    return client_with("jobs.view_job", "jobs.cancel_job")


@pytest.mark.parametrize("how", ["admin", "api", "command"])
def test_a_force_is_stored_for_the_worker_and_audited(client, how):
    job = make_job(State.RUNNING)

    asked_by(how, job, client)

    event = JobEvent.objects.get(job_id=job.pk)
    assert (event.kind, event.detail["mode"], event.detail["via"]) == ("cancel_requested", "forced", how)
    assert AuditEntry.objects.get().detail["force"] is True


@pytest.mark.parametrize("how", ["admin", "api"])
def test_a_force_needs_the_permission_to_cancel(how):
    job = make_job(State.RUNNING)

    asked_by(how, job, client_with("jobs.view_job"))

    assert not JobEvent.objects.exists()


def test_the_stage_is_shown_everywhere(client, capsys):
    job = make_job(State.RUNNING)
    cancel_job(command_actor(), job.pk)
    with connection.cursor() as cursor:
        note(cursor, job.pk, "cancel_soft", "Its soft limit was raised: it did not stop within 5 s of being asked.")

    page = client.get(job_page_url(job)).content.decode()
    shown = client.get(f"/api/v1/jobs/{job.pk}/").json()
    call_command("jobs", "show", job.pk)

    assert "asked to stop, then its soft limit was raised; it is still running" in page
    assert "it did not stop within 5 s of being asked" in page
    assert {key: shown["cancelling"][key] for key in ("mode", "stage", "outcome")} == {
        "mode": "graced",
        "stage": "soft",
        "outcome": None,
    }
    assert [event["kind"] for event in shown["events"]] == ["cancel_requested", "cancel_soft"]
    assert "cancel_soft: Its soft limit was raised" in capsys.readouterr().out


def test_the_outcome_is_that_of_the_job():
    job = make_job(State.RUNNING)
    cancel_job(command_actor(), job.pk)
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED, claim_id=None, finished_at=job.created_at)

    found = cancelling_of(Job.objects.get(pk=job.pk))

    assert found is not None
    assert found.sentence() == "asked to stop; it ended succeeded"


def test_a_job_that_was_never_asked_tells_nothing(client):
    assert client.get(f"/api/v1/jobs/{make_job(State.RUNNING).pk}/").json()["cancelling"] is None


def test_the_strongest_of_several_requests_counts():
    job = make_job(State.RUNNING)
    with connection.cursor() as cursor:
        for mode in (cancel.Mode.FORCED, cancel.Mode.ASKED, cancel.Mode.GRACED):
            cancel.request(cursor, job.pk, "cancelled by ann", mode)
        (asked,) = cancel.find_asked(cursor, [job.pk], job.worker)

    assert asked.mode == cancel.Mode.FORCED


def test_a_worker_is_told_only_of_jobs_that_it_runs():
    job, other = make_job(State.RUNNING), make_job(State.RUNNING)
    cancel_job(command_actor(), job.pk)
    with connection.cursor() as cursor:
        assert [asked.id for asked in cancel.find_asked(cursor, [job.pk, other.pk], job.worker)] == [job.pk]
        assert cancel.find_asked(cursor, [other.pk], job.worker) == []
        assert cancel.find_asked(cursor, [job.pk], "another@host") == []


def test_the_command_waits_for_the_end(capsys):
    waiting, running = make_job(State.QUEUED), make_job(State.RUNNING)

    call_command("jobs", "cancel", waiting.pk, "--wait", "5", "--json")
    assert json.loads(capsys.readouterr().out)["changed"] == [waiting.pk]
    with pytest.raises(SystemExit) as left:
        call_command("jobs", "cancel", running.pk, "--wait", "0.1")

    assert left.value.code == 1
    assert "running (asked to stop; it is still running)" in capsys.readouterr().err


class Running:
    """What Celery knows of a running job."""

    worker_pid = 7


def test_an_order_that_the_main_thread_saw_too_late_is_not_carried_out(monkeypatch):
    monkeypatch.setattr(cancelling, "ANSWER_SECONDS", 0.0)
    request = Running()
    monkeypatch.setattr(state, "active_requests", {request})
    watch = cancelling.Watch(None)
    signalled: list[object] = []
    monkeypatch.setattr(watch, "_signal", signalled.append)
    asked = cancel.Asked("j", "c", 7, 1.0, cancel.Mode.GRACED)
    late, in_time = (cancelling.Order(cancel.SOFT, asked, request, "it did not stop") for _ in range(2))

    watch._give(late)
    watch.orders.put(in_time)
    watch.carry_out()

    assert signalled == [in_time]
