"""The whole ledger on RabbitMQ's quorum queues, by URL alone."""

import signal
from collections.abc import Iterator

import pytest
from kombu.connection import Connection

from jobs.models import Job, State
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


@pytest.mark.long
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


@pytest.mark.long
def test_the_most_urgent_runs_first_on_rabbitmq(rabbit, live_worker, until):
    send_from_a_process(
        """
        for n in range(30):
            tasks.sleep.apply_async((0.02,), task_id=f"job-{n}", priority=n % 10)
        """,
        BROKER_URL=rabbit.url,
    )
    assert not Job.objects.exclude(sent_at=None).exists()  # no worker, nothing ahead of it

    live_worker("default", concurrency=1, BROKER_URL=rabbit.url)

    until(lambda: succeeded("job") == 30, 60)
    order = list(Job.objects.order_by("started_at").values_list("priority", flat=True))
    assert order == sorted(order, reverse=True)


@pytest.mark.long
def test_lanes_keep_the_order_of_their_queues_on_rabbitmq(rabbit, live_worker, until):
    send_from_a_process(
        """
        for queue in ("maintenance", "indexing", "embedding"):
            for n in range(15):
                tasks.sleep.apply_async((0.02,), task_id=f"{queue}-{n}", queue=queue)
        """,
        BROKER_URL=rabbit.url,
    )
    assert not Job.objects.exclude(sent_at=None).exists()  # no worker, nothing ahead of it

    live_worker("embedding", "indexing", "maintenance", concurrency=1, BROKER_URL=rabbit.url)

    until(lambda: succeeded("") == 45, 60)
    order = list(Job.objects.order_by("started_at").values_list("queue", flat=True))
    assert order == sorted(order, key=["embedding", "indexing", "maintenance"].index)


@pytest.mark.long
def test_a_killed_worker_loses_nothing_on_rabbitmq(rabbit, live_worker, until):
    worker = live_worker("default", BROKER_URL=rabbit.url)
    send_ten(rabbit, "orphan", 1)
    until(Job.objects.filter(state=State.RUNNING).exists)

    worker.kill()
    live_worker("default", BROKER_URL=rabbit.url)

    until(lambda: succeeded("orphan") == 10, 60)


@pytest.mark.long
def test_a_killed_broker_loses_nothing_on_rabbitmq(rabbit, live_worker, until):
    worker = live_worker("default", BROKER_URL=rabbit.url)
    send_ten(rabbit, "before", 1)
    until(Job.objects.filter(state=State.RUNNING).exists)

    rabbit.kill()
    send_ten(rabbit, "away", 0.1)
    rabbit.start()

    until(lambda: succeeded("") == 20, 60)
    assert worker.process.poll() is None
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}


@pytest.mark.long
def test_a_wiped_broker_loses_nothing_on_rabbitmq(rabbit, live_worker, until):
    live_worker("default", concurrency=1, BROKER_URL=rabbit.url)
    send_ten(rabbit, "before", 1)
    until(Job.objects.filter(state=State.RUNNING).exists)

    rabbit.kill()
    rabbit.wipe()
    rabbit.start()

    until(lambda: succeeded("before") == 10, 60)


@pytest.mark.long
def test_purged_messages_are_noticed_on_rabbitmq(rabbit, live_worker, until):
    live_worker("default", concurrency=1, BROKER_URL=rabbit.url)
    send_ten(rabbit, "lost", 1)
    until(Job.objects.filter(state=State.RUNNING).exists)

    for _ in range(5):
        purge(rabbit)

    until(lambda: succeeded("lost") == 10, 60)


@pytest.mark.long
def test_a_deleted_queue_is_made_again_on_rabbitmq(rabbit, live_worker, until):
    live_worker("default", concurrency=1, BROKER_URL=rabbit.url)
    send_ten(rabbit, "first", 0)
    until(lambda: succeeded("first") == 10)

    with Connection(rabbit.url) as connection:
        connection.channel().queue_delete("default")
    send_ten(rabbit, "second", 0)

    until(lambda: succeeded("second") == 10, 60)


@pytest.mark.long
def test_sends_do_not_wait_for_a_hung_rabbitmq(rabbit, live_worker, until):
    live_worker("default", BROKER_URL=rabbit.url)
    rabbit.send(signal.SIGSTOP)
    try:
        send_ten(rabbit, "hung", 0)
    finally:
        rabbit.send(signal.SIGCONT)
    until(lambda: succeeded("hung") == 10, 60)


@pytest.mark.long
def test_a_busy_worker_takes_no_job_that_another_could_run_on_rabbitmq(rabbit, live_worker, until):
    lane = {"concurrency": 1, "options": ["--disable-prefetch", "--prefetch-multiplier", "1"], "BROKER_URL": rabbit.url}
    workers = [live_worker("fast_lane", **lane), live_worker("fast_lane", **lane)]
    code = "tasks.sleep.apply_async(({},), task_id='{}', queue='fast_lane')"
    send_from_a_process(code.format(60, "long"), BROKER_URL=rabbit.url)
    until(Job.objects.filter(pk="long", state=State.RUNNING).exists)

    for n in range(6):
        send_from_a_process(code.format(0, f"short-{n}"), BROKER_URL=rabbit.url)

    until(lambda: succeeded("short") == 6)
    assert Job.objects.get(pk="long").state == State.RUNNING
    for worker in workers:
        worker.kill()


def send_ten(rabbit: Rabbit, name: str, seconds: float) -> None:
    """Send ten jobs of so many seconds from a process of their own.

    A send that waited for the broker would wait for longer than the process may take.
    """
    send_from_a_process(
        f"""
        from jobs.ledger import broker
        broker.SEND_SECONDS = 600
        for n in range(10):
            tasks.sleep.apply_async(({seconds},), task_id=f"{name}-{{n}}")
        """,
        BROKER_URL=rabbit.url,
    )
