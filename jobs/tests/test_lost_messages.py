"""Messages that a broker took and lost: noticed by its epoch, by being overtaken, or by an empty list."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone

from jobs.ledger import lost_messages, sweeps
from jobs.ledger.connection import LedgerConnection
from jobs.ledger.publisher import publish
from jobs.models import BrokerState, Job, State, Sweep, Worker
from jobs.tasks import echo
from jobs.tests.factories import make_job
from jobs.tests.test_running import row_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def look(broker: None) -> Iterator[Callable[[Callable[..., int]], int]]:
    """Do one sweep, as a dispatcher would."""
    own = LedgerConnection(durable=True)
    yield lambda sweep: own.use(lambda opened: sweep(opened, sweeps.Turn(timezone.now(), timedelta(hours=1))))
    own.close()


def sent_ago(seconds: float, **fields: Any) -> Job:
    return make_job(sent_at=timezone.now() - timedelta(seconds=seconds), sends=1, **fields)


def owed() -> set[str]:
    return set(Job.objects.filter(state=State.QUEUED, sent_at=None).values_list("pk", flat=True))


def send(job: Job) -> None:
    """Put a message of the job into the broker, without noting it."""
    with current_app.producer_pool.acquire(block=True) as producer:
        publish(producer, row_of(job.pk))


def worker_with_fetched(job: Job, silent_seconds: float = 0) -> None:
    at = timezone.now() - timedelta(seconds=silent_seconds)
    Worker.objects.create(
        name="w@h", host="h", pid=1, children=1, started_at=at, heartbeat_at=at, fetched=[job.pk], running=[]
    )


def test_a_message_whose_list_is_empty_is_owed_again_after_its_grace(look):
    lost, young = sent_ago(20), sent_ago(1)

    assert look(lost_messages.sweep) == 1

    assert owed() == {lost.pk}
    assert "holds no message" in lost.events.get(kind="resent").text
    assert not young.events.exists()


def test_a_message_that_still_waits_in_its_list_is_left_alone(look):
    waiting = sent_ago(20)
    send(waiting)

    assert look(lost_messages.sweep) == 0


def test_a_message_that_a_later_one_has_overtaken_is_owed_again_in_a_busy_lane(look):
    lost, waiting = sent_ago(20), sent_ago(5)
    send(waiting)
    sent_ago(10, state=State.RUNNING)
    other_priority = sent_ago(20, priority=3)
    send(other_priority)

    assert look(lost_messages.sweep) == 1

    assert owed() == {lost.pk}
    assert "later one" in lost.events.get().text


def test_each_send_doubles_the_grace_of_the_next(look):
    impatient, patient = sent_ago(96), sent_ago(96)  # between 8 s doubled three times, and four times
    Job.objects.filter(pk=impatient.pk).update(sends=4)
    Job.objects.filter(pk=patient.pk).update(sends=5)

    look(lost_messages.sweep)

    assert owed() == {impatient.pk}


def test_a_message_that_a_live_worker_has_fetched_is_not_lost_and_one_of_a_silent_worker_is(look):
    fetched = sent_ago(20)
    worker_with_fetched(fetched)
    assert look(lost_messages.sweep) == 0

    Worker.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    assert look(lost_messages.sweep) == 1


def test_everything_is_sent_again_when_the_brokers_epoch_or_run_id_is_another(look):
    assert look(lost_messages.watch_broker) == 0
    sent, unsent, running = sent_ago(1), make_job(), sent_ago(1, state=State.RUNNING)
    assert look(lost_messages.watch_broker) == 0

    with current_app.pool.acquire(block=True) as opened:
        opened.default_channel.client.flushdb()
    assert look(lost_messages.watch_broker) == 1
    assert owed() == {sent.pk, unsent.pk}

    Job.objects.filter(pk=sent.pk).update(sent_at=timezone.now(), sends=1)
    BrokerState.objects.update(run_id="another")
    assert look(lost_messages.watch_broker) == 1
    assert look(lost_messages.watch_broker) == 0
    assert Job.objects.get(pk=running.pk).sent_at is not None


def test_a_wiped_broker_loses_nothing(live_worker, ended, until):
    live_worker(concurrency=1)
    until(BrokerState.objects.exists)
    sent = [echo.delay(n) for n in range(200)]

    with current_app.pool.acquire(block=True) as opened:
        opened.default_channel.client.flushdb()

    assert {ended(result.id, 40).attempt for result in sent} == {1}


def test_sweeps_whose_rows_are_gone_are_begun_again(live_worker, until):
    live_worker(concurrency=1)
    until(BrokerState.objects.exists)

    Sweep.objects.all().delete()

    until(lambda: {"workers", "messages", "broker"} <= set(Sweep.objects.values_list("name", flat=True)))
