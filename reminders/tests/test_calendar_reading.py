"""Files as programs write them become tasks; what cannot be taken is named, and stops no other."""

import random
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from reminders.calendar.items import AlarmRule, CalendarProblem, CalendarRefused, CalendarTodo, PersonClock
from reminders.calendar.lines import MAX_BYTES, MAX_ITEMS
from reminders.calendar.reading import read_todos

FILES = Path(__file__).parent / "calendars"
BERLIN = PersonClock("Europe/Berlin", time(9))
NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)


def read(data: bytes | str) -> tuple[list[CalendarTodo], list[CalendarProblem]]:
    return read_todos(data, BERLIN, NOW)


def file(name: str) -> tuple[list[CalendarTodo], list[CalendarProblem]]:
    return read((FILES / name).read_bytes())


def one(*lines: str) -> CalendarTodo:
    todos, problems = read(vtodo(*lines))
    assert problems == []
    assert len(todos) == 1
    return todos[0]


def vtodo(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VTODO", "UID:1", "SUMMARY:S", *lines, "END:VTODO", "END:VCALENDAR"])


def refused(*lines: str) -> str:
    todos, problems = read(vtodo(*lines))
    assert todos == []
    assert len(problems) == 1
    assert problems[0].remedy
    assert (problems[0].uid, problems[0].imported) == ("1", False)
    return problems[0].what


# --- Programs ---------------------------------------------------------------------------------------------------------


def test_reminders_of_a_phone():
    (market, passport, done), problems = file("phone-reminders.ics")
    assert problems == []
    assert (market.title, market.priority, market.rrule) == ("Wochenmarkt, Käse kaufen", 2, "FREQ=WEEKLY")
    # A DTSTART that is only there for the rule is no start.
    assert (market.start_date, market.due_date, market.due_time) == (None, date(2026, 3, 7), time(9, 30))
    assert market.alarms == (AlarmRule(at=datetime.fromisoformat("2026-03-07T08:30"), zone="UTC"),)
    # Fifteen hours before midnight are nine o'clock on the day before: a day before the anchor.
    assert (passport.priority, passport.due_time) == (4, None)
    assert passport.alarms == (AlarmRule("due", "-P1D"),)
    assert done.done_at == datetime(2026, 2, 25, 17, 45, tzinfo=UTC)


def test_tasks_of_a_cloud():
    (due_only, misplaced, subtask), problems = file("cloud-tasks.ics")
    assert due_only.alarms == (AlarmRule("due", "-PT1H"),)
    assert (due_only.time_zone, due_only.due_time) == ("Europe/Berlin", time(3, 30))
    # Floating times are of the person's own zone; days before stay days.
    assert (misplaced.time_zone, misplaced.alarms) == ("Europe/Berlin", (AlarmRule("due", "-P1D"),))
    assert [(one.what, one.uid, one.imported) for one in problems] == [
        ("its VALARM stands outside of the task", misplaced.uid, True)
    ]
    assert subtask.tags == ("work", "errands", "at, home")
    assert (subtask.start_date, subtask.due_date) == (date(2026, 3, 10), date(2026, 3, 12))


def test_tasks_of_android():
    (rent,), problems = file("android-tasks.ics")
    assert problems == []
    assert rent.notes.endswith("second line with a backslash \\ and a tail that was folded in the middle of a word")
    assert (rent.time_zone, rent.rrule) == ("America/New_York", "FREQ=MONTHLY;UNTIL=20261225")
    assert rent.alarms == (AlarmRule("due", "PT0S"), AlarmRule("start", "-PT30M"))


def test_tasks_of_an_office():
    (report, custom, fixed), problems = file("office-tasks.ics")
    assert (report.time_zone, report.start_time, report.due_time) == ("Europe/Berlin", time(8), time(17))
    assert report.alarms == (AlarmRule("start", "-PT15M"),)
    assert custom.time_zone == "Europe/Berlin"
    assert fixed.time_zone == "Etc/GMT-5"
    assert [(one.uid, one.summary) for one in problems] == [("office-4", "Unknown zone")]
    assert "Mars/Olympus" in problems[0].what


def test_a_zone_of_ones_own_making_is_refused_where_it_is_not_the_readers_clock():
    data = (FILES / "office-tasks.ics").read_bytes()
    todos, problems = read_todos(data, PersonClock("America/New_York"), NOW)
    assert [todo.uid for todo in todos if "Customized" in todo.title] == []
    assert "Customized Time Zone" in problems[0].what


def test_tasks_of_a_desktop():
    (lasting, home_made), problems = file("desktop-mail.ics")
    assert problems == []
    assert (lasting.time_zone, lasting.start_time) == ("Asia/Kolkata", time(9))
    assert (lasting.due_date, lasting.due_time) == (date(2026, 3, 6), time(11))
    assert lasting.alarms == (AlarmRule("due", "-P1D"),)
    assert (home_made.time_zone, home_made.cancelled) == ("Asia/Kolkata", True)


def test_a_file_without_uids_in_an_old_encoding_gives_the_same_uids_again():
    todos, problems = file("plain-export.ics")
    assert problems == []
    assert [(todo.title, todo.due_date) for todo in todos] == [
        ("Naïve program without UIDs", date(2026, 5, 1)),
        ("lower case names", date(2026, 5, 2)),
    ]
    assert [todo.uid for todo in todos] == [todo.uid for todo in file("plain-export.ics")[0]]
    assert len({todo.uid for todo in todos}) == 2


def test_each_broken_task_is_named_and_the_others_are_taken():
    todos, problems = file("broken.ics")
    assert [todo.uid for todo in todos] == ["good-1", "good-2"]
    told = [(problem.uid, problem.imported, problem.what.split()[0]) for problem in problems]
    assert told == [
        ("good-1", True, "line"),
        ("rscale", False, "RRULE:"),
        ("secondly", False, "RRULE:"),
        ("never", False, "RRULE:"),
        ("bomb", False, "RRULE:"),
        ("no-date", False, "DUE"),
        ("bad-trigger", False, "TRIGGER:"),
        ("override", False, "RECURRENCE-ID"),
        ("no-due", False, "it"),
        ("good-1", False, "its"),
        ("cut", False, "the"),
    ]
    assert all(problem.remedy and problem.line for problem in problems)


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "day", "clock", "zone"),
    [
        ("DUE:20260301T090000Z", date(2026, 3, 1), time(9), "UTC"),
        ("DUE:20260301T090000", date(2026, 3, 1), time(9), "Europe/Berlin"),
        ("DUE;VALUE=DATE:20260301", date(2026, 3, 1), None, "Europe/Berlin"),
        ("DUE:20260301", date(2026, 3, 1), None, "Europe/Berlin"),
        ("DUE;VALUE=DATE:20260301T000000", date(2026, 3, 1), None, "Europe/Berlin"),
        ("DUE;TZID=Asia/Tokyo:20260301T235960", date(2026, 3, 1), time(23, 59, 59), "Asia/Tokyo"),
        ("DUE;TZID=Eastern Standard Time:20260301T090000", date(2026, 3, 1), time(9), "America/New_York"),
        ("DUE ; TZID = asia/tokyo :20260301T0900", date(2026, 3, 1), time(9), "Asia/Tokyo"),
        ("DUE;TZID=GMT:20260301T090000", date(2026, 3, 1), time(9), "UTC"),
    ],
)
def test_dates_and_times(line, day, clock, zone):
    todo = one(line)
    assert (todo.due_date, todo.due_time, todo.time_zone) == (day, clock, zone)


