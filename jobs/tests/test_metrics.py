"""/metrics: from the ledger, cheap, and for those who may read it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from jobs.ledger.connection import LedgerConnection
from jobs.ledger.sweeps import Turn
from jobs.models import Job, JobEvent, RollUp, RollUpMark, State, Worker
from jobs.tests.api_client import person
from jobs.tests.factories import make_attempt, make_job
from jobs.tests.test_postgres_away import hung_server
from jobs.watch import rollup

TOKEN = "a-token-of-the-monitoring-alone"
Labels = dict[str, str]


@pytest.fixture(autouse=True)
def _token(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.METRICS_TOKEN = TOKEN
    # A busy machine's servers do not hang.
    monkeypatch.setattr("jobs.watch.scrape.ANSWER_SECONDS", 60.0)
    monkeypatch.setattr("jobs.ledger.broker.ANSWER_SECONDS", 60.0)
    monkeypatch.setattr("jobs.ledger.broker._kept", {})


@pytest.fixture
def ledger() -> Iterator[LedgerConnection]:
    own = LedgerConnection(durable=True)
    yield own
    own.close()


@pytest.fixture
def counted(ledger: LedgerConnection, until: Callable[..., Any]) -> Callable[[], None]:
    """Let the roll-up count all that is committed: one turn notes how far, the next counts."""

    def count() -> None:
        for _ in range(2):
            until(lambda: not ledger.use(is_autovacuum_writing))  # an ANALYZE is a transaction to wait for, too
            ledger.use(lambda open_connection: rollup.sweep(open_connection, Turn(timezone.now(), timedelta(hours=1))))

    return count


def is_autovacuum_writing(session: "psycopg.Connection[Any]") -> bool:
    found = session.execute(
        "SELECT EXISTS (SELECT 1 FROM pg_stat_activity "
        "WHERE backend_type = 'autovacuum worker' AND backend_xid IS NOT NULL)"
    ).fetchone()
    return found is not None and bool(found[0])


def scrape(**headers: str) -> Any:
    return Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", **headers})


def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Each sample by its name and labels, as Prometheus' own parser reads it."""
    response = scrape()
    assert response.status_code == 200, response.content
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float | None:
    return samples().get((name, tuple(sorted(labels.items()))))


# --- What it tells ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_depth_and_age_are_told_by_queue_and_state() -> None:
    for state in (State.RUNNING, State.SCHEDULED, State.QUEUED):
        make_job(state, queue="fast_lane")
    make_job(State.QUEUED, queue="fast_lane", held=True, run_at=timezone.now() - timedelta(minutes=5))
    make_job(State.SUCCEEDED, queue="fast_lane")

    found = samples()

    for name in ("waiting", "held", "scheduled", "running"):
        assert found["switchyard_jobs", (("queue", "fast_lane"), ("state", name))] == 1, name
    assert found["switchyard_jobs", (("queue", "default"), ("state", "waiting"))] == 0
    assert 300 <= found["switchyard_oldest_waiting_age_seconds", (("queue", "fast_lane"),)] < 400
    assert found["switchyard_oldest_waiting_age_seconds", (("queue", "default"),)] == 0
    assert found["switchyard_unsent_jobs", (("queue", "fast_lane"),)] == 1
    assert found["switchyard_broker_up", ()] == 1


@pytest.mark.django_db
def test_a_job_that_is_due_and_was_never_queued_has_an_age() -> None:
    make_job(State.SCHEDULED, run_at=timezone.now() - timedelta(minutes=10))

    assert value("switchyard_oldest_waiting_age_seconds", queue="default") >= 600


@pytest.mark.django_db
def test_workers_are_told_by_state_and_the_living_with_their_memory() -> None:
    Worker.objects.all().delete()  # a worker that another module's tests started may have left its row
    now = timezone.now()
    common = {"host": "h", "pid": 1, "children": 4, "memory_bytes": 1000, "started_at": now}
    Worker.objects.create(name="a@h", heartbeat_at=now, **common)
    Worker.objects.create(name="b@h", heartbeat_at=now - timedelta(hours=1), **common)
    Worker.objects.create(name="c@h", heartbeat_at=now, stopped_at=now, **common)

    found = samples()

    assert [found["switchyard_workers", (("state", state),)] for state in ("alive", "silent", "stopped")] == [1, 1, 1]
    assert found["switchyard_worker_memory_bytes", (("worker", "a@h"),)] == 1000
    assert ("switchyard_worker_children", (("worker", "b@h"),)) not in found


