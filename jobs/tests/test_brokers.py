"""What is the same on every broker, because the ledger keeps it: order, urgency, and how each is named by URL."""

import signal
import subprocess
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from celery import Celery
from django.db import connection, transaction
from django.utils import timezone

from jobs.lanes import LANES, QUEUES
from jobs.ledger import ageing, broker
from jobs.ledger.connection import LedgerConnection
from jobs.ledger.sweeps import Turn
from jobs.ledger.window import LEAST_AHEAD, Windows
from jobs.models import Job, JobEvent, State
from jobs.stack.binaries import valkey_program
from jobs.stack.parent import before_exec
from jobs.tasks import echo
from jobs.tests.factories import make_job
from jobs.tests.sending import send_from_a_process
from jobs.tests.stacks import free_port

# --- Named by URL ----------------------------------------------------------------------------------------------------


def configured(url: str) -> Celery:
    app = Celery("test", broker=url, set_as_current=False)
    broker.configure(app.conf)
    return app


def test_sentinels_and_their_master_are_named_by_the_url_alone():
    app = configured("sentinel://:secret@a:26379/2?master_name=jobs;sentinel://:secret@b:26380/2")

    assert app.conf.broker_url == "sentinel://:secret@a:26379/2;sentinel://:secret@b:26380/2"
    assert app.conf.broker_transport_options["master_name"] == "jobs"
    assert app.connection_for_write().alt == app.conf.broker_url.split(";")


def test_rabbitmq_gets_quorum_queues_and_confirms_messages():
    app = configured("amqp://guest@host//")

    assert {queue.queue_arguments["x-queue-type"] for queue in app.conf.task_queues} == {"quorum"}
    assert [queue.name for queue in app.conf.task_queues] == list(QUEUES)
    assert app.conf.broker_transport_options["confirm_publish"]


def test_redis_gets_plain_lists():
    app = configured("redis://host/1")

    assert all(queue.queue_arguments is None for queue in app.conf.task_queues)
    assert not app.conf.broker_transport_options["ack_emulation"]


# --- Asked ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_epoch_ends_with_what_the_broker_holds(broker_app):
    before = broker.epoch(broker_app)
    assert broker.epoch(broker_app) == before

    with broker_app.pool.acquire(block=True) as held:
        held.default_channel.client.flushdb()

    after = broker.epoch(broker_app)
    assert after[0] != before[0]
    assert after[1] == before[1]  # the same process of the server


@pytest.mark.django_db(transaction=True)
def test_what_waits_is_counted_by_queue_and_priority(broker_app, until):
    for n in range(3):
        echo.apply_async((n,), priority=7)
    echo.apply_async((0,), priority=1)
    until(lambda: not Job.objects.filter(sent_at=None).exists())

    places = [("default", 7), ("default", 1), ("default", 0), ("fast_lane", 7)]
    assert broker.waiting(broker_app, places) == dict(zip(places, [3, 1, 0, 0], strict=True))


@pytest.fixture
def broker_app(broker) -> Celery:
    from celery import current_app

    return current_app._get_current_object()


# --- Urgency -------------------------------------------------------------------------------------------------------


@pytest.fixture
def age():
    """Do one sweep for what has waited for long. Returns how many jobs it found."""
    session = LedgerConnection(durable=True)
    turn = Turn(now=timezone.now(), calm=timedelta(hours=1))
    yield lambda: session.use(lambda it: ageing.sweep(it, turn))
    session.close()


def waiting_job(name: str, *, minutes: float, **fields) -> Job:
    due = timezone.now() - timedelta(minutes=minutes)
    values = {"queue": "default", "state": State.QUEUED, "run_at": due, "created_at": due, "sent_at": due}
    return make_job(id=name, **{**values, **fields})


@pytest.mark.django_db(transaction=True)
def test_what_has_waited_for_ten_minutes_behind_more_urgent_jobs_counts_as_the_most_urgent(age):
    waiting_job("old", minutes=11, priority=3)
    waiting_job("young", minutes=9, priority=3)
    waiting_job("urgent", minutes=1, priority=8)
    waiting_job("elsewhere", minutes=60, queue="fast_lane", priority=0)

    assert age() == 1

    assert {job.pk: job.priority for job in Job.objects.all()} == {
        "old": 9,
        "young": 3,
        "urgent": 8,
        "elsewhere": 0,
    }
    assert Job.objects.get(pk="old").sent_at is None
    assert JobEvent.objects.get(job_id="old").kind == "aged"
    assert age() == 0


