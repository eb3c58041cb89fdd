"""Scanning and changing at once, in small steps, so that they meet often."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import DatabaseError

from reminders import moment
from reminders.bench.inside import scans
from reminders.models import Todo
from reminders.services import outbox, planning, scanning, todos

STEP = 100


def warm() -> None:
    scans.warm()
    outbox.BATCH = STEP


def scan() -> dict[str, int]:
    """Scan until nothing is left; each batch is small. Returns how often that failed."""
    failed = 0
    now = moment.now()
    while scanning.is_anything_owed(now):
        try:
            scanning.fire(now, batch=STEP)
            scanning.gather(now)
            outbox.write(now, scanning.Scan())
            outbox.send_jobs()
        except DatabaseError:
            failed += 1
            if failed > 100:
                raise
        time.sleep(0)
    return {"failed": failed}


def deeds(most: int, tasks: int, seed: int) -> dict[str, int]:
    """Close, move, put off, plan anew and delete tasks, as fast as it goes. Returns how many, and how many failed."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    later = moment.now() + timedelta(days=2)
    kinds: list[Callable[[Todo], Any]] = [
        lambda row: todos.complete(row.pk, None),
        lambda row: todos.change(row.pk, {"due_date": later.date()}),
        lambda row: todos.snooze(row.pk, row.creator_id or 0, later),
        lambda row: planning.replan([row.pk, row.pk + 1, row.pk + 2]),
        lambda row: todos.delete(row.pk),
    ]
    failed = done = 0
    for number in chance.sample(range(1, tasks + 1), most):
        row = Todo.objects.filter(pk=number, done_at=None).first()
        if row is None:
            continue
        try:
            chance.choice(kinds)(row)
            done += 1
        except DatabaseError:
            failed += 1
    return {"failed": failed, "done": done}
