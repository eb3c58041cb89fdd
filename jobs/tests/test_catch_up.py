"""What beat does with ticks that came while no beat was running, with edits, and with schedules that cannot be sent.

`ticking.tick` is what a beat does in a loop; here it is called with a clock of the test's.
"""

import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs import retention
from jobs.models import Job, SchedulePolicy, ScheduleTick
from jobs.operators import schedule_edits
from jobs.operators.actors import command_actor
from jobs.operators.timetables import ScheduleRefused
from jobs.schedules import ticking
from jobs.schedules.catch_up import MAX_RECORDED

#: Before the time of any machine: what is made now counts from after it.
NOON = datetime(2024, 11, 20, 12, 0, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def every(count: int, period: str, name: str = "tick", **fields: Any) -> PeriodicTask:
    interval, _ = IntervalSchedule.objects.get_or_create(every=count, period=period)
    values = {"task": "selftest.echo", "args": '["x"]', **fields}
    return PeriodicTask.objects.create(name=name, interval=interval, **values)


def at(text: str, zone: str = "UTC", name: str = "tick", **fields: Any) -> PeriodicTask:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    crontab = CrontabSchedule.objects.create(**dict(zip(names, text.split(), strict=True)), timezone=ZoneInfo(zone))
    return PeriodicTask.objects.create(
        name=name, crontab=crontab, **{"task": "selftest.echo", "args": '["x"]', **fields}
    )


def policy(schedule: PeriodicTask, **values: Any) -> SchedulePolicy:
    SchedulePolicy.objects.filter(schedule=schedule).update(**values)
    return SchedulePolicy.objects.get(schedule=schedule)


def count_from(schedule: PeriodicTask, moment: datetime) -> None:
    policy(schedule, counted_from=moment, stale=True)


def beat(now: datetime) -> None:
    for _ in range(100):
        if ticking.tick(now):
            return
    raise AssertionError("beat never comes to rest")


def ticks(schedule: PeriodicTask) -> list[tuple[str, str]]:
    found = ScheduleTick.objects.filter(schedule=schedule.pk).order_by("due_at")
    return [(f"{tick.due_at:%H:%M}", tick.outcome) for tick in found]


def jobs_of(schedule: PeriodicTask) -> int:
    return Job.objects.filter(origin="schedule", origin_detail=schedule.name).count()


pytestmark = pytest.mark.django_db


def test_a_due_tick_is_sent_once_and_noted_in_both_tables() -> None:
    schedule = every(10, "minutes")
    count_from(schedule, NOON - 5 * MINUTE)

    for _ in range(3):
        beat(NOON)

    schedule.refresh_from_db()
    job = Job.objects.get()
    assert (job.task, job.args, job.origin, job.origin_detail) == ("selftest.echo", ["x"], "schedule", "tick")
    assert ScheduleTick.objects.get().job_id == job.pk
    assert ticks(schedule) == [("12:00", "sent")]
    assert (schedule.last_run_at, schedule.total_run_count) == (NOON, 1)
    assert policy(schedule).next_run_at == NOON + 10 * MINUTE


@pytest.mark.parametrize("hours", [1, 5])
@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ({}, 1),
        ({"grace_seconds": 60}, 0),
        ({"catch_up": "skip"}, 0),
        ({"catch_up": "skip", "grace_seconds": 300}, 1),
        ({"catch_up": "run_all"}, None),
        ({"catch_up": "run_all", "catch_up_limit": 4}, 4),
        ({"catch_up": "run_all", "grace_seconds": 1800}, 3),
    ],
)
def test_after_a_downtime_each_policy_sends_what_it_says_and_records_the_rest(
    hours: int, values: dict[str, Any], sent: int | None
) -> None:
    schedule = every(10, "minutes")
    policy(schedule, next_run_at=NOON - hours * HOUR + 10 * MINUTE, stale=False, **values)
    missed = hours * 6

    beat(NOON + 5 * MINUTE - MINUTE)

    expected = missed if sent is None else sent
    assert jobs_of(schedule) == expected
    outcomes = Counter(outcome for _, outcome in ticks(schedule))
    assert outcomes["caught_up"] == expected
    assert outcomes["folded" if not values else "skipped"] == missed - expected
    assert [due for due, outcome in ticks(schedule) if outcome == "caught_up"] == [due for due, _ in ticks(schedule)][
        missed - expected :
    ]