@pytest.mark.django_db(transaction=True)
def test_maintenance_that_has_waited_for_long_goes_before_embedding(age):
    waiting_job("clean", minutes=11, queue="maintenance", priority=5)
    waiting_job("embed", minutes=1, queue="embedding", priority=9)

    assert age() == 1
    assert broker.broker_priority(Job.objects.get(pk="clean").priority) == 0  # Kombu's first on Redis


# --- Order where the broker keeps none -----------------------------------------------------------------------------


@pytest.fixture
def a_worker():
    """A live worker on these queues, as its heartbeat tells."""

    def report(*queues: str, children: int = 2, name: str = "w@test") -> None:
        from jobs.worker.heartbeat import report

        with connection.cursor() as cursor:
            report(cursor, name=name, queues=list(queues), children=children, memory=None)

    return report


def taken(windows: Windows) -> list[str]:
    with transaction.atomic(), connection.cursor() as cursor:
        ids = [row["id"] for row in windows.take(cursor)]
        Job.objects.filter(pk__in=ids).update(sent_at=timezone.now())
    return ids


@pytest.mark.django_db(transaction=True)
def test_only_a_few_messages_are_ahead_of_the_workers_the_most_urgent_first(a_worker):
    for n in range(10):
        waiting_job(f"n{n}", minutes=10 - n, priority=n, sent_at=None)
    windows = Windows()

    assert taken(windows) == []  # nobody would take them
    a_worker("default", children=2)
    assert taken(windows) == ["n9", "n8", "n7", "n6"]
    assert len(_ahead()) == LEAST_AHEAD * 2
    assert taken(windows) == []
    assert windows.pause is not None

    Job.objects.filter(pk="n9").update(state=State.SUCCEEDED, finished_at=timezone.now())
    waiting_job("late", minutes=0, priority=9, sent_at=None)
    assert taken(windows)[0] == "late"


