"""The whole ledger on RabbitMQ's quorum queues, by URL alone."""

import signal
from collections.abc import Iterator

import pytest
from kombu import Connection

from jobs.models import Job, JobEvent, State
from jobs.tests.rabbit import Rabbit, program
from jobs.tests.sending import send_from_a_process

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(program() is None, reason="no RabbitMQ: apt-get install rabbitmq-server"),
]


@pytest.fixture(scope="module")
def _rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    broker = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        broker.start()
        yield broker
    finally:
        broker.end()


@pytest.fixture
def rabbit(_rabbit: Rabbit) -> Rabbit:
    """A RabbitMQ that the test may break, with empty queues."""
    if _rabbit.process is None or _rabbit.process.poll() is not None:
        _rabbit.start()
    purge(_rabbit)
    return _rabbit


def purge(rabbit: Rabbit) -> None:
    from jobs.lanes import QUEUES

    with Connection(rabbit.url) as connection:
        for name in QUEUES:
            try:
                connection.channel().queue_purge(name)
            except connection.channel_errors:  # not declared yet
                continue


def succeeded(prefix: str) -> int:
    return Job.objects.filter(pk__startswith=prefix, state=State.SUCCEEDED).count()


def test_jobs_chains_and_chords_run_on_rabbitmq(rabbit, live_worker, until):
    worker = live_worker("default", BROKER_URL=rabbit.url)

    send_from_a_process(
        """
        from celery import chain, chord
        for n in range(20):
            tasks.echo.apply_async((n,), task_id=f"plain-{n}")
        chain(tasks.echo.si(1), tasks.echo.s()).apply_async(task_id="chain")
        chord([tasks.echo.si(n) for n in range(3)], tasks.echo.s().set(task_id="body")).delay()
        tasks.echo.apply_async((1,), task_id="later", countdown=1)
        """,
        BROKER_URL=rabbit.url,
    )

    until(lambda: succeeded("") == 20 + 2 + 4 + 1, 30)
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}
    assert worker.process.poll() is None
    with Connection(rabbit.url) as connection:
        found = connection.channel().queue_declare(
            "default", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
        assert found.message_count == 0