@pytest.mark.django_db(transaction=True)
def test_what_ended_is_counted_once_by_task_and_outcome(counted: Callable[[], None]) -> None:
    counted()
    now = timezone.now()
    for seconds in (0.02, 0.2, 100):
        job = make_job(
            State.SUCCEEDED, attempt=1, run_at=now - timedelta(seconds=seconds + 3), finished_at=now, queue="fast_lane"
        )
        make_attempt(job, outcome="succeeded", started_at=now - timedelta(seconds=seconds), finished_at=now)
    failed = make_job(State.FAILED, attempt=2, finished_at=now, run_at=now - timedelta(seconds=50))
    make_attempt(failed, 1, outcome="crashed", started_at=now - timedelta(seconds=40), finished_at=now)
    make_attempt(failed, 2, outcome="failed", started_at=now + timedelta(seconds=1), finished_at=now)
    make_job(State.CANCELLED)
    JobEvent.objects.create(job=failed, at=now, kind="rescued", text="it was")
    for _ in range(3):
        counted()

    found = samples()

    def runs(outcome: str) -> float:
        return found["switchyard_runs_total", (("outcome", outcome), ("task", "selftest.echo"))]

    def finished(state: str, queue: str) -> float:
        labels = (("queue", queue), ("state", state), ("task", "selftest.echo"))
        return found["switchyard_jobs_finished_total", labels]

    assert (runs("succeeded"), runs("crashed"), runs("failed")) == (3, 1, 1)
    assert finished("succeeded", "fast_lane") == 3
    assert (finished("failed", "default"), finished("cancelled", "default")) == (1, 1)
    assert found["switchyard_job_events_total", (("kind", "rescued"),)] == 1
    bucket = "switchyard_run_duration_seconds_bucket"
    assert found[bucket, (("le", "0.05"), ("task", "selftest.echo"))] >= 1
    assert found[bucket, (("le", "+Inf"), ("task", "selftest.echo"))] == 5
    assert found["switchyard_run_duration_seconds_count", (("task", "selftest.echo"),)] == 5
    assert found["switchyard_run_duration_seconds_sum", (("task", "selftest.echo"),)] == pytest.approx(140.22, abs=0.1)
    # Each of the three waited three seconds; the second run of the failed one counts from the end of its first.
    assert found["switchyard_wait_duration_seconds_sum", (("queue", "fast_lane"),)] == pytest.approx(9, abs=0.01)
    assert found["switchyard_wait_duration_seconds_sum", (("queue", "default"),)] == pytest.approx(1, abs=0.01)
    assert found["switchyard_wait_duration_seconds_bucket", (("le", "5.0"), ("queue", "fast_lane"))] == 3


@pytest.mark.django_db(transaction=True)
def test_what_commits_late_is_counted_all_the_same(counted: Callable[[], None], ledger: LedgerConnection) -> None:
    """An attempt's number is drawn before its commit: later ones may have been counted by then."""
    counted()
    slow, quick = make_job(State.SUCCEEDED), make_job(State.SUCCEEDED)
    make_attempt(quick, outcome="succeeded")  # so that there is something to copy
    other = LedgerConnection(durable=True)

    def insert_slowly(open_connection: Any) -> None:
        with open_connection.transaction():
            open_connection.execute(
                "INSERT INTO jobs_attempt (job_id, number, worker, pid, claim_id, started_at, finished_at, outcome, "
                "error_class, message, traceback) SELECT %s, 7, worker, pid, claim_id, started_at, finished_at, "
                "outcome, '', '', '' FROM jobs_attempt LIMIT 1",
                [slow.pk],
            )
            make_attempt(quick, 2, outcome="succeeded")
            for _ in range(3):
                counted()
            assert RollUp.objects.count() == 0

    other.use(insert_slowly)
    other.close()
    for _ in range(2):
        counted()

    assert RollUp.objects.get(measure="run").count == 3


@pytest.mark.django_db(transaction=True)
def test_many_rows_are_counted_in_batches(counted: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "BATCH", 3)
    counted()
    job = make_job(State.SUCCEEDED)
    for number in range(1, 11):
        make_attempt(job, number, outcome="succeeded")
    counted()
    counted()

    assert RollUp.objects.get(measure="run").count == 10


@pytest.mark.django_db(transaction=True)
def test_names_of_tasks_are_bounded(counted: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "MOST_TASKS", 2)
    counted()
    for number in range(5):
        make_job(State.DISCARDED, task=f"made.up.{number}")
    counted()

    tasks = set(RollUp.objects.values_list("task", flat=True))
    assert len(tasks) == 3
    assert rollup.OTHER in tasks
    assert sum(RollUp.objects.values_list("count", flat=True)) == 5