@pytest.mark.parametrize("hours", [1, 5])
def test_moving_the_last_run_back_by_hand_makes_what_was_due_since_then_missed(hours: int) -> None:
    schedule = at("*/10 * * * *")
    count_from(schedule, NOON)
    beat(NOON + 10 * MINUTE)
    ScheduleTick.objects.all().delete()
    Job.objects.all().delete()

    PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=NOON - hours * HOUR)
    beat(NOON + 14 * MINUTE)

    assert len(ticks(schedule)) == hours * 6 + 1
    assert ticks(schedule)[-1] == ("12:10", "caught_up")
    assert jobs_of(schedule) == 1


def test_a_recorded_tick_is_not_sent_again_whatever_is_put_back() -> None:
    schedule = at("*/10 * * * *")
    stale = PeriodicTask.objects.get(pk=schedule.pk)
    count_from(schedule, NOON - MINUTE)
    beat(NOON)
    PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=NOON - 5 * MINUTE)
    beat(NOON + MINUTE)
    stale.last_run_at = NOON - 7 * MINUTE
    stale.save()

    policy(schedule, next_run_at=NOON)
    beat(NOON + MINUTE)

    assert [due for due, _ in ticks(schedule)].count("12:00") == 1
    assert jobs_of(schedule) == 1


def test_a_daily_time_that_was_missed_while_all_beats_were_down_is_caught_up_with() -> None:
    schedule = at("0 8 * * *", "America/New_York")
    count_from(schedule, NOON - 22 * HOUR)
    beat(NOON + 6 * HOUR)
    assert ticks(schedule) == [("13:00", "caught_up")]
    assert jobs_of(schedule) == 1


def test_a_years_ticks_of_a_second_are_counted_but_not_listed_each() -> None:
    schedule = every(1, "seconds")
    count_from(schedule, NOON - timedelta(days=365))
    beat(NOON)
    assert jobs_of(schedule) == 1
    rows = ScheduleTick.objects.filter(schedule=schedule.pk)
    assert MAX_RECORDED <= rows.count() <= MAX_RECORDED + 1
    assert sum(rows.values_list("ticks", flat=True)) == 365 * 86_400


def test_a_clock_change_neither_skips_nor_doubles_a_daily_run_and_hourly_ones_go_on() -> None:
    daily, hourly = at("30 1 * * *", "America/New_York"), at("0 * * * *", "America/New_York", name="hourly")
    now = datetime(2024, 11, 3, 3, 0, tzinfo=UTC)
    for schedule in (daily, hourly):
        count_from(schedule, now)
    while now < datetime(2024, 11, 3, 9, 0, tzinfo=UTC):
        beat(now)
        now += 15 * MINUTE
    assert ticks(daily) == [("05:30", "sent")]
    assert [due for due, _ in ticks(hourly)] == ["04:00", "05:00", "06:00", "07:00", "08:00"]


def test_a_send_that_fails_is_recorded_and_does_not_keep_the_others() -> None:
    good = every(1, "minutes", "good")
    bad = [
        every(1, "minutes", "unknown", task="no.such"),
        every(1, "minutes", "arguments", args="[1, 2, 3]"),
        every(1, "minutes", "text", args="{"),
        every(1, "minutes", "queue", queue="nowhere"),
        every(1, "minutes", "deep", args="[" * 3000 + "]" * 3000),
    ]
    for schedule in (good, *bad):
        count_from(schedule, NOON - MINUTE)

    beat(NOON)

    assert ticks(good) == [("12:00", "sent")]
    for schedule in bad:
        assert ticks(schedule) == [("12:00", "failed")], schedule.name
        assert ScheduleTick.objects.get(schedule=schedule.pk).detail
        assert policy(schedule).next_run_at == NOON + MINUTE
    assert Job.objects.count() == 1


def test_what_cannot_be_inserted_together_is_inserted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.ledger.door import enter_now

    def refuse_poison(records: Any) -> None:
        if any(record.args == ["poison"] for record in records):
            raise ValueError("poison")
        enter_now(records)

    monkeypatch.setattr(ticking, "enter_now", refuse_poison)
    schedules = [every(1, "minutes", f"s{n}", args=json.dumps(["poison" if n == 3 else n])) for n in range(6)]
    for schedule in schedules:
        count_from(schedule, NOON - MINUTE)

    beat(NOON)

    assert Job.objects.count() == 5
    assert ScheduleTick.objects.get(outcome="failed").detail == "ValueError: poison"


