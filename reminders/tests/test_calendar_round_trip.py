"""What is written can be read by any strict program, and coming back it changes nothing."""

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import icalendar
import pytest

from reminders.calendar.items import PersonClock
from reminders.calendar.reading import read_todos
from reminders.models import PlannedReminder, ReminderRule, Todo
from reminders.services import calendars, todos
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db
FILES = Path(__file__).parent / "calendars"
KINDS: list[dict[str, Any]] = [
    {},
    {"due_date": date(2026, 3, 20)},
    {"due_date": date(2026, 3, 29), "due_time": time(2, 30), "time_zone": "Europe/Berlin"},
    {"due_date": date(2026, 10, 25), "due_time": time(2, 30), "time_zone": "Europe/Berlin"},
    {"due_date": date(2026, 3, 20), "due_time": time(9), "time_zone": "UTC", "start_date": date(2026, 3, 19)},
    {"start_date": date(2026, 3, 19), "start_time": time(7), "time_zone": "Australia/Lord_Howe"},
    {"due_date": date(2026, 3, 20), "start_date": date(2026, 3, 20)},
    {"due_date": date(2026, 3, 20), "due_time": time(9), "start_date": date(2026, 3, 20)},
    {"due_date": date(2026, 3, 20), "rrule": "FREQ=WEEKLY;BYDAY=MO,FR;UNTIL=20261231"},
    {
        "due_date": date(2026, 3, 20),
        "due_time": time(23),
        "time_zone": "America/New_York",
        "rrule": "FREQ=DAILY;COUNT=9",
    },
    {
        "due_date": date(2026, 3, 20),
        "due_time": time(23),
        "time_zone": "America/New_York",
        "start_date": date(2026, 3, 18),
        "start_time": time(8),
        "rrule": "FREQ=MONTHLY;BYDAY=3FR;UNTIL=20271231",
    },
    {"due_date": date(2026, 3, 20), "rrule": "FREQ=WEEKLY;INTERVAL=3", "repeat_from": "completion"},
    {"due_date": date(1901, 1, 1), "due_time": time(9), "time_zone": "Europe/Berlin"},
    {"due_date": date(2999, 1, 1), "due_time": time(9), "time_zone": "Europe/Berlin"},
    {"title": 'a, b; c\\d "e" : f\ttab', "notes": "one\ntwo\\n\r\nthree " + "ü" * 200, "tags": ["x,y", "a\\;b", "ok"]},
    {"title": "control\x1b[31m \u2028 line", "notes": "BEGIN:VTODO\nEND:VCALENDAR"},
    *({"priority": priority} for priority in range(5)),
]


def rules() -> list[ReminderRule]:
    return [
        ReminderRule(offset="-PT15M"),
        ReminderRule(offset="-PT24H"),
        ReminderRule(offset="-P1D"),
        ReminderRule(offset="P1DT2H"),
        ReminderRule(anchor="start", offset="-PT1H"),
        ReminderRule(at_date=date(2026, 10, 25), at_time=time(2, 30), time_zone="Europe/Berlin"),
    ]


def counts(result: calendars.Imported) -> tuple[int, int, int]:
    assert result.errors == []
    return len(result.created), len(result.updated), len(result.unchanged)


def state(model: Any) -> Any:
    return list(model.objects.order_by("pk").values_list())


def test_what_comes_back_changes_nothing(clock: Any) -> None:
    ada = person(time_zone="Pacific/Apia", anchor_time=time(7, 30))
    for kind in KINDS:
        todo(ada, *rules(), **kind)
    done = todo(ada, due_date=date(2026, 3, 20), rrule="FREQ=DAILY")
    todos.complete(done.pk, ada)
    todos.complete(todo(ada).pk, ada, cancelled=True)
    before = state(Todo), state(ReminderRule)

    result = calendars.import_calendar(ada, calendars.calendar_of(ada))
    assert counts(result) == (0, 0, len(KINDS) + 3)
    assert (state(Todo), state(ReminderRule)) == before


