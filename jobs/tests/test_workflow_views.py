"""The workflow as the job's page, the API and the command show it."""

import json
from io import StringIO

import pytest
from celery import chain, chord, group
from django.core.management import call_command

from jobs.models import Job, State
from jobs.operators import workflow as shown
from jobs.operators.workflow import workflow_of
from jobs.tests import probe_tasks as probe
from jobs.tests.admin_helpers import client_with
from jobs.tests.in_process import run_all, run_job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch):
    monkeypatch.setattr("jobs.ledger.door.publish_soon", lambda ids: None)
    monkeypatch.setattr("jobs.operators.jobs.publish_soon", lambda ids: None)


@pytest.fixture
def client():
    return client_with("jobs.view_job")


def rich_canvas():
    """A chain, a chord with a chain and an inner chord in its header, a callback."""
    inner = chord([probe.add.si(1, 1), probe.add.s(2)], probe.total.s())
    header = [chain(probe.fails_until_asked.s(), probe.add.s(1)), inner]
    return chain(probe.add.s(1, 1), chord(header, probe.total.s()), probe.add.s(5).set(link=probe.note_error.s()))


def edges(found):
    by_id = {step.id: step for step in found.steps}
    return sorted((by_id[before].task, step.task) for step in found.steps for before in step.after)


def test_steps_to_come_are_shown_before_anything_has_run():
    chain(probe.add.s(1, 1), group(probe.add.s(1), probe.add.s(2)), probe.total.s(), probe.add.s(5)).delay()

    found = workflow_of(Job.objects.get())

    assert [step.state for step in found.steps] == ["queued", "to come", "to come", "to come", "to come", "to come"]
    assert edges(found) == sorted(
        [("probe.add", "probe.add")] * 2
        + [("probe.add", "join")] * 2
        + [("join", "probe.total"), ("probe.total", "probe.add")]
    )


def test_every_job_of_a_workflow_shows_the_same_one():
    last = chord([chain(probe.add.s(1, 1), probe.add.s(1)), probe.add.s(2, 2)], probe.total.s()).delay()
    run_all()

    views = [workflow_of(job) for job in Job.objects.all()]

    assert all({step.id for step in view.steps} == {step.id for step in views[0].steps} for view in views)
    assert {step.state for step in views[0].steps} == {"succeeded", "joined"}
    assert views[0].steps[-1].id == last.id
    assert views[0].counts == {"probe.add": {"succeeded": 3}, "probe.total": {"succeeded": 1}}


def test_a_waiting_join_names_who_holds_it_up():
    rich_canvas().delay()
    run_all()
    failed = Job.objects.get(state=State.FAILED)

    found = workflow_of(failed)

    outer = next(join for join in found.joins if join.waits_for)
    assert outer.waits_for == [(failed.pk, "failed")]
    assert (outer.state, outer.done, outer.size) == ("resting", 1, 2)
    assert [step.task for step in found.steps if step.state == "to come"].count("probe.note_error") == 1


def test_a_replaced_job_is_the_end_of_what_replaces_it():
    probe.replace_by_group.delay(5)
    run_job(Job.objects.get().pk)

    found = workflow_of(Job.objects.get(task="probe.replace_by_group"))

    assert edges(found) == [
        ("join", "probe.replace_by_group"),
        ("probe.add", "join"),
        ("probe.add", "join"),
    ]


def test_a_large_workflow_is_told_in_counts(monkeypatch, client):
    monkeypatch.setattr(shown, "MOST_STEPS", 10)
    chord([probe.add.s(n, n) for n in range(12)], probe.total.s()).delay()
    job = Job.objects.all()[0]

    found = workflow_of(job)

    assert (found.is_complete, found.counts) == (False, {"probe.add": {"queued": 12}})
    assert [step.kind for step in found.steps] == ["join"]
    assert "Too many to draw" in client.get(f"/admin/jobs/job/{job.pk}/change/").content.decode()


def test_the_page_draws_it_with_links_and_says_what_a_chord_waits_for(client):
    rich_canvas().delay()
    run_all()
    failed = Job.objects.get(state=State.FAILED)

    page = client.get(f"/admin/jobs/job/{failed.pk}/change/").content.decode()

    assert page.count('class="sy-step ') == len(workflow_of(failed).steps)
    assert "sy-step-failed sy-step-current" in page
    assert "rests until its failed members are retried or discarded (1 succeeded)" in page
    for other in Job.objects.exclude(pk=failed.pk):
        assert f'href="/admin/jobs/job/{other.pk}/change/"' in page


def test_a_job_alone_has_no_workflow_on_its_page(client):
    sent = probe.add.delay(1, 1)

    page = client.get(f"/admin/jobs/job/{sent.id}/change/").content.decode()

    assert 'id="workflow"' not in page


def test_the_api_and_the_command_tell_the_same(client):
    rich_canvas().delay()
    run_all()
    failed = Job.objects.get(state=State.FAILED)

    told = client.get(f"/api/v1/jobs/{failed.pk}/workflow/")
    out = StringIO()
    call_command("jobs", "show", failed.pk, "--json", stdout=out)

    assert told.status_code == 200
    assert json.loads(out.getvalue())["workflow"] == told.json()
    out = StringIO()
    call_command("jobs", "show", failed.pk, stdout=out)
    assert f"waits for {failed.pk}, which is failed" in out.getvalue()


def test_the_api_answers_404_for_a_job_that_is_not_there(client):
    assert client.get("/api/v1/jobs/none/workflow/").status_code == 404
