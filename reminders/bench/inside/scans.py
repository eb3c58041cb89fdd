"""What a scanning process does, timed from inside."""

import time
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from jobs.bench.machine import pss_mb
from jobs.ledger import publisher
from reminders import moment
from reminders.models import Todo
from reminders.services import outbox, planning, scanning

PUBLISHED_SECONDS = 30

_BARE = """
    INSERT INTO bench_bare (todo_id, recipient_id, kind, fire_at, schedule_version, fired_at, late, state, reason)
    SELECT todo_id, recipient_id, kind, fire_at, schedule_version, %s, false, 'due', ''
    FROM reminders_plannedreminder WHERE fire_at <= %s ORDER BY fire_at, id LIMIT 5000
    ON CONFLICT (todo_id, kind, recipient_id) WHERE superseded_at IS NULL DO NOTHING RETURNING id
"""


def connect() -> None:
    connection.ensure_connection()


def warm() -> None:
    """Open the connection, and have what is imported late imported."""
    from reminders.tasks import deliver_reminder

    deliver_reminder.app.loader.import_default_modules()
    scan()


def scan() -> dict[str, Any]:
    """One scan without its jobs. Times in ms."""
    now, done = moment.now(), scanning.Scan()
    busy, began = _cpu_ms(), time.perf_counter()
    if scanning.is_anything_owed(now):
        scanning.fill_outbox(now, done)
    scanning.note_success(now, done)
    whole = (time.perf_counter() - began) * 1000
    return {"scan_ms": whole, "cpu_ms": _cpu_ms() - busy, "fired": done.fired, "deliveries": done.deliveries}


def _cpu_ms() -> float:
    """What this process and its server process have computed so far: on a quiet machine a scan takes little more."""
    connection.ensure_connection()
    server = connection.connection.info.backend_pid
    # Nanoseconds on a processor; times of processes go by hundredths of a second.
    spent = Path(f"/proc/{server}/schedstat").read_text(encoding="ascii").split()[0]
    return time.process_time() * 1000 + int(spent) / 1e6


def fire() -> float:
    """The statement that fires, in its transaction. Returns ms."""
    began = time.perf_counter()
    scanning.fire(moment.now())
    return (time.perf_counter() - began) * 1000


def bare() -> float:
    """A plain INSERT … SELECT of what is due into a table with the same indexes and no foreign keys; taken back. ms."""
    now = moment.now()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_bare (LIKE reminders_reminder INCLUDING ALL)")
        with transaction.atomic():
            began = time.perf_counter()
            cursor.execute(_BARE, [now, now])
            took = (time.perf_counter() - began) * 1000
            transaction.set_rollback(True)
    return took


def send_jobs(most: int) -> float:
    """Jobs sent a second; 0 if there were none to send."""
    began = time.perf_counter()
    sent = outbox.send_jobs(most)
    took = time.perf_counter() - began
    # By a thread of this process: the next round's scan would share the processor with it.
    publisher.drain(PUBLISHED_SECONDS)
    return sent / took


def replan(count: int) -> float:
    """Tasks planned anew a second."""
    ids = list(Todo.objects.order_by("pk").values_list("pk", flat=True)[:count])
    began = time.perf_counter()
    planning.replan(ids)
    return len(ids) / (time.perf_counter() - began)


def memory_mb() -> float:
    import os

    return pss_mb(os.getpid())