def test_somebody_else_gets_the_same_tasks(clock: Any) -> None:
    ada, bob = person(time_zone="Europe/Berlin"), person(time_zone="Europe/Berlin")
    for kind in KINDS:
        todo(ada, *rules(), **{"time_zone": "Europe/Berlin", **kind})
    text = calendars.calendar_of(ada)
    assert counts(calendars.import_calendar(bob, text)) == (len(KINDS), 0, 0)
    assert counts(calendars.import_calendar(bob, text)) == (0, 0, len(KINDS))

    names = ("priority", "tags", "due_date", "due_time", "due_at", "start_date", "start_time", "rrule", "repeat_from")
    for mine in Todo.objects.filter(creator=ada):
        theirs = Todo.objects.get(creator=bob, uid=mine.uid)
        told = {name: getattr(theirs, name) for name in names}
        expected = {name: getattr(mine, name) for name in names}
        if mine.start_date == mine.due_date and mine.rrule:
            expected |= {"start_date": None, "start_time": None}
        assert told == expected, mine.title
        assert theirs.notes.split() == mine.notes.split()
    # And they are reminded at the same moments.
    planned = [set(user_planned(user)) for user in (ada, bob)]
    assert planned[0] == planned[1]


def user_planned(user: Any) -> list[Any]:
    rows = PlannedReminder.objects.filter(recipient=user, kind__startswith="rule:")
    return list(rows.values_list("todo__uid", "fire_at"))


def test_a_strict_program_reads_what_is_written(clock: Any) -> None:
    ada = person(time_zone="Europe/Berlin")
    for kind in KINDS:
        todo(ada, *rules(), **kind)
    text = calendars.calendar_of(ada)

    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert "\n" not in text.replace("\r\n", "")
    calendar = icalendar.Calendar.from_ical(text)
    assert "METHOD" not in calendar
    assert not calendar.errors
    defined = {str(zone["TZID"]) for zone in calendar.walk("VTIMEZONE")}
    tasks: Any = calendar.walk("VTODO")
    assert len(tasks) == len(KINDS)
    for task in tasks:
        assert not task.errors
        assert {"UID", "DTSTAMP", "LAST-MODIFIED", "SEQUENCE", "SUMMARY", "STATUS"} <= set(task)
        for name in ("DTSTART", "DUE"):
            if name in task and "TZID" in task[name].params:
                assert task[name].params["TZID"] in defined
        if "DTSTART" in task and "DUE" in task:
            assert type(task["DTSTART"].dt) is type(task["DUE"].dt)
            assert task["DTSTART"].dt < task["DUE"].dt or "RRULE" in task
        if "RRULE" in task:
            assert "DTSTART" in task
            if "UNTIL" in task["RRULE"]:
                assert isinstance(task["RRULE"]["UNTIL"][0], datetime) == isinstance(task["DUE"].dt, datetime)
        for alarm in task.walk("VALARM"):
            assert {"ACTION", "TRIGGER", "DESCRIPTION"} <= set(alarm)


def test_the_sequence_counts_changes_of_the_schedule(clock: Any) -> None:
    ada = person()
    row = todo(ada, due_date=date(2026, 3, 20))
    todos.change(row.pk, {"due_date": date(2026, 3, 21)})
    todos.change(row.pk, {"title": "Other"})
    assert "SEQUENCE:1\r\n" in calendars.calendar_of(ada)


def test_a_task_further_on_in_its_series_is_written_with_what_is_left(clock: Any) -> None:
    ada = person()
    row = todo(ada, due_date=date(2026, 3, 2), rrule="FREQ=WEEKLY;COUNT=5")
    todos.complete(row.pk, ada)
    text = calendars.calendar_of(ada)
    assert text.count("RRULE:FREQ=WEEKLY;COUNT=4\r\n") == text.count("RRULE") == 1


# --- Changes ----------------------------------------------------------------------------------------------------------


def changed(ada: Any, *swaps: tuple[str, str]) -> calendars.Imported:
    text = calendars.calendar_of(ada)
    for old, new in swaps:
        assert old in text
        text = text.replace(old, new)
    result = calendars.import_calendar(ada, text)
    assert result.errors == []
    assert len(result.updated) == 1
    return result


def test_a_date_that_a_file_moves_is_moved_alone_and_the_same_file_changes_nothing_more(clock: Any) -> None:
    ada = person()

    def imported(due: str) -> tuple[int, int, int]:
        lines = ["BEGIN:VTODO", "UID:rent", "SUMMARY:Rent", f"DUE;VALUE=DATE:{due}", "RRULE:FREQ=MONTHLY", "END:VTODO"]
        return counts(calendars.import_calendar(ada, "\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR"])))

    assert [imported(due) for due in ("20260310", "20260320", "20260320")] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    row = Todo.objects.get()
    assert row.due_date == date(2026, 3, 20)
    successor = todos.complete(row.pk, ada).successor
    assert successor is not None
    assert successor.due_date == date(2026, 4, 10)


