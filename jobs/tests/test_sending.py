"""Every way of sending ends in a ledger row with the right parent, and runs on a real worker."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery, chain, chord, current_app, group
from django.db import connection, transaction

from jobs.ledger.errors import JobRefused
from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import discard_job, retry_job
from jobs.tasks import echo
from jobs.tests import probe_tasks as probe
from jobs.tests.live import database_url
from jobs.tests.test_running import make_due
from jobs.worker.strategy import adopt

pytestmark = pytest.mark.django_db(transaction=True)


def test_delay_becomes_a_row_that_succeeds(worker, ended):
    sent = probe.add.delay(2, 3)

    job = ended(sent.id)

    assert (job.task, job.args, job.state, job.attempt, job.origin) == ("probe.add", [2, 3], State.SUCCEEDED, 1, "code")
    assert sent.get(timeout=60) == 5
    attempt = job.attempts.get()
    assert (attempt.number, attempt.outcome, attempt.worker) == (1, "succeeded", worker.name)
    assert job.run_at <= job.started_at <= job.finished_at


def test_apply_async_keeps_queue_and_priority(worker, ended):
    sent = probe.add.apply_async((1, 1), queue="maintenance", priority=9)

    job = ended(sent.id)

    assert (job.queue, job.priority) == ("maintenance", 5)  # the queue's band ends at 5


def test_countdown_waits_in_postgres_not_in_the_broker(worker, ended):
    short, long = (probe.add.apply_async((1, 1), countdown=seconds) for seconds in (1.5, 600))

    job = ended(short.id)
    assert (job.started_at - job.created_at).total_seconds() >= 1.5
    job = Job.objects.get(pk=long.id)
    assert (job.state, job.sent_at) == (State.SCHEDULED, None)
    assert (job.run_at - job.created_at).total_seconds() == 600


def test_celery_retry_keeps_the_row_and_its_history(worker, ended):
    sent = current_app.send_task("selftest.fail", ("no luck",), {"times": 2})

    job = ended(sent.id)

    assert job.state == State.SUCCEEDED
    assert [(a.number, a.outcome, a.message) for a in job.attempts.all()] == [
        (1, "failed", "no luck"),
        (2, "failed", "no luck"),
        (3, "succeeded", ""),
    ]


def test_autoretry_ends_failed_when_its_retries_are_used_up(worker, ended):
    job = ended(probe.autoretry.delay().id)

    assert (job.state, job.attempt, job.error) == (State.FAILED, 3, "ValueError: again")


def test_chain_links_children_to_their_parents(worker, ended):
    last = chain(probe.add.s(1, 1), probe.add.s(10), probe.add.s(100)).delay()

    assert last.get(timeout=80) == 112

    third = ended(last.id)
    second = ended(last.parent.id)
    first = ended(last.parent.parent.id)
    assert (third.parent_id, second.parent_id, first.parent_id) == (second.pk, first.pk, None)
    assert {third.root_id, second.root_id, first.root_id} == {first.pk}
    assert third.origin == "workflow"


def test_group_members_are_rows_of_one_group(worker):
    result = group(probe.add.s(n, n) for n in range(4)).delay()

    assert result.get(timeout=80) == [0, 2, 4, 6]
    assert Job.objects.filter(group_id=result.id, state=State.SUCCEEDED).count() == 4


def test_chord_joins_and_its_body_is_a_row_with_a_member_as_parent(worker, ended):
    body = chord([probe.add.s(n, n) for n in range(5)], probe.total.s()).delay()

    assert body.get(timeout=80) == 20

    members = set(Job.objects.filter(task="probe.add").values_list("id", flat=True))
    assert ended(body.id).parent_id in members


def test_nested_canvas_completes(worker):
    inner = chord([probe.add.s(1, 1), probe.add.s(2, 2)], probe.total.s())
    result = chord([chain(probe.add.s(1, 1), probe.add.s(1)), group(probe.add.s(2, 2)), inner], probe.total.s()).delay()

    assert result.get(timeout=80) == 3 + 4 + 6


def test_chord_with_a_failing_member_waits_and_calls_the_errback_of_its_body(worker, until):
    body = probe.total.s().on_error(probe.note_error.s())
    result = chord([probe.add.s(1, 1), probe.boom.s()], body).delay()

    errback = until(Job.objects.filter(task="probe.note_error", state=State.SUCCEEDED).first)
    assert (errback.args, result.state) == ([result.id], "PENDING")

    retry_job(command_actor(), Job.objects.get(task="probe.boom").pk)
    until(lambda: Job.objects.filter(task="probe.note_error", state=State.SUCCEEDED).count() == 2)
    discard_job(command_actor(), Job.objects.get(task="probe.boom").pk)
    assert until(lambda: current_app.AsyncResult(result.id).result) == 2


def test_errback_of_a_failed_job_is_sent_once(worker, ended, until):
    sent = probe.boom.apply_async(link_error=probe.note_error.s())

    assert ended(sent.id).state == State.FAILED
    errback = until(Job.objects.filter(task="probe.note_error", state=State.SUCCEEDED).first)
    assert (errback.args, errback.parent_id) == ([sent.id], sent.id)


def test_link_is_sent_with_the_result(worker, ended, until):
    sent = probe.add.apply_async((1, 1), link=probe.add.s(5))

    ended(sent.id)
    linked = until(Job.objects.filter(parent_id=sent.id, state=State.SUCCEEDED).first)
    assert linked.args == [2, 5]


def test_a_job_sent_by_a_job_has_it_as_parent(worker, ended, until):
    sent = probe.parent.delay()

    child = until(Job.objects.filter(task="probe.add", state=State.SUCCEEDED).first)
    assert (child.parent_id, child.root_id) == (sent.id, sent.id)


@pytest.mark.parametrize(
    ("task", "value"),
    [(probe.replace, 6), (probe.replace_by_chain, 7), (probe.replace_by_group, [6, 7])],
    ids=["task", "chain", "group"],
)
def test_replace_ends_under_the_same_id(worker, ended, task, value):
    sent = task.delay(5)

    assert sent.get(timeout=80) == value
    job = ended(sent.id)
    assert (job.state, job.attempts.count()) == (State.SUCCEEDED, 2)


def test_send_task_by_name_needs_no_import(worker, ended):
    sent = current_app.send_task("probe.add", (4, 4))

    assert ended(sent.id).state == State.SUCCEEDED


def test_a_foreign_clients_message_is_adopted(worker, ended):
    foreign = Celery("foreign", broker=current_app.conf.broker_url, set_as_current=False)
    foreign.conf.broker_transport_options = {"priority_steps": list(range(10))}

    sent = foreign.send_task("probe.add", (7, 8), queue="default", exchange="", routing_key="default")

    job = ended(sent.id)
    assert (job.state, job.origin, job.args, job.parent_id) == (State.SUCCEEDED, "foreign", [7, 8], None)


def test_a_foreign_message_with_a_countdown_waits_in_postgres(worker, ended, until):
    foreign = Celery("foreign", broker=current_app.conf.broker_url, set_as_current=False)
    foreign.conf.broker_transport_options = {"priority_steps": list(range(10))}

    sent = foreign.send_task("probe.add", (7, 8), queue="default", exchange="", routing_key="default", countdown=600)

    assert until(Job.objects.filter(pk=sent.id).first).state == State.SCHEDULED
    make_due(sent.id)
    assert ended(sent.id).state == State.SUCCEEDED


def test_a_foreign_message_without_a_list_of_arguments_is_dropped():
    payload = {"task": "probe.add", "id": "foreign-odd", "args": 1}
    message = SimpleNamespace(headers={}, payload=payload, delivery_info={}, properties={})

    assert not adopt("probe.add", message, None)
    assert not Job.objects.filter(pk="foreign-odd").exists()


def test_a_foreign_message_without_an_id_is_dropped():
    message = SimpleNamespace(headers={"id": None}, payload=[[1, 2], {}, {}], delivery_info={}, properties={})

    assert not adopt("probe.add", message, None)
    assert not Job.objects.exists()


def test_a_job_of_a_rolled_back_transaction_never_exists(worker):
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
        sent = probe.add.delay(1, 1)
        assert Job.objects.filter(pk=sent.id).exists()
        raise ZeroDivisionError

    assert not Job.objects.exists()


def test_a_job_is_not_published_before_its_commit(worker, until):
    with transaction.atomic():
        sent = probe.add.delay(1, 1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1.5)")
        assert Job.objects.get(pk=sent.id).state == State.QUEUED
        assert Job.objects.get(pk=sent.id).sent_at is None

    assert until(Job.objects.filter(pk=sent.id, state=State.SUCCEEDED).first)


_DIES_AFTER_COMMIT = """
import os
import django
django.setup()
from django.db import transaction
from jobs.ledger import door
door.publish_soon = lambda ids: os._exit(9)  # dies before a message exists
from jobs.tasks import echo
with transaction.atomic():
    echo.apply_async(("survives",), task_id="dies-after-commit")
