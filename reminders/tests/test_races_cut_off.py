"""A scan that is cut off, wherever it is: the next one goes on, and nothing is lost or doubled."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import date, time
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from jobs.models import Job
from jobs.tests.live import database_url
from reminders.models import DeliveredReminder, PlannedReminder, ReminderDelivery
from reminders.services import outbox, outbox_rows, scanning
from reminders.tests.factories import at, person, todo

NOW = at("2026-03-02 09:00")
#: So many are fired by one statement: all of it in one transaction, or batch by batch.
AT_ONCE, IN_BATCHES = 5_000, 3
#: Module and function before whose end a scan is cut off; each is called inside a transaction, or between two.
STEPS = {
    "before what was held is released": (outbox_rows, "release", AT_ONCE),
    "before it fires": (scanning, "_fire", AT_ONCE),
    "after what is due fired": (scanning, "_gathered", AT_ONCE),
    "between what fired and what is written": (outbox_rows, "store", AT_ONCE),
    "before the first batch fires": (scanning, "fire", IN_BATCHES),
    "after all batches fired": (scanning, "gather", IN_BATCHES),
    "between a claim and what is written": (outbox_rows, "store", IN_BATCHES),
    "before jobs are sent": (outbox_rows, "claim_unsent", AT_ONCE),
    "between jobs and their note": (outbox_rows, "note_jobs", AT_ONCE),
    "before it notes its success": (scanning, "note_success", AT_ONCE),
}


class CutOff(Exception):
    """Somebody pulled the plug."""


@pytest.fixture
def tasks(clock: Any) -> int:
    """Reminders that are due: one of each of three people, and four of a fourth, who gets a digest."""
    people = [person() for _ in range(4)]
    for who in (*people[:3], *[people[3]] * 4):
        todo(who, due_date=date(2026, 3, 2), due_time=time(9))
    clock(NOW)
    return 7


def outcome() -> tuple[Counter[str], int, int]:
    """Messages by layout, reminders in them, and jobs."""
    layouts = Counter(ReminderDelivery.objects.exclude(job_id="").values_list("layout", flat=True))
    jobs = Job.objects.filter(task="reminders.deliver").count()
    return layouts, DeliveredReminder.objects.count(), jobs


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", STEPS)
def test_after_an_error_the_next_scan_goes_on(step: str, tasks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, batch = STEPS[step]
    monkeypatch.setattr(scanning, "BATCH", batch)

    def fail(*_: Any, **__: Any) -> None:
        raise CutOff(step)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, fail)
        with pytest.raises(CutOff):
            scanning.send_due_soon()
    scanning.send_due_soon()
    scanning.send_due_soon()

    assert outcome() == (Counter(single=3, digest=1), tasks, 4)
    assert not PlannedReminder.objects.filter(fire_at__lte=NOW).exists()


#: Other connections with a transaction.
_UNDER_WAY = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""
PATIENCE_SECONDS = 120


def wait_for_its_locks() -> None:
    """Postgres rolls back what a killed process was at when it gets to it; until then scans leave its rows to it."""
    deadline = monotonic() + PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_UNDER_WAY)
            if cursor.fetchone() == (0,):
                return
            assert monotonic() < deadline, "a killed process' transaction never ends"
            sleep(0.02)


_KILLED = """
import os, signal, sys
import config, django
django.setup()
from reminders.services import outbox, outbox_rows, scanning
module, name = {"scanning": scanning, "outbox_rows": outbox_rows}[sys.argv[1]], sys.argv[2]
scanning.BATCH = int(sys.argv[3])
setattr(module, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
scanning.send_due_soon()
"""


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_the_next_scan_goes_on(step: str, tasks: int) -> None:
    module, name, batch = STEPS[step]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, module.__name__.rpartition(".")[2], name, str(batch)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "DATABASE_URL": database_url(), "VIRTUAL_CLOCK": settings.VIRTUAL_CLOCK},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    wait_for_its_locks()
    scanning.send_due_soon()

    assert outcome() == (Counter(single=3, digest=1), tasks, 4)


@pytest.mark.django_db(transaction=True)
def test_jobs_that_one_scan_does_not_send_are_sent_by_the_next(tasks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "JOBS_A_SCAN", 3)
    monkeypatch.setattr(outbox.send_jobs, "__defaults__", (3,))

    assert [scanning.send_due_soon()["sent_jobs"] for _ in range(3)] == [3, 1, 0]
    assert outcome() == (Counter(single=3, digest=1), tasks, 4)


@pytest.mark.django_db
def test_a_zone_that_the_tz_database_has_dropped_stops_nobodys_reminders(clock: Any) -> None:
    for who in (person(time_zone="Europe/Atlantis", quiet_from=time(22), quiet_until=time(7)), person()):
        todo(who, due_date=date(2026, 3, 2), due_time=time(9))
    clock(NOW)
    assert scanning.send_due_soon()["deliveries"] == 2
