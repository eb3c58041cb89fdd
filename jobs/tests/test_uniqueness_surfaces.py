"""The options of a unique key through the API, the admin and the commands."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import enqueue_job
from jobs.tests.admin_helpers import LIST, client_with, job_page_url, said
from jobs.tests.api_client import VIEW, caller, person, post, problem, root
from jobs.tests.factories import make_job
from jobs.tests.test_commands import refusal, run

pytestmark = pytest.mark.django_db
JOBS = "/api/v1/jobs/"
ENQUEUE = f"{LIST}enqueue/"
BODY = {"task": "selftest.echo", "args": [1], "unique_key": "k"}


def test_the_api_takes_each_option_of_a_key():
    api = root()
    answer = post(api, JOBS, BODY | {"unique_key": "d", "debounce_seconds": 30, "debounce_max_seconds": 90})
    debounced = Job.objects.get(pk=answer.json()["id"])
    queued = post(api, JOBS, BODY | {"unique_key": "q", "unique_while": "queued"})
    period = post(api, JOBS, BODY | {"unique_key": "p", "unique_for_seconds": 60.5})

    assert [a.status_code for a in (answer, queued, period)] == [201, 201, 201]
    assert debounced.state == State.SCHEDULED
    assert (debounced.run_at - debounced.created_at).total_seconds() == 30
    assert (debounced.debounce_by - debounced.created_at).total_seconds() == 90
    assert Job.objects.get(unique_key="q").unique_until_start
    held = Job.objects.get(unique_key="p")
    assert (held.unique_until - held.created_at).total_seconds() == 60.5


def test_the_api_answers_a_debounced_job_with_the_one_that_took_its_arguments():
    api, body = root(), BODY | {"debounce_seconds": 30}
    first = post(api, JOBS, body)
    second = post(api, JOBS, body | {"args": [2]})

    assert (second.status_code, second.json()["folded"]) == (200, True)
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["args"] == [2]


def test_the_api_answers_with_a_finished_job_while_that_holds_the_key():
    held = make_job(State.SUCCEEDED, unique_key="k", unique_until=timezone.now() + timedelta(hours=1))
    answer = post(root(), JOBS, BODY)

    assert (answer.status_code, answer.json()["folded"]) == (200, True)
    assert (answer.json()["id"], answer.json()["state"]) == (held.pk, "succeeded")


def test_superseding_by_request_needs_the_right_to_cancel():
    waiting = enqueue_job(command_actor(), "selftest.echo", [1], unique_key="k").job
    without = post(caller(person("ann", VIEW, "jobs.enqueue_job")), JOBS, BODY | {"supersede": True})
    problem(without, 403)
    assert Job.objects.get(pk=waiting.pk).state == State.QUEUED

    may = caller(person("bob", VIEW, "jobs.enqueue_job", "jobs.cancel_job"))
    answer = post(may, JOBS, BODY | {"supersede": True})

    assert (answer.status_code, answer.json()["folded"]) == (201, False)
    replaced = Job.objects.get(pk=waiting.pk)
    assert (replaced.state, replaced.reason) == (State.DISCARDED, f"superseded by job {answer.json()['id']}")


@pytest.mark.parametrize(
    ("options", "pointer", "said_of_it"),
    [
        ({"unique_while": "running"}, "#/unique_while", "running"),
        ({"unique_for_seconds": -1}, "#/unique_for_seconds", "outside 0"),
        ({"unique_for_seconds": 1e300}, "#/unique_for_seconds", "outside 0"),
        ({"unique_for_seconds": "nan"}, "#/unique_for_seconds", "number"),
        ({"debounce_seconds": "soon"}, "#/debounce_seconds", "number"),
        ({"debounce_seconds": 1, "supersede": True}, "#/debounce_seconds", "exclude each other"),
        ({"debounce_max_seconds": 1}, "#/debounce_max_seconds", "needs debounce_seconds"),
        ({"supersede": "perhaps"}, "#/supersede", "boolean"),
        ({"unique_key": None, "unique_while": "queued"}, "#/unique_key", "missing"),
    ],
)
def test_the_api_tells_which_option_is_wrong(options, pointer, said_of_it):
    answer = problem(post(root(), JOBS, BODY | options), 400)

    assert answer["errors"][0]["pointer"] == pointer
    assert said_of_it in answer["errors"][0]["detail"]
    assert not Job.objects.exists()


def test_tasks_are_listed_with_what_their_keys_mean():
    tasks = {task["name"]: task for task in root().get("/api/v1/tasks/").json()["results"]}

    assert tasks["probe.debounced"]["unique_options"]["debounce_max_seconds"] == 5
    assert tasks["probe.add"]["unique_options"] is None


def test_the_admin_takes_the_options_and_says_what_became_of_a_send():
    sender = client_with("jobs.view_job", "jobs.enqueue_job")
    body = {"task": "selftest.echo", "parameter_value": "1", "unique_key": "k", "debounce_seconds": "30"}
    first = sender.post(ENQUEUE, body)
    second = sender.post(ENQUEUE, body | {"parameter_value": "2"})

    assert second["Location"] == first["Location"]
    assert "this one holds the key k, and it waits, and has taken the new arguments" in said(second)
    assert Job.objects.get().kwargs == {"value": 2}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"unique_for_seconds": "-1"}, "unique_for_seconds"),
        ({"debounce_seconds": "1", "supersede": "on"}, "debounce_seconds"),
        ({"debounce_max_seconds": "1"}, "debounce_max_seconds"),
        ({"unique_key": "", "unique_while": "queued"}, "unique_key"),
        ({"unique_while": "x"}, "unique_while"),
    ],
)
def test_the_admin_tells_a_wrong_option_at_its_field_and_shows_it(wrong, field):
    sender = client_with("jobs.view_job", "jobs.enqueue_job", "jobs.cancel_job")
    response = sender.post(ENQUEUE, {"task": "selftest.echo", "parameter_value": "1", "unique_key": "k", **wrong})

    assert response.status_code == 200
    assert list(response.context["form"].errors) == [field]
    assert "<details open>" in response.content.decode()
    assert not Job.objects.exists()


def test_a_jobs_page_tells_how_long_its_key_is_held_and_that_it_was_given_up():
    client = client_with("jobs.view_job")
    held = make_job(State.SUCCEEDED, unique_key="mine", unique_until=timezone.now() + timedelta(hours=1))
    given_up = make_job(State.RUNNING, unique_key="theirs", unique_until_start=True, key_released=True)

    assert "Holds its key until" in client.get(job_page_url(held)).content.decode()
    assert "theirs (given up" in client.get(job_page_url(given_up)).content.decode()


def test_the_command_takes_the_options_and_tells_of_folding():
    words = ("jobs", "enqueue", "selftest.echo", "value=1", "--unique-key", "k", "--debounce", "30", "--json")
    first, second = json.loads(run(*words)), json.loads(run(*words))
    assert (second["id"], second["folded"], first["folded"]) == (first["id"], True, False)

    newer = run("jobs", "enqueue", "selftest.echo", "value=2", "--unique-key", "k", "--supersede").strip()
    assert Job.objects.get(pk=first["id"]).reason == f"superseded by job {newer}"
    code, text = refusal("jobs", "enqueue", "selftest.echo", "value=1", "--unique-for", "5")
    assert (code, "unique_key is missing" in text) == (2, True)


def test_an_unknown_option_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="uniqe_while"):
        enqueue_job(command_actor(), "selftest.echo", [1], unique_key="k", uniqe_while="queued")