def test_a_timetable_that_cannot_be_read_says_so_and_keeps_nobody() -> None:
    broken = CrontabSchedule.objects.create(minute="abc")
    bad = PeriodicTask.objects.create(name="bad", task="selftest.echo", crontab=broken)
    good = every(1, "minutes", "good")
    count_from(good, NOON - MINUTE)
    beat(NOON)
    assert ticks(good) == [("12:00", "sent")]
    assert policy(bad).next_run_at is None
    assert "abc" in policy(bad).problem


def test_a_single_time_runs_once_and_is_switched_off_also_when_it_was_missed() -> None:
    clocked = ClockedSchedule.objects.create(clocked_time=NOON - 2 * HOUR)
    schedule = PeriodicTask.objects.create(name="once", task="selftest.echo", args="[1]", clocked=clocked, one_off=True)
    beat(NOON)
    beat(NOON + HOUR)
    schedule.refresh_from_db()
    assert (ticks(schedule), jobs_of(schedule), schedule.enabled) == ([("10:00", "caught_up")], 1, False)
    with pytest.raises(ScheduleRefused, match="dealt with"):
        schedule_edits.edit_schedule(command_actor(), schedule.pk, {"enabled": True})


def test_one_run_only_is_switched_off_after_it_and_an_expired_one_when_it_expires() -> None:
    once = every(1, "hours", "once", one_off=True)
    ending = every(1, "hours", "ending", expires=NOON + 90 * MINUTE)
    for schedule in (once, ending):
        count_from(schedule, NOON - MINUTE)
    for minutes in range(0, 240, 30):
        beat(NOON + minutes * MINUTE)
    assert ticks(once) == [("12:00", "sent")]
    assert ticks(ending) == [("12:00", "sent"), ("13:00", "sent")]
    assert not PeriodicTask.objects.filter(enabled=True, pk__in=[once.pk, ending.pk]).exists()


# --- edits ----------------------------------------------------------------------------------------------------------


def edit_interval(schedule: PeriodicTask) -> None:
    schedule.interval = IntervalSchedule.objects.get_or_create(every=30, period="minutes")[0]
    schedule.save()


def edit_row(schedule: PeriodicTask) -> None:
    IntervalSchedule.objects.filter(pk=schedule.interval_id).update(every=30, period="minutes")


def edit_by_bulk_update(schedule: PeriodicTask) -> None:
    half = IntervalSchedule.objects.get_or_create(every=30, period="minutes")[0]
    PeriodicTask.objects.filter(pk=schedule.pk).update(interval=half)


def edit_by_service(schedule: PeriodicTask) -> None:
    schedule_edits.edit_schedule(command_actor(), schedule.pk, {"interval": {"every": 30, "period": "minutes"}})


def edit_by_sql(schedule: PeriodicTask) -> None:
    half = IntervalSchedule.objects.get_or_create(every=30, period="minutes")[0]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_celery_beat_periodictask SET interval_id = %s WHERE id = %s", [half.pk, schedule.pk]
        )


@pytest.mark.parametrize("edit", [edit_interval, edit_row, edit_by_bulk_update, edit_by_service, edit_by_sql])
def test_every_way_to_edit_is_noticed_and_counts_from_the_edit(edit: Any) -> None:
    schedule = every(1, "days")
    beat(NOON)
    before = policy(schedule)

    edit(PeriodicTask.objects.get(pk=schedule.pk))

    assert policy(schedule).stale
    assert policy(schedule).counted_from > before.counted_from - timedelta(days=1)
    count_from(schedule, NOON)
    beat(NOON + MINUTE)
    assert policy(schedule).next_run_at == NOON + 30 * MINUTE


def test_a_tick_that_is_due_when_the_times_are_edited_is_run_by_the_new_times_alone() -> None:
    schedule = every(1, "hours")
    count_from(schedule, NOON - MINUTE)
    ticking.seconds_to_next(NOON)
    policy(schedule, next_run_at=NOON, stale=False)

    edit_by_bulk_update(schedule)
    beat(NOON + timedelta(seconds=1))
    beat(NOON + 31 * MINUTE)

    assert ticks(schedule) == [("12:00", "sent"), ("12:30", "sent")]


