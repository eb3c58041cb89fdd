"""What Prometheus and alerts are told of reminders."""

from collections.abc import Callable
from datetime import date, time, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from jobs.models import Alert
from jobs.tests.alerting import kinds, looking
from jobs.tests.test_metrics import TOKEN, value
from jobs.watch import delivering
from reminders.models import Blob, Channel, Reminder, ReminderDelivery
from reminders.operators import metrics, reminders
from reminders.services import scanning
from reminders.tests.factories import at, person, todo

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}
TABLES = ("reminder", "reminderdelivery", "blob", "channel")
SCAN_AGE = "switchyard_reminder_scan_age_seconds"


@pytest.fixture(autouse=True)
def _token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


@pytest.mark.django_db
def test_the_age_of_the_last_scan_is_told_and_is_infinite_before_the_first(clock: Any) -> None:
    assert value(SCAN_AGE) == float("inf")
    scanning.send_due_soon()
    assert value(SCAN_AGE) == 0
    clock("2026-03-01 00:07")
    assert value(SCAN_AGE) == 420


@pytest.mark.django_db
def test_what_waits_failed_and_was_set_aside_is_counted(clock: Any) -> None:
    ada, eve = person("ada", quiet_from=time(8), quiet_until=time(10)), person("eve")
    for whose in (ada, eve):
        todo(whose, **DUE)
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    now, mail = at("2026-03-02 09:00"), Channel.objects.get(user=eve)
    states = ["failed", "failed", "uncertain"]
    rows = [ReminderDelivery(channel=mail, recipient=eve, state=state, created_at=now) for state in states]
    rows += [
        ReminderDelivery(channel=mail, recipient=eve, state=state, created_at=now - timedelta(days=2))
        for state in ("failed", "uncertain")
    ]
    ReminderDelivery.objects.bulk_create(rows)
    Channel.objects.create(user=ada, kind="webhook", set_aside_at=now, set_aside_because="410")
    for number, state in enumerate(("pending", "pending", "not_scanned", "clean")):
        scanned = now if state == "clean" else None
        Blob.objects.create(sha256=str(number), size=1, storage_key="k", scan_state=state, scanned_at=scanned)

    assert value("switchyard_reminders_held") == 1
    told = {state: value("switchyard_reminder_deliveries", state=state) for state in ("pending", "failed", "uncertain")}
    assert told == {"pending": 1, "failed": 2, "uncertain": 2}
    waiting = {state: value("switchyard_attachments_unscanned", state=state) for state in ("pending", "not_scanned")}
    assert waiting == {"pending": 2, "not_scanned": 1}
    assert value("switchyard_reminder_channels_set_aside") == 1


@pytest.mark.django_db
def test_each_count_is_over_an_index_of_few(clock: Any) -> None:
    """Beside many rows of the usual kind, of which a table's whole would be read."""
    ada = person("ada")
    mail = Channel.objects.create(user=ada, kind="mail")
    now = at("2026-03-01 00:00")
    sent = {"channel": mail, "recipient": ada, "state": "sent", "sent_at": now, "created_at": now}
    ReminderDelivery.objects.bulk_create(ReminderDelivery(**sent) for _ in range(2000))
    row = todo(ada, **DUE)
    fired = {"todo": row, "recipient": ada, "fire_at": now, "fired_at": now, "schedule_version": 0, "state": "outbox"}
    Reminder.objects.bulk_create(Reminder(kind=f"x:{number}", **fired) for number in range(2000))
    kept = {"size": 1, "content_type": "text/plain", "storage_key": "k", "scan_state": "clean", "scanned_at": now}
    Blob.objects.bulk_create(Blob(sha256=f"{number}", **kept) for number in range(2000))
    people = type(ada).objects.bulk_create(type(ada)(username=f"user-{number}") for number in range(2000))
    Channel.objects.bulk_create(Channel(user=user, kind="mail") for user in people)
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ANALYZE reminders_{table}")
        cursor.execute(f"EXPLAIN {metrics._COUNTS}", {"failed_since": now})
        plan = "\n".join(text for (text,) in cursor.fetchall())

    assert not [table for table in TABLES if f"Seq Scan on reminders_{table}" in plan], plan
    for index in ("blob_pending", "blob_to_scan", "channel_set_aside", "reminder_held"):
        assert f"using {index} on" in plan, plan
    for state in ("pending", "failed", "uncertain"):
        assert f"using remdelivery_{state} on" in plan, plan


@pytest.mark.django_db(transaction=True)
def test_the_alert_that_comes_along_fires_when_scans_stand_still(
    clock: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "deliver_soon", lambda: None)
    Alert.objects.all().delete()
    import_module("reminders.migrations.0010_alert_of_scans").make(apps, None)
    alert = Alert.objects.get()
    assert (alert.kind, alert.task, alert.threshold) == ("age", "reminders.send_due_soon", 300)
    Alert.objects.update(for_seconds=0)
    scanning.send_due_soon()
    with looking() as look:
        clock("2026-03-01 00:04")
        look()
        assert kinds(alert) == []

        clock("2026-03-01 00:06")
        look()
        assert "reminders.send_due_soon has not succeeded for 6 min" in alert.events.get().text

        scanning.send_due_soon()
        look()
    assert kinds(alert) == ["fired", "recovered"]


@pytest.mark.django_db
def test_the_control_room_counts_the_uncertain_of_all_days_and_failures_of_one(clock: Any) -> None:
    ada = person("ada")
    mail, old = Channel.objects.create(user=ada, kind="mail"), at("2026-02-20 00:00")
    ReminderDelivery.objects.bulk_create(
        ReminderDelivery(channel=mail, recipient=ada, state=state, created_at=old) for state in ("failed", "uncertain")
    )
    figures = reminders.figures()
    assert (figures.failed, figures.uncertain) == (0, 1)