@pytest.mark.parametrize("priority", range(10))
def test_priorities(priority):
    assert one(f"PRIORITY:{priority}").priority == [0, 4, 3, 3, 3, 2, 1, 1, 1, 1][priority]


def test_a_start_of_another_zone_is_told_in_that_of_the_due_date():
    todo = one("DTSTART:20260301T090000Z", "DUE;TZID=Asia/Tokyo:20260302T090000")
    assert (todo.start_date, todo.start_time, todo.time_zone) == (date(2026, 3, 1), time(18), "Asia/Tokyo")


@pytest.mark.parametrize(
    ("lines", "taken"),
    [
        (["DTSTART;VALUE=DATE:20260302", "DUE;VALUE=DATE:20260304", "RRULE:FREQ=WEEKLY"], "FREQ=WEEKLY"),
        (["DTSTART;VALUE=DATE:20260302", "DUE;VALUE=DATE:20260304", "RRULE:FREQ=WEEKLY;BYDAY=MO"], "FREQ=WEEKLY"),
        (["DTSTART;VALUE=DATE:20260302", "DUE;VALUE=DATE:20260304", "RRULE:FREQ=WEEKLY;BYDAY=MO,TU"], None),
        (["DTSTART;VALUE=DATE:20260302", "DUE;VALUE=DATE:20260304", "RRULE:FREQ=MONTHLY"], None),
    ],
)
def test_a_rule_of_the_start_is_taken_where_it_says_the_same_of_the_due_date(lines, taken):
    if taken is None:
        assert "DTSTART" in refused(*lines)
    else:
        assert one(*lines).rrule == taken


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["DUE:99990101T000000Z"], "99990101"),
        (["DUE:00010101T000000Z"], "00010101"),
        (["DUE:2026-03-01"], "2026-03-01"),
        (["DUE:"], "DUE"),
        (["PRIORITY:¹"], "PRIORITY"),
        (["CATEGORIES:" + "x" * 51], "CATEGORIES has 51"),
        (["CATEGORIES:" + ",".join(map(str, range(60)))], "60 entries"),
        (["DESCRIPTION:" + "x" * 20_001], "DESCRIPTION has 20,001"),
        (["DTSTART:20260301T090000Z", "DURATION:P1Y"], "DURATION"),
        (["DURATION:PT1H"], "no DTSTART"),
        (["DTSTART;VALUE=DATE:20260105", "DUE;VALUE=DATE:20260103"], "starts after it is due"),
        (["DTSTART:20260105T090000Z", "DUE;TZID=Europe/Berlin:20260105T093000"], "starts after it is due"),
        (["DTSTART:20260105T090000Z", "DURATION:-PT1M"], "starts after it is due"),
        (["X-SWITCHYARD-START;VALUE=DATE:20260105", "DUE:20260104T235959Z"], "starts after it is due"),
        (["DUE:20260103T090000Z", "DUE:20260104T090000Z"], "2 DUEs"),
        (["DTSTART:20260101T090000Z", "DTSTART:20260102T090000Z", "DUE:20260103T090000Z"], "2 DTSTARTs"),
        (["DTSTART:20260101T090000Z", "DUE:20260103T090000Z", "DURATION:PT1H"], "a DUE and a DURATION"),
        (["DUE:20260301T090000Z", "RRULE:FREQ=DAILY", "EXDATE:20260302T090000Z"], "EXDATE"),
        (["DUE:20260301T090000Z", "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY"], "two RRULEs"),
        (["BEGIN:VALARM", "END:VALARM"], "TRIGGER"),
        (["BEGIN:VALARM", "TRIGGER:-PT5M", "END:VALARM"], "neither"),
        (["DUE:20260301T090000Z", *["BEGIN:VALARM", "TRIGGER:-PT5M", "END:VALARM"] * 21], "21 VALARMs"),
        (["DUE:20260301T090000Z", "BEGIN:VALARM", "TRIGGER:-P99999D", "END:VALARM"], "longer than"),
    ],
)
def test_what_cannot_be_taken_is_named(lines, named):
    assert named in refused(*lines)
    beside = vtodo(*lines).replace("UID:1", "UID:2").split("\r\n", 1)[1]
    todos, problems = read(vtodo().replace("END:VCALENDAR", beside))
    assert ([todo.uid for todo in todos], [problem.uid for problem in problems]) == (["1"], ["2"])