def test_only_what_was_changed_is_changed(clock: Any) -> None:
    ada, bob = person(), person()
    row = todo(ada, ReminderRule(offset="-PT24H"), ReminderRule(offset="-PT5M", person=bob), due_date=date(2026, 3, 20),
               assignees=[bob], overdue_reminders=False)  # fmt: skip
    changed(ada, ("SUMMARY:Water", "SUMMARY:Do not water"), ("DUE;VALUE=DATE:20260320", "DUE;VALUE=DATE:20260321"))

    row.refresh_from_db()
    assert (row.title, row.due_date, row.schedule_version) == ("Do not water the plants", date(2026, 3, 21), 1)
    assert (row.overdue_reminders, list(row.assignees.all())) == (False, [bob])
    assert list(row.rules.order_by("id").values_list("offset", flat=True)) == ["-PT24H", "-PT5M"]


def test_an_alarm_that_was_moved_replaces_the_rule_and_leaves_those_of_others(clock: Any) -> None:
    ada, bob = person(), person()
    mine, theirs = ReminderRule(offset="-PT30M", person=ada), ReminderRule(offset="-PT5M", person=bob)
    row = todo(ada, mine, theirs, assignees=[bob], due_date=date(2026, 3, 20), due_time=time(9))
    changed(ada, ("RELATED=END:-PT30M", "RELATED=END:-PT10M"))
    assert rules_of(row) == {("-PT5M", bob.pk), ("-PT10M", ada.pk)}


def rules_of(row: Todo) -> set[tuple[str, int | None]]:
    return set(row.rules.values_list("offset", "person"))


def without_alarms(text: str) -> str:
    return re.sub(r"BEGIN:VALARM.*?END:VALARM\r\n", "", text, flags=re.DOTALL)


def test_a_file_without_alarms_takes_no_reminder_from_anybody_else(clock: Any) -> None:
    ada, bob, eve = person(), person(), person()
    row = todo(ada, ReminderRule(offset="-PT1H", audience="everyone"), ReminderRule(offset="-PT5M", person=eve),
               assignees=[bob], watchers=[eve], due_date=date(2026, 3, 20), due_time=time(9))  # fmt: skip
    for user in (eve, bob, ada):
        text = without_alarms(calendars.calendar_of(user))
        assert "VALARM" not in text
        calendars.import_calendar(user, text)
        assert rules_of(row) == {("-PT1H", None)}
        assert counts(calendars.import_calendar(user, text)) == (0, 0, 1)
    planned = PlannedReminder.objects.filter(kind__startswith="rule:")
    assert set(planned.values_list("recipient", flat=True)) == {bob.pk, eve.pk}

    # A new alarm is one for oneself alone, beside the one for all.
    changed(eve, ("RELATED=END:-PT1H", "RELATED=END:-PT20M"))
    assert rules_of(row) == {("-PT1H", None), ("-PT20M", eve.pk)}


def test_of_a_task_that_is_ones_own_alone_the_alarms_are_those_of_the_file(clock: Any) -> None:
    ada = person()
    row = todo(ada, ReminderRule(offset="-PT1H"), due_date=date(2026, 3, 20), due_time=time(9))
    changed(ada, ("RELATED=END:-PT1H", "RELATED=END:-PT2H"))
    assert rules_of(row) == {("-PT2H", ada.pk)}


def test_a_task_that_is_done_elsewhere_is_done_here_and_makes_its_successor(clock: Any) -> None:
    ada = person()
    row = todo(ada, due_date=date(2026, 3, 2), rrule="FREQ=WEEKLY")
    changed(ada, ("STATUS:NEEDS-ACTION", "STATUS:COMPLETED\r\nCOMPLETED:20260228T100000Z"))
    assert list(Todo.objects.order_by("id").values_list("due_date", "done_at")) == [
        (date(2026, 3, 2), at("2026-03-01 00:00")),
        (date(2026, 3, 9), None),
    ]
    text = calendars.calendar_of(ada).replace("STATUS:COMPLETED", "STATUS:NEEDS-ACTION").replace("COMPLETED:2", "X-A:2")
    calendars.import_calendar(ada, text)
    row.refresh_from_db()
    assert (row.is_open, row.rrule, row.occurrence) == (True, "FREQ=WEEKLY", 0)


