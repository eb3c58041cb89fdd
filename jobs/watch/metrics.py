"""What Prometheus reads: made from the ledger at each scrape, so every web process answers the same.

A scrape is a handful of statements over unfinished jobs and small tables; what ended is counted beforehand
(`jobs.watch.rollup`), so its cost does not grow with history. No label holds what senders choose freely.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from celery import current_app
from django.db import connection
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.lanes import QUEUES
from jobs.ledger import broker
from jobs.models import RollUp
from jobs.operators.effects import effect_figures
from jobs.operators.queues import workers
from jobs.watch import of_apps
from jobs.watch.rollup import BOUNDS

STATES = ("waiting", "held", "scheduled", "running")
WORKER_STATES = ("alive", "silent", "stopped")
ALERT_STATES = ("ok", "pending", "firing", "disabled")
#: Workers with figures of their own: their names are made of host names, and containers come and go.
MOST_WORKERS = 200

_UNFINISHED = """
    SELECT queue, count(*) FILTER (WHERE state = 'queued' AND NOT held),
           count(*) FILTER (WHERE state = 'queued' AND held), count(*) FILTER (WHERE state = 'scheduled'),
           count(*) FILTER (WHERE state = 'running'),
           COALESCE(extract(epoch FROM clock_timestamp() - min(run_at) FILTER (
               WHERE state = 'queued' OR state = 'scheduled' AND run_at < clock_timestamp())), 0)::float8,
           count(*) FILTER (WHERE state = 'queued' AND NOT held AND sent_at IS NULL)
    FROM jobs_job WHERE state IN ('scheduled', 'queued', 'running') GROUP BY queue
"""
_ALERTS_AND_LAG = """
    SELECT count(*) FILTER (WHERE enabled AND breached_since IS NULL),
           count(*) FILTER (WHERE enabled AND breached_since IS NOT NULL AND firing_since IS NULL),
           count(*) FILTER (WHERE enabled AND firing_since IS NOT NULL), count(*) FILTER (WHERE NOT enabled),
           (SELECT GREATEST(extract(epoch FROM clock_timestamp() - min(p.next_run_at)), 0)::float8
            FROM jobs_schedulepolicy AS p JOIN django_celery_beat_periodictask AS t ON t.id = p.schedule_id
            WHERE t.enabled AND p.next_run_at < clock_timestamp())
    FROM jobs_alert
"""


class LedgerCollector(Collector):
    """One scrape. Raises Django's database errors while Postgres is away."""

    def collect(self) -> Iterator[Metric]:
        """All families, in a fixed order; those of other apps last."""
        yield from _depth()
        yield from _workers()
        yield from _counts(RollUp.objects.all())
        yield from _rest()
        yield from of_apps.collected()


def registry() -> CollectorRegistry:
    """A registry of its own for each scrape: without this process' figures, which say nothing about the system."""
    made = CollectorRegistry()
    made.register(LedgerCollector())
    return made