def _ahead() -> list[str]:
    return list(Job.objects.filter(state=State.QUEUED, sent_at__isnull=False).values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_lane_of_long_jobs_is_sent_as_many_as_it_has_free_children(a_worker):
    assert not LANES["fast_lane"].prefetch
    a_worker("fast_lane", children=4)
    for n in range(9):
        waiting_job(f"n{n}", minutes=10 - n, queue="fast_lane", priority=5, sent_at=None)
    windows = Windows()

    assert len(taken(windows)) == 4
    assert taken(windows) == []


@pytest.mark.django_db(transaction=True)
def test_lanes_are_taken_in_the_order_of_their_queues(a_worker):
    a_worker("embedding", "indexing", "maintenance", children=1)
    for queue in ("maintenance", "indexing", "embedding"):
        waiting_job(queue, minutes=1, queue=queue, priority=QUEUES[queue].priority, sent_at=None)

    windows = Windows()

    for queue in ("embedding", "indexing", "maintenance"):
        # One after the other: a queue is fetched by itself, and might overtake what is ahead in a better one.
        assert taken(windows) == [queue]
        assert taken(windows) == []
        assert (windows.pause is None) is (queue == "maintenance")
        Job.objects.filter(pk=queue).update(state=State.RUNNING, claim_id=uuid.uuid4(), started_at=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_what_is_more_urgent_does_not_wait_for_what_is_ahead_in_another_queue(a_worker):
    a_worker("embedding", "indexing", "maintenance", children=1)
    waiting_job("early", minutes=2, queue="maintenance", priority=QUEUES["maintenance"].priority, sent_at=None)
    windows = Windows()
    assert taken(windows) == ["early"]

    waiting_job("late", minutes=1, queue="embedding", priority=QUEUES["embedding"].priority, sent_at=None)

    assert taken(windows) == ["late"]


@pytest.mark.django_db(transaction=True)
def test_workers_of_one_queue_do_not_wait_for_those_of_a_better_one(a_worker):
    a_worker("embedding", "indexing", children=1)
    a_worker("maintenance", children=1, name="other@test")
    for n in range(6):
        waiting_job(f"e{n}", minutes=9 - n, queue="embedding", priority=QUEUES["embedding"].priority, sent_at=None)
        waiting_job(f"m{n}", minutes=9 - n, queue="maintenance", priority=QUEUES["maintenance"].priority, sent_at=None)
    windows = Windows()

    assert sorted(taken(windows)) == ["e0", "e1", "m0", "m1"]
    assert taken(windows) == []
    Job.objects.filter(pk="m0").update(state=State.SUCCEEDED, finished_at=timezone.now())
    assert taken(windows) == ["m2"]


@pytest.mark.django_db(transaction=True)
def test_what_two_kinds_of_workers_take_is_sent_once(a_worker):
    a_worker("embedding", "indexing", "maintenance", children=1)
    a_worker("maintenance", children=1, name="other@test")
    for n in range(6):
        waiting_job(f"m{n}", minutes=9 - n, queue="maintenance", priority=QUEUES["maintenance"].priority, sent_at=None)

    assert taken(Windows()) == ["m0", "m1"]


@pytest.mark.django_db(transaction=True)
def test_a_queue_that_no_worker_takes_keeps_no_other_waiting(a_worker):
    a_worker("maintenance", children=1)
    for n in range(3):
        waiting_job(f"e{n}", minutes=1, queue="embedding", priority=QUEUES["embedding"].priority, sent_at=None)
    waiting_job("tidy", minutes=1, queue="maintenance", priority=QUEUES["maintenance"].priority, sent_at=None)
    windows = Windows()

    assert taken(windows) == ["tidy"]
    assert taken(windows) == []
    assert windows.pause is None


# --- Redis behind Sentinel -------------------------------------------------------------------------------------------


class Sentinels:
    """A Redis, a copy of it, and a Sentinel that watches them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("first", "second", "sentinel")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.ports['sentinel']}/0?master_name=jobs"

    def start(self) -> None:
        common = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        self._run("first", *common)
        self._run("second", *common, "--replicaof", "127.0.0.1", str(self.ports["first"]))
        (self.folder / "sentinel.conf").write_text(
            f"sentinel monitor jobs 127.0.0.1 {self.ports['first']} 1\n"
            "sentinel down-after-milliseconds jobs 1000\nsentinel failover-timeout jobs 3000\n"
        )
        self._run("sentinel", "--bind", "127.0.0.1", "--sentinel", file=str(self.folder / "sentinel.conf"))

    def client(self, name: str) -> "redis.Redis":
        return redis.Redis(port=self.ports[name], socket_timeout=2, decode_responses=True)

    def is_ready(self) -> bool:
        try:
            (state,) = self.client("sentinel").execute_command("SENTINEL", "MASTERS")
            fields = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
            return fields["num-slaves"] in ("1", 1) and self.client("first").info("replication")["slave0"]
        except (redis.RedisError, KeyError):
            return False

    def _run(self, name: str, *options: str, file: str = "") -> None:
        command = [str(valkey_program()), *([file] if file else []), "--port", str(self.ports[name]), *options]
        self.processes[name] = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / f"{name}.log").open("wb"),
            stderr=subprocess.STDOUT,
            preexec_fn=before_exec(signal.SIGKILL),
        )

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def sentinels(tmp_path, until) -> Iterator[Sentinels]:
    found = Sentinels(tmp_path)
    try:
        found.start()
        until(found.is_ready)
        yield found
    finally:
        found.end()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_jobs_run_behind_sentinel_and_survive_a_failover(sentinels, live_worker, until):
    worker = live_worker("default", BROKER_URL=sentinels.url)
    code = "for n in range(10):\n    tasks.sleep.apply_async((0.5,), task_id=f'{}-{{n}}')"
    send_from_a_process(code.format("before"), BROKER_URL=sentinels.url)
    until(Job.objects.filter(state=State.RUNNING).exists)

    sentinels.processes["first"].kill()
    send_from_a_process(code.format("after"), BROKER_URL=sentinels.url)

    until(lambda: Job.objects.filter(state=State.SUCCEEDED).count() == 20, 60)
    assert worker.process.poll() is None
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}