def test_a_uid_of_somebody_elses_task_makes_a_new_one(clock: Any) -> None:
    ada, bob = person(), person()
    row = todo(ada)
    result = calendars.import_calendar(bob, calendars.calendar_of(ada).replace("Water", "Take"))
    assert len(result.created) == 1
    row.refresh_from_db()
    assert row.title == "Water the plants"


def test_an_assignee_who_reads_their_calendar_in_again_doubles_nothing(clock: Any) -> None:
    ada, bob = person(), person()
    todo(ada, assignees=[bob], due_date=date(2026, 3, 2))
    assert counts(calendars.import_calendar(bob, calendars.calendar_of(bob))) == (0, 0, 1)


def test_reminders_of_an_import_fire_by_the_clock_and_by_exact_hours(clock: Any) -> None:
    ada = person(time_zone="Europe/Berlin")
    lines = ["BEGIN:VCALENDAR", "BEGIN:VTODO", "UID:1", "SUMMARY:S", "DUE;TZID=Europe/Berlin:20260329T033000"]
    for trigger in ("-PT1H", "-PT24H", "-P1D"):
        lines += ["BEGIN:VALARM", f"TRIGGER;RELATED=END:{trigger}", "END:VALARM"]
    calendars.import_calendar(ada, "\n".join([*lines, "END:VTODO", "END:VCALENDAR"]))
    due = at("2026-03-29 01:30")
    assert sorted(moment for _, moment in user_planned(ada)) == [
        due - timedelta(hours=24),
        at("2026-03-28 02:30"),
        due - timedelta(hours=1),
    ]


def test_all_example_files_go_in_twice_and_change_nothing_the_second_time(clock: Any) -> None:
    ada = person(time_zone="Europe/Berlin")
    for file in sorted(FILES.glob("*.ics")):
        first = calendars.import_calendar(ada, file.read_bytes())
        again = calendars.import_calendar(ada, file.read_bytes())
        assert (again.created, again.updated) == ([], []), file.name
        assert sorted(again.unchanged) == sorted(first.created)
        assert again.errors == first.errors


def test_what_no_time_is_left_for_is_told(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "MOST_SECONDS", -1)
    result = calendars.import_calendar(person(), (FILES / "phone-reminders.ics").read_bytes())
    assert result.created == []
    assert [problem.what for problem in result.errors] == ["there was no time left for it"] * 3


def test_reading_alone_gives_what_was_written() -> None:
    items, _ = read_todos((FILES / "phone-reminders.ics").read_bytes(), PersonClock(), datetime(2026, 3, 3, tzinfo=UTC))
    assert len(items) == 3


@pytest.mark.parametrize("closed", [False, True])
def test_two_tasks_of_one_uid_stay_what_they_are(closed: bool, clock: Any) -> None:
    ada, bob = person(), person()
    hers = todo(ada, title="hers", uid="same", watchers=[bob], due_date=date(2026, 3, 2))
    his = todo(bob, title="his", uid="same", due_date=date(2026, 3, 5))
    if closed:
        todos.complete(his.pk, bob)
        clock("2026-05-01 00:00")
    text = calendars.calendar_of(bob)
    before = state(Todo)

    assert counts(calendars.import_calendar(bob, text)) == (0, 0, 1 if closed else 2)
    assert state(Todo) == before
    calendars.import_calendar(bob, text.replace("SUMMARY:hers", "SUMMARY:ours"))
    assert [Todo.objects.get(pk=row.pk).title for row in (hers, his)] == ["ours", "his"]


def test_what_is_closed_here_stays_as_it_was_closed_and_is_told_as_unchanged(clock: Any) -> None:
    ada = person()
    row = todo(ada)
    todos.complete(row.pk, ada)
    text = calendars.calendar_of(ada).replace("STATUS:COMPLETED", "STATUS:CANCELLED")
    assert counts(calendars.import_calendar(ada, text)) == (0, 0, 1)
    row.refresh_from_db()
    assert not row.cancelled