def _rows(query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _depth() -> Iterator[Metric]:
    found = {queue: numbers for queue, *numbers in _rows(_UNFINISHED)}
    jobs = GaugeMetricFamily(
        "switchyard_jobs",
        "Unfinished jobs. held: of those that are due, held back by a pause or a limit.",
        labels=["queue", "state"],
    )
    age = GaugeMetricFamily(
        "switchyard_oldest_waiting_age_seconds",
        "Since when the oldest job that is due waits; 0 when none does.",
        labels=["queue"],
    )
    unsent = GaugeMetricFamily(
        "switchyard_unsent_jobs", "Waiting jobs of which no message is at the broker.", labels=["queue"]
    )
    for queue in QUEUES:
        *counts, oldest, without_message = found.get(queue, [0, 0, 0, 0, 0.0, 0])
        for state, count in zip(STATES, counts, strict=True):
            jobs.add_metric([queue, state], count)
        age.add_metric([queue], max(oldest, 0.0))
        unsent.add_metric([queue], without_message)
    yield from (jobs, age, unsent)


def _workers() -> Iterator[Metric]:
    counts = dict.fromkeys(WORKER_STATES, 0)
    children = GaugeMetricFamily(
        "switchyard_worker_children", "Processes of a worker that run jobs.", labels=["worker"]
    )
    memory = GaugeMetricFamily(
        "switchyard_worker_memory_bytes", "Proportional set size of a worker with its children.", labels=["worker"]
    )
    rows = workers().values_list("name", "state", "children", "memory_bytes")
    for name, state, processes, size in rows:
        counts[state] += 1
        if state != "alive" or len(children.samples) >= MOST_WORKERS:
            continue
        children.add_metric([name], processes)
        if size is not None:
            memory.add_metric([name], size)
    total = GaugeMetricFamily("switchyard_workers", "Workers and beats; stopped: of the last 7 days.", labels=["state"])
    for state, count in counts.items():
        total.add_metric([state], count)
    yield from (total, children, memory)


def _counts(rows: Iterable[RollUp]) -> Iterator[Metric]:
    runs = CounterMetricFamily(
        "switchyard_runs", "Ended runs; crashed and lost ones are those of dead processes.", labels=["task", "outcome"]
    )
    finishes = CounterMetricFamily("switchyard_jobs_finished", "Finished jobs.", labels=["task", "queue", "state"])
    events = CounterMetricFamily(
        "switchyard_job_events", "What happened to jobs beside their runs: rescued, resent, …", labels=["kind"]
    )
    run_time, wait_time = _Histogram(), _Histogram()
    by_outcome: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        if row.measure == "run":
            by_outcome[row.task, row.outcome] += row.count
            run_time.add(row.task, row.run_buckets, row.run_seconds)
            wait_time.add(row.queue, row.wait_buckets, row.wait_seconds)
        elif row.measure == "finish":
            finishes.add_metric([row.task, row.queue, row.outcome], row.count)
        else:
            events.add_metric([row.outcome], row.count)
    for labels, count in sorted(by_outcome.items()):
        runs.add_metric(list(labels), count)
    yield from (runs, finishes, events)
    yield run_time.family("switchyard_run_duration_seconds", "How long runs took.", "task")
    yield wait_time.family(
        "switchyard_wait_duration_seconds", "How long jobs waited from when they were due to their run.", "queue"
    )


class _Histogram:
    """Sums buckets by one label."""

    def __init__(self) -> None:
        self.buckets: dict[str, list[int]] = {}
        self.seconds: dict[str, float] = defaultdict(float)

    def add(self, label: str, buckets: Sequence[int], seconds: float) -> None:
        sums = self.buckets.setdefault(label, [0] * (len(BOUNDS) + 1))
        for number, count in enumerate(buckets[: len(sums)]):
            sums[number] += count
        self.seconds[label] += seconds

    def family(self, name: str, documentation: str, label: str) -> Metric:
        family = HistogramMetricFamily(name, documentation, labels=[label])
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        for value, sums in sorted(self.buckets.items()):
            family.add_metric([value], list(zip(bounds, accumulate(sums), strict=True)), self.seconds[value])
        return family


def _rest() -> Iterator[Metric]:
    *states, lag = _rows(_ALERTS_AND_LAG)[0]
    alerts = GaugeMetricFamily("switchyard_alerts", "Alerts by their state.", labels=["state"])
    for state, count in zip(ALERT_STATES, states, strict=True):
        alerts.add_metric([state], count)
    figures = effect_figures()
    effects = GaugeMetricFamily(
        "switchyard_effects", "Outside effects: uncertain, which wait for a person; under way.", labels=["state"]
    )
    effects.add_metric(["uncertain"], figures.uncertain)
    effects.add_metric(["tried"], figures.tried)
    yield from (alerts, effects)
    yield GaugeMetricFamily(
        "switchyard_schedule_lag_seconds", "How late the most overdue schedule is; 0 when none is.", value=lag or 0.0
    )
    state = broker.state(current_app._get_current_object())
    yield GaugeMetricFamily("switchyard_broker_up", "Whether the broker takes messages.", value=float(state == "ok"))
