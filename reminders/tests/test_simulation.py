"""A year under a virtual clock: real processes that are killed at random, judged by a model of its own."""

import json
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobs.bench.stack import own_stack
from reminders.bench import year
from reminders.bench.year import naive
from reminders.bench.year.judge import Verdict, judge
from reminders.bench.year.model import Model, Person, Rule, Sent, Task
from reminders.bench.year.script import write
from reminders.models import ReminderDelivery
from reminders.services import scanning
from reminders.tests.factories import at, person, todo

BERLIN = Person(1, "Europe/Berlin", time(9), quiet=(time(22), time(7)))
NOW = at("2026-03-01 00:00")
#: All people, zones and kills of the benchmark's year, with half of its tasks: it takes half as long.
YEAR = replace(year.USUAL, tasks_each=4, timeout_seconds=3400)


def task(**more: Any) -> Task:
    return Task(**{"key": (1, 0), "creator": 1, "zone": "Europe/Berlin", "due_date": date(2026, 3, 29),
                   "due_time": time(12), "ladder": False, **more})  # fmt: skip


def sent(model: Model, until: str = "2026-12-31 00:00") -> list[tuple[datetime, datetime]]:
    model.pass_until(at(until))
    return [(one.at, one.sent) for one in model.sent]


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ("2026-03-29 02:30", "2026-03-29 01:30"),  # skipped: it is 03:30 then
        ("2026-10-25 02:30", "2026-10-25 00:30"),  # twice: the first is meant
        ("2026-07-01 09:00", "2026-07-01 07:00"),
    ],
)
def test_the_model_reads_clocks_as_calendars_do(wall: str, expected: str) -> None:
    assert naive.first_instant(datetime.fromisoformat(wall), "Europe/Berlin") == at(expected)


def test_the_model_goes_on_with_a_series_from_when_it_was_done() -> None:
    model = Model([replace(BERLIN, quiet=None)])
    model.create(task(due_time=None, rules=[Rule()], repeats=("daily", 2, ())), NOW)
    assert model.complete((1, 0), at("2026-04-02 21:59")) == (1, 2)
    assert model.complete((1, 2), at("2026-04-06 22:00")) == (1, 5)
    assert [one for one, _ in sent(model)] == [at("2026-04-08 07:00")]


def test_the_model_looks_anew_at_what_is_held_when_a_pause_is_changed() -> None:
    model = Model([replace(BERLIN, quiet=None), Person(2, "Europe/Berlin", time(9))])
    for key, assignee in (((1, 0), 1), ((2, 0), 2)):
        model.create(task(key=key, assignees=(assignee,), rules=[Rule()]), NOW)
        model.pause(assignee, at("2026-03-30 12:00"), NOW)
    model.pass_until(at("2026-03-29 11:00"))
    model.pause(1, at("2026-03-29 11:30"), at("2026-03-29 11:00") + timedelta(seconds=30))
    fired = at("2026-03-29 10:00")
    assert sent(model) == [(fired, at("2026-03-29 11:30")), (fired, at("2026-03-30 12:00"))]


def test_the_model_counts_days_by_the_clock_and_hours_exactly() -> None:
    model = Model([replace(BERLIN, quiet=None)])
    model.create(task(rules=[Rule(days=-1), Rule(minutes=-1440), Rule()]), NOW)
    instants = [at("2026-03-28 10:00"), at("2026-03-28 11:00"), at("2026-03-29 10:00")]
    assert [one for one, _ in sent(model)] == instants


def test_the_model_holds_what_fires_at_night_and_forgets_what_is_done() -> None:
    model = Model([BERLIN])
    model.create(task(due_time=time(23), rules=[Rule()]), NOW)
    model.create(task(key=(2, 0), due_time=time(23), rules=[Rule()]), NOW)
    model.pass_until(at("2026-03-29 22:00"))
    model.complete((2, 0), at("2026-03-29 22:01"))
    assert sent(model) == [(at("2026-03-29 21:00"), at("2026-03-30 05:00"))]


def test_the_same_seed_makes_the_same_year() -> None:
    one, other, third = write(1, 10, 30, 30), write(1, 10, 30, 30), write(2, 10, 30, 30)
    assert one.deeds == other.deeds != third.deeds
    assert one.model.sent == other.model.sent
    assert {deed["deed"] for deed in write(1, 20, 60, 60).deeds} == {
        "create", "complete", "change", "snooze", "pause", "move"
    }  # fmt: skip


@pytest.mark.django_db
def test_the_judge_finds_what_is_wrong(clock: Any, tmp_path: Path) -> None:
    ada = person()
    for number in (1, 2):
        todo(ada, title=f"Task {number} of the year", due_date=date(2026, 3, 2), due_time=time(9))
    now = clock("2026-03-02 09:00")
    scanning.send_due_soon()
    for delivery in ReminderDelivery.objects.all():
        delivery.message_id = f"<{delivery.pk}@here>"
        delivery.save()
    first, second = ReminderDelivery.objects.order_by("pk")

    def letter(delivery: ReminderDelivery, number: int, at: datetime, to: str = ada.email) -> dict[str, Any]:
        text = f"Task {number} of the year"
        return {"message_id": delivery.message_id, "to": [to], "clock": at.isoformat(), "subject": text, "text": ""}

    def judged(*letters: dict[str, Any], expected: tuple[int, ...] = (1, 2)) -> Verdict:
        file = tmp_path / "messages"
        file.write_text("".join(json.dumps(one) + "\n" for one in letters))
        wanted = [Sent((number, 0), 0, now, now) for number in expected]
        connection.ensure_connection()
        return judge(wanted, file, connection.connection, ada.pk)

    both = (letter(first, 1, now), letter(second, 2, now))
    assert judged(*both).faults == 0
    assert judged(*both, both[0]).second_copies == 1
    assert judged(both[0]).missing == 1
    assert judged(*both, expected=(1,)).extra == 1
    assert judged(both[0], letter(second, 1, now)).untold == 1
    assert judged(both[0], letter(second, 2, now, "eve@example.org")).misdirected == 1
    assert judged(both[0], letter(second, 2, now + timedelta(minutes=2))).at_another_time == 1
    assert judged(both[0], letter(second, 2, now - timedelta(minutes=2))).at_another_time == 1
    second.reminders.add(first.reminders.get())
    assert judged(*both).doubled == 1


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_in_a_year_of_kills_every_reminder_is_sent_at_its_time_under_one_message_id() -> None:
    with own_stack() as stack:
        verdict, kills = year.live(stack, YEAR, year.SEED)

    assert verdict.expected > 600
    assert sum(kills.values()) == YEAR.kills
    assert not verdict.faults, verdict.as_json()
    assert verdict.second_copies <= verdict.messages / 100