def test_a_change_of_arguments_leaves_the_due_time_alone() -> None:
    schedule = every(1, "hours")
    policy(schedule, next_run_at=NOON, stale=False)
    PeriodicTask.objects.filter(pk=schedule.pk).update(args='["new"]')
    assert not policy(schedule).stale
    beat(NOON)
    assert Job.objects.get().args == ["new"]


def test_switching_off_drops_what_is_due_and_switching_on_counts_from_then() -> None:
    schedule = every(1, "hours")
    policy(schedule, next_run_at=NOON, stale=False)
    PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=False)
    assert policy(schedule).next_run_at is None
    beat(NOON)
    PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=True)
    row = policy(schedule)
    assert (row.stale, row.counted_from > NOON) == (True, True)
    assert jobs_of(schedule) == 0


def test_schedules_without_a_policy_row_get_one_by_any_way_of_making_them() -> None:
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"s{n}", task="selftest.echo", interval=interval) for n in range(3)
    )
    assert SchedulePolicy.objects.filter(schedule__name__startswith="s", stale=True).count() == 3


@pytest.mark.django_db(transaction=True)
def test_while_an_edit_holds_the_schedule_the_tick_waits_and_then_takes_the_new_arguments() -> None:
    schedule, other = every(1, "hours"), every(1, "hours", "other")
    for one in (schedule, other):
        policy(one, next_run_at=NOON, stale=False)
    edited, finish = threading.Event(), threading.Event()

    def edit() -> None:
        with transaction.atomic():
            PeriodicTask.objects.filter(pk=schedule.pk).update(args='["new"]')
            edited.set()
            assert finish.wait(120)
        connection.close()

    editor = threading.Thread(target=edit)
    editor.start()
    assert edited.wait(120)
    beat(NOON)
    assert (jobs_of(schedule), jobs_of(other)) == (0, 1)
    finish.set()
    editor.join(120)
    beat(NOON)
    assert [job.args for job in Job.objects.filter(origin_detail="tick")] == [["new"]]
    assert jobs_of(other) == 1


@pytest.mark.django_db(transaction=True)
def test_many_beats_at_once_send_each_tick_once() -> None:
    schedules = [every(1, "minutes", f"s{n}") for n in range(300)]
    SchedulePolicy.objects.update(next_run_at=NOON, stale=False)
    problems: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(20):
                ticking.tick(NOON)
        except BaseException as exc:
            problems.append(exc)
        finally:
            connection.close()

    beats = [threading.Thread(target=run) for _ in range(4)]
    for one in beats:
        one.start()
    for one in beats:
        one.join(60)

    assert not problems
    counts = Counter(Job.objects.values_list("origin_detail", flat=True))
    assert counts == {schedule.name: 1 for schedule in schedules}
    assert set(PeriodicTask.objects.values_list("total_run_count", flat=True)) == {1}


# --- looking after the ticks ----------------------------------------------------------------------------------------


def test_ticks_are_kept_for_30_days() -> None:
    schedule = every(1, "hours")
    now = datetime.now(UTC)
    for days in (40, 31, 29, 1):
        moment = now - timedelta(days=days)
        ScheduleTick.objects.create(schedule=schedule, due_at=moment, at=moment, outcome="sent")
    assert retention.clean_up()["schedule_ticks"] == 2
    assert ScheduleTick.objects.count() == 2


def test_a_schedule_with_ticks_can_be_deleted_in_every_way() -> None:
    for way in ("service", "model", "bulk"):
        schedule = every(1, "hours", way)
        ScheduleTick.objects.create(schedule=schedule, due_at=NOON, at=NOON, outcome="sent")
        if way == "service":
            schedule_edits.delete_schedule(command_actor(), schedule.pk)
        elif way == "model":
            schedule.delete()
        else:
            PeriodicTask.objects.filter(pk=schedule.pk).delete()
    assert not PeriodicTask.objects.filter(name__in=["service", "model", "bulk"]).exists()
    assert not SchedulePolicy.objects.filter(schedule__name="tick").exists()
