"""Alerts: when they fire and recover, and that each change is written once."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs.ledger import sweeps
from jobs.ledger.connection import LedgerConnection
from jobs.models import Alert, AlertDelivery, State
from jobs.operators.actors import command_actor
from jobs.operators.alerts import enable_alert
from jobs.tests.alerting import age, kinds, make_alert
from jobs.tests.factories import make_job
from jobs.watch.lookout import Lookout

pytestmark = pytest.mark.django_db(transaction=True)


def test_failed_jobs_fire_once_and_recover_once(look: Callable[[], None]) -> None:
    alert = make_alert()
    failed = [make_job(State.FAILED) for _ in range(2)]
    make_job(State.CANCELLED)
    look()
    assert kinds(alert) == []

    failed.append(make_job(State.FAILED))
    for _ in range(3):
        look()
    assert kinds(alert) == ["fired"]
    assert "3 jobs failed in the last 15 min" in alert.events.get().text
    alert.refresh_from_db()
    assert (alert.state, alert.value) == ("firing", 3)

    failed[0].finished_at = timezone.now() - timedelta(hours=1)
    failed[0].save()
    for _ in range(3):
        look()
    assert kinds(alert) == ["fired", "recovered"]
    alert.refresh_from_db()
    assert alert.state == "ok"


@pytest.mark.parametrize(
    ("scope", "value"),
    [({}, 3), ({"task": "selftest.fail"}, 1), ({"queue": "fast_lane"}, 1), ({"queue": "slow_lane"}, 0)],
)
def test_failed_jobs_are_counted_by_task_and_queue(look: Callable[[], None], scope: dict[str, str], value: int) -> None:
    alert = make_alert(**scope)
    make_job(State.FAILED)
    make_job(State.FAILED, task="selftest.fail")
    make_job(State.FAILED, queue="fast_lane")
    look()

    alert.refresh_from_db()
    assert alert.value == value


def test_a_backlog_fires_by_age_and_by_depth(look: Callable[[], None]) -> None:
    oldest = make_alert(name="Oldest", kind="oldest", threshold=60)
    depth = make_alert(name="Depth", kind="waiting", threshold=2, queue="default")
    make_job(State.QUEUED, run_at=timezone.now() - timedelta(minutes=20))
    make_job(State.SCHEDULED)  # not due
    make_job(State.QUEUED, queue="fast_lane")
    look()
    assert (kinds(oldest), kinds(depth)) == (["fired"], [])
    assert "waits for 20 min" in oldest.events.get().text  # and some seconds, as many as this took

    # Due, and nobody sends it: also a backlog.
    make_job(State.SCHEDULED, run_at=timezone.now() - timedelta(seconds=5))
    look()
    assert kinds(depth) == ["fired"]
    assert "2 jobs wait in queue default" in depth.events.get().text

    connection.cursor().execute("DELETE FROM jobs_job")
    look()
    assert (kinds(oldest), kinds(depth)) == (["fired", "recovered"], ["fired", "recovered"])


def test_held_jobs_are_told(look: Callable[[], None]) -> None:
    alert = make_alert(kind="waiting", threshold=1)
    make_job(State.QUEUED, held=True)
    look()

    assert "Held back by a pause or a limit: 1" in alert.events.get().text


def test_it_fires_only_after_it_has_lasted(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1, for_seconds=60)
    job = make_job(State.FAILED)
    look()
    alert.refresh_from_db()
    assert (alert.state, kinds(alert)) == ("pending", [])

    job.delete()
    look()
    alert.refresh_from_db()
    assert alert.state == "ok"
    make_job(State.FAILED)
    look()
    age(Alert, breached_since=timedelta(seconds=61))
    look()
    assert kinds(alert) == ["fired"]


def test_it_fires_again_only_after_the_cool_down(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1, cooldown_seconds=600)
    for _ in range(3):
        job = make_job(State.FAILED)
        look()
        job.delete()
        look()
    assert kinds(alert) == ["fired", "recovered"]

    make_job(State.FAILED)
    look()
    alert.refresh_from_db()
    assert alert.state == "pending"
    age(Alert, fired_at=timedelta(seconds=601))
    look()
    assert kinds(alert) == ["fired", "recovered", "fired"]


def test_one_that_is_switched_off_neither_fires_nor_recovers(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1)
    make_job(State.FAILED)
    look()
    enable_alert(command_actor(), alert.pk, False)
    look()
    assert kinds(alert) == ["fired", "closed"]

    enable_alert(command_actor(), alert.pk, True)
    look()
    assert kinds(alert) == ["fired", "closed", "fired"]


def test_many_lookers_write_one_event(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1, mail_to=["ann@example.org"])
    make_job(State.FAILED)
    others = [LedgerConnection(durable=True) for _ in range(4)]

    def sweep(own: LedgerConnection) -> None:
        from jobs.watch import alerts

        own.use(lambda open_connection: alerts.sweep(open_connection, sweeps.Turn(timezone.now(), timedelta(0))))

    threads = [threading.Thread(target=sweep, args=[own]) for own in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in others:
        own.close()

    assert kinds(alert) == ["fired"]
    assert AlertDelivery.objects.count() == 1


def test_a_change_that_another_has_written_is_not_written_again(look: Callable[[], None]) -> None:
    from jobs.watch import alerts

    alert = make_alert(threshold=1)
    job = make_job(State.FAILED)
    look()
    seen: dict[str, Any] = {
        "id": alert.pk,
        "name": "",
        "queue": "",
        "task": "",
        "threshold": 1,
        "window_seconds": 60,
        "held": 0,
    }
    own = LedgerConnection(durable=True)
    for fires in (True, False):
        late = alerts.Look(**seen, kind="failed", value=1, fires=fires, recovers=not fires)
        for _ in range(2):
            own.use(partial(alerts._change, look=late))
    own.close()
    job.delete()
    look()

    assert kinds(alert) == ["fired", "recovered"]


def test_a_beat_looks_too_when_no_worker_is_left(monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]) -> None:
    monkeypatch.setattr("jobs.watch.lookout.EVERY_SECONDS", 0.05)
    alert = make_alert(kind="waiting", threshold=1)
    make_job(State.QUEUED)
    lookout = Lookout()
    lookout.start()
    try:
        until(lambda: kinds(alert) == ["fired"])
    finally:
        lookout.stop()
        lookout.join()
        lookout.connection.close()