@pytest.mark.django_db(transaction=True)
def test_a_turn_with_nothing_new_is_one_statement(counted: Callable[[], None], ledger: LedgerConnection) -> None:
    make_attempt(make_job(State.FAILED))
    counted()
    counted()
    before = RollUpMark.objects.values().get()
    sent: list[Any] = []

    class Counting:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def execute(self, query: Any, *parameters: Any) -> Any:
            sent.append(query)
            return self.inner.execute(query, *parameters)

    ledger.use(lambda own: rollup.sweep(Counting(own), Turn(timezone.now(), timedelta(0))))  # type: ignore[arg-type]

    assert len(sent) == 1
    assert RollUpMark.objects.values().get() == before


@pytest.mark.django_db
def test_a_scrape_takes_a_handful_of_statements_and_reads_no_history() -> None:
    make_attempt(make_job(State.SUCCEEDED))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert scrape().status_code == 200

    texts = [query["sql"] for query in queries]
    assert len(texts) <= 6, texts
    assert not [text for text in texts if "jobs_attempt" in text or "django_celery_results" in text]
    assert [
        text for text in texts if "jobs_job " in text and "state IN ('scheduled', 'queued', 'running')" not in text
    ] == []


@pytest.mark.django_db
def test_labels_hold_nothing_that_senders_choose() -> None:
    make_job(State.QUEUED, task="secret-task", args=["secret-arg"], limit_key="secret-key", unique_key="secret-unique")
    make_job(State.QUEUED, queue="secret-queue")

    assert b"secret" not in scrape().content


# --- Who may read it -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü"])
def test_nobody_else_reads_it_not_from_loopback_either(given: str) -> None:
    response = Client().get("/metrics", headers={"Authorization": given} if given else {}, REMOTE_ADDR="127.0.0.1")

    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert b"switchyard_jobs" not in response.content


@pytest.mark.django_db
def test_an_unset_token_lets_nobody_in(settings: Any) -> None:
    settings.METRICS_TOKEN = ""

    assert scrape().status_code == 401
    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


@pytest.mark.django_db
def test_an_api_token_needs_its_users_permission() -> None:
    from jobs.operators.actors import command_actor
    from jobs.operators.tokens import create_token

    for name, permissions, status in (("yes", ["jobs.view_metrics"], 200), ("no", ["jobs.view_job"], 403)):
        _, text = create_token(command_actor(), person(name, *permissions), "prometheus")
        assert Client().get("/metrics", headers={"Authorization": f"Bearer {text}"}).status_code == status


@pytest.mark.django_db
def test_guessing_is_slowed_down() -> None:
    statuses = {Client().get("/metrics", headers={"Authorization": "Bearer no"}).status_code for _ in range(25)}

    assert statuses == {401, 429}
    assert scrape().status_code == 200


@pytest.mark.django_db
def test_a_scraper_needs_no_known_host_name_and_is_not_redirected(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True

    response = scrape(host="web:8000")

    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert Client().post("/metrics").status_code == 405


def test_with_postgres_away_it_answers_503_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("connection to server at 10.1.2.3 failed")

    monkeypatch.setattr("jobs.watch.metrics._rows", refuse)
    response = scrape()

    assert response.status_code == 503
    assert response["Retry-After"]
    assert b"10.1.2.3" not in response.content


@pytest.mark.django_db(transaction=True)
def test_a_hung_postgres_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as impatient, hung_server():
        impatient.setattr("jobs.watch.scrape.ANSWER_SECONDS", 0.5)
        assert scrape().status_code == 503
    connection.close_if_unusable_or_obsolete()

    assert scrape().status_code == 200


def test_the_example_for_prometheus_reads_what_there_is() -> None:
    root = Path(__file__).resolve().parents[2]
    (job,) = yaml.safe_load((root / "deploy/prometheus.yml").read_text())["scrape_configs"]
    service = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]["prometheus"]

    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["credentials_file"] in service["entrypoint"][-1]
    assert any(volume.startswith("./deploy/prometheus.yml:") for volume in service["volumes"])


@pytest.mark.django_db
def test_openmetrics_is_given_to_whom_asks_for_it() -> None:
    response = scrape(accept="application/openmetrics-text; version=1.0.0")

    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert response.content.rstrip().endswith(b"# EOF")
    assert Job.objects.count() == 0