# --- Files that mean no good ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "no calendar"),
        (b"{}", "no calendar"),
        (b"\x00\x01\xff\xfe", "no calendar"),
        (b"BEGIN:VCALENDAR\n" + b"x" * MAX_BYTES, "5,000,000"),
        ("BEGIN:VTODO\nEND:VTODO\n" * (MAX_ITEMS + 1), "more than 2,000 tasks"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(data, named):
    with pytest.raises(CalendarRefused, match=named):
        read(data)


def test_nul_and_half_characters_cost_their_line():
    todos, problems = read(vtodo("DESCRIPTION:a\x00b", "CATEGORIES:\ud800", "PRIORITY:5"))
    assert (todos[0].notes, todos[0].tags, todos[0].priority) == ("", (), 2)
    assert [("cannot be stored" in problem.what, problem.imported) for problem in problems] == [(True, True)] * 2


def test_deep_nesting_is_cut_off_and_what_follows_is_read():
    deep = "BEGIN:VX\n" * 5000 + "END:VX\n" * 5000
    todos, problems = read(f"BEGIN:VCALENDAR\n{deep}BEGIN:VTODO\nUID:2\nSUMMARY:S\nEND:VTODO\nEND:VCALENDAR")
    assert [todo.uid for todo in todos] == ["2"]
    assert "nested" in problems[0].what


def test_long_lines_and_many_folds_end():
    assert read(vtodo("DESCRIPTION:" + "\n ".join("x" * 150_000)))[1]
    assert read(vtodo("\n" * 500_000))[0]
    assert read(vtodo("X-A;B=" + " " * 90_000 + ":c"))[0]
    assert read(vtodo("CATEGORIES:" + "\\" * 90_000 + ","))


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_raise_nothing_else(seed):
    chance = random.Random(seed)
    names = sorted(FILES.glob("*.ics"))
    for _ in range(60):
        data = bytearray(chance.choice(names).read_bytes())
        for _ in range(chance.randint(1, 30)):
            place = chance.randrange(len(data) + 1) if len(data) > 200 else 0
            match chance.randrange(4):
                case 0:
                    data[place : place + 1] = bytes([chance.randrange(256)])
                case 1:
                    del data[place : place + chance.randint(1, 80)]
                case 2:
                    data[place:place] = data[place : place + chance.randint(1, 80)]
                case 3:
                    data[place:place] = chance.choice([b"\x00", b"\r", b"\n ", b"9" * 20, b"\xff", b";", b":", b'"'])
        try:
            read(bytes(data))
        except CalendarRefused:
            continue


def test_what_would_take_too_long_is_told():
    rule = "RRULE:FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=20"
    task = f"BEGIN:VTODO\nUID:%d\nDUE:20260301\n{rule}\nEND:VTODO\n"
    todos, problems = read_todos("".join(task % number for number in range(50)), BERLIN, NOW, most_seconds=0.05)
    assert todos == []
    assert len(problems) == 50
    assert problems[-1].what == "there was no time left for it"


def test_titles_and_names_are_on_one_line_and_have_no_control_characters():
    (todo,), _ = read("BEGIN:VTODO\nUID:a\\nb\nSUMMARY:one\\ntwo\x1b[31m\nCATEGORIES:c\\n d\nEND:VTODO")
    assert (todo.uid, todo.title, todo.tags) == ("a b", "one two[31m", ("c d",))
