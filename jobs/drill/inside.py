"""What a drill does inside its own system, in processes with that system's settings: `python -m jobs.drill.inside`.

Arguments: a verb and its parameters as a JSON object. Prints a JSON value.
"""

import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

OPERATOR = "drill"
#: The schedules that every drill runs: name → seconds.
SCHEDULES = {"drill: every second": 1, "drill: every three seconds": 3}
EDITED = "drill: every second"


def prepare() -> dict[str, str]:
    """Make tables, an operator with a token, and schedules."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from jobs.operators.actors import command_actor
    from jobs.operators.tokens import create_token

    call_command("migrate", verbosity=0, interactive=False)
    user = get_user_model()._default_manager.create_superuser(OPERATOR, "", os.environ["SECRET_KEY"])
    for name, seconds in SCHEDULES.items():
        _schedule(name, seconds, {})
    return {"token": create_token(command_actor(), user, "drill", None)[1]}


def _schedule(name: str, seconds: float, more: dict[str, Any]) -> Any:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
    kwargs = json.dumps({"schedule": name, "note": "first"})
    return PeriodicTask.objects.create(name=name, task="drill.tick", interval=interval, kwargs=kwargs, **more)


def send(task: str, kwargs: dict[str, Any], queue: str = "default", count: int = 1) -> list[str]:
    """Send jobs. Returns their ids."""
    from celery import current_app

    return [current_app.tasks[task].apply_async(kwargs=kwargs, queue=queue).id for _ in range(count)]


def copy_messages(seed: str, count: int, at_most: int = 4) -> int:
    """Send messages of recent jobs again, whatever their state, several times and in any order."""
    from celery import current_app
    from kombu.exceptions import OperationalError as KombuError
    from redis.exceptions import RedisError

    from jobs.ledger.publisher import publish
    from jobs.models import Job

    rng = random.Random(seed)  # noqa: S311  (no secret)
    recent = Job.objects.filter(origin__in=("code", "workflow", "api")).order_by("-created_at")[:count]
    rows: list[dict[str, Any]] = [dict(row) for row in recent.values()]
    copies = [row for row in rows for _ in range(rng.randint(1, at_most))]
    rng.shuffle(copies)
    sent = 0
    with current_app.producer_pool.acquire(block=True) as producer:
        for row in copies:
            with contextlib.suppress(KombuError, RedisError):  # another fault has the broker
                publish(producer, row)
                sent += 1
    return sent


def miss(gaps: list[int], every: int) -> dict[str, dict[str, int]]:
    """Make schedules, one a policy and gap, which look as if no beat had run for `gap` seconds.

    Returns for each how many jobs its policy owes for the time that was missed.
    """
    from django.utils import timezone

    from jobs.models import SchedulePolicy

    now = timezone.now()
    owed = {}
    for gap in gaps:
        # Due half an interval before and after now, never close to it.
        start = now - timedelta(seconds=gap + every / 2)
        missed = gap // every
        for policy, count in (("run_once", 1), ("skip", 0), ("run_all", min(missed, 5))):
            name = f"drill: {policy} after {gap} s, {now.timestamp()}"
            task = _schedule(name, every, {"start_time": start})
            SchedulePolicy.objects.filter(schedule=task).update(
                catch_up=policy, catch_up_limit=5, counted_from=start, next_run_at=start + timedelta(seconds=every)
            )
            SchedulePolicy.objects.filter(schedule=task).update(stale=False)
            owed[name] = {"schedule": task.pk, "jobs": count, "missed": missed}
    return owed


def edit(seconds: float) -> int:
    """Edit a schedule again and again while it is due. Returns how often."""
    from django.db import InterfaceError, OperationalError, connection
    from django_celery_beat.models import PeriodicTask, PeriodicTasks

    deadline = time.monotonic() + seconds
    edits = 0
    while time.monotonic() < deadline:
        edits += 1
        kwargs = json.dumps({"schedule": EDITED, "note": f"edit {edits}"})
        try:
            PeriodicTask.objects.filter(name=EDITED).update(kwargs=kwargs)
            PeriodicTasks.update_changed()
        except (OperationalError, InterfaceError):  # another fault has Postgres
            connection.close()
        time.sleep(random.uniform(0, 0.1))  # noqa: S311  (no secret)
    return edits


VERBS: dict[str, Callable[..., Any]] = {
    "prepare": prepare,
    "send": send,
    "copy_messages": copy_messages,
    "miss": miss,
    "edit": edit,
}


def main(verb: str, parameters: dict[str, Any]) -> None:
    import importlib

    import django

    importlib.import_module("config")
    django.setup()
    from jobs.registry import load_tasks

    load_tasks()
    sys.stdout.write(json.dumps(VERBS[verb](**parameters)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