"""


def test_a_job_runs_although_its_sender_died_right_after_the_commit(worker, ended):
    died = subprocess.run(
        [sys.executable, "-c", _DIES_AFTER_COMMIT],
        env={**__import__("os").environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "config.settings"},
        cwd=Path(__file__).resolve().parents[2],
        check=False,
        timeout=180,
    )
    assert died.returncode == 9

    assert ended("dies-after-commit").state == State.SUCCEEDED


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"args": [object()]}, "not JSON"),
        ({"args": [float("nan")]}, "nan"),
        ({"args": [1], "queue": "no_such_queue"}, "no_such_queue"),
        ({"args": [1], "countdown": 1e12}, "countdown"),
        ({"args": [1], "serializer": "pickle"}, "pickle"),
        ({"args": [1], "exchange": "mine", "routing_key": "x"}, "mine"),
        ({"args": ["x" * 2_000_000]}, "send an id"),
        ({"args": [1], "task_id": "i" * 256}, "is not an id"),
        ({"args": [1], "task_id": "a\x00b"}, "is not an id"),
        ({"args": [1], "countdown": "5"}, "countdown"),
        ({"args": [1], "priority": "x"}, "priority"),
        ({"args": [1], "expires": 1e12}, "out of range"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_name(transactional_db, arguments, said):
    with pytest.raises(Exception, match=said) as refused:
        echo.apply_async(**arguments)

    assert isinstance(refused.value, JobRefused) or "no_such_queue" in str(refused.value)
    assert not Job.objects.exists()


def test_headers_of_the_ledgers_own_are_not_taken_from_outside(worker, ended):
    sent = echo.apply_async((1,), headers={"attempts_before": "abc", "edited": 1})

    assert ended(sent.id).state == State.SUCCEEDED


def test_a_row_of_which_no_message_can_be_made_fails_and_does_not_hold_up_the_rest(worker, ended):
    broken, sound = (echo.apply_async((number,), countdown=600) for number in (1, 2))
    Job.objects.filter(pk=broken.id).update(headers={"attempts_before": "abc"})
    make_due(broken.id)
    make_due(sound.id)

    assert "no message can be made of it" in ended(broken.id).error
    assert ended(sound.id).state == State.SUCCEEDED


def _nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_within_reason_is_kept(worker, ended):
    sent = echo.delay(_nested(100))

    assert ended(sent.id).args == [_nested(100)]


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_deep_nesting_is_refused(transactional_db, depth):
    with pytest.raises(JobRefused, match=r"selftest\.echo"):
        echo.delay(_nested(depth))

    assert not Job.objects.exists()


def test_nul_and_half_surrogates_are_replaced_not_refused(worker, ended):
    sent = echo.delay("a\x00b\ud800")

    assert ended(sent.id).args == ["a\ufffdb?"]
