"""Unique keys with a real worker."""

import threading

import pytest
from django.db import connection, connections, transaction

from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import cancel_job
from jobs.tests import probe_tasks as probe
from jobs.tests.test_running import make_due

pytestmark = pytest.mark.django_db(transaction=True)
SENDS_OF_EACH = 30


def is_running(job_id: str) -> bool:
    return Job.objects.filter(pk=job_id, state=State.RUNNING).exists()


def test_a_burst_is_run_once_after_its_end_with_the_newest_arguments(worker, ended):
    with transaction.atomic():  # however long it takes, nothing is due before its end
        sent = {probe.debounced.delay("a", value).id for value in range(20)}

    (job_id,) = sent
    job = ended(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)
    assert probe.debounced.AsyncResult(job_id).get(timeout=60) == 19
    assert (job.started_at - job.created_at).total_seconds() >= 1
    assert Job.objects.filter(task="probe.debounced").count() == 1


def test_a_job_whose_message_waits_in_the_broker_is_run_with_the_arguments_of_a_later_send(worker, ended, until):
    """The message carries the older ones."""
    at_work = [probe.long.delay(60), probe.long.delay(60)]
    until(lambda: Job.objects.filter(task="probe.long", state=State.RUNNING).count() == 2)
    first = probe.debounced.delay("a", 1)
    Job.objects.filter(pk=first.id).update(run_at=Job.objects.get(pk=first.id).created_at)
    until(lambda: Job.objects.filter(pk=first.id, state=State.QUEUED, sent_at__isnull=False).exists())
    second = probe.debounced.delay("a", 2)
    for sent in at_work:
        cancel_job(command_actor(), sent.id)

    assert second.id == first.id
    assert ended(first.id).attempt == 1
    assert second.get(timeout=60) == 2


def test_a_newer_job_stops_the_one_that_runs_and_runs_itself(worker, ended, until):
    older = probe.superseding.delay("a", 60)
    until(lambda: is_running(older.id))
    newer = probe.superseding.delay("a")

    stopped, done = ended(older.id), ended(newer.id)
    assert stopped.state == State.CANCELLED
    assert stopped.reason.startswith(f"superseded by job {newer.id}")
    assert stopped.events.get(kind="cancel_requested").detail["by"] == newer.id
    assert done.state == State.SUCCEEDED


def test_one_more_waits_while_a_job_with_a_key_while_queued_runs(worker, ended, until):
    first = probe.unique_queued.delay("a", 60)
    until(lambda: is_running(first.id))
    second = probe.unique_queued.apply_async(("a",), countdown=600)
    third = probe.unique_queued.delay("a")

    assert (second.id != first.id, third.id) == (True, second.id)
    cancel_job(command_actor(), first.id)
    make_due(second.id)
    assert (ended(first.id).state, ended(second.id).state) == (State.CANCELLED, State.SUCCEEDED)


def test_a_job_may_send_the_next_of_its_own_superseding_key(worker, ended, until):
    first = probe.superseding_itself.delay("a", 2)
    assert ended(first.id).state == State.SUCCEEDED
    until(lambda: Job.objects.filter(task="probe.superseding_itself", state=State.SUCCEEDED).count() == 3)
    assert Job.objects.filter(task="probe.superseding_itself").count() == 3


def test_a_foreign_message_is_folded_by_its_key_too(worker, until):
    from celery import Celery
    from django.conf import settings

    first = probe.unique_period.apply_async(("f",), countdown=600)
    foreign = Celery("foreign", broker=settings.CELERY_BROKER_URL, set_as_current=False)
    foreign.conf.broker_transport_options = {"priority_steps": list(range(10))}
    foreign.send_task("probe.unique_period", ("f",), queue="default", exchange="", routing_key="default")

    event = until(lambda: Job.objects.get(pk=first.id).events.filter(kind="folded").first())
    assert event.detail["by"].startswith("foreign")
    assert Job.objects.filter(task="probe.unique_period").count() == 1


def test_many_who_supersede_one_key_while_runs_of_it_go_on_meet_no_deadlock(worker, ended):
    errors: list[str] = []
    ids: list[str] = []

    def send() -> None:
        try:
            for _ in range(SENDS_OF_EACH):
                ids.append(probe.superseding_soon.delay("a", 0.2).id)
        except Exception as exc:
            errors.append(f"{type(exc).__name__}: {exc}")
        finally:
            connections.close_all()

    senders = [threading.Thread(target=send) for _ in range(8)]
    before = deadlocks()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert errors == []
    assert deadlocks() == before
    assert len(ids) == len(set(ids)) == 8 * SENDS_OF_EACH
    ends = [ended(job_id, 60).state for job_id in ids]
    assert ends.count(State.SUCCEEDED) >= 1
    assert ended(Job.objects.latest("created_at").pk).state == State.SUCCEEDED


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
