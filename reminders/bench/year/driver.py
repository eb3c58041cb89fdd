"""Lives through the year: turns the clock, does people's deeds, and has scans run as the scheduler does.

Argument: the file of the script. It may be killed at any time, and goes on where it was: a deed and the note that it is
done are one transaction. The clock jumps to the next minute at which something is owed or done; no scan that it leaves
out would find anything.
"""

import json
import sys
import time as real_time
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from jobs.models import Job
from reminders import moment
from reminders.models import PlannedReminder, Preferences, Priority, Reminder, ReminderDelivery, ReminderRule, Todo
from reminders.services import holding, planning, scanning, todos
from reminders.tasks import send_due_soon

MINUTE = timedelta(minutes=1)
#: Of real time: killed processes are started again, and what they held is given up, well within.
PATIENCE_SECONDS = 240.0
PEOPLE_FROM = 1_000
_FINISHED = ("succeeded", "failed", "cancelled", "discarded")


class Stuck(Exception):
    """Something that was sent did not come to its end."""


def run(script: dict[str, Any]) -> None:
    _prepare(script)
    end = datetime.fromisoformat(script["end"])
    deeds = script["deeds"]
    while True:
        step = _step()
        upcoming = datetime.fromisoformat(deeds[step]["at"]) if step < len(deeds) else end
        owed = _next_owed()
        if owed is not None and owed <= upcoming:
            turn(owed)
            scan()
        elif step < len(deeds):
            turn(upcoming)
            with transaction.atomic():
                do(deeds[step])
                _note(step + 1)
        else:
            return


def turn(to: datetime) -> None:
    clock = Path(settings.VIRTUAL_CLOCK)
    following = clock.with_suffix(".next")
    following.write_text(to.isoformat(), encoding="ascii")
    following.replace(clock)


def scan() -> None:
    """Until nothing is owed at this minute, and all that was sent by it has arrived."""
    until = real_time.monotonic() + PATIENCE_SECONDS
    while real_time.monotonic() < until:
        if scanning.is_anything_owed(moment.now()):
            _wait_for(str(send_due_soon.delay().id), until)
        elif not ReminderDelivery.objects.filter(state="pending").exists():
            return
        else:
            real_time.sleep(0.01)
    raise Stuck(f"at {moment.now()}: {list(ReminderDelivery.objects.filter(state='pending').values()[:3])}")


def _wait_for(job_id: str, until: float) -> None:
    while real_time.monotonic() < until:
        if Job.objects.filter(pk=job_id, state__in=_FINISHED).exists():
            return
        real_time.sleep(0.01)


def _next_owed() -> datetime | None:
    """The minute of the next scan that finds something."""
    now = moment.now()
    if scanning.is_anything_owed(now):
        return max(now, _whole(now))
    planned = PlannedReminder.objects.order_by("fire_at").values_list("fire_at", flat=True).first()
    held = Reminder.objects.filter(state="held").order_by("held_until").values_list("held_until", flat=True).first()
    times = [at for at in (planned, held) if at is not None]
    return _whole(min(times)) if times else None


def _whole(at: datetime) -> datetime:
    whole = at.replace(second=0, microsecond=0)
    return whole if whole == at else whole + MINUTE


# --- Deeds ------------------------------------------------------------------------------------------------------------


def do(deed: dict[str, Any]) -> None:
    kind = deed["deed"]
    if kind == "create":
        _create(deed["task"])
    elif kind == "complete":
        todos.complete(_todo(deed), None)
    elif kind == "change":
        due_time = deed["due_time"] and time.fromisoformat(deed["due_time"])
        todos.change(_todo(deed), {"due_date": date.fromisoformat(deed["due_date"]), "due_time": due_time})
    elif kind == "snooze":
        todos.snooze(_todo(deed), PEOPLE_FROM + deed["person"], datetime.fromisoformat(deed["until"]))
    elif kind == "pause":
        _change_preferences(deed, paused_until=datetime.fromisoformat(deed["until"]))
    else:
        _change_preferences(deed, time_zone=deed["zone"])
        planning.replan(planning.todos_of(PEOPLE_FROM + deed["person"]))


def _todo(deed: dict[str, Any]) -> int:
    number, occurrence = deed["key"]
    return Todo.objects.get(title=title(number), occurrence=occurrence).pk


def title(number: int) -> str:
    return f"Task {number} of the year"


def _change_preferences(deed: dict[str, Any], **values: Any) -> None:
    holding.wait_for_scan()
    Preferences.objects.filter(user=PEOPLE_FROM + deed["person"]).update(**values)
    holding.look_anew(PEOPLE_FROM + deed["person"])


def _create(task: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "title": title(task["number"]),
        "time_zone": task["zone"],
        "due_date": date.fromisoformat(task["due_date"]),
        "due_time": task["due_time"] and time.fromisoformat(task["due_time"]),
        "priority": Priority.URGENT if task["urgent"] else Priority.NONE,
        "overdue_reminders": task["ladder"],
        "rrule": task["rrule"],
    }
    if task["start"]:
        fields["start_date"] = date.fromisoformat(task["start"][0])
        fields["start_time"] = time.fromisoformat(task["start"][1])
    creator = get_user_model()._default_manager.get(pk=PEOPLE_FROM + task["creator"])
    people = {name: [PEOPLE_FROM + one for one in task[name]] for name in ("assignees", "watchers")}
    todos.create(fields, creator=creator, rules=[_rule(rule) for rule in task["rules"]], **people)


def _rule(rule: dict[str, Any]) -> ReminderRule:
    if "at" not in rule:
        return ReminderRule(audience=rule["who"], anchor=rule["anchor"], offset=rule["offset"])
    day, clock, zone = rule["at"]
    at = {"at_date": date.fromisoformat(day), "at_time": time.fromisoformat(clock), "time_zone": zone}
    return ReminderRule(audience=rule["who"], **at)


# --- Beginning and going on -------------------------------------------------------------------------------------------


def _prepare(script: dict[str, Any]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS year_progress (step int NOT NULL)")
        cursor.execute("SELECT count(*) FROM year_progress")
        if cursor.fetchone() == (0,):
            cursor.execute("INSERT INTO year_progress VALUES (0)")
            for person in script["people"]:
                _make(person)


def _make(person: dict[str, Any]) -> None:
    number = person["number"]
    users = get_user_model()._default_manager
    user = users.create(pk=PEOPLE_FROM + number, username=f"person{number}", email=f"person{number}@example.org")
    quiet_from, quiet_until = person["quiet"] or (None, None)
    Preferences.objects.create(
        user=user,
        time_zone=person["zone"],
        anchor_time=person["anchor"],
        quiet_from=quiet_from,
        quiet_until=quiet_until,
        digest_from=person["digest_from"],
    )
    for minutes in person["offsets"]:
        ReminderRule.objects.create(person=user, offset=f"-PT{minutes}M")


def _step() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT step FROM year_progress")
        return int(cursor.fetchone()[0])


def _note(step: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE year_progress SET step = %s", [step])


def main(path: str) -> None:
    if not Path(settings.VIRTUAL_CLOCK).exists():
        turn(datetime(2026, 1, 1, tzinfo=UTC))
    run(json.loads(Path(path).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(sys.argv[1])
